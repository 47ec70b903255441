"""Heads: how long a client may take over the head of a request, and what it is told then.

gunicorn gives a connection one time, that for keep-alive, to be idle and to send a head, and closes it without a word.
That stays so while nothing of a request has come. A head that has begun has a time of its own: it must be whole within
COMET_WRITE_TIMEOUT, however it drips, and is answered 408 else. That is not sooner because an EventSource gives up for
good on it, and would come back after a lost connection.

A request that comes whole, as nearly all do, takes no timer but gunicorn's, which is gone when the app is called.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

import gevent
from gunicorn import util
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

from .views.problems import text_of
from .worker import Worker


#: Seconds for the rest of a head in a worker that ends, and for an answer to a client that may not read.
SHORT = 1.0

#: Addresses of which is remembered whether they are trusted.
MOST = 10_000


def bound(comet: Worker) -> None:
    """Let this process read its requests so. Before it serves."""
    Bounded.comet = comet
    RequestParser.mesg_class = Bounded


class Bounded(Request):  # type: ignore[misc]
    """A request whose client must send it in time."""

    comet: ClassVar[Worker]

    #: By address: whether to believe what a peer says of those whom it forwards. gunicorn finds it out for each request
    #: anew, which takes 10 µs.
    _trusted: ClassVar[dict[str, bool]] = {}

    _deadline = 0.0

    def _peer_is_trusted_proxy(self) -> bool:
        address = self.peer_addr[0] if isinstance(self.peer_addr, tuple) else ""
        known = self._trusted.get(address)
        if known is None:
            if len(self._trusted) >= MOST:
                self._trusted.clear()
            known = self._trusted[address] = bool(super()._peer_is_trusted_proxy())
        return known

    def read_into(self, unreader: Any, buf: bytearray, stop: bool = False) -> None:
        """Read some more of it. ``stop``: nothing of it has come yet."""
        if stop or self._is_idle(buf):
            super().read_into(unreader, buf, stop)
        elif not self._read_rest(unreader, buf):
            self._refuse(unreader.sock)
            raise StopIteration  # gunicorn closes the connection

    def _is_idle(self, buf: bytearray) -> bool:
        # An old client sends an empty line behind a body: no request begins with that.
        return self.method is None and not buf.strip()

    def _read_rest(self, unreader: Any, buf: bytearray) -> bool:
        """Whether some more has come in time."""
        peers = self.comet.peers
        peer = peers.of(unreader.sock)
        peers.readers.add(peer)  # a worker that ends does not wait for it
        try:
            while True:
                try:
                    with gevent.Timeout(self._left(), False):
                        super().read_into(unreader, buf)
                        return True
                    return False
                except gevent.Timeout:
                    continue  # gunicorn's own, which goes off once
        finally:
            peers.readers.discard(peer)

    def _left(self) -> float:
        now = time.monotonic()
        if not self._deadline:
            # Those who are read from are cut once, at the end of the drain: who begins after that must not hold it up.
            self._deadline = now + (SHORT if self.comet.controller.stopping else self.comet.settings.write_timeout)
        return max(0.001, self._deadline - now)

    def _refuse(self, sock: Any) -> None:
        self.comet.controller.counts.refusals[408] += 1
        seconds = self.comet.settings.write_timeout
        detail = (
            f"the head of this request was not whole in time: it takes at most {seconds:g} s (COMET_WRITE_TIMEOUT)."
        )
        body = text_of(408, detail).encode()
        head = (
            "HTTP/1.1 408 Request Timeout",
            f"Date: {util.http_date()}",
            "Connection: close",
            "Content-Type: application/problem+json",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-cache, no-store, no-transform",
            "X-Content-Type-Options: nosniff",
            "\r\n",
        )
        with gevent.Timeout(SHORT, False):
            sock.sendall("\r\n".join(head).encode() + body)
