"""What a program prints for a terminal, as text and as HTML."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comet.core.markup import is_closed
from comet.live.ansi import Terminal


def html(line: bytes) -> str:
    return re.sub(r"var\((--\w+),#\w+\)", r"\1", Terminal().read(line)[1])


CASES = [
    (b"", ""),
    (b"plain", "plain"),
    (b'<b> & "it\'s"', "&lt;b&gt; &amp; &quot;it&#x27;s&quot;"),
    (b"\x1b[31mred\x1b[0m not", '<span style="color:--c1">red</span> not'),
    (b"\x1b[1;4;94mx", '<span style="color:--c12;font-weight:bold;text-decoration:underline">x</span>'),
    (b"\x1b[38;5;208mx", '<span style="color:#ff8700">x</span>'),
    (b"\x1b[48;2;1;2;3mx", '<span style="background:#010203">x</span>'),
    (b"\x1b[7mx", '<span style="color:--ground;background:--text">x</span>'),
    (b"\x1b[31;7mx", '<span style="color:--ground;background:--c1">x</span>'),
    (b"\x1b[2;3;9mx", '<span style="font-style:italic;opacity:0.7;text-decoration:line-through">x</span>'),
    (b"10 %\r50 %\r100 %\r", "100 %"),
    (b"\x1b[2J\x1b[10;1Hmoved\x1b[K", "moved"),
    (b"\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07", "link"),
    (b"\x1b]8;;https://x.example/\x1b\\link\x1b]8;;\x1b\\", "link"),
    (b"\x1b]0;a title\x07text", "text"),
    (b"\x1b[" + b"9" * 5000 + b"mtext", "text"),
    (b"bell\x07 \xff", "bell\ufffd \ufffd"),
    (b"no sequence \x1b", "no sequence \ufffd"),
    (b"\x1b[31m<script>\x1b[0m", '<span style="color:--c1">&lt;script&gt;</span>'),
]


@pytest.mark.parametrize(("line", "shown"), CASES, ids=[repr(line)[:40] for line, _ in CASES])
def test_a_line_becomes_html(line: bytes, shown: str) -> None:
    """Colours and the like stay; whatever else terminals obey goes, and what is no text is shown to be none."""
    assert html(line) == shown


def test_a_colour_holds_until_it_is_taken_back() -> None:
    """Also on the lines that follow."""
    terminal = Terminal()
    assert [terminal.read(line)[0] for line in (b"\x1b[31mone", b"two", b"three\x1b[0m", b"four")] == [
        "one", "two", "three", "four",
    ]  # fmt: skip
    assert ["span" in Terminal().read(line)[1] for line in (b"\x1b[31mone", b"two")] == [True, False]
    assert "span" not in terminal.read(b"five")[1]


#: What sequences, and what markup, is made of.
PIECES = st.sampled_from(
    b"\x1b[|\x1b]8;;|\x1b|m|;|31|38;5;|38;2;|\x07|\x1b\\|<|>|\"|'|&|<script>|</pre>|</span>|<!--|javascript:|\r|\0|"
    b"\xc2\x9b|\xff|a|\xe2\x82\xac".split(b"|")
)
ENTITIES = {"&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": '"', "&#x27;": "'"}


@given(st.lists(st.lists(PIECES | st.binary(max_size=4), max_size=30).map(b"".join), max_size=4))
def test_hostile_output_stays_text(lines: list[bytes]) -> None:
    """Whatever is printed: the HTML has nothing but spans with a style, leaves none open, and shows the text."""
    terminal = Terminal()
    for line in lines:
        plain, markup = terminal.read(line)
        assert is_closed(f"<pre>{markup}</pre>")
        bare = re.sub(r'<span style="[a-z0-9#:;().,-]*(?:[a-z-]+ ?)*">|</span>', "", markup)
        assert not re.search(r"[<>\"']", bare)
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", plain + markup)
        assert re.sub(r"&[^;]*;", lambda match: ENTITIES[match[0]], bare) == plain


@pytest.mark.parametrize("piece", [b"\x1b]", b"\x1b[", b"\x1b[31m", b"\x1b]8;;", b"\x1b[0", b"\r", b"\x1b("])
def test_a_long_line_of_one_thing_takes_no_time_that_grows_faster_than_it(piece: bytes) -> None:
    """A quarter of a MB of it is read."""
    Terminal().read(piece * (262_144 // len(piece)))
