"""Departures: whatever way a client goes, it is noticed within a second, and nothing of it is left."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.live.clients import Response, Subscriber, connect
from tests.live.publishers import Publisher, in_background
from tests.live.readers import EVERY, LASTING, READERS, Seen
from tests.live.server import Server
from tests.live.test_gaps import check_exact
from tests.timing import PATIENCE, Stopwatch, until, within


pytestmark = [pytest.mark.delivers, pytest.mark.alone]


WRITE_TIMEOUT = 2.0 * PATIENCE


@pytest.fixture(scope="module")
def silent() -> Iterator[Server]:
    """A server that writes nothing by itself while these tests run."""
    with Server(app="tests.live.inside:app", heartbeat=600, poll_timeout=60, write_timeout=WRITE_TIMEOUT) as running:
        running.publish("warm.up", "")
        with Subscriber(running, "text", "warm.up", last=1) as subscriber:
            subscriber.until(lambda it: it.seen)
        until(lambda: held(running)["streams"] == 0)
        yield running


@pytest.fixture
def server(silent: Server) -> Iterator[Server]:
    """The same; after each test there must be nothing left of it."""
    before = held(silent)
    assert before["streams"] == before["writers"] == 0
    yield silent
    until(lambda: held(silent) == before, what=f"{before}; there are {held(silent)}")


def held(server: Server) -> dict[str, int]:
    """What the worker holds: greenlets, threads, descriptors, streams, writers."""
    return {name: count for name, count in server.get("/inside").json().items() if name != "memory"}


def subscribers(server: Server, channel: str) -> int:
    return int(server.get(f"/channels/{channel}/info").json()["subscribers"])


def half_close(subscriber: Subscriber) -> None:
    subscriber.sock.shutdown(socket.SHUT_WR)


WAYS_TO_LEAVE: dict[str, Callable[[Subscriber], None]] = {
    "by FIN": lambda subscriber: subscriber.leave(),
    "by RST": lambda subscriber: subscriber.leave(reset=True),
    "by half a close": half_close,
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
def test_a_departure_is_noticed_within_a_second_though_nothing_is_written(
    server: Server, way: str, version: str
) -> None:
    """On every wire; a client that shuts down its sending side is taken as gone, and its connection is closed."""
    server.publish("left", "")
    with ExitStack() as stack:
        clients = [stack.enter_context(Subscriber(server, wire, "left", last=0, version=version)) for wire in EVERY]
        until(lambda: subscribers(server, "left") == len(EVERY))
        for client in clients:
            WAYS_TO_LEAVE[way](client)
        within(1, lambda: subscribers(server, "left") == 0)
        if way == "by half a close":
            for client in clients:
                assert client.finish().over
                assert not client.items


@pytest.mark.parametrize("wire", EVERY)
def test_head_has_the_headers_of_get_and_subscribes_to_nothing(server: Server, wire: str) -> None:
    """HEAD answers at once, without a body, and the connection serves the next request."""
    server.publish("headed", "")
    url = f"{server.url}/channels/headed/{READERS[wire][1]}"
    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "identity"
        head = session.head(url, timeout=10)
        assert (head.status_code, head.content) == (200, b"")
        assert "content-length" not in head.headers
        assert session.head(url, timeout=10).status_code == 200
        with requests.get(url, stream=True, timeout=10) as got:
            assert expected(head) == expected(got)


def expected(answer: requests.Response) -> dict[str, str]:
    unequal = ("date", "connection", "transfer-encoding")  # of the connection, which HEAD leaves open
    return {name.lower(): value for name, value in answer.headers.items() if name.lower() not in unequal}


@pytest.mark.parametrize("reset", [False, True], ids=["by FIN", "by RST"])
def test_a_client_that_is_gone_before_the_first_byte_leaves_nothing(server: Server, reset: bool) -> None:
    """It sends its request and does not wait; or not even that."""
    server.publish("gone", "")
    for wire in EVERY * 10:
        Subscriber(server, wire, "gone", last=0).leave(reset=reset)
    for _ in range(50):
        connect(server).close()
    until(lambda: subscribers(server, "gone") == 0)


HALVES = (
    b"G",
    b"GET /channels/half/sse HTTP/1.1\r\nHost: x\r\nAcc",
    b"POST /channels/half HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\nContent-Length: 100\r\n\r\nhalf",
    b"POST /channels/half HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n100\r\nhalf",
)


def test_half_a_request_holds_nobody_up_and_publishes_nothing(server: Server) -> None:
    """Whoever sends half a request and leaves is gone; whoever waits is closed after a few seconds."""
    server.publish("half", "whole")
    for half in HALVES * 10:
        sock = connect(server)
        sock.sendall(half)
        sock.close()
    waiting = [connect(server) for _ in HALVES]
    for sock, half in zip(waiting, HALVES, strict=True):
        sock.sendall(half)
    server.publish("half", "whole again")
    for sock in waiting:
        while sock.recv(65536):
            pass
        sock.close()
    assert server.get("/channels/half/info").json()["stored"] == 2


def fill(server: Server, channel: str) -> Publisher:
    """Publish more than any connection takes by itself."""
    publisher = Publisher(server)
    for number in range(30):
        publisher.publish((channel, f"{number}-{place} ".ljust(20_000, "-")) for place in range(2))
    publisher.close()
    return publisher


def test_a_reader_that_takes_nothing_is_cut_and_delays_nobody(server: Server) -> None:
    """After COMET_WRITE_TIMEOUT; meanwhile the others get what comes."""
    server.publish("stuck", "")
    with ExitStack() as stack:
        stuck = [
            stack.enter_context(Subscriber(server, wire, "stuck", last=0, buffer=4096).open())
            for wire in LASTING
            if wire != "html"  # it ends by itself
        ]
        other = stack.enter_context(Subscriber(server, "sse", "stuck", last=0).open())
        with in_background(lambda: other.over or other.receive()) as stop:
            fill(server, "stuck")
            until(lambda: server.get("/inside").json()["writers"] == len(stuck), what="all of them stuck")
            last = server.publish("stuck", "while they are stuck")["id"]
            until(lambda: other.cursor == last)
            assert subscribers(server, "stuck") == len(stuck) + 1
            within((WRITE_TIMEOUT + 1) / PATIENCE, lambda: subscribers(server, "stuck") == 1)
            last = server.publish("stuck", "when they are gone")["id"]
            until(lambda: other.cursor == last)
            other.sock.shutdown(socket.SHUT_RDWR)
            stop()
        for client in stuck:
            assert not client.finish().response.complete, "the end is missing: it can tell that it was cut"


def test_a_slow_reader_that_takes_something_is_not_cut(server: Server) -> None:
    """However long it needs: it is served at its own pace, and told what it lost."""
    with Subscriber(server, "ndjson", "slow", last=0, buffer=4096).open() as slow:
        publisher = fill(server, "slow")
        until(lambda: server.get("/inside").json()["writers"] == 1, what="it is behind")
        begun = time.monotonic()
        while time.monotonic() - begun < 2.5 * WRITE_TIMEOUT:
            assert slow.receive(1500), "it was cut"
            time.sleep(0.1)
        assert server.get("/inside").json()["writers"] == 1, "it is still behind"
        last = server.publish("slow", "the last")["id"]
        slow.until(lambda it: it.cursor == last)
        check_exact([], [*publisher.acknowledged, Seen("the last", last)], slow.items)


@pytest.mark.parametrize("wire", LASTING)
def test_what_comes_while_a_stream_is_written_to_is_not_forgotten(server: Server, wire: str) -> None:
    """A reader pauses in the middle of the newest update; the next one comes, and nothing after it."""
    with Subscriber(server, wire, "paused", last=0, buffer=4096).open() as paused:
        numbers = iter(range(10))
        while not held(server)["writers"]:
            server.publish("paused", f"{next(numbers)} ".ljust(200_000, "-"))
        server.publish("paused", "the last")
        paused.until(lambda it: it.seen and it.seen[-1].data == "the last")


def test_a_connection_is_used_again_after_a_poll(server: Server) -> None:
    """Ten answers on one connection; and any other request after them."""
    server.publish("reused", "")
    with Subscriber(server, "poll", "reused", last=1) as client:
        for number in range(10):
            client.until(lambda it: len(it.seen) == number + 1)  # noqa: B023
            server.publish("reused", f"{number}")
        client.until(lambda it: len(it.seen) == 11 and it.answered)
        client.sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = Response()
        while not answer.complete:
            answer.feed(client.sock.recv(65536))
        assert answer.status == 200


@pytest.mark.parametrize("wire", LASTING)
def test_a_connection_is_closed_at_once_when_its_stream_ends(server: Server, wire: str) -> None:
    """Not after the seconds for which an idle connection is kept: thousands of ended ones would be in the way."""
    channel = f"ended.{wire}"
    server.publish(channel, "shown")
    with Subscriber(server, wire, channel).until(lambda it: it.seen) as client:
        assert requests.delete(f"{server.url}/channels/{channel}", headers=server.auth, timeout=10).status_code == 204
        with Stopwatch() as watch:
            client.finish()
        assert watch.seconds <= 1 * PATIENCE
        assert client.response.complete and not client.cut_short


def test_hundreds_that_leave_at_once_leave_nothing(server: Server) -> None:
    """The fixture holds what is left against what was there before."""
    server.publish("many", "")
    with ExitStack() as stack:
        for wire in EVERY * 40:
            stack.enter_context(Subscriber(server, wire, "many", last=0))
        until(lambda: subscribers(server, "many") == 40 * len(EVERY))
    within(1, lambda: subscribers(server, "many") == 0)


def test_a_client_of_a_unix_socket_is_treated_the_same() -> None:
    """As a proxy on the same host has it: a departure is noticed, who takes nothing is cut, who takes something not."""
    server = Server(app="tests.live.inside:app", heartbeat=600, write_timeout=WRITE_TIMEOUT)
    path = str(Path(server.folder.name) / "comet.sock")
    server.arguments = ("-b", f"127.0.0.1:{server.port}", "-b", f"unix:{path}")
    with server, ExitStack() as stack:
        server.publish("unix", "")
        leaver, stuck, slow = (
            stack.enter_context(Subscriber(server, "ndjson", "unix", last=0, sock=over(path)).open()) for _ in range(3)
        )
        leaver.leave()
        within(1, lambda: subscribers(server, "unix") == 2)
        publisher = fill(server, "unix")
        until(lambda: held(server)["writers"] == 2, what="both are behind")
        begun = time.monotonic()
        while time.monotonic() - begun < 2.5 * WRITE_TIMEOUT:
            assert slow.receive(8000), "it was cut"
            time.sleep(0.1)
        assert subscribers(server, "unix") == 1
        assert not stuck.finish().response.complete
        last = server.publish("unix", "the last")["id"]
        slow.until(lambda it: it.cursor == last)
        check_exact([], [*publisher.acknowledged, Seen("the last", last)], slow.items)


def over(path: str) -> socket.socket:
    """A connection to a Unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return sock


def test_what_a_worker_has_begun_with_is_not_looked_through_for_garbage(silent: Server) -> None:
    """That takes 30 ms each time, in which everybody waits."""
    assert silent.get("/inside/frozen").json()["frozen"] > 10_000


def test_nothing_of_comets_is_left_for_gc_to_find() -> None:
    """Streams live long: what they have left in circles would be looked for seldom."""
    with Server(app="tests.live.inside:app") as server:
        server.publish("circles", "before")
        server.get("/inside/circles")
        with ExitStack() as stack:
            clients = [stack.enter_context(Subscriber(server, wire, "circles", last=0)) for wire in EVERY]
            until(lambda: subscribers(server, "circles") == len(EVERY))
            server.publish("circles", "something")
            for client in clients:
                client.until(lambda it: it.seen)
        until(lambda: subscribers(server, "circles") == 0)
        assert server.get("/inside/circles").json() == {"circles": []}
