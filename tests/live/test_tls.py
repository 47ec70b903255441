"""TLS that ends in gunicorn itself: streams go through it, and nobody holds a connection without shaking hands."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests

from tests.conftest import need
from tests.live.proxies import certificate
from tests.live.server import Server
from tests.timing import until


#: COMET_WRITE_TIMEOUT; and one that nobody waits for.
SHORT, LONG = 2.5, 60


class Secure(Server):
    """One that speaks TLS."""

    def __init__(self, **settings: Any) -> None:
        need("openssl")
        key, chain = certificate()
        files = {"key.pem": key, "chain.pem": chain}
        super().__init__("--keyfile", "key.pem", "--certfile", "chain.pem", files=files, **settings)
        self.url = f"https://localhost:{self.port}"

    def is_up(self) -> bool:
        assert self.runs, self.log()
        try:
            return self.get("/healthz").status_code == 200
        except requests.RequestException:
            return False

    def get(self, path: str, **options: Any) -> requests.Response:
        return super().get(path, verify=str(self.file("chain.pem")), **options)

    def shaken(self) -> ssl.SSLSocket:
        """A connection whose hands are shaken."""
        context = ssl.create_default_context(cafile=str(self.file("chain.pem")))
        return context.wrap_socket(self.connect(), server_hostname="localhost")


@pytest.fixture(scope="module")
def server() -> Iterator[Secure]:
    with Secure(write_timeout=SHORT) as running:
        yield running
        assert "Traceback" not in running.log(), running.log()


def test_a_stream(server: Secure) -> None:
    """Head, updates and heartbeats come as they do without TLS."""
    with server.get("/channels/secret/text", stream=True) as stream:
        body = {"data": "over TLS", "headers": {"Content-Type": "text/plain", **server.auth}}
        assert requests.post(
            f"{server.url}/channels/secret", verify=str(server.file("chain.pem")), timeout=10, **body
        ).ok
        assert next(stream.iter_lines()) == b"over TLS"


def test_who_does_not_shake_hands(server: Secure) -> None:
    """The connection is closed when its time is over, and holds up nobody until then."""
    silent = [server.connect() for _ in range(20)]
    assert server.get("/healthz").status_code == 200
    for each in silent:
        assert each.recv(100) == b""
        each.close()


def test_who_speaks_something_else(server: Secure) -> None:
    """Plain HTTP, noise, and one who does not trust the certificate: each is closed, and nothing of it is logged."""
    for noise in (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 500):
        with server.connect() as plain:
            plain.sendall(noise)
            assert to_the_end(plain)[:1] in (b"", b"\x15")  # nothing, or an alert of TLS
    with pytest.raises(ssl.SSLCertVerificationError), server.connect() as mistrustful:
        ssl.create_default_context().wrap_socket(mistrustful, server_hostname="localhost")
    assert server.get("/healthz").status_code == 200


def test_a_worker_that_ends_waits_for_no_hand() -> None:
    with Secure(write_timeout=LONG, drain_seconds=1) as server:
        silent, shaken = server.connect(), server.shaken()
        with silent, shaken:
            shaken.sendall(b"GET /channels/secret/sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: b":comet" in shaken.recv(1000))
            server.signal(signal.SIGTERM)
            assert server.wait(8) == 0


def to_the_end(sock: socket.socket) -> bytes:
    text = b""
    with suppress(ConnectionError):
        while piece := sock.recv(1000):
            text += piece
    return text
