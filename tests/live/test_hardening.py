"""Bad input on raw sockets: no failure of the server, no hang, no forged update, and it serves afterwards.

One table of requests for each place where input comes in, and one helper that says what every answer must be.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator

import pytest
import requests

from tests.live.raw import Connection
from tests.live.server import KEY, Server
from tests.timing import PATIENCE, Stopwatch, until


AUTH = f"Authorization: Bearer {KEY}\r\n".encode()
#: Seconds after which an answer counts as a hang.
HANG = 5.0
WRITE_TIMEOUT = 2
SHORT = 0.5

#: It follows each request whose end is in doubt. If it is ever taken for a request of its own, a channel appears.
FORGED = b"POST /channels/forged HTTP/1.1\r\nHost: x\r\n" + AUTH + b"Content-Length: 6\r\n\r\nforged"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(heartbeat=1, write_timeout=WRITE_TIMEOUT) as running:
        yield running
        assert "Traceback" not in running.log(), running.log()


@pytest.fixture(scope="module")
def impatient() -> Iterator[Server]:
    """A server that waits for nobody for long."""
    with Server(write_timeout=SHORT) as running:
        yield running
        assert "Traceback" not in running.log(), running.log()


def assert_answers(server: Server, raw: bytes, *statuses: int) -> Connection:
    """The request is answered with one of these statuses (0: by closing) in time, and no more than it."""
    with Connection(server) as connection:
        connection.send(raw).answer()  # raises if nothing comes: what waits is told 408, or waits for ever
        assert connection.status in statuses, (connection.status, connection.body)
        assert b"Traceback" not in connection.body
    assert_serves(server)
    return connection


def assert_serves(server: Server) -> None:
    """The server is well, and nothing was forged."""
    assert server.get("/channels/forged/info").status_code == 404
    server.publish("canary", "sings")
    answer = server.get("/channels/canary/poll")
    assert [update["data"] for update in answer.json()["updates"]] == ["sings"]


def post(path: bytes, *lines: bytes, body: bytes = b"", key: bool = True) -> bytes:
    head = b"\r\n".join((b"POST " + path + b" HTTP/1.1", b"Host: localhost", *lines))
    return head + b"\r\n" + (AUTH if key else b"") + b"\r\n" + body


def get(path: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((b"GET " + path + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *lines, b"", b""))


def with_length(path: bytes, *lines: bytes, body: bytes = b"") -> bytes:
    return post(path, *lines, b"Content-Length: %d" % len(body), b"Connection: close", body=body)


CHUNKED = b"Transfer-Encoding: chunked"

# 501 is what RFC 9112 says of a transfer coding that a server does not know. gunicorn answers it before the app.
FRAMING = {
    "both lengths": (post(b"/channels/f", b"Content-Length: 3", CHUNKED, body=b"0\r\n\r\n"), 400),
    "both lengths, the other way round": (post(b"/channels/f", CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
    "two lengths": (post(b"/channels/f", b"Content-Length: 3", b"Content-Length: 4", body=b"abc"), 400),
    "two equal lengths": (post(b"/channels/f", b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), 400),
    "a list of lengths": (post(b"/channels/f", b"Content-Length: 3, 3", body=b"abc"), 400),
    "length +3": (post(b"/channels/f", b"Content-Length: +3", body=b"abc"), 400),
    "length 0_3": (post(b"/channels/f", b"Content-Length: 0_3", body=b"abc"), 400),
    "length -1": (post(b"/channels/f", b"Content-Length: -1", body=b"abc"), 400),
    "length 3.0": (post(b"/channels/f", b"Content-Length: 3.0", body=b"abc"), 400),
    "length 0x3": (post(b"/channels/f", b"Content-Length: 0x3", body=b"abc"), 400),
    "no length": (post(b"/channels/f", b"Content-Length: ", body=b"abc"), 400),
    "an arabic length": (post(b"/channels/f", "Content-Length: ٣".encode(), body=b"abc"), 400),
    "an endless length": (post(b"/channels/f", b"Content-Length: " + b"9" * 400, body=b"abc"), 400, 413),
    "a coding nobody knows": (post(b"/channels/f", b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400, 501),
    "chunked and more": (post(b"/channels/f", b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n"), 400),
    "chunked twice": (post(b"/channels/f", b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), 400),
    "two codings": (post(b"/channels/f", CHUNKED, b"Transfer-Encoding: identity", body=b"0\r\n\r\n"), 400),
    "a tab before chunked": (post(b"/channels/f", b"Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n"), 400, 501),
    "a quoted coding": (post(b"/channels/f", b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 400, 501),
    "a coding in HTTP/1.0": (post(b"/channels/f", CHUNKED, body=b"0\r\n\r\n").replace(b"1.1", b"1.0", 1), 400),
    "a blank before the colon": (post(b"/channels/f", b"Content-Length : 3", body=b"abc"), 400),
    "a folded line": (post(b"/channels/f", b"X: a", b" Content-Length: 3", body=b"abc"), 400),
    "a NUL in a header": (post(b"/channels/f", b"X: a\0b"), 400),
    "a bare CR in a header": (post(b"/channels/f", b"X: a\rContent-Length: 3", body=b"abc"), 400),
    "a bare LF in a header": (post(b"/channels/f", b"X: a\nContent-Length: 3", body=b"abc"), 400),
    "two hosts": (post(b"/channels/f", b"Host: other"), 400),
    "bare LF": (b"GET /channels/f/info HTTP/1.1\nHost: x\n\n", 400),
    "HTTP/9.9": (b"GET /channels/f/info HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /channels/f/info\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x00\x28\x01\x00\x00\x24\x03\x03" + b"\r\n" * 20, 400, 0),
    "no request at all": (b"\r\n\r\n\r\n\r\n", 400, 0),
    "2,000 headers": (post(b"/channels/f", *[b"X: y"] * 2000), 431),
    "a long header": (post(b"/channels/f", b"X: " + b"y" * 100_000), 431),
    "a long line": (b"GET /channels/" + b"x" * 100_000 + b"/info HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a method with a blank": (b"GET  /channels/f/info HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "bytes in the line": (b"GET /channels/\xff?\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a chunk of 0x3": (post(b"/channels/f", CHUNKED, body=b"0x3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk of -3": (post(b"/channels/f", CHUNKED, body=b"-3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk of 0_3": (post(b"/channels/f", CHUNKED, body=b"0_3\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk of nothing": (post(b"/channels/f", CHUNKED, body=b"\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk that is longer": (post(b"/channels/f", CHUNKED, body=b"3\r\nabcdef\r\n0\r\n\r\n"), 400),
    "a chunk that is shorter": (post(b"/channels/f", CHUNKED, body=b"6\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk with a bare LF": (post(b"/channels/f", CHUNKED, body=b"3\nabc\n0\n\n"), 400),
    "a chunk with a bare CR": (post(b"/channels/f", CHUNKED, body=b"3;a\rb\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk with a wrong extension": (post(b"/channels/f", CHUNKED, body=b"3;;\r\nabc\r\n0\r\n\r\n"), 400),
    "a chunk with a long extension": (post(b"/channels/f", CHUNKED, body=b"3;" + b"a" * 20_000 + b"\r\nabc"), 400),
    "a wrong trailer": (post(b"/channels/f", CHUNKED, body=b"3\r\nabc\r\n0\r\nX : y\r\n\r\n"), 400),
    "a long trailer": (post(b"/channels/f", CHUNKED, body=b"3\r\nabc\r\n0\r\nX: " + b"y" * 900_000 + b"\r\n\r\n"), 400),
}  # fmt: skip


@pytest.mark.parametrize("what", FRAMING)
def test_framing(server: Server, what: str) -> None:
    """Where a request ends must never be in doubt: what is doubtful is refused, and nothing behind it is taken."""
    raw, *statuses = FRAMING[what]
    assert_answers(server, raw + FORGED, *statuses)


def test_an_underscore_in_a_header(server: Server) -> None:
    """It is no length: what it hides is not there for the app."""
    assert_answers(server, post(b"/channels/f", b"Content_Length: 3", b"Content-Length: 0"), 201)


INCOMPLETE = {
    "a chunk that overflows": post(b"/channels/i", CHUNKED, body=b"ffffffffffffffffffff\r\nabc"),
    "no last chunk": post(b"/channels/i", CHUNKED, body=b"3\r\nabc\r\n"),
    "no end of the trailers": post(b"/channels/i", CHUNKED, body=b"3\r\nabc\r\n0\r\nX: y\r\n"),
    "a body that is shorter": post(b"/channels/i", b"Content-Length: 9", body=b"abc"),
    "a body that is not there": post(b"/channels/i", b"Content-Length: 9"),
}


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "stalls"])
@pytest.mark.parametrize("what", INCOMPLETE)
def test_a_body_that_is_not_whole(impatient: Server, what: str, ends: bool) -> None:
    """Its sender is told when it ends, or after COMET_WRITE_TIMEOUT when it stands still; then it is cut."""
    begun = time.monotonic()
    with Stopwatch() as watch, Connection(impatient) as connection:
        connection.send(INCOMPLETE[what])
        if ends:
            connection.sock.shutdown(socket.SHUT_WR)
        connection.end()
        took = time.monotonic() - begun
        assert connection.status == (400 if ends else 408)
        assert connection.headers["content-type"] == "application/problem+json"
    assert watch.seconds < HANG * PATIENCE
    assert ends or took > SHORT * 0.9
    assert impatient.get("/channels/i/info").status_code == 404


@pytest.mark.parametrize("path", [b"/channels/i", b"/channels/i/sse", b"/nowhere"])
def test_a_refused_body_that_stalls(impatient: Server, path: bytes) -> None:
    """It is not waited for longer than COMET_WRITE_TIMEOUT; then it gets its answer and is cut."""
    with Connection(impatient, seconds=HANG) as connection:
        connection.send(post(path, b"Content-Length: 1000000", body=b"abc", key=False)).end()
        assert connection.status in (401, 404, 405)


# What is in a body.

NDJSON = b"Content-Type: application/x-ndjson"
DEEP = b"[" * 20_000
FORM = b"&".join(b"field%d=%d" % (number, number) for number in range(5000))
BOMB = zlib.compress(b"\0" * 200 * 1_048_576, 9)

BODIES = {
    "bad UTF-8": (with_length(b"/channels", NDJSON, body=b'{"channel":"b","data":"\xff\xc0\x80"}'), 400),
    "a lone surrogate": (with_length(b"/channels", NDJSON, body=b'{"channel":"b","data":"\\ud800"}'), 400),
    "deep JSON": (with_length(b"/channels", NDJSON, body=DEEP), 400),
    "deep JSON that ends": (with_length(b"/channels", NDJSON, body=DEEP + b"]" * 20_000), 400),
    "deep JSON in an object": (with_length(b"/channels", NDJSON, body=b'{"data":' * 20_000 + b"}" * 20_000), 400),
    "a long number": (with_length(b"/channels", NDJSON, body=b'{"channel":"b","data":' + b"9" * 6000 + b"}"), 400),
    "NaN": (with_length(b"/channels", NDJSON, body=b'{"channel":"b","data":NaN}'), 400),
    "gzip": (with_length(b"/channels/b", b"Content-Encoding: gzip", body=gzip.compress(b"x")), 415),
    "gzip that is none": (with_length(b"/channels/b", b"Content-Encoding: gzip", body=b"garbage"), 415),
    "a bomb": (with_length(b"/channels/b", b"Content-Encoding: deflate", body=BOMB), 415),
    "a bomb of lines": (with_length(b"/channels", NDJSON, b"Content-Encoding: gzip", body=BOMB), 415),
    "gzip as a coding": (post(b"/channels/b", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400, 415, 501),
    "an unknown charset": (with_length(b"/channels/b", b"Content-Type: text/plain; charset=x", body=b"x"), 415),
    "utf-7": (with_length(b"/channels/b", b"Content-Type: text/html; charset=utf-7", body=b"+ADw-"), 415),
    "no type at all": (with_length(b"/channels/b", b"Content-Type: /", body=b"x"), 400),
    "a type with a line end": (with_length(b"/channels/b", b"Content-Type: a/b\rX: y", body=b"x"), 400),
    "an empty batch": (with_length(b"/channels", NDJSON), 400),
    "8 MiB of nothing": (with_length(b"/channels", NDJSON, body=b"\n" * 8 * 1_048_576), 400),
    "an event of 10 kB": (with_length(b"/channels/b?event=" + b"x" * 7_000, body=b"x"), 400),
    "an event with a line end": (with_length(b"/channels/b?event=a%0d%0adata:x", body=b"x"), 400),
    "an event with a NUL": (with_length(b"/channels/b?event=a%00", body=b"x"), 400),
    "an event with U+2028": (with_length(b"/channels/b?event=a%E2%80%A8", body=b"x"), 400),
    "an event that is not UTF-8": (with_length(b"/channels/b", b"Comet-Event: \xff", body=b"x"), 400),
    "a control event": (with_length(b"/channels/b?event=comet.closed", body=b"x"), 400),
    "a key of 10 kB": (with_length(b"/channels/b", b"Idempotency-Key: " + b"k" * 7_000, body=b"x"), 400),
    "a key with bytes": (with_length(b"/channels/b", b"Idempotency-Key: \xff", body=b"x"), 400),
    "a token without a signature": (
        post(b"/channels/b", b"Authorization: Bearer eyJhbGciOiJub25lIn0.e30.", b"Content-Length: 0", key=False), 401),
    "two credentials": (post(b"/channels/b", b"Authorization: Bearer x", b"Content-Length: 0"), 401),
    "64 MiB": (with_length(b"/channels/b", body=b"x" * 64 * 1_048_576), 413, 0),
    "64 MiB in chunks": (post(b"/channels/b", CHUNKED, body=(b"100000\r\n" + b"x" * 1_048_576 + b"\r\n") * 64), 413, 0),
}  # fmt: skip


@pytest.mark.parametrize("what", BODIES)
def test_bodies(server: Server, what: str) -> None:
    """What can't be right is refused, and nothing of it is published."""
    raw, *statuses = BODIES[what]
    assert_answers(server, raw, *statuses)
    assert server.get("/channels/b/info").status_code == 404


