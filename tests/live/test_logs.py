"""What is logged: read from the server's standard output and standard error."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.jwts import SECRET, reader
from tests.live.server import Server
from tests.timing import until


FAILS = """
import gevent
from wsgi import app

@app.get("/fails")
def fails():
    raise RuntimeError("token=SECRET")

@app.get("/fails/later/<path:name>")
def later(name):
    gevent.spawn(fail, name)
    gevent.get_hub().loop.run_callback(fail, name)
    gevent.get_hub().threadpool.spawn(fail, name)
    return "soon"

def fail(name):
    raise ValueError(f"{name} token=SECRET")
"""
PRIVATE = '[channels."private"]\nprivate = true\n'

LINE = re.compile(
    r"\[(?P<time>[^]]+)\] \[\d+\] \[INFO\] comet: a stream has ended: (?P<reason>\w+), wire (?P<wire>\w+), channels "
    r"(?P<channels>\S+), (?P<seconds>[\d.]+) s, updates (?P<updates>\d+), bytes (?P<bytes>\d+), last (?P<last>\S+), "
    r"peer (?P<peer>\S+)"
)


def start(**settings: Any) -> Server:
    return Server(
        "--access-logfile", "-", jwt_key=SECRET, write_timeout=1, drain_seconds=0.2, heartbeat=1,
        files={"comet.toml": PRIVATE, "app.py": FAILS}, **settings,
    )  # fmt: skip


KINDS = {"direct": {}, "plain, 2 workers": {"direct_writes": 0, "workers": 2, "broker": "sqlite:///log.db"}}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with start(trusted_proxies="127.0.0.1", **request.param) as running:
        yield running


def ended(server: Server, channel: str) -> dict[str, str]:
    """The line of the stream of this channel, as soon as it is there."""

    def line() -> dict[str, str] | None:
        return next((m.groupdict() for m in LINE.finditer(server.log()) if m["channels"] == channel), None)

    return until(lambda: line() or {}, what=f"the line of {channel}")


def read(stream: socket.socket, end: str) -> bytes:
    """Read the response until it has this."""
    text = b""
    while end.encode() not in text:
        piece = stream.recv(65_536)
        assert piece, text
        text += piece
    return text


def body(response: bytes) -> bytes:
    """What a chunked response carries."""
    rest, found = response.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        found, rest = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return found


def test_a_client_that_leaves(server: Server) -> None:
    """How long it was there, what it had, where it would go on, and who it was behind a proxy that is trusted."""
    server.publish("gone", "from before")
    begun = time.monotonic()
    with server.open("/channels/gone/sse", "X-Forwarded-For: 192.0.2.7") as stream:
        response = read(stream, "from before")
        for number in range(3):
            server.publish("gone", f"update {number}")
        last = server.publish("gone", "the last")["id"]
        response += read(stream, "the last\n\n\r\n")
    line = ended(server, "gone")
    assert (line["reason"], line["wire"], line["updates"], line["last"]) == ("gone", "sse", "5", last)
    assert line["peer"] == "192.0.2.7"
    assert 0 <= float(line["seconds"]) <= time.monotonic() - begun + 0.1
    # A heartbeat may have come between the last update and the end.
    assert 0 <= int(line["bytes"]) - len(body(response)) <= 2 * len(b":\n")


def test_a_stream_that_joins_others_has_only_what_came_since(server: Server) -> None:
    """Although they are written to together."""
    with server.open("/channels/joined/ndjson") as first:
        read(first, "\r\n\r\n")
        for number in range(3):
            server.publish("joined", f"{number}")
        read(first, '"data":"2"')
        with server.open("/channels/joined/ndjson?last=0") as second:
            read(second, "\r\n\r\n")
            server.publish("joined", "both")
            read(first, "both")
            read(second, "both")
        assert ended(server, "joined")["updates"] == "1"
    until(lambda: [m["updates"] for m in LINE.finditer(server.log()) if m["channels"] == "joined"] == ["1", "4"])


def test_a_channel_that_is_deleted(server: Server) -> None:
    """The same word as in the metrics."""
    with server.open("/channels/deleted/ndjson") as stream:
        server.publish("deleted", "1")
        read(stream, '"data":"1"')
        requests.delete(f"{server.url}/channels/deleted", headers=server.auth, timeout=10)
        assert ended(server, "deleted")["reason"] == "deleted"


def test_a_token_that_expires(server: Server) -> None:
    """The line has no part of it, nor has any other."""
    token, stream = until(lambda: _let_in(server), what="a token that was still good")
    with stream:
        line = ended(server, "private")
        assert (line["reason"], line["peer"]) == ("expired", "127.0.0.1")
        until(lambda: "/channels/private/sse?token=…" in server.log(), what="the line of the access log")
        assert not [part for part in token.split(".") if part in server.log()]


def _let_in(server: Server) -> tuple[str, socket.socket] | None:
    """A stream with a token that ends soon; None: it has ended before it was looked at."""
    token = reader("private", expires=2)
    stream = server.open(f"/channels/private/sse?token={token}")
    if read(stream, "\r\n\r\n").startswith(b"HTTP/1.1 200"):
        return token, stream
    stream.close()
    return None


def test_a_client_that_reads_nothing(server: Server) -> None:
    """It is cut."""
    with server.open("/channels/slow/text") as stream:
        read(stream, "\r\n\r\n")
        until(lambda: _publishes_until_cut(server), what="the cut", sleep=lambda seconds: None)
        assert ended(server, "slow")["reason"] == "cut"


def _publishes_until_cut(server: Server) -> bool:
    server.publish("slow", "x" * 200_000)
    return "channels slow" in server.log()


def test_a_page_that_has_grown_large(server: Server) -> None:
    """It reloads by itself."""
    with server.open("/channels/large/html") as stream:
        for number in range(6):
            server.publish("large", f"{number}" * 200_000)
            read(stream, f"{number}</pre>")
        assert ended(server, "large")["reason"] == "full"


def test_a_poll_has_no_line_of_that_kind(server: Server) -> None:
    """The access log has one."""
    server.publish("polled", "1")
    server.get("/channels/polled/poll")
    until(lambda: "GET /channels/polled/poll" in server.log(), what="the access log")
    assert "channels polled" not in server.log()


def test_no_line_has_a_trace(server: Server) -> None:
    """Whatever has ended, nothing has failed."""
    assert "Traceback" not in server.log()


def test_a_greenlet_that_fails() -> None:
    """And a callback, and a thread: each is one record, without tokens."""
    with start(app="app:app") as server:
        server.get("/fails/later/eyJhbGciOiJIUzI1NiJ9.eyJjb21ldCI6e30.c2ln")
        until(lambda: server.log().count("ValueError: … token=…") == 3)
        records = re.findall(r"^\[.*\] \[ERROR\] (.*)$", server.log(), re.MULTILINE)
        assert sorted(records) == ["comet: callback failed", "comet: fail failed", "comet: fail failed"]
        assert server.log().count("Traceback") == 3
        assert "SECRET" not in server.log() and "eyJ" not in server.log() and "failed with" not in server.log()


def test_json() -> None:
    """Each line is an object: gunicorn's, the access log's, comet's; a trace stands in its line; none has a token."""
    with start(log="json", app="app:app") as server:
        server.publish("stopped", 'quotes " and \\ backslashes')
        token = reader("other")
        with server.open(f"/channels/stopped/sse?token={token}") as stream:
            read(stream, "quotes")
            assert server.get("/channels/private/sse", params={"token": token}).status_code == 403
            assert server.get('/channels/private/x"?a=1&token=SECRET').status_code == 404
            assert server.get("/fails").status_code == 500
            assert server.get("/fails/later/one").status_code == 200
            until(lambda: server.log().count("ValueError: one") == 3)
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
        lines = [json.loads(line) for line in server.log().splitlines()]
        assert all({"time", "level", "logger", "process", "message"} <= line.keys() for line in lines)
        assert {"gunicorn.error", "gunicorn.access", "comet"} <= {line["logger"] for line in lines}
        (end,) = (line for line in lines if "reason" in line)
        assert (end["reason"], end["wire"], end["channels"]) == ("stopping", "sse", "stopped")
        assert (end["updates"], end["level"], end["peer"]) == (1, "info", "127.0.0.1")
        access = next(line for line in lines if line.get("status") == 403)
        assert (access["method"], access["path"], access["peer"]) == ("GET", "/channels/private/sse", "127.0.0.1")
        assert 0 < access["seconds"] < 60
        trace, *later = (line for line in lines if "trace" in line)
        assert {line["message"] for line in later} == {"comet: fail failed", "comet: callback failed"}
        assert (trace["level"], trace["trace"].splitlines()[-1]) == ("error", "RuntimeError: token=…")
        assert "SECRET" not in server.log() and token.split(".")[1] not in server.log()


def test_less_is_logged_on_demand() -> None:
    """gunicorn's own option wins over COMET_LOG_LEVEL."""
    with Server("--log-level", "warning", log_level="info") as server:
        with server.open("/channels/a/text") as stream:
            server.publish("a", "1")
            read(stream, "1")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.log() == ""
