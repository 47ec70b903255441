"""Fixtures of the tests against the real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that the tests of one file share: each uses channels of its own."""
    with Server(demo=1, heartbeat=1) as running:
        yield running
