"""Growth: clients come and go, name whatever channels they like, and the server stays as it was."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count, cycle, islice, product

import pytest

from tests.live.clients import Subscriber
from tests.live.publishers import Publisher
from tests.live.readers import EVERY, LASTING
from tests.live.server import Server
from tests.timing import PATIENCE, until


#: Connections at a time.
ROUND = 100

MIB = 1 << 20


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that writes nothing by itself and answers no poll before something is published."""
    with Server(app="tests.live.inside:app", heartbeat=600, poll_timeout=60) as running:
        yield running


def held(server: Server) -> dict[str, int]:
    """What the worker holds: greenlets, threads, descriptors, streams, writers, channels; and ``memory``, in bytes."""
    parts = [server.get(path, timeout=60 * PATIENCE).json() for path in ("/inside", "/inside/channels")]
    return parts[0] | parts[1]


def at_rest(server: Server) -> dict[str, int]:
    """What it holds when nobody is there any more."""
    until(lambda: held(server)["streams"] == 0 and held(server) == held(server), what="it is at rest")
    return held(server)


def is_back(server: Server, base: dict[str, int]) -> bool:
    """Whether it holds no more than that, but for memory."""
    return held(server) | {"memory": 0} == base | {"memory": 0}


def half_close(client: Subscriber) -> None:
    client.sock.shutdown(socket.SHUT_WR)
    client.finish()
    client.leave()


#: How those leave who have waited for an update; the others leave before one comes.
WAYS: dict[str, Callable[[Subscriber], None] | None] = {
    "by FIN": lambda client: client.leave(),
    "by RST": lambda client: client.leave(reset=True),
    "by half a close": half_close,
    "unheard": None,
    "after the head": None,
}


@pytest.mark.parametrize("cycles", [2000, pytest.param(100_000, marks=pytest.mark.soak)], ids=["short", "soak"])
def test_clients_come_and_go(server: Server, cycles: int) -> None:
    """On every wire, in every way: no descriptor and no greenlet is left of them, and memory stays within 5 %."""
    turns = cycle(product(WAYS, EVERY))
    come_and_go(server, turns, ROUND)
    base = at_rest(server)
    first = max(1000, cycles // 10)
    come_and_go(server, turns, first)
    until(lambda: is_back(server, base), what=f"{base}; there are {held(server)}")
    memory = held(server)["memory"]
    come_and_go(server, turns, cycles - first)
    until(lambda: is_back(server, base), what=f"{base}; there are {held(server)}")
    grown = held(server)["memory"] - memory
    assert grown <= 0.05 * memory, f"{memory / MIB:.1f} MiB after {first} cycles, {grown / MIB:+.1f} MiB since"


def come_and_go(server: Server, turns: Iterator[tuple[str, str]], clients: int) -> None:
    with closing(Publisher(server)) as publisher:
        for _ in range(0, clients, ROUND):
            take_turns(server, publisher, islice(turns, ROUND))


def take_turns(server: Server, publisher: Publisher, turns: Iterator[tuple[str, str]]) -> None:
    (before,) = publisher.publish([("crossing", "before")])
    staying = []
    for way, wire in turns:
        client = Subscriber(server, wire, "crossing", since=before.id)
        if leave := WAYS[way]:
            staying.append((client, leave))
        else:
            if way == "after the head" and wire in LASTING:
                client.open()
            client.leave()
    publisher.publish([("crossing", "after")])
    for client, leave in staying:
        client.until(lambda it: it.seen)
        leave(client)


@pytest.mark.parametrize("names", [20_000, pytest.param(1_000_000, marks=pytest.mark.soak)], ids=["short", "soak"])
def test_names_that_nobody_publishes_to(server: Server, names: int) -> None:
    """Each subscribed to once, of a million at most 50 MiB are left, and none after a minute."""
    made_up = (f"{number:07}.{'x' * (number % 40)}" for number in count())
    name_once(server, made_up, 16 * ROUND)
    base, before = at_rest(server), opened(server)
    name_once(server, made_up, names)
    until(lambda: held(server)["streams"] == 0)
    # Of eight wires two are polls, whose clients leave without an answer, some of them before they are let in.
    assert opened(server) - before >= names // 16 * 6 // 8
    grown = held(server)["memory"] - base["memory"]
    until(lambda: is_back(server, base), seconds=60, what=f"{base}; there are {held(server)}")
    left = held(server)["memory"] - base["memory"]
    assert max(grown, left) <= 50 * MIB, f"{grown / MIB:+.1f} MiB, after a minute {left / MIB:+.1f} MiB"


def opened(server: Server) -> float:
    """How many streams and polls have begun."""
    lines = server.get("/metrics", headers=server.auth).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("comet_opens_total{"))


def name_once(server: Server, made_up: Iterator[str], names: int) -> None:
    """Subscribe to so many of these names, 16 at a time, and leave."""
    wires = cycle(wire for wire in EVERY if wire != "multipart")  # it takes one channel
    for _ in range(0, names, 16 * ROUND):
        clients = [Subscriber(server, next(wires), *islice(made_up, 16)) for _ in range(ROUND)]
        for client in clients:
            if client.wire in LASTING:
                client.open()
        for client in clients:
            client.leave()


def test_a_picture_that_is_shown_for_long(server: Server) -> None:
    """Of six hundred parts of a multipart stream nothing is left, once the history is full."""
    with closing(server.open("/channels/picture/multipart")) as sock:
        watch(server, sock, range(200))
        memory = held(server)["memory"]
        watch(server, sock, range(200, 800))
        grown = held(server)["memory"] - memory
    assert grown <= 0.05 * memory, f"{memory / MIB:.1f} MiB after 200 parts, {grown / MIB:+.1f} MiB since"


def watch(server: Server, sock: socket.socket, numbers: range) -> None:
    """Publish pictures of 20 kB, each as soon as the one before has been shown."""
    for number in numbers:
        server.publish("picture", f"<svg>{number:020000}</svg>", "image/svg+xml")
        text = b""
        while f"{number:05}</svg>\r\n--".encode() not in text or not text.endswith(b"\r\n\r\n"):
            text += sock.recv(65_536)
