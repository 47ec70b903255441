"""What a hostile or careless publisher sends, as Hypothesis strategies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st


T = TypeVar("T")

_NAMES = (
    "a b i font nobr em p div span ul ol li dl dt dd table tr td th tbody thead tfoot caption colgroup col select "
    "option optgroup datalist ruby rb rt rp rtc button form object marquee applet svg math g path mi mtext desc title "
    "foreignObject annotation-xml mglyph style script textarea iframe xmp noembed noframes br img input hr h1 h2 pre "
    "listing html body head image template noscript plaintext frameset section details summary address center main "
    "search dialog menu u x-y keygen fieldset legend label meta link"
).split()

_ATTRIBUTES = (
    ' x| x=1| x="a>b"| x=\'<b>\'| x=a/| /| encoding="text/html"| type=hidden| color=red| x=| x=">| a b=c |\fx|'
    ' hidden id=next| style="a:b"| x="| y=\''
).split("|")

#: Letters that some readers take for a line end, the end of all, or nothing.
_LETTERS = (
    ["x", " ", "\t", "", "\r", "\n", "\r\n", "\n\n", "\r\r", "\0", "\x0b", "\x0c", "\x1b[2J", "\x1c"],
    ["\x85", "\u2028", "\u2029", "\ufeff", "\ud7ff", "\U0001f600", "é"],
)
_FIELDS = (
    ["data: x", "id: 1", "event: comet.gap", "retry: 1", ":", "{", "}", "[", "]", '"', "'", "\\", "\\u2028"],
    ['"}\n{"gap":null}', "/**/", "*/", "//", ");alert(1)//", "`", "${x}", "--", "--comet-", "Content-Type: text/html"],
)
_MARKUP = (
    ["</script>", "</SCRIPT >", "<script>", "<!--", "-->", "--!>", "<script><!--", "]]>", "<![CDATA[", "<!", "<?"],
    ["</", "<", ">", "&", "&lt;", "<style>", "</style>", "</\u017ftyle>", "<textarea>", "<title>", "</title>"],
    ["<plaintext>", "</div>", "</body>", "</html>", "</p>", "</br>", "<style/>", "<svg/>", "<svg><style>"],
    ["<!doctype html>", "<b>", "<a href=x>"],
)
#: What ends, begins or bends something on one of the wires.
SHARDS = [shard for shards in (*_LETTERS, *_FIELDS, *_MARKUP) for shard in shards]

#: What has its place in what.
_PARTS = {
    "table": "tr td th tbody thead tfoot caption colgroup".split(),
    "tbody": ["tr", "td"],
    "tr": ["td", "th"],
    "colgroup": ["col"],
    "select": ["option", "optgroup"],
    "optgroup": ["option"],
    "datalist": ["option"],
    "ul": ["li"],
    "dl": ["dt", "dd"],
    "ruby": ["rt", "rp", "b"],
    "svg": "g path desc title foreignObject a style svg math".split(),
    "math": "mi mtext g svg annotation-xml".split(),
}
_MAY_STAY_OPEN = frozenset("p li dt dd td th tr tbody thead caption colgroup option optgroup rt rp".split())
_EMPTY = frozenset("br img hr input col meta link".split())


class _Author:
    """Writes HTML by the bytes that it is given: each is a decision. When there are no more, it comes to an end."""

    def __init__(self, decisions: bytes) -> None:
        self._decisions = iter(decisions)

    def decide(self) -> int:
        return next(self._decisions, 0)

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.decide() % len(choices)]

    def rubble(self) -> str:
        forms = ["{}", "<{}>", "</{}>", "<{}/>", "<{} x='", "</{} x>", "<{}", "</{}/>"]
        pieces = []
        while how := self.decide():
            form = forms[how % 8]
            pieces.append(self.one_of(SHARDS) if form == "{}" else form.format(self.one_of(_NAMES)))
        return "".join(pieces)

    def element(self, around: str = "", depth: int = 4) -> str:
        """Mostly what a careful author writes: each element closed, in a place for it. Sometimes not."""
        how = self.decide()
        name = self.one_of(_PARTS[around] if around in _PARTS and how % 16 else _NAMES)
        attributes = self.one_of(_ATTRIBUTES) if how % 5 == 1 else ""
        inside = "".join(
            self.element(name, depth - 1) if depth and self.decide() % 4 else self.one_of(["", "x", "x<br>"])
            for _ in range(self.decide() % 3)
        )
        if how in (240, 241):
            return self.one_of(SHARDS)
        if how in (242, 243):
            return f"<{name}{attributes}/>{inside}"
        if how == 244:
            return f"</{name}>"
        if name in _EMPTY:
            return f"<{name}{attributes}>"
        if how in (245, 246) or (name in _MAY_STAY_OPEN and how % 3 == 1):
            return f"<{name}{attributes}>{inside}"
        return f"<{name}{attributes}>{inside}</{name}>"

    def page(self) -> str:
        match self.decide() % 5:
            case 0:
                return self.rubble()
            case 1:
                return self.element() + self.rubble() + self.element()
            case _:
                return self.element() + self.element()


def fragments() -> st.SearchStrategy[str]:
    """HTML of every sort: careful, careless, and rubble."""
    return st.binary(min_size=24, max_size=160).map(lambda decisions: _Author(decisions).page())


def texts() -> st.SearchStrategy[str]:
    """Text that would like to be something else."""
    return st.lists(st.sampled_from(SHARDS) | st.text(max_size=3), max_size=6).map("".join)


def datas() -> st.SearchStrategy[bytes]:
    """Any bytes: text, and what is no text."""
    text = texts().map(str.encode)
    return text | st.lists(text | st.binary(max_size=4), max_size=3).map(b"".join)