TAKEN = {
    "a form": (b"Content-Type: application/x-www-form-urlencoded", FORM),
    "multipart without a boundary": (b"Content-Type: multipart/form-data", b"--x\r\n\r\n--x--"),
    "nothing": (b"Content-Type: text/plain", b""),
    "all bytes": (b"Content-Type: application/octet-stream", bytes(range(256))),
    "line ends": (b"Content-Type: text/plain", b"\r\r\n\n\rid: 1\revent: forged\rretry: 1\rdata: x\n\ndata: y\r\n\r\n"),
    "U+2028": (b"Content-Type: text/plain", "\u2028data: x\u2029\x85\x0b".encode()),
    "a NUL": (b"Content-Type: text/html", b"\0</script><script>alert(1)</script><!--"),
    "JSON that is none": (b"Content-Type: application/json", DEEP),
}


@pytest.mark.parametrize("what", TAKEN)
def test_bodies_that_look_bad(server: Server, what: str) -> None:
    """A body is bytes: it comes out as it went in, and forges nothing on the way."""
    header, body = TAKEN[what]
    channel = f"taken{list(TAKEN).index(what)}"
    assert_answers(server, with_length(f"/channels/{channel}".encode(), header, body=body), 201)
    latest = server.get(f"/channels/{channel}/latest")
    assert latest.content == body
    published = latest.headers["ETag"].strip('"')
    with Connection(server) as stream:
        stream.get(f"/channels/{channel}/sse")
        server.publish(channel, "end", event="last")
        stream.until(b"data: end\n\n")
    fields = [
        line.partition(b":")[0] for line in stream.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    ]
    assert fields.count(b"id") == 2
    assert fields.count(b"retry") == 1
    assert fields.count(b"event") == 0
    assert f"id: {published}\n".encode() in stream.body


