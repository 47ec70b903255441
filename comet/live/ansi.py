"""Ansi: what a program prints for a terminal becomes plain text, and HTML that has its colours.

Strategy: rich reads the escape sequences; of what it finds only text, colours and the like go on, so that nothing that
is printed can be markup, a link or a style of its own making.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache

from rich.ansi import AnsiDecoder
from rich.color import Color
from rich.style import Style
from rich.text import Text


#: Titles, links and other strings for terminals; and sequences so long that nobody means them.
_STRINGS = re.compile(r"\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b\[[0-?]{100,}[ -/]*[@-~]?")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

#: The first sixteen colours, where the page around has none of its own (--c0 to --c15).
_COLOURS = (
    "#3b4048 #d0342c #2e8b3d #a87a00 #2f6fd0 #a43fb5 #12858f #8a919c "
    "#6b7280 #e5534b #3fa34d #c69026 #539bf5 #b870d0 #2aa5b0 #aab2bd"
).split()


class Terminal:
    """Reads line after line: a colour holds until it is taken back."""

    def __init__(self) -> None:
        self._decoder = AnsiDecoder()

    def read(self, line: bytes) -> tuple[str, str]:
        """A line without its end: as plain text, and as HTML."""
        # A terminal would write over what stood before a carriage return.
        text = line.decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
        if "\x1b" in text:
            read = self._decoder.decode_line(_STRINGS.sub("", text))
        elif self._decoder.style:
            read = Text.assemble((text, self._decoder.style))
        else:
            plain = _shown(text)
            return plain, html.escape(plain)
        return _shown(read.plain), _html(read)


def _html(text: Text) -> str:
    pieces, place = [], 0
    for span in text.spans:
        pieces.append(html.escape(_shown(text.plain[place : span.start])))
        inner = html.escape(_shown(text.plain[span.start : span.end]))
        css = _css(span.style) if isinstance(span.style, Style) else ""
        pieces.append(f'<span style="{css}">{inner}</span>' if css else inner)
        place = span.end
    return "".join([*pieces, html.escape(_shown(text.plain[place:]))])


def _shown(text: str) -> str:
    return _CONTROLS.sub("\ufffd", text)


@lru_cache(maxsize=1000)
def _css(style: Style) -> str:
    colour, ground = _colour(style.color), _colour(style.bgcolor)
    if style.reverse:
        colour, ground = ground or "var(--ground,#fff)", colour or "var(--text,#000)"
    lines = [
        name
        for name, on in (
            ("underline", style.underline or style.underline2),
            ("line-through", style.strike),
            ("overline", style.overline),
        )
        if on
    ]
    rules = {
        "color": colour,
        "background": ground,
        "font-weight": "bold" if style.bold else "",
        "font-style": "italic" if style.italic else "",
        "opacity": "0.7" if style.dim else "",
        "text-decoration": " ".join(lines),
    }
    return ";".join(f"{name}:{value}" for name, value in rules.items() if value)


def _colour(colour: Color | None) -> str:
    if colour is None or colour.is_default:
        return ""
    if colour.number is not None and colour.number < 16:
        return f"var(--c{colour.number},{_COLOURS[colour.number]})"
    return colour.get_truecolor().hex
