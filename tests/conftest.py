"""What all tests share: missing servers and browsers skip here, and fail under CI."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.room import Room


if TYPE_CHECKING:
    from tests.mariadb import MariaDB


def need(*programs: str) -> None:
    """Skip with one line if a program is missing; under CI=true that is a failure."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        reason = f"{', '.join(missing)} not installed (tests/packages.txt)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def pytest_configure() -> None:
    """Ctrl-C is heard by what tests start, also where a shell has started all of this in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of tests that are alone come last: until then hardly anybody waits for anybody."""
    items.sort(key=lambda item: any(mark.name == "alone" for mark in item.getparent(pytest.Module).own_markers))


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    folder = tmp_path_factory.getbasetemp()
    shared = Room(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
    yield shared
    shared.close()


@pytest.fixture(scope="session", autouse=True)
def settings_of_the_tests() -> Iterator[None]:
    """Those whose modules have read them: an app that a test makes would take them for settings of comet."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PATIENCE", "DIRECT_WRITES", "EXAMPLES"):
            patch.delenv(f"COMET_TEST_{name}", raising=False)
        yield


@pytest.fixture(autouse=True)
def in_the_room(request: pytest.FixtureRequest, room: Room) -> Iterator[None]:
    """``make test`` runs tests beside each other, but not beside one that is marked ``alone``."""
    with room.inside(alone=request.node.get_closest_marker("alone") is not None):
        yield


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One MariaDB for all tests, each with a schema of its own."""
    from tests.mariadb import MariaDB

    server = MariaDB()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def schema(mariadb: MariaDB) -> Iterator[str]:
    """A new, empty database on it. Whatever a test has done to the server, the next one finds it well."""
    name = f"t{uuid4().hex[:10]}"
    mariadb.execute(f"CREATE DATABASE {name}")
    yield name
    if mariadb.process is None:
        mariadb.start()
    mariadb.thaw()
