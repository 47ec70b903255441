"""The wires: the exact bytes of each, and that nobody can forge any of them.

The exact bytes are in ``golden/``. After a change that is meant, ``COMET_WRITE_GOLDEN=1`` writes them anew: then read
the difference.
"""

from __future__ import annotations

import base64
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comet.core.cursor import Cursor
from comet.core.encodings import Encodings
from comet.core.errors import BadRequest
from comet.core.log import Entry, Gap
from comet.core.update import BINARY, JSON, TEXT, Closed, Update, check_channel, check_event, check_type
from comet.core.wire import (
    BY_TYPE,
    JSONP,
    NDJSON,
    SSE,
    WIRES,
    Envelope,
    Html,
    Iframe,
    Multipart,
    Poll,
    Text,
    Wire,
)
from tests.core import parsers
from tests.core.exploring import explore, uncounted
from tests.core.logs import EPOCH, placed
from tests.core.nasty import datas, fragments, texts
from tests.core.pages import after, elements


CURSOR = Cursor(EPOCH, 41)
HTML = "text/html"
SVG = "image/svg+xml"
UTF8 = "; charset=utf-8"
GAP = Gap(f"{EPOCH}-7", f"{EPOCH}-44", "trimmed")

ENTRIES: list[Entry] = [
    placed("scores", 42, b"2:1", time=1700000000.1234),
    placed("scores", 43, "one\ntwo\r\nthree\rföur\n".encode(), event="goal!", time=1700000001.0),
    placed("clock", 44, b""),
    placed("clock", 45, b"\x00\xff\r\n", type=BINARY),
    placed("scores", 46, b"<b>3:1</b>", type="text/html; charset=utf-8", event="goal!"),
    placed("scores", 47, b"<b>4:1", type=HTML),
    placed("scores", 48, b"</script><!--<script>", type=TEXT),
    placed("clock", 49, b'<svg xmlns="http://www.w3.org/2000/svg"/>', type=SVG),
    placed("clock", 50, '{"a":"\u2028\\u2029"}'.encode(), type=JSON, event="a:b"),
    Closed("clock", 0.0, EPOCH, 51),
]


def streamed(wire: Wire) -> bytes:
    """A whole stream: two writes with a gap between them, silence, an update more, the end of its token and its own."""
    state = wire.initial
    first, state = wire.frame(ENTRIES[:2], None, state)
    second, state = wire.frame(ENTRIES[2:], GAP, state)
    silence = wire.heartbeat(state)
    third, state = wire.frame([placed("scores", 52, b"5:1", type=TEXT)], None, state)
    end = wire.expiring(30) + wire.expiring(0) + wire.goodbye(4000)
    return wire.opening(CURSOR, 2500) + first + second + silence + third + end


def pictures(wire: Wire) -> bytes:
    """Two pictures, and silence between them."""
    first, state = wire.frame([placed("clock", 1, b"<svg>1</svg>", type=SVG)], None, wire.initial)
    silence = wire.heartbeat(state)
    second, state = wire.frame([placed("clock", 2, b"<svg>2</svg>", type=SVG)], None, state)
    return wire.opening(CURSOR, 2500) + first + silence + second


def answered(wire: Poll) -> bytes:
    """An answer with all that an answer can have, and one with nothing, each on a line of its own."""
    return wire.answer(ENTRIES, GAP, Cursor(EPOCH, 51)) + b"\n" + wire.answer((), None, CURSOR) + b"\n"


