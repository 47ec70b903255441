"""The page: figures as people read them, and the wire that shows them live."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from comet.core.cursor import NOWHERE
from comet.core.markup import is_closed
from comet.core.update import OwnUpdate
from comet.status.figures import Channel, Figures, Look, figures
from comet.status.page import AGAIN, HTML, Page, amount, late, render, sentence, size, span, still
from tests.status.workers import NOW, PLACE, said, shown, tally, trigger


CHANNEL = "comet.status.x"

WORDS = [
    (size, [(None, "–"), (0, "0 B"), (999, "999 B"), (1000, "1 KiB"), (1536, "1.5 KiB"), (10**10, "9.3 GiB")]),
    (size, [(1e13, "9,313 GiB")]),
    (amount, [(None, "–"), (0, "0"), (0.04, "0.04"), (0.5, "0.5"), (0.999, "1"), (4, "4"), (21.64, "21.6")]),
    (amount, [(99.4, "99.4"), (99.96, "100"), (12345.6, "12,346")]),
    (
        span,
        [(None, "–"), (0.9, "0 s"), (59.9, "59 s"), (60, "1 min"), (150, "2 min"), (3600, "1 h"), (7500, "2 h 5 min")],
    ),
    (span, [(86_400, "1 d"), (97_200, "1 d 3 h"), (40 * 3600.0, "1 d 16 h"), (30 * 86_400 + 4000, "30 d")]),
    (late, [(None, "–"), (0.0005, "0.5 ms"), (0.025, "25 ms"), (5.0, "5,000 ms")]),
]


@pytest.mark.parametrize(("say", "values"), WORDS)
def test_numbers_in_words(say: Callable[[float | None], str], values: list[tuple[float | None, str]]) -> None:
    """As exact as it matters."""
    assert [(value, say(value)) for value, _ in values] == values


class Read(HTMLParser):
    """What a page has, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " " * (tag in ("td", "th", "caption"))

    def handle_data(self, data: str) -> None:
        self.text += data


def words(found: Figures, **options: bool) -> str:
    return re.sub(r"\s+", " ", Read(render(found, **options)).text)


def test_what_a_page_says() -> None:
    """Each number with its name, and the time that it is of."""
    looks = [Look(NOW - 1, [tally(11, sse=2), tally(12)]), Look(NOW, [tally(11, sse=2), tally(12)])]
    told = {"11": said(trigger("rows", "running", position="17", age=3.0), news=2)}
    page = words(figures(looks, told, [Channel("news", 5, 500, NOW - 90, 0.5)], PLACE))
    assert re.search(r"as of \d\d:\d\d:\d\d \S+ · sqlite · 1.0", page)
    for text in ("2 streams", "1 channel ", "0 updates/s", "11 1 min 2 38.1 MiB", "rows timer running 11 3 s", "At 17"):
        assert text in page
    assert "news 0.5 2 5 500 B 1 min" in page
    assert "single worker" not in page


def test_each_table_says_what_it_shows() -> None:
    """To those who don't see it: a caption, and each cell has a header of its row and of its column."""
    found = Read(render(shown(tally(1, sse=1), told={"1": said(trigger("t", "running"), x=1)})))
    tags = [tag for tag, _ in found.tags]
    assert tags.count("table") == tags.count("caption") == tags.count("thead") == 4
    scopes = [attributes.get("scope") for tag, attributes in found.tags if tag == "th"]
    assert scopes.count("row") == 4
    assert scopes.count("col") == 5 + 2 + 7 + 6


def test_what_somebody_should_see_to_is_said_first() -> None:
    """In a sentence each, with what to type; a single worker is no fault, but worth a word."""
    error = "Alarm: 127.0.0.1 says: denied. Type: GRANT x;"
    alarm = trigger("rows", "alarm", error=error, statement="GRANT x;")
    failed = trigger("feed", "failed", error="SourceFailed: no answer.")
    told = {"1": said(alarm, failed, broker="the disk is full."), "2": said(ago=30)}
    page = words(shown(tally(1), tally(2), told=told, expected=3))
    assert "The broker is away. the disk is full." in page
    assert "1 worker is missing." in page
    assert "The trigger rows has stopped. 127.0.0.1 says: denied. Type: GRANT x;" in page
    assert "The trigger feed fails and is tried again. no answer." in page
    assert "silent for 30 s" in page
    assert "A single worker. COMET_WORKERS says" in words(shown(tally(1), expected=1))
    assert "A single worker." not in page
    assert "single" not in words(shown(tally(1), expected=2))
    assert "Of one worker." in words(shown(tally(1)) | {"alone": True})


