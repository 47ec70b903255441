"""Subscribers for the tests: HTTP by hand on a raw socket, one at a time or hundreds in one thread.

``Subscriber`` takes what has come and has its reader make sense of it; it keeps what it saw. ``Crowd`` does that for
many, by epoll.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from tests.live.readers import READERS, Ended, Item, Missed, Poll, Reader, Seen, SSEOfSeveral
from tests.live.server import Server
from tests.timing import PATIENCE


class Response:
    """An HTTP/1.x response, read in pieces of any size. ``complete``: it came to its proper end."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self._left = b""
        self._chunked = False
        self._length: int | None = None

    def feed(self, text: bytes) -> bytes:
        """Return what these bytes bring of the body."""
        return b"".join(self.pieces(text))

    def pieces(self, text: bytes) -> list[bytes]:
        """The same, chunk by chunk."""
        self._left += text
        if not self.status and not self._head():
            return []
        if self._chunked:
            return list(self._chunks())
        body, self._left = self._left, b""
        if self._length is not None:
            self._length -= len(body)
            self.complete = self._length <= 0
        return [body] if body else []

    def eof(self) -> None:
        """Nothing more comes."""
        if self.status and not self._chunked and self._length is None:
            self.complete = True

    def _head(self) -> bool:
        head, end, left = self._left.partition(b"\r\n\r\n")
        if not end:
            return False
        self._left = left
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.lower()] = value.strip()
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        if "content-length" in self.headers:
            self._length = int(self.headers["content-length"])
            self.complete = self._length == 0
        return True

    def _chunks(self) -> Iterator[bytes]:
        text, place = self._left, 0
        while (end := text.find(b"\r\n", place)) >= 0:
            size = int(text[place:end], 16)
            if len(text) < end + size + 4:
                break
            assert text[end + size + 2 : end + size + 4] == b"\r\n", "a chunk that does not end where it says"
            if size == 0:
                self.complete = True
            else:
                yield text[end + 2 : end + 2 + size]
            place = end + size + 4
        self._left = text[place:]


