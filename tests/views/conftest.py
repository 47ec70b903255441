"""Fixtures of the tests of HTTP in and HTTP out: Flask's test client, no server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from comet import create_app
from comet.settings import Settings
from tests.views.client import KEY, Client, Serve


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start an app with these settings; return its client."""
    workers = []

    def start(**settings: Any) -> Client:
        app = create_app(Settings(**{"publish_key": (KEY,), "heartbeat": 60.0, **settings}))
        workers.append(app.extensions["comet"].worker)
        return Client(app)

    yield start
    for worker in workers:
        worker.stop()


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve()