def test_a_trigger_that_is_well_again_shows_its_last_error() -> None:
    """Not as what somebody must see to."""
    page = words(shown(tally(1), told={"1": said(trigger("t", "running", error="OSError: gone"))}))
    assert "Last error: OSError: gone" in page
    assert "fails" not in page


def test_a_sentence_has_no_kind() -> None:
    """But for errors that are no sentences."""
    assert sentence(trigger("t", "alarm", error="Alarm: x. Type: y;", statement="y;")) == "x."
    assert sentence(trigger("t", "failed", error="SourceFailed: x.")) == "x."
    assert sentence(trigger("t", "failed", error="KeyError: 'x'")) == "KeyError: 'x'"


HOSTILE = [
    "</td></table></div><script>alert(1)</script>",
    "<style>*{display:none}</style><!--",
    '"><img src=x onerror=a> class="',
    "</pre></p><plaintext>{{ 7 * 7 }}{% raw %}",
    "a\0b\x1b[2J\r\n\u2028&lt;&#60;\ufeff\U0001f600",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_name_or_an_error_says_is_shown_as_text(text: str) -> None:
    """It makes no element, leaves nothing open, and the page is shown as the markup that it is."""
    pages = []
    for each in ("plain", text):
        alarm = trigger(each, "alarm", error=f"Alarm: {each} Type: {each}", statement=each, position=each, kind=each)
        well = trigger(f"b{each}", "running", error=each, position=each)
        told = {"1": said(alarm, well, broker=each) | {"subscribers": {each: 1}}}
        found = shown(tally(1, **{each: 1}), told=told)  # type: ignore[arg-type]
        pages.append(render(found | {"host": each, "version": each}))
    assert is_closed(pages[1])
    assert text.replace("\0", "") in Read(pages[1]).text.replace("\0", "")
    assert [tag for tag, _ in Read(pages[1]).tags] == [tag for tag, _ in Read(pages[0]).tags]


# The wire.


@pytest.fixture
def wire() -> Page:
    return Page((CHANNEL,), place=PLACE, drain=5)


def update(seq: int, text: str) -> OwnUpdate:
    return OwnUpdate(CHANNEL, text.encode(), HTML, epoch="aaaaaaaa", seq=seq)


def test_a_page_comes_again_late_where_its_connection_has_broken(wire: Page) -> None:
    """Not before a server that was restarted is there again: a browser that finds none shows that, for ever."""
    assert wire.headers["Refresh"] == str(5 + AGAIN)
    assert "script" not in wire.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in wire.headers["Content-Security-Policy"]


def test_a_page_that_is_sent_away_says_when_it_comes_again(wire: Page) -> None:
    """After the time that the worker names."""
    assert wire.goodbye(8200) == b'<meta http-equiv="refresh" content="9">\n'


def test_a_page_takes_the_place_of_the_one_before(wire: Page) -> None:
    """Its opening has the looks and the name of the host; what is waited for goes away."""
    opening = wire.opening(NOWHERE, 2000).decode()
    assert "<title>comet: status of host</title>" in opening
    assert 'id="waiting"' in opening
    first, state = wire.frame([update(1, "<p>one</p>")], None, wire.initial)
    second, _ = wire.frame([update(2, "<p>two</p>")], None, state)
    assert b"<p>one</p>" in first
    assert b"#waiting{display:none}" in first
    assert b"<p>two</p></div><style>#c0-aaaaaaaa-1{display:none}</style>" in second


def test_a_page_says_before_it_is_full_that_it_comes_again_at_once(wire: Page) -> None:
    """The last of its frames do; however large they are, one that is not the last may."""
    text, state, written, said = "x" * 50_000, wire.initial, 0, []
    while written < (wire.longest or 0):
        frame, state = wire.frame([update(len(said) + 1, text)], None, state)
        written += len(frame)
        said.append(b'<meta http-equiv="refresh" content="1">' in frame)
    assert said[-1]
    assert sum(said) <= 4


def test_a_page_that_holds_still_ends() -> None:
    """It leads back to the one that goes on, and does not say that nothing new comes."""
    page = still(shown(tally(1)), PLACE)
    assert 'href="status">Live again' in page
    assert {"id": "waiting"} not in [attributes for _, attributes in Read(page).tags]
    assert "Nothing new" not in page
