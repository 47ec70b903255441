"""Load: thousands of subscribers in one loop, who check that they get every update once and in order, and the
publisher of these updates: 1, 2, 3, …

An update's data ends in the time at which it was made and its number: ``…81234567890#17#``. Half a number has no end,
and is not taken for one. When it has come, the kernel says: what this program takes to read thousands of streams, one
after the other, is not the server's.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import NamedTuple, Self

from .servers import Server


_UPDATE = re.compile(rb"(\d+)#(\d+)#")
_LONGEST = 48
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

#: Of Linux: the port is chosen when one connects, and may be in use for another address; and each piece that is read
#: comes with the time, in seconds and nanoseconds, at which the last of it came.
_BIND_ADDRESS_NO_PORT = 24
_TIMESTAMP = 35
_TIME = struct.Struct("@qq")

#: Seconds in which everybody must have been answered, or have an update.
PATIENCE = 60.0
SIZE = 100
#: Connections that are begun together: as many as the shortest backlog among the servers has room for.
TOGETHER = 50


class Lost(Exception):
    """A subscriber did not get what was published."""


def update(number: int, size: int = SIZE) -> bytes:
    """The data of an update that is made now."""
    return (b"%d#%d#" % (time.time_ns(), number)).rjust(size, b".")


class Found(NamedTuple):
    """What a piece of a stream has brought: numbers of updates, when they were made, carriage returns, and the end
    that may be the beginning of another."""

    numbers: tuple[int, ...]
    made: tuple[int, ...]
    returns: int
    rest: bytes


@lru_cache(maxsize=256)
def find(rest: bytes, piece: bytes) -> Found:
    """All subscribers read the same bytes: what they say is worked out once."""
    text = rest + piece
    found = list(_UPDATE.finditer(text))
    left = text[found[-1].end() if found else 0 :][-_LONGEST:]
    made = tuple(int(match[1]) for match in found)
    return Found(tuple(int(match[2]) for match in found), made, piece.count(b"\r"), left)


class Connection:
    """A connection that is kept alive, with one request at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sock: socket.socket | None = None

    def send(self, request: bytes) -> None:
        if self._has_ended():
            self.close()
        if self._sock is None:
            self._sock = socket.create_connection(self._server.address, timeout=PATIENCE)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.sendall(request)

    def _has_ended(self) -> bool:
        """Whether the server has closed it, having waited for another request for long enough."""
        poll = select.poll()
        if self._sock is not None:
            poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def fileno(self) -> int:
        assert self._sock is not None
        return self._sock.fileno()

    def answer(self) -> bytes:
        """Return the body. Raises Lost for any other status than 2xx."""
        assert self._sock is not None
        text = b""
        while not _is_whole(text):
            piece = self._sock.recv(65_536)
            if not piece:
                raise Lost(f"a request was answered {text!r} and the end")
            text += piece
        head, _, body = text.partition(b"\r\n\r\n")
        if head.split(b" ")[1][:1] != b"2":
            raise Lost(f"a request was answered {text!r}")
        if b"\r\nconnection: close" in head.lower():
            self.close()
        return body

    def ask(self, request: bytes) -> bytes:
        self.send(request)
        return self.answer()

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _is_whole(text: bytes) -> bool:
    head, end, body = text.partition(b"\r\n\r\n")
    if not end:
        return False
    if length := _LENGTH.search(head):
        return len(body) >= int(length[1])
    return b"chunked" not in head.lower() or body.endswith(b"0\r\n\r\n")


class Subscriber:
    """One stream, and the number of the last update it has had (None before the first).

    ``came``: when the last piece came, in nanoseconds since 1970, if it is ``timed``.
    """

    __slots__ = ("came", "last", "rest", "returns", "sock", "timed")

    def __init__(self, server: Server, request: bytes, source: str = "", *, timed: bool = False) -> None:
        self.timed = timed
        self.came = 0
        self.sock = socket.socket()
        self.sock.settimeout(PATIENCE)
        if timed:
            self.sock.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
        # Leave no port behind in TIME_WAIT: the kernel would look for a free one ever longer.
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if source:
            self.sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            self.sock.bind((source, 0))
        self.sock.connect(server.address)
        self.sock.sendall(request)
        self.last: int | None = None
        self.returns = 0
        self.rest = b""

    def begin(self) -> tuple[Found, bool]:
        """Wait for the head of the answer; return what came with it, and whether the server has room."""
        text = b""
        while b"\r\n\r\n" not in text:
            piece = self.sock.recv(4096)
            if not piece:
                raise Lost(f"a subscriber was answered {text!r} and the end")
            text += piece
        head, _, text = text.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        if status not in (b"200", b"503"):
            raise Lost(f"a subscriber was refused: {head!r}")
        return self.take(text), status == b"200"

    def read(self) -> Found:
        """Take what has come. Raises Lost if that is not the next update."""
        try:
            piece = self._receive_timed() if self.timed else self.sock.recv(65_536)
        except ConnectionError:
            piece = b""
        if not piece:
            raise Lost(f"a stream ended after update {self.last}")
        return self.take(piece)

    def _receive_timed(self) -> bytes:
        piece, said, _, _ = self.sock.recvmsg(65_536, 64)
        # The kernel begins to stamp a moment after it is asked to; and of an end it says nothing.
        seconds, nanoseconds = _TIME.unpack(said[0][2]) if said else divmod(time.time_ns(), 1_000_000_000)
        self.came = seconds * 1_000_000_000 + nanoseconds
        return piece

    def take(self, piece: bytes) -> Found:
        found = find(self.rest, piece)
        self.rest = found.rest
        self.returns += found.returns
        for number in found.numbers:
            if self.last is not None and number != self.last + 1:
                raise Lost(f"a subscriber got update {number} after {self.last}")
            self.last = number
        return found


