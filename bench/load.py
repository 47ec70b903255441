"""Load: thousands of subscribers in one loop, who check that they get every update once and in order."""

from __future__ import annotations

import re
import select
import socket
import time
from functools import lru_cache
from http.client import HTTPConnection

from .servers import Server


#: An update's data ends in its number: ``…#17#``. Half a number has no end, and is not taken for one.
_NUMBER = re.compile(rb"#(\d+)#")
_LONGEST = 24
_ANSWER = re.compile(rb"HTTP/1\.1 200 .*?\r\n\r\n", re.DOTALL)

#: Seconds in which everybody must have been answered, or have an update.
PATIENCE = 60.0
SIZE = 100


class Lost(Exception):
    """A subscriber did not get what was published."""


@lru_cache(maxsize=256)
def numbers(rest: bytes, piece: bytes) -> tuple[tuple[int, ...], bytes]:
    """The numbers of the updates that are complete with this piece, and what is left for the next one.

    All subscribers read the same bytes: what they say is worked out once.
    """
    text = rest + piece
    found = list(_NUMBER.finditer(text))
    return tuple(int(match[1]) for match in found), text[found[-1].end() if found else 0 :][-_LONGEST:]


class Subscriber:
    """One connection, and the number of the last update it has had."""

    __slots__ = ("last", "rest", "sock")

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.sock = socket.create_connection(address, timeout=PATIENCE)
        self.sock.sendall(request)
        self.last = 0
        self.rest = b""

    def begin(self) -> None:
        """Wait for the head of the answer."""
        text = b""
        while not _ANSWER.match(text):
            piece = self.sock.recv(4096)
            text += piece
            if not piece or (b"\r\n\r\n" in text and not _ANSWER.match(text)):
                raise Lost(f"a subscriber was refused: {text!r}")
        self.sock.setblocking(False)

    def read(self) -> bool:
        """Take what has come; return whether that was an update."""
        try:
            piece = self.sock.recv(65_536)
        except ConnectionError:
            piece = b""
        if not piece:
            raise Lost(f"a stream ended after update {self.last}")
        found, self.rest = numbers(self.rest, piece)
        for number in found:
            if number != self.last + 1:
                raise Lost(f"a subscriber got update {number} after {self.last}")
            self.last = number
        return bool(found)


class Load:
    """The subscribers of one server, and the publisher of its updates: 1, 2, 3, … by a POST each."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._request = f"GET {server.stream} HTTP/1.1\r\nHost: {server.bind}\r\nAccept: text/event-stream\r\n\r\n"
        self._epoll = select.epoll()
        self._by_fd: dict[int, Subscriber] = {}
        self._last = 0

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *error: object) -> None:
        self._epoll.close()
        for subscriber in self._by_fd.values():
            subscriber.sock.close()

    def open(self, count: int) -> None:
        """Subscribe so many, a few hundred at a time; return when all have been answered."""
        request = self._request.encode()
        for begun in range(0, count, 250):
            opened = [Subscriber(self._server.address, request) for _ in range(min(250, count - begun))]
            self._by_fd |= {subscriber.sock.fileno(): subscriber for subscriber in opened}
            for subscriber in opened:
                subscriber.begin()
                self._epoll.register(subscriber.sock, select.EPOLLIN)

    def publish(self, updates: int, every: float = 0.0) -> float:
        """Publish so many, each when the last subscriber has the one before and at most one in ``every`` seconds.

        Return how many seconds it took. Raises Lost when an update is missing, twice, or out of order.
        """
        connection = HTTPConnection(*self._server.address, timeout=PATIENCE)
        headers = {"Content-Type": "text/plain; charset=utf-8", **self._server.headers}
        begun = time.monotonic()
        for tick in range(updates):
            time.sleep(max(0.0, begun + tick * every - time.monotonic()))
            self._last += 1
            connection.request("POST", self._server.publish, (b"#%d#" % self._last).rjust(SIZE, b"."), headers)
            answer = connection.getresponse()
            if not 200 <= answer.status < 300:
                raise Lost(f"update {self._last} was answered {answer.status} {answer.read()!r}")
            answer.read()
            self._read_all()
        connection.close()
        return time.monotonic() - begun

    def _read_all(self) -> None:
        behind = len(self._by_fd)
        deadline = time.monotonic() + PATIENCE
        while behind:
            if time.monotonic() > deadline:
                raise Lost(f"{behind} of {len(self._by_fd)} subscribers have no update {self._last}")
            for fd, _ in self._epoll.poll(1.0):
                subscriber = self._by_fd[fd]
                behind -= subscriber.read() and subscriber.last == self._last