# What is in a URL or a header of a subscriber.

CURSORS = [
    b"7" * 7000, b"9" * 4400, b"-1", b"9" * 20, b"nan", b"+", b"$", b"*", b"0-0", b"0,13,[9]]", b"," * 256, b"null",
    b"18446744073709551615-18446744073709551615", b"../../../etc/passwd", b"' OR 1=1;--", b"", b"#x", b"earliest",
    b"%00", b"%0d%0aX:%20y",
]  # fmt: skip
HEADERS_ONLY = [b"\xff\xfe", "٣-٣".encode(), b"a\tb", b"\x80" * 3000]


@pytest.mark.parametrize("wire", [b"poll", b"jsonp"])
def test_cursors(server: Server, wire: bytes) -> None:
    """Whatever is sent as a cursor is a gap, or none if it is empty: never an error."""
    server.publish("c", "kept")
    for cursor in CURSORS + HEADERS_ONLY:
        answer = assert_answers(server, get(b"/channels/c/" + wire, b"Last-Event-ID: " + cursor), 200)
        assert (b'"gap":null' in answer.body) == (not cursor)
        assert b"kept" in answer.body
        if cursor in CURSORS and b" " not in cursor and b"#" not in cursor:
            answer = assert_answers(server, get(b"/channels/c/" + wire + b"?since=" + cursor), 200)
            assert (b'"gap":null' in answer.body) == (not cursor)
    assert_answers(server, get(b"/channels/c/poll", b"Last-Event-ID: " + b"x" * 100_000), 431)
    assert_answers(server, get(b"/channels/c/poll?since=" + b"x" * 100_000), 414)


