"""HTTP/2 as a browser speaks it: one connection over TLS, and many requests in it, each read as it comes.

Strategy: whoever waits for one of them reads for all, on the thread that asks.
"""

from __future__ import annotations

import socket
import time

import h2.config
import h2.connection
import h2.events

from tests.live.proxies import Proxy
from tests.timing import PATIENCE


class Exchange:
    """One request and what has come of its answer. ``complete``: it came to its proper end. ``over``: nothing more."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self.number = number
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = self.over = False

    def head(self) -> Exchange:
        while not self.status and self.receive():
            pass
        assert self.status, "no headers"
        return self

    def until(self, what: bytes) -> Exchange:
        """Read until this has come. Fails when it does not."""
        deadline = time.monotonic() + self.connection.seconds * PATIENCE
        while what not in self.body:
            assert time.monotonic() < deadline, f"no {what!r}: {self.status} {self.body[-300:]!r}"
            assert self.receive(), f"the end before {what!r}: {self.status} {self.body[-300:]!r}"
        return self

    def answer(self) -> Exchange:
        """Read to the end of it."""
        while self.receive():
            pass
        return self

    def receive(self) -> bool:
        """Take what has come, for whichever request, waiting for it; False when no more comes for this one."""
        if not self.over:
            self.connection.receive()
        return not self.over

    def leave(self) -> None:
        """Tell that nobody listens any longer, as a page does that is closed while others stay."""
        self.connection.reset(self.number)


class Connection:
    """One connection. ``source`` is the address that it comes from, any of 127.0.0.0/8."""

    def __init__(self, to: Proxy, *, seconds: float = 10.0, source: str = "127.0.0.1") -> None:
        self.seconds = seconds
        self.authority = f"localhost:{to.port}"
        sock = socket.create_connection(("127.0.0.1", to.port), timeout=seconds * PATIENCE, source_address=(source, 0))
        self.sock = to.wrap(sock, "h2")
        self.exchanges: dict[int, Exchange] = {}
        self._state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._state.initiate_connection()
        self._state.increment_flow_control_window(16_000_000)
        self._flush()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.sock.close()

    def get(self, path: str, *headers: str) -> Exchange:
        number = self._state.get_next_available_stream_id()
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", self.authority), (":path", path)]
        pairs = (header.partition(":") for header in headers)
        fields += ((name.lower(), value.strip()) for name, _, value in pairs)
        self._state.send_headers(number, fields, end_stream=True)
        self._state.increment_flow_control_window(4_000_000, number)
        self._flush()
        exchange = self.exchanges[number] = Exchange(self, number)
        return exchange

    def reset(self, number: int) -> None:
        self._state.reset_stream(number, 8)  # CANCEL
        self._flush()

    def receive(self) -> None:
        text = self.sock.recv(262_144)
        if not text:
            for exchange in self.exchanges.values():
                exchange.over = True
            return
        for event in self._state.receive_data(text):
            self._heed(event)
        self._flush()

    def _heed(self, event: h2.events.Event) -> None:
        exchange = self.exchanges.get(getattr(event, "stream_id", 0) or 0)
        if exchange is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            exchange.headers = dict(event.headers)  # type: ignore[arg-type]
            exchange.status = int(exchange.headers[":status"])
        elif isinstance(event, h2.events.DataReceived):
            exchange.body += event.data
            self._state.acknowledge_received_data(event.flow_controlled_length, exchange.number)
        elif isinstance(event, h2.events.StreamEnded):
            exchange.complete = exchange.over = True
        elif isinstance(event, h2.events.StreamReset):
            exchange.over = True

    def _flush(self) -> None:
        self.sock.sendall(self._state.data_to_send())
