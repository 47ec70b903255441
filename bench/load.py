"""Load: thousands of subscribers in one loop, who check that they get every update once and in order."""

from __future__ import annotations

import http.client
import re
import select
import socket
import time
from collections.abc import Mapping
from functools import lru_cache


#: An update's data ends in its number: ``…#17#``. Whole or not at all: half a number has no end.
_NUMBER = re.compile(rb"#(\d+)#")
_LONGEST = 24
_HEAD = b"HTTP/1.1 200"

#: Seconds in which everybody must have an update.
PATIENCE = 60.0


class Lost(Exception):
    """A subscriber did not get what was published."""


def payload(number: int, size: int = 100) -> bytes:
    """The data of update ``number``: ``size`` bytes."""
    return (b"#%d#" % number).rjust(size, b".")


@lru_cache(maxsize=256)
def numbers(rest: bytes, piece: bytes) -> tuple[tuple[int, ...], bytes]:
    """The numbers of the updates that are complete with this piece, and what is left for the next one.

    All subscribers read the same bytes: what they say is worked out once.
    """
    text, end, found = rest + piece, 0, []
    for match in _NUMBER.finditer(text):
        found.append(int(match[1]))
        end = match.end()
    return tuple(found), text[end:][-_LONGEST:]


class Subscriber:
    """One connection, and the number of the last update it has had."""

    __slots__ = ("last", "rest", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.last = 0
        self.rest = b""


class Load:
    """The subscribers of one server."""

    def __init__(self, address: tuple[str, int], path: str) -> None:
        self.address = address
        host, port = address
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
        self._epoll = select.epoll()
        self._by_fd: dict[int, Subscriber] = {}

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *error: object) -> None:
        for subscriber in self._by_fd.values():
            subscriber.sock.close()
        self._epoll.close()

    def open(self, count: int) -> None:
        """Subscribe so many, a few hundred at a time; return when each has been answered."""
        for done in range(0, count, 250):
            opened = [self._connect() for _ in range(min(250, count - done))]
            for subscriber in opened:
                self._read_head(subscriber)
        self._epoll_all()

    def _connect(self) -> Subscriber:
        subscriber = Subscriber(socket.create_connection(self.address, timeout=PATIENCE))
        subscriber.sock.sendall(self._request)
        self._by_fd[subscriber.sock.fileno()] = subscriber
        return subscriber

    def _read_head(self, subscriber: Subscriber) -> None:
        text = b""
        while b"\r\n\r\n" not in text:
            piece = subscriber.sock.recv(4096)
            text += piece
            if not piece or not text.startswith(_HEAD[: len(text)]):
                raise Lost(f"a subscriber was refused: {text!r}")

    def _epoll_all(self) -> None:
        for fd, subscriber in self._by_fd.items():
            subscriber.sock.setblocking(False)
            self._epoll.register(fd, select.EPOLLIN)

    def read(self, last: int) -> None:
        """Read until everybody has had update ``last``. Raises Lost for one that is missing, twice or out of order."""
        behind = sum(subscriber.last < last for subscriber in self._by_fd.values())
        deadline = time.monotonic() + PATIENCE
        while behind:
            if time.monotonic() > deadline:
                raise Lost(f"{behind} of {len(self._by_fd)} subscribers had no update {last} for {PATIENCE:g} seconds")
            for fd, _ in self._epoll.poll(1.0):
                subscriber = self._by_fd[fd]
                piece = _received(subscriber)
                found, subscriber.rest = numbers(subscriber.rest, piece)
                for number in found:
                    if number != subscriber.last + 1:
                        raise Lost(f"a subscriber got update {number} after {subscriber.last}")
                    subscriber.last = number
                behind -= subscriber.last == last and bool(found)


def _received(subscriber: Subscriber) -> bytes:
    try:
        piece = subscriber.sock.recv(65_536)
    except ConnectionError:
        piece = b""
    if not piece:
        raise Lost(f"a stream ended after update {subscriber.last}")
    return piece


class Publisher:
    """Publishes one update after the other over one connection, by POST."""

    def __init__(self, address: tuple[str, int], path: str, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
        self._path = path
        self._headers = {"Content-Type": "text/plain; charset=utf-8", **headers}

    def publish(self, number: int) -> None:
        self._connection.request("POST", self._path, payload(number), self._headers)
        answer = self._connection.getresponse()
        answer.read()
        if not 200 <= answer.status < 300:
            raise Lost(f"update {number} was answered {answer.status}")

    def close(self) -> None:
        self._connection.close()
