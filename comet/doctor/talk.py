"""Talking to a server by HTTP/1.1: answers that end, and streams that are read as they come."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from .seen import Answer, Link, is_ours


#: Seconds for a connection, and for an answer that has nothing to wait for.
PATIENCE = 10.0

#: Bytes of an answer, and of the end of a stream, that are kept.
KEPT = 65_536

#: What ends a reading, for better or worse. ValueError: the file of a connection that was closed meanwhile.
BROKEN = (OSError, http.client.HTTPException, ValueError)


class Unreachable(Exception):
    """Nothing can be measured; the sentence says why."""


@dataclass(frozen=True)
class Target:
    """Where to: a URL in its parts. ``path`` is what the routes stand below."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Target:
        """Raises ValueError with a sentence."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"{url[:100]!r} is not a URL: {error}.") from error
        plain = re.fullmatch(r"[!-~]+", url) and not parts.query and not parts.fragment
        if parts.scheme not in ("http", "https") or not host or not plain:
            raise ValueError(
                f"{url[:100]!r} is not the URL of a server: it takes one such as https://push.example.org."
            )
        if parts.username is not None:
            raise ValueError("a URL with a user's name in it is not taken: give --token.")
        secure = parts.scheme == "https"
        return cls(secure, host, port or (443 if secure else 80), parts.path.rstrip("/"))

    @property
    def place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"http{'s' if self.secure else ''}://{self.place}{self.path}"

    def connection(self, seconds: float) -> http.client.HTTPConnection:
        """One that is not open yet, with so many seconds for whatever it waits for."""
        if not self.secure:
            return http.client.HTTPConnection(self.host, self.port, timeout=seconds)
        return http.client.HTTPSConnection(self.host, self.port, timeout=seconds, context=_context("http/1.1"))

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        seconds: float = PATIENCE,
    ) -> Answer:
        """The answer; one with the status 0 if there is none."""
        connection, begun = self.connection(seconds), time.monotonic()
        try:
            try:
                connection.request(method, self.path + path, body, dict(headers or {}))
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all of it was sent: the answer may be there
            response = connection.getresponse()
            text = response.read(KEPT).decode("utf-8", "replace")
            version = "1.0" if response.version == 10 else "1.1"
            return Answer(response.status, time.monotonic() - begun, version, _headers(response), text)
        except BROKEN as error:
            return Answer(0, time.monotonic() - begun, text=explain(error, self))
        finally:
            connection.close()

    def reach(self) -> Link:
        """Open a connection, and see what it takes. Raises Unreachable."""
        try:
            return self._reach()
        except (OSError, UnicodeError) as error:
            raise Unreachable(explain(error, self)) from error

    def _reach(self) -> Link:
        begun = time.monotonic()
        socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        named = time.monotonic()
        with socket.create_connection((self.host, self.port), timeout=PATIENCE) as sock:
            connected = time.monotonic()
            if not self.secure:
                return Link(named - begun, connected - named)
            with _context("h2", "http/1.1").wrap_socket(sock, server_hostname=self.host) as packed:
                return Link(
                    named - begun,
                    connected - named,
                    time.monotonic() - connected,
                    packed.version() or "",
                    packed.selected_alpn_protocol() or "",
                )


def _context(*protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(list(protocols))
    return context


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    names = {name.lower() for name in response.headers}
    return {name: ", ".join(response.headers.get_all(name, ())) for name in names}


def explain(error: BaseException, target: Target) -> str:
    """Why a server can't be reached, in a sentence."""
    place = target.place
    match error:
        case socket.gaierror() | UnicodeError():
            return f"the name {target.host} is not known."
        case ssl.SSLCertVerificationError():
            return f"the certificate of {place} can't be trusted: {error.verify_message}."
        case ssl.SSLError():
            return f"{place} does not speak TLS as it should ({error.reason or error}): is it http://?"
        case ConnectionRefusedError():
            return f"nothing listens at {place}."
        case TimeoutError():
            return f"{place} does not answer."
        case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
            return f"{place} closes the connection without an answer."
        case http.client.HTTPException():
            return f"what answers at {place} does not speak HTTP as it should ({type(error).__name__})."
    return f"{place} can't be reached: {error}."


class Reader:
    """A stream, read by a thread of its own until it ends or is told to ``stop``.

    ``head``, ``first`` and ``ended`` are seconds since it was asked for. A head that has not come after ``patience``
    seconds is not waited for any longer.
    """

    def __init__(self, target: Target, path: str, headers: Mapping[str, str], *, patience: float) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head: float | None = None
        self.first: float | None = None
        self.ended: float | None = None
        self.pieces: list[tuple[float, bytes]] = []
        self.text = b""
        self._marks: dict[bytes, float | None] = {}
        self.patience = patience
        self._target, self._path, self._asked = target, path, dict(headers)
        self._connection = target.connection(patience)
        self._sock: socket.socket | None = None
        self._changed = threading.Condition()
        self._stopped = False
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def ours(self) -> bool:
        return is_ours(self.headers)

    @property
    def age(self) -> float:
        return time.monotonic() - self._begun

    def wait(self, state: Callable[[], bool], seconds: float) -> bool:
        """Wait until something has come that makes this true, the end, or the end of the time."""
        with self._changed:
            self._changed.wait_for(lambda: state() or self.ended is not None, max(0.0, seconds))
            return state()

    def expect(self, mark: bytes) -> None:
        """Note when this comes."""
        with self._changed:
            self._marks[mark] = None

    def came(self, mark: bytes, seconds: float) -> float | None:
        """When this came, by the monotonic clock, if it does before so many seconds are over."""
        self.wait(lambda: self._marks[mark] is not None, seconds)
        return self._marks[mark]

    def has_head(self, seconds: float) -> bool:
        return self.wait(lambda: self.status != 0, seconds)

    def has_begun(self, seconds: float) -> bool:
        return self.wait(lambda: self.first is not None, seconds)

    def stop(self) -> None:
        self._stopped = True
        if self._sock is not None:
            try:
                # Past TLS, which would wait for the other side.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone already
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        try:
            self._read()
        except BROKEN:
            pass  # broken, or stopped: it has ended either way
        finally:
            with self._changed:
                self.ended = None if self._stopped else self.age
                self._changed.notify_all()
            self._connection.close()

    def _read(self) -> None:
        self._connection.connect()
        sock = self._sock = self._connection.sock  # the connection forgets it where the answer is the last on it
        self._connection.request("GET", self._target.path + self._path, headers=self._asked)
        response = self._connection.getresponse()
        with self._changed:
            self.head, self.status, self.headers = self.age, response.status, _headers(response)
            self._changed.notify_all()
        sock.settimeout(None)
        unpack = zlib.decompressobj(31).decompress if self.headers.get("content-encoding") == "gzip" else bytes
        while piece := response.read1(KEPT):
            if text := unpack(piece):
                self._take(text)

    def _take(self, text: bytes) -> None:
        with self._changed:
            age = self.age
            self.first = age if self.first is None else self.first
            self.text = (self.text + text)[-KEPT:]
            for mark, came in self._marks.items():
                if came is None and mark in self.text:
                    self._marks[mark] = time.monotonic()
            if len(self.pieces) < 10_000:
                self.pieces.append((age, text[-KEPT:]))
            self._changed.notify_all()
