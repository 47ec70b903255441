"""HTTP by hand: exactly the bytes that a test means, and what comes back."""

from __future__ import annotations

import socket
import time
from typing import Protocol

from tests.live.clients import Response
from tests.timing import PATIENCE


class Listening(Protocol):
    """A server, or a proxy in front of it."""

    port: int


class Connection:
    """One connection. ``body`` is what has come of the last answer; ``over``: the other side has closed.

    ``source`` is the address that it comes from, any of 127.0.0.0/8.
    """

    def __init__(self, to: Listening, *, seconds: float = 10.0, source: str = "127.0.0.1") -> None:
        where = ("127.0.0.1", to.port)
        self.sock = socket.create_connection(where, timeout=seconds * PATIENCE, source_address=(source, 0))
        self.seconds = seconds
        self.response = Response()
        self.body = b""
        self.over = False

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> dict[str, str]:
        return self.response.headers

    def send(self, raw: bytes) -> Connection:
        """Send this, and begin a new answer."""
        self.response, self.body = Response(), b""
        try:
            self.sock.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent; the answer may be there
        return self

    def get(self, path: str, *headers: str, version: str = "1.1", method: str = "GET") -> Connection:
        lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers, "", ""]
        return self.send("\r\n".join(lines).encode("latin-1"))

    def receive(self) -> bool:
        """Take what has come, waiting for it; False when there is no more."""
        if self.over:
            return False
        try:
            text = self.sock.recv(262_144)
        except ConnectionResetError:
            text = b""
        if text:
            self.body += self.response.feed(text)
        else:
            self.over = True
            self.response.eof()
        return bool(text)

    def head(self) -> Connection:
        """Read until the headers are here."""
        while not self.status and self.receive():
            pass
        return self

    def until(self, what: bytes) -> Connection:
        """Read until this has come. Fails when it does not."""
        deadline = time.monotonic() + self.seconds * PATIENCE
        while what not in self.body:
            assert time.monotonic() < deadline, f"no {what!r} within {self.seconds} s: {self.body[-300:]!r}"
            assert self.receive(), f"the end before {what!r}: {self.status} {self.body[-300:]!r}"
        return self

    def answer(self) -> Connection:
        """Read to the end of the answer."""
        while not self.response.complete and self.receive():
            pass
        return self

    def end(self) -> Connection:
        """Read to the end of the connection."""
        while self.receive():
            pass
        return self
