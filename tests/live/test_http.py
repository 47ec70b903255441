"""HTTP on real connections: when bytes leave, how answers end, and what a connection is good for afterwards."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from comet.core.wire import WIRES
from tests.conftest import need
from tests.live.raw import Connection
from tests.live.server import Server
from tests.timing import until


pytestmark = pytest.mark.delivers


STREAMS = [wire for wire, made in WIRES.items() if not made.one_shot]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    # So patient that a test which waits for it fails: a stream's connection must end with the stream.
    with Server("--keep-alive", "60") as running:
        yield running


@pytest.mark.parametrize("wire", STREAMS)
def test_headers_leave_at_once(server: Server, wire: str) -> None:
    """Nobody has published, and the head is here; chunked, and with no length."""
    with Connection(server) as stream:
        stream.get(f"/channels/nothing/{wire}").head()
        assert stream.status == 200
        assert stream.headers["transfer-encoding"] == "chunked"
        assert stream.headers["connection"] == "close"  # nothing can follow it
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["x-content-type-options"] == "nosniff"
        assert stream.headers["cache-control"] == "no-cache, no-store, no-transform"
        assert "comet-cursor" in stream.headers
        assert "content-length" not in stream.headers


@pytest.mark.parametrize("header", ["Connection: close", "Connection: keep-alive", "X: y"])
@pytest.mark.parametrize("wire", STREAMS)
def test_an_old_client(server: Server, wire: str, header: str) -> None:
    """HTTP/1.0 gets the stream without chunks; its end is the end of the connection."""
    channel = f"old-{wire}"
    with Connection(server) as stream:
        stream.get(f"/channels/{channel}/{wire}", header, version="1.0").head()
        assert stream.headers["connection"] == "close"
        assert "transfer-encoding" not in stream.headers
        assert "content-length" not in stream.headers
        server.publish(channel, "hello")
        stream.until(b"hello")
        delete(server, channel)
        stream.end()


def delete(server: Server, channel: str) -> None:
    with Connection(server) as connection:
        connection.get(f"/channels/{channel}", *auth(server), method="DELETE").head()
        assert connection.status == 204


def auth(server: Server) -> list[str]:
    return [f"{name}: {value}" for name, value in server.auth.items()]


@pytest.mark.parametrize("wire", STREAMS)
def test_the_end_of_a_stream(server: Server, wire: str) -> None:
    """It ends properly, and its connection at once: nobody keeps it for another request."""
    channel = f"end-{wire}"
    server.publish(channel, "hello")
    with Connection(server) as stream:
        stream.get(f"/channels/{channel}/{wire}").until(b"hello")
        delete(server, channel)
        stream.answer()
        assert stream.response.complete
        stream.end()
    assert subscribers(server, channel) == 0


def subscribers(server: Server, channel: str) -> int:
    answer = server.get(f"/channels/{channel}/info")
    return int(answer.json()["subscribers"]) if answer.ok else 0


def test_what_is_ready_together(server: Server) -> None:
    """The lines of a batch go out as one chunk."""
    with Connection(server) as stream:
        stream.get("/channels/together/text").head()
        lines = [json.dumps({"channel": "together", "data": f"update-{number}"}) for number in range(50)]
        body = "\n".join(lines).encode()
        with Connection(server) as publisher:
            head = [
                "POST /channels HTTP/1.1",
                "Host: x",
                *auth(server),
                "Content-Type: application/x-ndjson",
                f"Content-Length: {len(body)}",
            ]
            publisher.send("\r\n".join([*head, "", ""]).encode() + body).answer()
            assert (publisher.status, json.loads(publisher.body)["count"]) == (201, 50)
        raw = b""
        while b"update-49" not in raw or not raw.endswith(b"\r\n"):
            raw += stream.sock.recv(65_536)
        size, _, chunk = raw.partition(b"\r\n")
        assert int(size, 16) == len(chunk) - 2
        assert chunk.count(b"\n") == 51


@pytest.mark.parametrize("wire", WIRES)
def test_head(server: Server, wire: str) -> None:
    """The headers and no body, on every wire; the connection is good for more."""
    with Connection(server) as connection:
        connection.get(f"/channels/head/{wire}", method="HEAD").head()
        assert connection.status == 200
        connection.get("/healthz").answer()
        assert (connection.status, connection.body) == (200, b"ok\n")
    assert subscribers(server, "head") == 0


def test_polls_on_one_connection(server: Server) -> None:
    """Each waits, is answered, and leaves the connection to the next."""
    cursor = server.publish("polls", "first")["id"]
    with Connection(server) as connection:
        for number in range(5):
            connection.get(f"/channels/polls/poll?since={cursor}")
            until(lambda: subscribers(server, "polls") == 1)
            published = server.publish("polls", str(number))["id"]
            answer = json.loads(connection.answer().body)
            assert [update["data"] for update in answer["updates"]] == [str(number)]
            assert answer["cursor"] == published
            cursor = answer["cursor"]
        connection.get("/channels/polls/latest", f'If-None-Match: "{cursor}"').head()
        assert (connection.status, connection.headers["etag"]) == (304, f'"{cursor}"')
        connection.get("/channels/polls/info").answer()
        assert json.loads(connection.body)["stored"] == 6


def test_requests_in_a_row(server: Server) -> None:
    """Those that were sent together are answered one after the other."""
    server.publish("row", "one")
    with Connection(server) as connection:
        request = b"GET /channels/row/latest HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /channels/row/info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sock.sendall(request * 3 + last)
        raw = b""
        while piece := connection.sock.recv(65_536):
            raw += piece
    assert raw.count(b"HTTP/1.1 200 OK") == 4
    assert raw.count(b"\r\n\r\none") == 3


@pytest.mark.parametrize("wire", ["poll", "sse"])
def test_a_client_that_says_it_has_finished(server: Server, wire: str) -> None:
    """Who shuts down its sending side is taken as gone."""
    known = server.publish(f"half-{wire}", "known")["id"]
    with Connection(server) as connection:
        connection.get(f"/channels/half-{wire}/{wire}?since={known}")
        until(lambda: subscribers(server, f"half-{wire}") == 1)
        connection.sock.shutdown(1)
        until(lambda: subscribers(server, f"half-{wire}") == 0)
        connection.end()


def test_a_full_server() -> None:
    """Streams beyond COMET_MAX_STREAMS are sent away; publishing and health go on; a place that is free is given."""
    with Server(max_streams=3) as server, ExitStack() as held:
        streams = [held.enter_context(Connection(server)) for _ in range(3)]
        for stream in streams:
            stream.get("/channels/x/sse").head()
        with Connection(server) as late:
            late.get("/channels/x/ndjson").answer()
            assert (late.status, late.headers["content-type"]) == (503, "application/problem+json")
            assert 5 <= int(late.headers["retry-after"]) <= 120
        with Connection(server) as source:
            source.get("/channels/x/sse", "Accept: text/event-stream").end()
            assert (source.status, source.body[:7]) == (200, b"retry: ")
            assert source.response.complete
        assert server.get("/readyz").status_code == 503
        assert server.get("/healthz").status_code == 200
        server.publish("x", "hello")
        for stream in streams:
            stream.until(b"data: hello")
        streams[0].sock.close()
        until(lambda: server.get("/readyz").status_code == 200)
        with Connection(server) as late:
            assert late.get("/channels/x/ndjson").until(b"hello").status == 200


def test_settings_reach_the_server(tmp_path: Path) -> None:
    """What the environment and the file say is what it does."""
    (tmp_path / "comet.toml").write_text(
        '[comet]\nreplay = 2\nmax_channels = 3\n[channels."orders"]\nreplay = 3\nhistory = 4\n'
        '[channels."ticks.*"]\nconflate = true\n[channels."secret"]\nprivate = true\n'
    )
    with Server(config=tmp_path / "comet.toml", max_channels=2, max_update=100, poll_timeout=1) as server:
        ids = [server.publish("orders", str(number))["id"] for number in range(6)]
        got = server.get("/channels/orders/poll").json()["updates"]
        assert [update["id"] for update in got] == ids[3:]
        gap = server.get(f"/channels/orders/poll?since={ids[0]}").json()["gap"]
        assert gap == {"since": ids[0], "first": ids[2], "reason": "trimmed"}
        ticks = [server.publish("ticks.a", str(number))["id"] for number in range(4)]
        got = server.get(f"/channels/ticks.a/poll?since={ticks[0]}").json()
        assert ([update["id"] for update in got["updates"]], got["gap"]) == (ticks[3:], None)
        begun = time.monotonic()
        assert server.get(f"/channels/orders/poll?since={ticks[3]}").json()["updates"] == []
        assert time.monotonic() - begun > 0.9
        assert server.get("/channels/secret/poll").status_code == 401
        for number in range(50):
            assert server.get(f"/channels/unknown{number}/sse", stream=True).status_code == 200
        assert publish(server, "third", b"x") == 429
        assert publish(server, "orders", b"x" * 101) == 413


def publish(server: Server, channel: str, body: bytes) -> int:
    with Connection(server) as connection:
        head = [f"POST /channels/{channel} HTTP/1.1", "Host: x", *auth(server), f"Content-Length: {len(body)}", "", ""]
        return connection.send("\r\n".join(head).encode() + body).answer().status


def test_curl(server: Server) -> None:
    """What one types: publish with curl, and watch with curl -N."""
    need("curl")
    url = f"{server.url}/channels/curl"
    server.publish("curl", "before")
    watching = subprocess.Popen(["curl", "-sN", url], stdout=subprocess.PIPE)
    try:
        until(lambda: subscribers(server, "curl") == 1)
        sent = ["curl", "-s", "-H", auth(server)[0], "-H", "Content-Type: text/plain", "--data-binary", "Tor!", url]
        answer = json.loads(subprocess.run(sent, check=True, capture_output=True, timeout=10).stdout)
        assert (answer["channel"], answer["subscribers"]) == ("curl", 1)
        assert watching.stdout is not None
        assert [watching.stdout.readline() for _ in range(2)] == [b"before\n", b"Tor!\n"]
    finally:
        watching.kill()
        watching.communicate()
