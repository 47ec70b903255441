"""Fixtures of the tests of the triggers."""

from __future__ import annotations

import gevent.socket
import pytest

from tests.triggers.watching import Published


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def cooperative(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyMySQL as in a worker, where sockets are gevent's: others run while one waits for the server."""
    connections = pytest.importorskip("pymysql.connections")
    monkeypatch.setattr(connections, "socket", gevent.socket)