class Subscriber:
    """One client on one connection; a poll is asked again and again on the same.

    ``since`` is sent in the query, or as a header. ``items`` is all it saw; ``take`` gets them as they come.
    ``refusal`` is what came with another status than 200. ``cursor`` is where it would go on. ``over``: the connection
    has ended; ``cut_short``: by RST.
    """

    def __init__(
        self,
        server: Server,
        wire: str,
        *channels: str,
        since: str | None = None,
        in_header: bool = False,
        headers: tuple[str, ...] = (),
        version: str = "1.1",
        buffer: int | None = None,
        sock: socket.socket | None = None,
        **parameters: object,
    ) -> None:
        self.server = server
        self.wire = wire
        self.channels = channels
        self.since = since
        self.in_header = in_header
        self.headers = headers
        self.version = version
        self.parameters = parameters
        self.items: list[Item] = []
        self.refusal = b""
        self.take: Callable[[Iterable[Item]], None] = self.items.extend
        self.received = 0
        self.answers = 0
        self.over = False
        self.over_at = 0.0
        self.cut_short = False
        self.sock = sock or connect(server, buffer)
        try:
            self.ask()
        except OSError:
            self.sock.close()  # the server has gone in between
            raise

    def ask(self) -> None:
        """Send the request, with the cursor there is."""
        made, path = READERS[self.wire]
        self.reader: Reader = SSEOfSeveral() if self.wire == "sse" and len(self.channels) > 1 else made()
        self.response = Response()
        parameters, headers = dict(self.parameters), list(self.headers)
        if self.since and self.in_header:
            headers.append(f"Last-Event-ID: {self.since}")
        elif self.since:
            parameters["since"] = self.since
        path += ("&" if "?" in path else "?") + "&".join(f"{name}={value}" for name, value in parameters.items())
        lines = [
            f"GET /channels/{','.join(self.channels)}/{path.rstrip('?&')} HTTP/{self.version}",
            f"Host: 127.0.0.1:{self.server.port}",
            *headers,
        ]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def cursor(self) -> str | None:
        return self.reader.cursor or self.since

    @property
    def opened(self) -> bool:
        """The headers are here."""
        return self.response.status != 0

    @property
    def answered(self) -> bool:
        """It is a poll, and has its answer: now it may ask again."""
        goes_on = self.response.status == 200 and self.response.headers.get("connection") != "close"
        return self.response.complete and goes_on and isinstance(self.reader, Poll)

    @property
    def seen(self) -> list[Seen]:
        return [item for item in self.items if isinstance(item, Seen)]

    @property
    def missed(self) -> list[Missed]:
        return [item for item in self.items if isinstance(item, Missed)]

    @property
    def ended(self) -> list[Ended]:
        return [item for item in self.items if isinstance(item, Ended)]

    def receive(self, size: int = 262_144) -> int:
        """Take at most ``size`` bytes that have come, waiting for the first; return how many. 0: it is over."""
        try:
            text = self.sock.recv(size)
        except ConnectionError:
            self.cut_short = True
            text = b""
        self.received += len(text)
        if text:
            self._take(text)
        else:
            self._over()
        return len(text)

    def _over(self) -> None:
        self.over, self.over_at = True, time.monotonic()
        if not self.response.complete:
            self.response.eof()
            if self.response.complete and isinstance(self.reader, Poll):
                self._answered()

    def _take(self, text: bytes) -> None:
        assert not self.response.complete, "more after the end of the response"
        pieces = self.response.pieces(text)
        if self.response.status not in (0, 200):
            self.refusal += b"".join(pieces)
            return
        for piece in pieces:
            self.take(self.reader.feed(piece))
        if self.response.complete and isinstance(self.reader, Poll):
            self._answered()

    def _answered(self) -> None:
        if self.response.status == 200:
            self.take(self.reader.finish())
            self.since = self.reader.cursor
            self.answers += 1

    def until(self, state: Callable[[Subscriber], object], seconds: float = 10.0) -> Subscriber:
        """Read until this is in a state; a poll that was answered is asked again. Fails when it is over before."""
        deadline = time.monotonic() + seconds * PATIENCE
        self.sock.settimeout(seconds * PATIENCE)
        while not state(self):
            assert not self.over, f"{self.wire} of {self.channels} ended: {self.response.status}, {self.items[-3:]}"
            assert time.monotonic() < deadline, f"not within {seconds} s; {len(self.items)} items, {self.items[-3:]}"
            if self.answered:
                self.ask()
            self.receive()
        return self

    def open(self) -> Subscriber:
        """Read until the headers are here."""
        return self.until(lambda it: it.opened)

    def finish(self, seconds: float = 10.0) -> Subscriber:
        """Read until the connection ends."""
        self.sock.settimeout(seconds * PATIENCE)
        while not self.over:
            self.receive()
        return self

    def leave(self, *, reset: bool = False) -> None:
        """Close the connection; with ``reset`` by RST."""
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()


def connect(server: Server, buffer: int | None = None) -> socket.socket:
    """A connection; ``buffer``: how many bytes its kernel takes while nobody reads."""
    sock = socket.socket()
    if buffer is not None:
        # Before the connection: the window is agreed on then.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.settimeout(20 * PATIENCE)
    try:
        sock.connect(("127.0.0.1", server.port))
    except OSError:
        sock.close()
        raise
    return sock


class Crowd:
    """Many subscribers, read in one thread as what they are sent arrives."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.members: dict[int, Subscriber] = {}

    def add(self, subscriber: Subscriber) -> Subscriber:
        subscriber.sock.setblocking(True)
        self.members[subscriber.fileno()] = subscriber
        self._epoll.register(subscriber.fileno(), select.EPOLLIN)
        return subscriber

    def drop(self, subscriber: Subscriber) -> None:
        """Read no more for it. It is not closed."""
        del self.members[subscriber.fileno()]
        self._epoll.unregister(subscriber.fileno())

    def turn(self, timeout: float = 0.02) -> None:
        """Read once for everybody who has something. A poll that was answered is asked again."""
        for fd, _ in self._epoll.poll(timeout):
            subscriber = self.members[fd]
            subscriber.receive()
            if subscriber.over:
                self.drop(subscriber)
                subscriber.leave()
            elif subscriber.answered:
                subscriber.ask()

    def until(self, state: Callable[[], object], *, seconds: float = 20.0, what: str = "") -> None:
        """Read until the state holds; fail if it does not within ``seconds``."""
        deadline = time.monotonic() + seconds * PATIENCE
        while not state():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            self.turn()

    def close(self) -> None:
        for subscriber in list(self.members.values()):
            self.drop(subscriber)
            subscriber.leave()
        self._epoll.close()


@contextmanager
def crowd() -> Iterator[Crowd]:
    """A crowd that goes home at the end."""
    gathered = Crowd()
    try:
        yield gathered
    finally:
        gathered.close()