class Crowd:
    """The subscribers of one server. ``timed``: ``late`` keeps in how many seconds each update came to each of them."""

    def __init__(self, server: Server, source: str = "", *, timed: bool = False) -> None:
        self._server = server
        self._source = source
        self._timed = timed
        self._epoll = select.epoll()
        self._by_fd: dict[int, Subscriber] = {}
        self._reached: Counter[int] = Counter()
        self.late = array("d")
        #: The last update that everybody has had, and the last that was published.
        self.done = self.published = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._epoll.close()
        for subscriber in self._by_fd.values():
            subscriber.sock.close()

    def __len__(self) -> int:
        return len(self._by_fd)

    @property
    def chunks(self) -> int:
        """Chunks that all have had: each is framed by two line ends, and what the server writes has no other CR."""
        return sum(subscriber.returns for subscriber in self._by_fd.values()) // 2

    def open(self, count: int, path: Callable[[int], str] | None = None, *, replay: bool = False) -> None:
        """Subscribe so many, each to its own path if there is one; return when all have been answered, and with
        ``replay`` have had what was published before."""
        path = path or (lambda place: self._server.stream)
        requests = [self._server.request("GET", path(place)) for place in range(count)]
        while requests:
            together, requests = requests[:TOGETHER], requests[TOGETHER:]
            requests += self._begin(together, replay)
        deadline = time.monotonic() + PATIENCE
        while not self._server.subscribed(len(self)):
            if time.monotonic() > deadline:
                raise Lost("not everybody was subscribed")
            time.sleep(0.05)

    def _begin(self, requests: Sequence[bytes], replay: bool) -> list[bytes]:
        """Open these; return those that the server had no room for, to be asked again: by another worker."""
        refused = []
        opened = [(Subscriber(self._server, request, self._source, timed=self._timed), request) for request in requests]
        for subscriber, request in opened:
            if self._server.greets:
                found, room = subscriber.begin()
                if not room:
                    subscriber.sock.close()
                    refused.append(request)
                    continue
                self._count(found)
                while replay and subscriber.last != self.published:
                    subscriber.read()
            subscriber.sock.setblocking(False)
            self._by_fd[subscriber.sock.fileno()] = subscriber
            self._epoll.register(subscriber.sock, select.EPOLLIN)
        return refused

    def publish(
        self,
        updates: int,
        make: Callable[[Sequence[int]], bytes] | None = None,
        *,
        at_once: int = 1,
        every: float = 0.0,
    ) -> float:
        """Publish so many, ``at_once`` in one request, each request as soon as everybody has what was published before,
        and at most one in ``every`` seconds. Return how many seconds it took until all had all.

        ``make`` makes the request from the numbers. Raises Lost when an update is missing, twice, or out of order.
        """
        make = make or (lambda numbers: self._server.post(update(numbers[0])))
        begun = time.monotonic()
        end = self.published + updates
        with Connection(self._server) as publisher:
            for turn in range(-(-updates // at_once)):
                time.sleep(max(0.0, begun + turn * every - time.monotonic()))
                numbers = range(self.published + 1, min(self.published + at_once, end) + 1)
                publisher.send(make(numbers))
                self.published = numbers[-1]
                self._read_until_answered(publisher)
                self.read_until(self.published)
        return time.monotonic() - begun

    def _read_until_answered(self, publisher: Connection) -> None:
        # Together with the streams: a server may answer before it delivers, or after.
        fd = publisher.fileno()
        self._epoll.register(fd, select.EPOLLIN)
        while not self.read(publisher=fd):
            pass
        self._epoll.unregister(fd)
        publisher.answer()

    def read_until(self, number: int) -> None:
        """Read until everybody has had this update."""
        if not self._by_fd:
            self.done = number
        deadline = time.monotonic() + PATIENCE
        while self.done < number:
            self.read()
            if time.monotonic() > deadline:
                behind = len(self) - self._reached[self.done + 1]
                raise Lost(f"{behind} of {len(self)} subscribers have no update {self.done + 1}")

    def read(self, patience: float = 1.0, *, publisher: int = -1) -> bool:
        """Take what has come, or wait so many seconds for it; return whether something has for the publisher."""
        answered = False
        for fd, _ in self._epoll.poll(patience):
            if fd == publisher:
                answered = True
            else:
                subscriber = self._by_fd[fd]
                found = subscriber.read()
                if self._timed:
                    self.late.extend([(subscriber.came - made) / 1e9 for made in found.made])
                self._count(found)
        return answered

    def _count(self, found: Found) -> None:
        for number in found.numbers:
            self._reached[number] += 1
            if number == self.done + 1:
                self._advance()

    def _advance(self) -> None:
        while self._by_fd and self._reached[self.done + 1] >= len(self._by_fd):
            self.done += 1
            del self._reached[self.done]


def storm(server: Server, connections: int, seconds: float) -> int:
    """Publish single updates flat out over so many connections; return how many were accepted."""
    accepted = 0
    with select.epoll() as epoll, ExitStack() as stack:
        publishers = {}
        for _ in range(connections):
            publisher = stack.enter_context(Connection(server))
            publisher.send(server.post(update(0)))
            publishers[publisher.fileno()] = publisher
            epoll.register(publisher, select.EPOLLIN)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for fd, _ in epoll.poll(PATIENCE):
                publishers[fd].answer()
                accepted += 1
                publishers[fd].send(server.post(update(0)))
        for publisher in publishers.values():
            publisher.answer()
    return accepted + len(publishers)