URLS = {
    "a name of 7 kB": (get(b"/channels/" + b"x" * 7_000 + b"/poll"), 400),
    "dots": (get(b"/channels/../poll"), 400),
    "dots that are quoted": (get(b"/channels/%2e%2e/poll"), 400),
    "a quoted slash": (get(b"/channels/a%2Fb/poll"), 404),
    "a NUL": (get(b"/channels/%00/poll"), 400),
    "a line end": (get(b"/channels/a%0d%0ab/poll"), 400),
    "a wrong quote": (get(b"/channels/%zz/poll"), 400),
    "half a quote": (get(b"/channels/%/poll"), 400),
    "bad UTF-8": (get(b"/channels/%c0%80/poll"), 400),
    "a star": (get(b"/channels/*/poll"), 400),
    "a pattern": (get(b"/channels/{x}:*/poll"), 400),
    "a blank": (get(b"/channels/a%20b/poll"), 400),
    "right to left": (get(b"/channels/%D7%90/poll"), 400),
    "no name": (get(b"/channels//poll"), 404),
    "17 names": (get(b"/channels/" + b",".join(b"x%d" % n for n in range(17)) + b"/poll"), 400),
    "256 names": (get(b"/channels/" + b",".join(b"x%d" % n for n in range(256)) + b"/poll"), 400),
    "256 commas": (get(b"/channels/" + b"," * 256 + b"/poll"), 400),
    "a callback that is a call": (get(b"/channels/x/jsonp?callback=alert(1)//"), 400),
    "a callback that is a script": (get(b"/channels/x/jsonp?callback=%3Cscript%3E"), 400),
    "a callback that is Flash": (get(b"/channels/x/jsonp?callback=CWS%07%0e000x%9c"), 400),
    "an origin that is a script": (get(b"/channels/x/iframe?origin=%22%3C/script%3E%3Cscript%3E"), 400),
    "a foreign origin": (get(b"/channels/x/iframe?origin=https://evil.example"), 403),
    "a foreign page": (get(b"/channels/x/jsonp", b"Referer: https://evil.example/", b"Cookie: session=x"), 403),
    "a wrong Accept": (get(b"/channels/x", b"Accept: \xff;q=x,,;/;*/*;q=nan", b"Last-Event-ID: x"), 200),
    "10,000 parameters": (get(b"/channels/x/info?" + b"&".join(b"a" for _ in range(3_500))), 404),
    "a wrong Cookie": (get(b"/channels/x/info", b'Cookie: =;;;\xff="; x'), 404),
    "a wrong If-None-Match": (get(b"/channels/canary/latest", b'If-None-Match: "\xff, W/,,"'), 200),
    "a wrong Range": (get(b"/channels/canary/latest", b"Range: bytes=9-1,-,a"), 200),
    "a wrong date": (get(b"/channels/canary/latest", b"If-Modified-Since: \xff", b"If-Range: x"), 200),
    "a form from another site": (
        with_length(b"/channels/x", b"Origin: https://evil.example").replace(AUTH, b"Content-Type: text/plain\r\n"),
        401),
    "TRACE": (b"TRACE /channels/x/sse HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
    "CONNECT": (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400, 404, 405),
    "OPTIONS *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, 404),
    "an odd method": (b"M-SEARCH /channels/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
    "an upgrade": (get(b"/channels/x/info", b"Upgrade: websocket", b"Connection: Upgrade"), 400),
    "h2c": (get(b"/channels/x/info", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), 404),
    "an expectation": (get(b"/channels/x/info", b"Expect: the-moon"), 417),
    "a host that is none": (get(b"/channels/x/info").replace(b"localhost", b"[::1"), 400, 404),
    "a host that is a script": (get(b"/channels/x/info").replace(b"localhost", b"<script>"), 400, 404),
}  # fmt: skip


@pytest.mark.parametrize("what", URLS)
def test_urls_and_headers(server: Server, what: str) -> None:
    """What makes no sense is refused or passed over, and shown nowhere as markup."""
    raw, *statuses = URLS[what]
    if b"canary" in raw:
        server.publish("canary", "sings")
    if what == "a wrong Accept":
        with Connection(server) as connection:
            assert connection.send(raw).head().status == 200
        return
    answer = assert_answers(server, raw, *statuses)
    if answer.status == 200 or "problem" in answer.headers.get("content-type", ""):
        assert b"<script>" not in answer.body or answer.headers["x-content-type-options"] == "nosniff"


# Refused bodies, and who sends them.

THREE = 3 * 1_048_576
REFUSED = {
    "no key": (b"/channels/r", False, 401),
    "too large": (b"/channels/r", True, 413),
    "nowhere": (b"/nowhere", True, 404),
    "a stream's path": (b"/channels/r/sse", True, 405),
    "a bad name": (b"/channels/-", True, 400),
    "a type": (b"/channels", True, 415),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_body(server: Server, what: str, chunked: bool) -> None:
    """Up to 4 MiB are taken and dropped, so that its sender sees the answer; then the connection is closed."""
    path, key, status = REFUSED[what]
    if chunked:
        body = (b"10000\r\n" + b"x" * 65_536 + b"\r\n") * (THREE // 65_536) + b"0\r\n\r\n"
        raw = post(path, CHUNKED, body=body, key=key)
    else:
        raw = post(path, b"Content-Length: %d" % THREE, body=b"x" * THREE, key=key)
    with Connection(server) as connection:
        connection.sock.sendall(raw)  # all of it, or this raises
        connection.end()
        assert connection.status == status
        assert connection.response.complete
        assert connection.headers["content-type"] == "application/problem+json"
        assert connection.headers["connection"] == "close"
    assert_serves(server)


def test_a_refused_body_that_has_no_end(server: Server) -> None:
    """Beyond 4 MiB nobody listens: the connection is closed, whatever its sender still has to say."""
    with Connection(server) as connection:
        connection.send(post(b"/channels/r", CHUNKED, key=False))
        piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        with pytest.raises(OSError):
            for _ in range(1000):
                connection.sock.sendall(piece)
    assert_serves(server)


def test_expect_100_continue(server: Server) -> None:
    """Who asks first is told to go on, and answered when the body is here; refused, too."""
    for key, status in ((True, 201), (False, 401)):
        with Connection(server) as connection:
            head = post(b"/channels/e", b"Content-Length: 5", b"Expect: 100-continue", key=key)
            connection.send(head).head()
            assert connection.status == 100
            connection.send(b"hello").answer()
            assert connection.status == status


def test_keep_alive_after_a_good_request(server: Server) -> None:
    """What is sent behind a whole request is the next one."""
    one = post(b"/channels/k", b"Content-Length: 3", body=b"one")
    two = post(b"/channels/k", CHUNKED, body=b"1;a=b\r\nt\r\n2\r\nwo\r\n0\r\nX: y\r\n\r\n")
    with Connection(server) as connection:
        connection.send(one + two).answer()
        assert connection.status == 201
        connection.send(b"")
        until(lambda: server.get("/channels/k/latest").text == "two")
        connection.send(get(b"/channels/k/info")).end()
    assert server.get("/channels/k/info").json()["stored"] == 2


# Many, slow, and gone.


def descriptors(server: Server) -> int:
    (worker,) = server.workers()
    return len(os.listdir(f"/proc/{worker}/fd"))


def test_half_open_requests(server: Server) -> None:
    """60 who begin a request and stop hold up nobody, and are told after COMET_WRITE_TIMEOUT."""
    before = descriptors(server)
    halves = [Connection(server) for _ in range(60)]
    for number, half in enumerate(halves):
        half.sock.sendall(b"GET /channels/x/poll HTTP/1.1\r\nHost: x\r\nX: y"[: 1 + number % 40])
    assert_serves(server)
    for half in halves:
        assert half.end().status == 408
        half.sock.close()
    until(lambda: descriptors(server) <= before + 2)


def test_readers_who_never_read(server: Server) -> None:
    """20 who take nothing of 20 × 200 kB each hold up nobody, and are cut after COMET_WRITE_TIMEOUT."""
    before = descriptors(server)
    lazy = []
    for _ in range(20):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(b"GET /channels/lazy/ndjson HTTP/1.1\r\nHost: x\r\n\r\n")
        lazy.append(sock)
    server.publish("lazy", "first")
    until(lambda: server.get("/channels/lazy/info").json()["subscribers"] == 20)
    with Connection(server) as reader:
        reader.get("/channels/lazy/ndjson").head()
        for number in range(20):
            server.publish("lazy", f"{number}." + "x" * 200_000)
            reader.until(b'"data":"%d.' % number)
            reader.body = b""
        assert_serves(server)
        until(lambda: server.get("/channels/lazy/info").json()["subscribers"] == 1, seconds=WRITE_TIMEOUT * 3 + 5)
    for sock in lazy:
        sock.close()
    until(lambda: descriptors(server) <= before + 2)


def test_clients_gone_before_the_first_byte(server: Server) -> None:
    """100 who ask and are gone at once, by FIN or by RST, leave nothing behind."""
    before = descriptors(server)
    server.publish("gone", "x")
    for number in range(100):
        connection = Connection(server)
        connection.send(
            b"GET /channels/gone/%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"sse", b"poll", b"html")[number % 3 :][0]
        )
        if number % 2:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sock.close()
    until(lambda: server.get("/channels/gone/info").json()["subscribers"] == 0)
    until(lambda: descriptors(server) <= before + 2)


def test_publishing_while_a_channel_is_deleted(server: Server) -> None:
    """Each is taken or refused as it comes, and the log stays in order."""
    statuses: set[int] = set()

    def work(method: str) -> None:
        with requests.Session() as session:
            for _ in range(50):
                url = f"{server.url}/channels/churn"
                statuses.add(session.request(method, url, data="x", headers=server.auth, timeout=10).status_code)

    threads = [threading.Thread(target=work, args=(method,)) for method in ("POST", "DELETE", "POST", "DELETE")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses <= {201, 204, 404}
    last = server.publish("churn", "after")["id"]
    assert [update["id"] for update in server.get("/channels/churn/poll").json()["updates"]] == [last]


def test_random_bytes(server: Server) -> None:
    """300 requests with bytes changed at random: never a failure of the server, and it serves afterwards."""
    import random

    chance = random.Random(4071)
    good = [
        with_length(b"/channels/fuzz?event=e", b"Idempotency-Key: k", b"Content-Type: text/html", body=b"<b>x</b>"),
        with_length(b"/channels", NDJSON, body=json.dumps({"channel": "fuzz", "data": "x", "key": "k"}).encode()),
        get(b"/channels/fuzz,other/poll?since=abcdef-1&limit=5&last=3&timeout=1", b"Last-Event-ID: abcdef-5"),
        get(b"/channels/fuzz/latest", b'If-None-Match: W/"abcdef-1"'),
        post(b"/channels/fuzz", CHUNKED, b"Connection: close", body=b"3\r\nabc\r\n0\r\n\r\n"),
    ]
    for _ in range(300):
        raw = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(raw))
            kind = chance.random()
            if kind < 0.5:
                raw[place] = chance.randrange(256)
            elif kind < 0.75:
                del raw[place]
            else:
                raw[place:place] = bytes([chance.choice(b"\r\n\0 :,;%/?&\xff\x80")])
        status = first_status(server, bytes(raw))
        assert status < 500 or status == 501, bytes(raw)
    assert_serves(server)


def first_status(server: Server, raw: bytes) -> int:
    """The status of the first answer to what may be several requests; 0 if there is none."""
    with Connection(server, seconds=HANG) as connection:
        text = b""
        try:
            connection.sock.sendall(raw)
            connection.sock.shutdown(socket.SHUT_WR)
            while len(text) < 12 and (piece := connection.sock.recv(4096)):
                text += piece
        except OSError as error:
            assert not isinstance(error, TimeoutError), "a hang"  # it was refused, and closed, while we sent
    return int(text[9:12] or b"0")


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "PATH_INFO", "REMOTE_USER"])
def test_a_header_that_would_be_part_of_the_environment(server: Server, name: str) -> None:
    """Servers take some from proxies on the same host. Here nobody says by a header where a request goes."""
    with Connection(server) as connection:
        assert connection.get("/healthz", f"{name}: /nowhere").answer().status == 200
