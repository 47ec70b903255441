"""Fixtures of the tests against the real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.redis_server import RedisServer
from tests.live.browsers import BROWSERS, Browser
from tests.live.pages import both
from tests.live.server import Server
from tests.live.sites import Site


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that the tests of one file share: each uses channels of its own."""
    with Server(demo=1, heartbeat=1) as running:
        yield running


@pytest.fixture(params=["sqlite", "redis"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a broker that several workers share, each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/log.db"
        return
    redis = RedisServer(tmp_path)
    try:
        yield redis.start().url
    finally:
        redis.kill()


@pytest.fixture(scope="module", params=BROWSERS)
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Firefox for all tests of a file, then Chromium."""
    with BROWSERS[request.param]() as running:
        yield running


@pytest.fixture(scope="module")
def browsers() -> Iterator[list[Browser]]:
    """Both, for scenes that are played in both at once."""
    with both() as running:
        yield running


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Pages of another site."""
    with Site() as running:
        yield running


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> Iterator[str]:
    """A channel of this test's own. Afterwards its pages are closed: their streams would hold connections."""
    yield re.sub(r"[^\w.]+", "-", request.node.name[5:])[:90].strip("-")
    for name in {"browser", "browsers"} & set(request.fixturenames):
        found = request.getfixturevalue(name)
        for browser in found if isinstance(found, list) else [found]:
            browser.leave()