BOTH = ("scores", "clock")
GOLDEN: dict[str, Callable[[], bytes]] = {
    "sse": lambda: streamed(SSE(("scores",))),
    "sse-several": lambda: streamed(SSE(BOTH)),
    "sse-envelope": lambda: streamed(Envelope(BOTH, heartbeat=15.0)),
    "ndjson": lambda: streamed(NDJSON(BOTH)),
    "text": lambda: streamed(Text(BOTH)),
    "multipart": lambda: streamed(Multipart(("scores",))).replace(Multipart.boundary, b"BOUNDARY"),
    "multipart-image": lambda: pictures(Multipart(("clock",))).replace(Multipart.boundary, b"BOUNDARY"),
    "html": lambda: streamed(Html(BOTH)),
    "iframe": lambda: streamed(Iframe(BOTH, origin="https://app.example")),
    "poll": lambda: answered(Poll(BOTH)),
    "jsonp": lambda: answered(JSONP(BOTH, callback="app.update")),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_wire_writes_these_bytes_and_no_others(name: str) -> None:
    """Byte by byte what is in ``golden``: what clients in the field were written for."""
    file = Path(__file__).parent / "golden" / f"{name}.txt"
    written = GOLDEN[name]()
    if "COMET_WRITE_GOLDEN" in os.environ:
        file.write_bytes(written)
    assert written.split(b"\n") == file.read_bytes().split(b"\n")


def test_every_wire_has_golden_bytes() -> None:
    """None is forgotten, and no file is left over."""
    assert {name.partition("-")[0] for name in GOLDEN} == set(WIRES)
    assert {file.stem for file in (Path(__file__).parent / "golden").glob("*.txt")} == set(GOLDEN)


# The tables.


def test_the_table_has_the_wires_of_the_contract() -> None:
    """By the name in the URL, and by what an Accept header asks for."""
    assert {name: kind.name for name, kind in WIRES.items()} == {name: name for name in WIRES}
    assert list(WIRES) == ["sse", "poll", "ndjson", "text", "multipart", "html", "iframe", "jsonp"]
    assert {name for name, kind in WIRES.items() if kind.one_shot} == {"poll", "jsonp"}
    assert {name for name, kind in WIRES.items() if kind.conflates} == {"multipart", "html"}
    for media_type, name in BY_TYPE.items():
        assert WIRES[name].content_type.partition(";")[0] == media_type


@pytest.mark.parametrize("name", WIRES)
def test_a_text_says_its_charset(name: str) -> None:
    """Some browsers show nothing of a stream before they know it."""
    content_type = WIRES[name].content_type
    assert not content_type.startswith("text/") or content_type.endswith("; charset=utf-8")


def test_what_is_shown_as_markup_can_run_nothing() -> None:
    """The policy lets nothing run, load or send, but it may be framed."""
    for kind in (Html, Multipart):
        policy = dict(part.split(" ", 1) for part in kind.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert not {"script-src", "connect-src", "form-action", "object-src", "frame-src"} & set(policy)
        assert policy["frame-ancestors"] == "*"


def test_wires_that_write_different_bytes_have_different_keys() -> None:
    """The key is what tells shared frames apart."""
    wires: list[Wire] = [kind(BOTH) for kind in (SSE, Envelope, NDJSON, Text, Html, Poll)]
    wires += [SSE(("clock",)), SSE(("clock", "scores")), Iframe(BOTH, origin="https://a"), Iframe(BOTH, origin="*")]
    wires += [Multipart(("clock",)), Multipart(("scores",))]
    assert len({wire.key for wire in wires}) == len(wires)
    assert SSE(BOTH).key == SSE(BOTH).key
    assert Iframe(BOTH, origin="*").key == Iframe(BOTH, origin="*").key


def test_wires_share_the_encodings_of_a_worker() -> None:
    """ndjson, poll and the envelope encode an update once between them."""
    encodings = Encodings()
    update = placed("a", 1)
    for wire in (NDJSON(("a",), encodings), Poll(("a",), encodings), Envelope(("a",), encodings)):
        assert wire.json(update) is encodings.get(update, "json", lambda update: b"not asked")


@pytest.mark.parametrize(("seconds", "shown"), [(15.0, b"15"), (0.5, b"0.5")])
def test_the_beat_says_how_often_it_comes(seconds: float, shown: bytes) -> None:
    """A script can tell from it when a connection is dead."""
    beat = Envelope(("a",), heartbeat=seconds).heartbeat(None)
    assert beat == b'event: comet.beat\ndata: {"heartbeat":%s}\n\n' % shown


# multipart and html have a state.


def shown(wire: Wire, *updates: Entry, state: Any = None) -> tuple[bytes, Any]:
    return wire.frame(updates, None, wire.initial if state is None else state)


def read_parts(wire: Multipart, *writes: bytes) -> list[tuple[str, bytes]]:
    """Type and body of each part of a stream. The first may have padding, and no part has any other field."""
    found = parsers.parts(wire.opening(CURSOR, 2000) + b"".join(writes), wire.boundary)
    for place, (fields, _) in enumerate(found):
        assert place == 0 or "Comet-Padding" not in fields
        assert set(fields.pop("Comet-Padding", "")) <= {"."}
        assert list(fields) == ["Content-Type"]
    return [(fields["Content-Type"], body) for fields, body in found]


def test_a_multipart_stream_has_one_type_for_life() -> None:
    """That of its first update; the others are left out."""
    wire = Multipart(("a",))
    first, state = shown(wire, placed("a", 1, b"1", type=SVG), placed("a", 2, b"2"), placed("a", 3, b"3", type=SVG))
    second, state = shown(wire, placed("a", 4, b"4", type="image/png"), Closed("a", 0.0, EPOCH, 5), state=state)
    assert read_parts(wire, first, second) == [(SVG, b"1"), (SVG, b"3")]
    assert second == b""


def test_types_that_mean_the_same_are_one_in_a_multipart_stream() -> None:
    spellings = ["text/plain", "text/plain; charset=utf-8", "Text/Plain;charset=UTF-8", "text/plain; charset=latin-1"]
    updates = [placed("a", seq, b"%d" % seq, type=spelling) for seq, spelling in enumerate(spellings, 1)]
    written, _ = shown(wire := Multipart(("a",)), *updates)
    assert [body for _, body in read_parts(wire, written)] == [b"1", b"2", b"3"]


def test_a_small_first_picture_is_padded_to_what_chromium_looks_at() -> None:
    """With 1,024 bytes it shows another site's picture at once; a larger one needs no padding, and no other part."""
    wire = Multipart(("a",))
    small, state = shown(wire, placed("a", 1, b"1", type=SVG))
    assert len(small) > 1024
    next, _ = shown(wire, placed("a", 2, b"1", type=SVG), state=state)
    assert len(next) < 200
    large, _ = shown(wire, placed("a", 1, bytes(1024), type=SVG))
    assert b"Padding" not in next + large


def test_a_part_is_shown_at_once() -> None:
    """The boundary and the next part's head follow in the same write: Chromium shows a part only then."""
    wire = Multipart(("a",))
    text, _ = shown(wire, placed("a", 1, b"1", type=SVG))
    assert text.endswith(b"--" + wire.boundary + b"\r\nContent-Type: image/svg+xml\r\n\r\n")


def test_an_empty_part_is_never_written() -> None:
    """It would be a broken image; nor does an empty update settle the type."""
    wire = Multipart(("a",))
    assert shown(wire, placed("a", 1, b"", type=SVG)) == (b"", None)


def test_an_update_with_the_boundary_in_it_is_left_out() -> None:
    """Who reads the boundary and publishes it forges nothing."""
    wire = Multipart(("a",))
    forged = b"x\r\n--" + wire.boundary + b"\r\nContent-Type: text/html\r\n\r\n<script>"
    text, _ = shown(wire, placed("a", 1, forged), placed("a", 2, b"good"))
    assert [body for _, body in read_parts(wire, text)] == [b"good"]
    assert len(wire.boundary) >= 32


def test_an_image_is_drawn_again_in_silence_and_a_document_is_not() -> None:
    """A document would lose its scroll position; before the first update there is nothing to draw."""
    wire = Multipart(("a",))
    assert wire.heartbeat(None) == b""
    text, state = shown(wire, placed("a", 1, b"<p>", type=HTML))
    assert wire.heartbeat(state) == b""
    text, state = shown(wire, placed("a", 1, b"PNG", type="image/png"))
    assert [body for _, body in read_parts(wire, text, wire.heartbeat(state))] == [b"PNG", b"PNG"]


@pytest.mark.parametrize(
    ("media_type", "head"),
    [
        ("text/html", "text/html; charset=utf-8"),
        ("Text/Plain;CHARSET=UTF-8", "Text/Plain;CHARSET=UTF-8"),
        ("image/png", "image/png"),
    ],
)
def test_a_part_that_is_text_says_its_charset(media_type: str, head: str) -> None:
    """Bytes come out as they went in, and are read as what they are."""
    wire = Multipart(("a",))
    text, _ = shown(wire, placed("a", 1, b"x", type=media_type))
    assert read_parts(wire, text) == [(head, b"x")]


def test_a_page_shows_the_newest_block_of_each_channel() -> None:
    """The old block is hidden in the same write that brings the new one; each channel has its place."""
    wire = Html(("a", "b"))
    text, state = shown(wire, placed("b", 1, b"1"), placed("a", 2, b"2"))
    more, state = shown(wire, placed("a", 5, b"5"), Closed("b", 0.0, EPOCH, 6), state=state)
    assert state == (f"{EPOCH}-5", f"{EPOCH}-1")
    page = (wire.opening(CURSOR, 2000) + text + more).decode()
    blocks = {str(node.id): node.attributes["style"] for node in elements(page, "body > div")}
    one, two, five = f"c1-{EPOCH}-1", f"c0-{EPOCH}-2", f"c0-{EPOCH}-5"
    assert blocks == {one: "order:1", two: "order:0", five: "order:0"}
    assert re.findall("#(c[0-9a-z-]+){display:none}", more.decode()) == [two]
    assert text.decode().count("#waiting{display:none}") == 1
    assert "waiting" not in more.decode()


def test_a_page_shows_what_comes_in_another_epoch() -> None:
    """Numbers come again there; what an old one's style has hidden stays hidden, and must not be the new one."""
    wire = Html(("a",))
    _, state = shown(wire, placed("a", 1), placed("a", 2))
    text, state = shown(wire, placed("a", 1, epoch="another0"), state=state)
    assert 'id="c0-another0-1"' in text.decode()
    assert re.findall("#(c[0-9a-z-]+){display:none}", text.decode()) == [f"c0-{EPOCH}-2"]


def test_a_page_is_ended_before_it_grows_large() -> None:
    """And loads itself again."""
    assert Html.longest == 1_048_576
    assert Html.headers["Refresh"] == "2"


# Forging.


def valid(check: Callable[[str], str]) -> Callable[[str], bool]:
    def passes(text: str) -> bool:
        try:
            check(text)
        except BadRequest:
            return False
        return True

    return passes


LETTERS = "abz09._:@~-"
names = st.text(LETTERS, min_size=1, max_size=9).filter(valid(check_channel)) | st.sampled_from(["a", "a1", "id:1"])
events = st.none() | (texts() | st.text(max_size=9)).filter(valid(check_event))
kinds = st.sampled_from([TEXT, HTML, JSON, BINARY, SVG, "image/png"])
parameters = st.text(st.sampled_from("ab=;-/ <>!'&,:@"), max_size=12).map(lambda text: f'; c="{text}"')
types = kinds | st.builds(lambda kind, more: kind + more, kinds, parameters).filter(valid(check_type))
gaps = st.none() | st.builds(
    Gap, texts().map(lambda text: text[:64]), st.sampled_from([None, f"{EPOCH}-1"]), st.just("unknown")
)


@st.composite
def entries(draw: st.DrawFn, count: int = 5, closed: bool = True) -> tuple[tuple[str, ...], list[Entry]]:
    """Some channels, and what was published to them, with every field as nasty as it may be."""
    channels = draw(st.lists(names, min_size=1, max_size=3, unique=True).map(tuple))
    found: list[Entry] = []
    for seq in range(1, draw(st.integers(1, count)) + 1):
        channel = draw(st.sampled_from(channels))
        if closed and draw(st.integers(0, 9)) == 9:
            found.append(Closed(channel, 0.0, EPOCH, seq))
        else:
            data = draw(datas() | fragments().map(str.encode))
            time = draw(st.floats(0, 4e9))
            found.append(placed(channel, seq, data, type=draw(types), event=draw(events), time=time))
    return channels, found


def in_pieces(wire: Wire, found: list[Entry], gap: Gap | None) -> bytes:
    """The stream, written an entry at a time, with silence between."""
    state, text = wire.initial, wire.opening(CURSOR, 2500)
    for entry in found:
        frame, state = wire.frame([entry], gap if entry is found[-1] else None, state)
        text += frame + wire.heartbeat(state)
    return text


def as_object(entry: Entry) -> dict[str, Any]:
    """What an update is to a reader of JSON."""
    if isinstance(entry, Closed):
        return {"closed": entry.channel}
    fields = {"id": entry.id, "channel": entry.channel, "event": entry.event, "type": entry.type}
    try:
        fields["data"] = entry.data.decode()
    except UnicodeDecodeError:
        fields |= {"data": base64.b64encode(entry.data).decode(), "encoding": "base64"}
    return {**fields, "time": round(entry.time, 3)}


def with_gap(found: list[Entry], gap: Gap | None) -> list[dict[str, Any]]:
    objects = [as_object(entry) for entry in found]
    if gap is not None:
        objects.insert(-1, {"gap": quoted(gap)})
    return objects


def quoted(gap: Gap) -> dict[str, Any]:
    return {"since": gap.since, "first": gap.first, "reason": gap.reason}


FORGERIES = 150


@uncounted
@given(entries(), gaps)
@explore(FORGERIES)
def test_nothing_forges_an_event(made: tuple[tuple[str, ...], list[Entry]], gap: Gap | None) -> None:
    """An EventSource dispatches one event for each update, with its id, its name and its data, and no other."""
    channels, found = made
    read, retries = parsers.event_stream(in_pieces(SSE(channels), found, gap))
    expected, last_id = [], ""
    for entry, told in zip(found, [None] * (len(found) - 1) + [gap], strict=True):
        if told is not None:
            expected.append((last_id, "comet.gap", quoted(told)))
        last_id = entry.id
        if isinstance(entry, Closed):
            expected.append((last_id, "comet.closed", {"closed": entry.channel}))
            continue
        event = entry.event or "message"
        if len(channels) > 1:
            event = entry.channel + (f"/{entry.event}" if entry.event else "")
        data = entry.text
        if data is None:
            media_type = re.sub("[ \t]", "", entry.type)
            data = f"data:{media_type};base64,{base64.b64encode(entry.data).decode()}"
        expected.append((last_id, event, re.sub("\r\n|\r", "\n", data)))
    assert retries == ["2500"]
    control = ("comet.gap", "comet.closed")
    assert expected == [
        (event.id, event.event, parsers.json_value(event.data) if event.event in control else event.data)
        for event in read
    ]


@uncounted
@given(entries(), gaps)
@explore(FORGERIES)
def test_nothing_forges_an_envelope(made: tuple[tuple[str, ...], list[Entry]], gap: Gap | None) -> None:
    """A script sees one object for each update, and control events that only the server writes."""
    channels, found = made
    read, _ = parsers.event_stream(in_pieces(Envelope(channels), found, gap))
    beats = [event for event in read if event.event == "comet.beat"]
    assert len(beats) == len(found) + 1
    objects = []
    for event in read:
        value = parsers.json_value(event.data)
        if event.event == "comet.gap":
            objects.append({"gap": value})
        elif event.event in ("message", "comet.closed"):
            objects.append(value)
            assert event.event == "comet.closed" or event.id == value["id"]
    assert objects == with_gap(found, gap)
    assert read[0] == beats[0] and read[0].id == str(CURSOR)


@uncounted
@given(entries(), gaps)
@explore(FORGERIES)
def test_nothing_forges_a_line(made: tuple[tuple[str, ...], list[Entry]], gap: Gap | None) -> None:
    """A reader of lines, whatever it takes for a line end, reads one object for each update, and no other."""
    channels, found = made
    assert parsers.json_lines(in_pieces(NDJSON(channels), found, gap)) == with_gap(found, gap)


@uncounted
@given(entries(), gaps)
@explore(FORGERIES)
def test_nothing_forges_a_field_of_an_answer(made: tuple[tuple[str, ...], list[Entry]], gap: Gap | None) -> None:
    """A poll answers one JSON object with these fields and no others; jsonp the same in one call of its callback."""
    channels, found = made
    expected = {
        "updates": [as_object(entry) for entry in found if isinstance(entry, Update)],
        "cursor": str(CURSOR),
        "gap": gap and quoted(gap),
        "closed": [entry.channel for entry in found if isinstance(entry, Closed)],
    }
    answer = Poll(channels).answer(found, gap, CURSOR)
    assert parsers.json_value(answer.decode()) == expected
    assert len(answer.decode().splitlines()) == 1
    script = JSONP(channels, callback="$a.b_1").answer(found, gap, CURSOR)
    assert parsers.script_call(script, "$a.b_1") == expected


@uncounted
@given(entries(), st.booleans())
@explore(FORGERIES)
def test_nothing_forges_a_part(made: tuple[tuple[str, ...], list[Entry]], forge: bool) -> None:
    """Each part is one update, whole and with its own type, and nothing is between them."""
    channels, found = made
    if forge:
        evil = b"x\r\n--" + Multipart.boundary + b"\r\nContent-Type: text/html\r\n\r\n"
        found = [*found, placed(channels[0], 99, evil), placed(channels[0], 100, b"--" + Multipart.boundary + b"--")]
    wire = Multipart(channels)
    read = read_parts(wire, in_pieces(wire, found, None).removeprefix(wire.opening(CURSOR, 2500)))
    updates = [entry for entry in found if isinstance(entry, Update) and entry.data and wire.boundary not in entry.data]
    bodies = [entry.data for entry in updates if entry.type == updates[0].type]
    # A picture is drawn again in silence.
    assert [body for body, _ in itertools.groupby(body for _, body in read)] == [
        body for body, _ in itertools.groupby(bodies)
    ]
    assert {head for head, _ in read} <= {f"{entry.type}{charset}" for entry in updates[:1] for charset in ("", UTF8)}


@uncounted
@given(entries(), gaps, texts())
@explore(FORGERIES)
def test_nothing_forges_a_script(made: tuple[tuple[str, ...], list[Entry]], gap: Gap | None, origin: str) -> None:
    """The page around is posted one object for each update, by one script each, and there is no other script."""
    channels, found = made
    posted = parsers.messages(in_pieces(Iframe(channels, origin=origin), found, gap))
    assert posted == [(value, origin) for value in with_gap(found, gap)]


@uncounted
@given(entries(closed=False))
@explore(FORGERIES)
def test_nothing_forges_what_follows_on_a_page(made: tuple[tuple[str, ...], list[Entry]]) -> None:
    """Two HTML parsers find one block for each update, with its text or its own closed markup in it, and after it what
    the wire wrote, as if the block were empty: nothing is swallowed, moved or leaks."""
    channels, found = made
    wire = Html(channels)
    opening = wire.opening(CURSOR, 2500).decode()
    state = wire.initial
    for entry in found:
        assert isinstance(entry, Update)
        first, later = wire.frame([entry], None, state)
        second, _ = wire.frame([placed(channels[0], 999, b"<b>next</b><form></form>", type=HTML)], None, later)
        id = f"c{channels.index(entry.channel)}-{entry.id}"
        begin, end = f'<div id="{id}" style="order:{channels.index(entry.channel)}">', "</div>"
        head, middle, rest = first.decode().partition(begin)
        assert (head, middle) == ("", begin)
        inside, _, tail = rest.rpartition(end)
        following = wire.heartbeat(later).decode() + second.decode()
        empty = opening + begin + end + tail + following
        assert after(opening + first.decode() + following, id) == after(empty, id)
        if inside != entry.text:
            assert_shown_as_text_or_image(opening + first.decode(), id, entry)
        state = later


def assert_shown_as_text_or_image(page: str, id: str, entry: Update) -> None:
    (block,) = elements(page, f'div[id="{id}"]')
    (node,) = block.iter(include_text=True)
    if entry.essence.startswith("image/"):
        assert node.tag == "img" and set(node.attributes) == {"alt", "src"}
        assert node.attributes["alt"] == entry.channel
        assert base64.b64decode(node.attributes["src"].rpartition(",")[2]) == entry.data
        return
    assert node.tag == "pre" and set(node.attributes) == {"style"}
    text = entry.text if entry.text is not None else f"[{entry.type}, {len(entry.data)} bytes]"
    # HTML reads CR and CRLF as LF, and drops NUL or shows it as U+FFFD.
    read, sent = (re.sub("[\0\ufffd]", "", re.sub("\r\n|\r", "\n", text)) for text in (node.text(), text))
    assert read == sent
    assert node.child is None or (node.child.tag == "-text" and node.child.next is None)
