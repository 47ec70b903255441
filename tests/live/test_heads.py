"""Heads of requests that do not come whole: told after COMET_WRITE_TIMEOUT, by either way to start the server.

How many of each kind, dripping and beside others, end and hold up nobody is in ``test_attacks.py``.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.live.raw import Connection
from tests.live.server import Server
from tests.timing import until


class ByCommand(Server):
    """Started by ``python -m comet serve``."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "comet", "serve"]


WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = WHOLE[:-2]
#: COMET_WRITE_TIMEOUT: longer than gunicorn's time for keep-alive; and than its patience with a worker that ends.
SHORT, LONG = 2.5, 60


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(write_timeout=SHORT) as running:
        yield running
        assert "Traceback" not in running.log(), running.log()


def refusals(server: Server) -> float:
    """How many were answered 408, as the metrics tell."""
    lines = server.get("/metrics", headers=server.auth).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('comet_refusals_total{status="408"}'))


def test_half_a_head(server: Server) -> None:
    """It is refused with problem details, and counted; then the connection is closed."""
    before = refusals(server)
    assert_refuses(server)
    until(lambda: refusals(server) == before + 1)


def test_started_by_the_command_line() -> None:
    """It is so there, too."""
    with ByCommand(write_timeout=SHORT) as server:
        assert_refuses(server)


def assert_refuses(server: Server) -> None:
    with Connection(server) as connection:
        connection.send(HALF).end()
        assert (connection.status, connection.response.complete) == (408, True)
        assert connection.headers["content-type"] == "application/problem+json"
        assert connection.headers["connection"] == "close"
        assert connection.headers["x-content-type-options"] == "nosniff"
        told = json.loads(connection.body)
    assert (told["type"], told["title"], told["status"]) == ("about:blank", "Request Timeout", 408)
    assert f"at most {SHORT} s (COMET_WRITE_TIMEOUT)" in told["detail"]


def test_half_a_second_request(server: Server) -> None:
    """What follows a whole request has its own time."""
    with Connection(server) as connection:
        connection.send(WHOLE + HALF).answer()
        assert connection.status == 200
        assert connection.send(b"").end().status == 408


def test_an_idle_connection(server: Server) -> None:
    """Of which no byte of another request has come: it is closed, and nothing is said."""
    idle = [(Connection(server).send(sent), status) for sent, status in SILENT]
    for connection, status in idle:
        with connection:
            assert connection.answer().status == status
            assert connection.send(b"").end().status == 0


#: What was sent before, and the status of the answer to that.
SILENT = [(b"", 0), (WHOLE, 200), (WHOLE + b"\r\n", 200)]


def test_a_head_in_pieces(server: Server) -> None:
    """It is served when it comes in time, and no timer runs on beneath its answer."""
    with until(lambda: in_pieces(server), what="a head that came in time") as connection:
        begun = time.monotonic()
        while time.monotonic() < begun + SHORT + 0.5:
            server.get("/healthz")
        server.publish("pieces", "whole")
        connection.until(b'"data":"whole"')


def in_pieces(server: Server) -> Connection | None:
    """A stream that was asked for a piece at a time; None: that has taken too long."""
    connection = Connection(server)
    with suppress(OSError):  # it is closed already
        for piece in (b"GET /channels/pieces/ndjson HT", b"TP/1.1\r\nHo", b"st: localhost\r\n", b"\r\n"):
            connection.sock.sendall(piece)
            server.get("/healthz")
    if connection.head().status == 200:
        return connection
    connection.sock.close()
    return None


def test_a_worker_that_ends() -> None:
    """It does not wait for the rest of a head."""
    with Server(write_timeout=LONG, drain_seconds=0) as server:
        halves = [Connection(server) for _ in range(10)]
        for half in halves:
            half.sock.sendall(HALF)
        server.get("/healthz")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert not re.search("graceful timeout|SIGKILL", server.log())
        for half in halves:
            half.end()
            half.sock.close()
