"""Who subscribes, in all workers of a server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from comet import audience
from comet.audience import Audience
from tests.timing import until


def wait(state: Callable[[], object]) -> None:
    until(state, sleep=gevent.sleep)


@pytest.fixture
def other() -> Iterator[int]:
    """The process id of another worker that lives."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "EVERY", 0.0)


def test_alone() -> None:
    """Without a folder a worker counts its own."""
    one = Audience({"a": 2})
    one.start(None)
    assert (one.of("a"), one.of("b")) == (2, 0)
    one.stop()


def test_others_are_added(tmp_path: Path, other: int) -> None:
    """What another worker has said counts, and what it says anew."""
    one = Audience({"a": 2})
    one.start(tmp_path)
    said = tmp_path / f"{other}.audience"
    assert one.of("a") == 2
    said.write_text('{"a": 3, "b": 1}')
    assert (one.of("a"), one.of("b")) == (5, 1)
    said.write_text('{"a": 4}')
    os.utime(said, ns=(1, 1))
    assert (one.of("a"), one.of("b")) == (6, 0)
    said.write_text("{")
    os.utime(said, ns=(2, 2))
    assert one.of("a") == 2  # no worker writes that
    one.stop()


def test_who_has_died_has_none(tmp_path: Path) -> None:
    """However a worker ends: its file goes, too."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    said = tmp_path / f"{process.pid}.audience"
    said.write_text('{"a": 3}')
    one = Audience({"a": 2})
    one.start(tmp_path)
    assert one.of("a") == 2
    assert not said.exists()
    one.stop()


def test_what_is_told(tmp_path: Path) -> None:
    """Who subscribes here, without comet's own channels; nothing once the worker has stopped."""
    subscribed = {"a": 2, "comet.status": 1}
    one, said = Audience(subscribed), tmp_path / f"{os.getpid()}.audience"
    said.write_text('{"of one that had this process id": 1}')
    one.start(tmp_path)
    assert not said.exists()
    wait(lambda: said.exists() and said.read_text() == '{"a": 2}')
    del subscribed["a"]
    wait(lambda: said.read_text() == "{}")
    one.stop()
    assert not said.exists()
