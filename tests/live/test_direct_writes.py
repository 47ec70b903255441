"""Direct writes on the real server: every byte as the server itself would have written it, for every kind of client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.live.clients import Crowd, Response, Subscriber, crowd
from tests.live.readers import LASTING
from tests.live.server import DIRECT_WRITES, Server
from tests.live.test_crowd import allow_many_files
from tests.timing import PATIENCE, until


pytestmark = [pytest.mark.delivers, pytest.mark.alone]


DIRECT = DIRECT_WRITES != "0"

#: Of these each is written by its greenlet: it counts its bytes, for it ends after so many.
ALONE = ("html",)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(
        app="tests.live.inside:app", heartbeat=600, history=1000, history_bytes=8 << 20, max_streams=15_000
    ) as running:
        yield running


def written(server: Server) -> int:
    return int(server.get("/inside/written").json()["written"])


def streams(server: Server) -> int:
    return int(server.get("/inside").json()["streams"])


class Bytes:
    """A connection that keeps every byte of the body."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.response = Response()
        self.body = b""

    def read(self, size: int) -> bool:
        text = self.sock.recv(size)
        self.body += self.response.feed(text)
        return bool(text)


@pytest.mark.parametrize("wire", LASTING)
def test_every_lasting_wire_is_written_directly(server: Server, wire: str) -> None:
    """But the one that ends after a length; and none of them where it is turned off."""
    channel = f"wire.{wire}"
    server.publish(channel, "before")
    with Subscriber(server, wire, channel, last=1) as subscriber:
        subscriber.until(lambda it: it.seen)
        before = written(server)
        server.publish(channel, "after")
        subscriber.until(lambda it: it.seen[-1].data == "after")
        # The answer to the question comes after the write, which comes before what was seen.
        assert (written(server) > before) == (DIRECT and wire not in ALONE)
    until(lambda: streams(server) == 0)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_reader_of_one_byte_at_a_time_gets_exactly_the_body(server: Server, version: str) -> None:
    """Full sockets, partial writes and catching up leave no trace in the bytes; in chunks, and bare for HTTP/1.0."""
    channel = f"bytes.{version}"
    texts = [f"{number} " + "-" * (number * 997 % 60_000) for number in range(80)]
    expected = "".join(f"{text}\n" for text in texts).encode()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(20 * PATIENCE)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(f"GET /channels/{channel}/text?last=0 HTTP/{version}\r\nHost: localhost\r\n\r\n".encode())
        reader = Bytes(sock)
        until(lambda: server.get(f"/channels/{channel}/info").status_code == 404 and streams(server) == 1)
        for text in texts:
            server.publish(channel, text)
        for _ in range(2000):
            reader.read(1)
        while len(reader.body) < len(expected):
            assert reader.read(4001)
        assert reader.body == expected
        assert ("transfer-encoding" in reader.response.headers) == (version == "1.1")
    until(lambda: streams(server) == 0)


def test_ten_thousand_peers_of_overlapping_channels_see_one_order(server: Server) -> None:
    """Two publishers, three sets of channels; every peer has exactly what was published, in the order of the log."""
    allow_many_files()
    sets = ("p", "q", "p,q")
    ids: list[tuple[int, str, str]] = []

    def publish(channel: str) -> None:
        for number in range(20):
            answer = server.publish(channel, f"{channel} {number}")
            ids.append((int(answer["id"].split("-")[1]), channel, f"{channel} {number}\n"))

    with ExitStack() as stack:
        peers: list[tuple[str, Bytes]] = []
        for place in range(10_000):
            names = sets[place % 3]
            sock = stack.enter_context(server.connect())
            sock.sendall(f"GET /channels/{names}/text?last=0 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            peers.append((names, Bytes(sock)))
            if place % 50 == 49:  # not more at a time than the server's backlog takes
                for _, peer in peers[-50:]:
                    while not peer.response.status:
                        peer.read(10_000)
        until(lambda: streams(server) == 10_000, seconds=30)
        publishers = [threading.Thread(target=publish, args=(channel,)) for channel in "pq"]
        for publisher in publishers:
            publisher.start()
        for publisher in publishers:
            publisher.join()
        of = {
            names: "".join(text for _, channel, text in sorted(ids) if channel in names.split(",")).encode()
            for names in sets
        }
        for names, peer in peers:
            while len(peer.body) < len(of[names]):
                assert peer.read(100_000)
            assert peer.body == of[names]
    until(lambda: streams(server) == 0, seconds=30)


@pytest.mark.parametrize("way", ["close", "reset", "half a close"])
def test_peers_that_go_in_the_middle_of_a_write_harm_nobody(server: Server, way: str) -> None:
    """Whatever way they go, with their sockets full: the others have all of it, and nothing is left of those."""
    channel = f"gone.{way.replace(' ', '')}"
    big = "-" * 50_000
    with crowd() as stayers, ExitStack() as stack:
        stay = [stayers.add(Subscriber(server, "ndjson", channel, last=0)) for _ in range(20)]
        # In the midst of them, so that they share cohorts.
        go = [stack.enter_context(Subscriber(server, "ndjson", channel, last=0, buffer=4096)) for _ in range(20)]
        until(lambda: streams(server) == 40)
        for number in range(20):
            publish_and_read(server, stayers, stay, channel, f"{number} {big}")
            if number == 12:
                for client in go:
                    leave(client, way)
        publish_and_read(server, stayers, stay, channel, "the last")
        until(lambda: streams(server) == len(stay))
    until(lambda: streams(server) == 0)
    assert "Traceback" not in server.log()


def publish_and_read(server: Server, people: Crowd, stay: list[Subscriber], channel: str, data: str) -> None:
    server.publish(channel, data)
    people.until(lambda: all(client.seen and client.seen[-1].data == data for client in stay), what=data[:9])


def leave(client: Subscriber, way: str) -> None:
    if way == "half a close":
        client.sock.shutdown(socket.SHUT_WR)
    else:
        client.leave(reset=way == "reset")
