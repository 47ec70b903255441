"""Encodings: what several wires make of an update, made once and shared."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from comet.core import encodings
from comet.core.encodings import (
    Encodings,
    data_url,
    dump,
    gap_object,
    in_words,
    lines,
    sse_event,
    to_block,
    to_json,
    to_line,
    to_script,
)
from comet.core.log import Gap
from comet.core.update import BINARY, Update
from tests.core.logs import placed


def test_an_encoding_is_made_once_for_each_kind() -> None:
    """Who asks again is given the same bytes; another kind, update or epoch is another encoding."""
    made: list[Update] = []

    def encode(update: Update) -> bytes:
        made.append(update)
        return update.data

    shared, one = Encodings(), placed("a", 1)
    assert shared.get(one, "x", encode) is shared.get(one, "x", encode)
    shared.get(one, "y", encode)
    shared.get(placed("a", 2), "x", encode)
    shared.get(placed("a", 1, epoch="otherepoch"), "x", encode)
    assert len(made) == 4


def test_the_oldest_encodings_go_first_where_memory_ends() -> None:
    """Beyond the limit they are forgotten, and made again when they are missed; the newest always stays."""
    shared = Encodings(limit=3 * (100 + encodings.OVERHEAD))
    for seq in (1, 2, 3, 4):
        shared.get(placed("a", seq, bytes(100)), "x", lambda update: update.data)
    assert shared.weight == shared.limit
    fresh = shared.get(placed("a", 1, bytes(100)), "x", lambda update: b"made again")
    assert fresh == b"made again"
    assert shared.get(placed("a", 4), "x", lambda update: b"not asked") == bytes(100)
    large = placed("a", 9, bytes(10_000))
    assert shared.get(large, "x", lambda update: update.data) == shared.get(large, "x", lambda update: b"not asked")
    assert shared.weight == 10_000 + encodings.OVERHEAD


def test_the_weight_of_an_encoding_is_what_it_takes() -> None:
    """Measured: at the size where its dictionary has just grown, too."""
    for count in (2000, 3000, 11_000):
        shared, updates = Encodings(1 << 40), [placed("a", seq) for seq in range(1000, 1000 + count)]
        gc.collect()
        tracemalloc.start()
        for update in updates:
            shared.get(update, "json", lambda update: bytes(200))
        taken = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()
        assert 0.9 * shared.weight / count < taken <= shared.weight / count


@pytest.mark.parametrize(
    ("update", "text"),
    [
        (
            placed("a", 7, b"x", time=1700000000.12345),
            '{"id":"k3f9tq00-7","channel":"a","event":null,"type":"text/plain; charset=utf-8","data":"x",'
            '"time":1700000000.123}',
        ),
        (
            placed("a", 7, 'é\u2028\u2029\x85\r\n\0"\\\x7f'.encode(), event="goal"),
            '{"id":"k3f9tq00-7","channel":"a","event":"goal","type":"text/plain; charset=utf-8",'
            '"data":"é\\u2028\\u2029\\u0085\\r\\n\\u0000\\"\\\\\x7f","time":0.0}',
        ),
        (
            placed("a", 7, b"\xff\0", type=BINARY),
            '{"id":"k3f9tq00-7","channel":"a","event":null,"type":"application/octet-stream","data":"/wA=",'
            '"encoding":"base64","time":0.0}',
        ),
    ],
)
def test_the_json_of_an_update_is_one_line_for_every_reader(update: Update, text: str) -> None:
    """Text as it is, all else in base64; no character that some reader takes for a line end."""
    assert to_json(update) == text.encode()


def test_what_is_quoted_in_a_gap_is_always_sendable() -> None:
    """A cursor may be anything, a lone surrogate too."""
    assert dump(gap_object(Gap("a\ud800\n", None, "unknown"))) == b'{"since":"a?\\n","first":null,"reason":"unknown"}'


def test_a_string_in_a_script_can_not_end_it() -> None:
    """No <, > or & is left, and no line end."""
    assert to_script("</script><!--&\u2028'\"") == '"\\u003c/script\\u003e\\u003c!--\\u0026\\u2028\'\\""'


@pytest.mark.parametrize(
    ("data", "split"),
    [
        (b"", [b""]),
        (b"a", [b"a"]),
        (b"a\n", [b"a", b""]),
        (b"a\rb\r\nc\nd\r\r\n\n", [b"a", b"b", b"c", b"d", b"", b"", b""]),
        ("a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g".encode(), ["a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g".encode()]),
    ],
)
def test_lines_end_where_an_event_source_ends_them(data: bytes, split: list[bytes]) -> None:
    """At CRLF, CR and LF only; empty data is one empty line."""
    assert lines(placed("a", 1, data)) == split


def test_what_is_no_text_is_one_line_with_its_type() -> None:
    """A data URL; blanks are removed from the type."""
    update = placed("a", 1, b"\xff\n", type='a/b; c="d e"')
    assert data_url(update) == 'data:a/b;c="de";base64,/wo='
    assert lines(update) == [data_url(update).encode()]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((None, None, [b""]), b"data: \n\n"),
        (("e-1", None, [b"a", b""]), b"id: e-1\ndata: a\ndata: \n\n"),
        ((None, "é", []), "event: é\n\n".encode()),
    ],
)
def test_an_event_has_a_line_for_each_field(fields: tuple[str | None, str | None, list[bytes]], text: bytes) -> None:
    """And a blank one last."""
    assert sse_event(*fields) == text


@pytest.mark.parametrize(
    ("update", "line"),
    [
        (placed("a", 1, b"x"), b"x\n"),
        (placed("a", 1, b""), b"\n"),
        (placed("a", 1, b"x\ny\n"), b"x\ny\n"),
        (placed("a", 1, b"x\r"), b"x\r\n"),
        (placed("a", 1, b"\0\t\x1b[2J\x07\r\n"), "\ufffd\t\ufffd[2J\ufffd\r\n".encode()),
        (placed("a", 1, "\x7f\x85\x9b2J\xa0é\u2028".encode()), "\x7f\x85\x9b2J\xa0é\u2028\n".encode()),
        (placed("a", 1, b"\xff\x1b", type="image/png"), b"[image/png, 2 bytes]\n"),
    ],
)
def test_what_a_terminal_shows_can_not_steer_it(update: Update, line: bytes) -> None:
    """No control characters but tab and line ends, and a line end last."""
    assert to_line(update) == line


@pytest.mark.parametrize(
    ("update", "block"),
    [
        (placed("a", 1, b"<b>x</b>", type="text/html; charset=utf-8"), b"<b>x</b>"),
        (placed("a", 1, b"<b>x", type="text/html"), b'<pre style="--w:4">\n&lt;b&gt;x</pre>'),
        (placed("a", 1, b"<b>x</b>"), b'<pre style="--w:8">\n&lt;b&gt;x&lt;/b&gt;</pre>'),
        (placed("a", 1, b"\n\"a\" & 'b'\nc"), b'<pre style="--w:9">\n\n&quot;a&quot; &amp; &#x27;b&#x27;\nc</pre>'),
        (placed("a", 1, b""), b'<pre style="--w:1">\n</pre>'),
        (placed("a", 1, b"\xff", type="text/html"), b'<pre style="--w:20">\n[text/html, 1 bytes]</pre>'),
        (
            placed("a", 1, b"<svg/>", type='image/svg+xml; x="><script>"'),
            b'<img alt="a" src="data:image/svg+xml;x=&quot;&gt;&lt;script&gt;&quot;;base64,PHN2Zy8+">',
        ),
        (placed("a~:@", 1, b"\x89", type="IMAGE/PNG"), b'<img alt="a~:@" src="data:IMAGE/PNG;base64,iQ==">'),
    ],
)
def test_what_is_shown_in_a_page_is_markup_only_where_it_is_closed(update: Update, block: bytes) -> None:
    """Closed HTML as it is, images as images, all else as text."""
    assert to_block(update) == block


def test_what_can_not_be_shown_is_described() -> None:
    """By type and size."""
    assert in_words(placed("a", 1, b"\xff\xfe", type=BINARY)) == "[application/octet-stream, 2 bytes]"
