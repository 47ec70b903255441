"""A default nginx in front: HTTP/1.0 to the upstream, buffering on, gzip on, and not a word about push."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests

from comet.core.wire import WIRES
from tests.live.nginx import Nginx
from tests.live.raw import Connection
from tests.live.server import Server
from tests.timing import until


pytestmark = pytest.mark.delivers


STREAMS = ["sse", "sse?envelope=1", "ndjson", "text", "multipart", "html", "iframe"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(heartbeat=0.3) as running:
        yield running


@pytest.fixture(scope="module")
def nginx(server: Server) -> Iterator[Nginx]:
    with Nginx(server.port) as running:
        yield running


def channel_of(wire: str, what: str) -> str:
    return f"nginx-{what}-{wire.replace('?', '-').replace('=', '-')}"


@pytest.mark.parametrize("wire", STREAMS)
def test_a_stream_comes_through_update_by_update(server: Server, nginx: Nginx, wire: str) -> None:
    """The head comes before there is anything to tell, and each update before the next is published."""
    channel = channel_of(wire, "stream")
    with Connection(nginx) as stream:
        stream.get(f"/channels/{channel}/{wire}").head()
        assert stream.status == 200
        assert "content-length" not in stream.headers
        for number in range(3):
            server.publish(channel, f"update-{number}.")
            stream.until(f"update-{number}.".encode())
        server.publish(channel, "x" * 200_000 + "large.")
        stream.until(b"large.")


@pytest.mark.parametrize("wire", ["poll", "jsonp"])
def test_a_poll_comes_through(server: Server, nginx: Nginx, wire: str) -> None:
    """It waits, and is answered when something comes."""
    channel = channel_of(wire, "poll")
    known = server.publish(channel, "known")["id"]
    with Connection(nginx) as poll:
        poll.get(f"/channels/{channel}/{wire}?since={known}")
        until(lambda: subscribers(server, channel) == 1)
        server.publish(channel, "at last")
        assert b"at last" in poll.answer().body


def subscribers(server: Server, channel: str) -> int:
    return int(server.get(f"/channels/{channel}/info").json()["subscribers"])


@pytest.mark.parametrize(
    ("wire", "beat"),
    [
        ("sse", b"\n:\n"),
        ("sse?envelope=1", b"event: comet.beat"),
        ("ndjson", b" "),
        ("html", b"<!-- -->"),
        ("iframe", b"<!-- -->"),
    ],
)
def test_heartbeats_come_through(nginx: Nginx, wire: str, beat: bytes) -> None:
    """Two of them, one after the other: nothing on the way holds them back."""
    with Connection(nginx) as stream:
        stream.get(f"/channels/{channel_of(wire, 'silent')}/{wire}").head()
        stream.until(beat)
        stream.body = b"\n"
        stream.until(beat)


def test_a_picture_comes_again(server: Server, nginx: Nginx) -> None:
    """A part that is on screen is its heartbeat."""
    server.publish("nginx-picture", b"<svg/>", "image/svg+xml")
    with Connection(nginx) as stream:
        stream.get("/channels/nginx-picture/multipart").head()
        for _ in range(3):
            stream.until(b"<svg/>")
            stream.body = b""


@pytest.mark.parametrize("wire", ["html", "iframe"])
def test_nginx_compresses(server: Server, nginx: Nginx, wire: str) -> None:
    """What it packs by default it packs update by update."""
    channel = channel_of(wire, "gzip")
    with Connection(nginx) as stream:
        stream.get(f"/channels/{channel}/{wire}", "Accept-Encoding: gzip").head()
        assert stream.headers["content-encoding"] == "gzip"
        unpacker, text = zlib.decompressobj(31), b""
        for number in range(3):
            server.publish(channel, f"update-{number}.")
            while f"update-{number}.".encode() not in text:
                assert stream.receive()
                text += unpacker.decompress(stream.body)
                stream.body = b""


@pytest.mark.parametrize("wire", STREAMS)
def test_a_client_leaves_nginx(server: Server, nginx: Nginx, wire: str) -> None:
    """It is noticed although nothing is written."""
    channel = channel_of(wire, "leave")
    server.publish(channel, "hello")
    with Connection(nginx) as stream:
        stream.get(f"/channels/{channel}/{wire}").head()
        until(lambda: subscribers(server, channel) == 1)
    until(lambda: subscribers(server, channel) == 0)


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire not in ("poll", "jsonp")])
def test_a_channel_ends_behind_nginx(server: Server, nginx: Nginx, wire: str) -> None:
    """The client gets a proper end."""
    channel = channel_of(wire, "end")
    server.publish(channel, "hello")
    with Connection(nginx) as stream:
        stream.get(f"/channels/{channel}/{wire}").until(b"hello")
        assert requests.delete(f"{nginx.url}/channels/{channel}", headers=server.auth, timeout=10).status_code == 204
        assert stream.answer().response.complete
        assert (b"comet.closed" in stream.body) == (wire == "sse")


def test_resuming_through_nginx(server: Server, nginx: Nginx) -> None:
    """Cursors and their headers pass."""
    first = server.publish("nginx-resume", "one")["id"]
    second = server.publish("nginx-resume", "two")["id"]
    answer = requests.get(f"{nginx.url}/channels/nginx-resume/poll", headers={"Last-Event-ID": first}, timeout=10)
    assert answer.headers["Comet-Cursor"] == first
    assert [update["id"] for update in answer.json()["updates"]] == [second]
    latest = requests.get(f"{nginx.url}/channels/nginx-resume/latest", timeout=10)
    assert (latest.text, latest.headers["ETag"]) == ("two", f'"{second}"')
    headers = {"If-None-Match": latest.headers["ETag"]}
    assert requests.get(f"{nginx.url}/channels/nginx-resume/latest", headers=headers, timeout=10).status_code == 304


def test_publishing_through_nginx(server: Server, nginx: Nginx) -> None:
    """With the key it is taken; a refusal comes through as it was said."""
    url = f"{nginx.url}/channels/nginx-publish"
    assert requests.post(url, b"hello", headers=server.auth, timeout=10).status_code == 201
    for refused, status in (
        (requests.post(url, b"hello", timeout=10), 401),
        (requests.post(url, b"x" * 300_000, headers=server.auth, timeout=10), 413),
        (requests.post(f"{url}/sse", b"x" * 300_000, headers=server.auth, timeout=10), 405),
        (requests.post(f"{nginx.url}/nowhere", b"x" * 300_000, timeout=10), 404),
    ):
        assert refused.status_code == status
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.json()["status"] == status


@pytest.mark.parametrize("by", ["port", "socket"])
def test_streams_are_limited_for_each_client_of_the_proxy(by: str) -> None:
    """By the address that nginx has seen, whatever its client says before that."""
    behind = Server(trusted_proxies="127.0.0.1,unix", streams_per_peer=2)
    path = behind.file("socket")
    behind.arguments = ("-b", f"127.0.0.1:{behind.port}", "-b", f"unix:{path}")
    appending = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    with behind, Nginx(behind.port if by == "port" else path, appending) as nginx, ExitStack() as stack:

        def status(source: str, *headers: str) -> int:
            connection = stack.enter_context(Connection(nginx, source=source))
            return connection.get("/channels/x/ndjson", *headers).head().status

        assert [status("127.0.0.5") for _ in range(3)] == [200, 200, 429]
        assert status("127.0.0.5", "X-Forwarded-For: 203.0.113.7") == 429
        assert [status("127.0.0.6", "X-Forwarded-For: 127.0.0.5") for _ in range(3)] == [200, 200, 429]
        with Connection(behind) as direct:
            assert direct.get("/channels/x/ndjson").head().status == 200
