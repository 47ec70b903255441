"""Checkpoints: a file that remembers how far sources have been read, for the broker that remembers nothing."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import gevent
import pytest
from gevent import monkey

from comet.core.errors import Alarm
from comet.triggers.supervisor.checkpoints import Checkpoints
from tests.triggers.watching import wait


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints.json"


def written(path: Path) -> object:
    return json.loads(path.read_text()) if path.exists() else None


def test_nothing_is_known_and_nothing_is_written(path: Path) -> None:
    """A server without such triggers has no file."""
    checkpoints = Checkpoints(path)
    assert checkpoints.get("a") is None
    checkpoints.close()
    assert list(path.parent.iterdir()) == []


def test_what_is_remembered_is_known_at_once_and_written_soon(path: Path) -> None:
    """The newest of each name; whoever reads the file later knows the same."""
    checkpoints = Checkpoints(path)
    for number in range(100):
        checkpoints.remember("a", str(number))
        checkpoints.remember("é", f'{{"x": {number}}}')
        assert checkpoints.get("a") == str(number)
    wait(lambda: written(path) == {"a": "99", "é": '{"x": 99}'})
    assert Checkpoints(path).get("é") == '{"x": 99}'
    assert list(path.parent.iterdir()) == [path]


def test_what_is_remembered_while_it_is_written(path: Path) -> None:
    """It is written, too; the file is behind, for a moment, and never ahead."""
    checkpoints = Checkpoints(path)
    for number in range(30):
        checkpoints.remember("a", str(number))
        found = written(path)
        assert found is None or int(found["a"]) <= number  # type: ignore[index]
        gevent.sleep(0.02)
    wait(lambda: written(path) == {"a": "29"})


def test_closing_writes_at_once(path: Path) -> None:
    """A server that stops remembers all; it may begin again."""
    checkpoints = Checkpoints(path)
    checkpoints.remember("a", "1")
    checkpoints.close()
    assert written(path) == {"a": "1"}
    checkpoints.remember("a", "2")
    wait(lambda: written(path) == {"a": "2"})
    checkpoints.close()


def test_names_that_nobody_asks_for_are_kept(path: Path) -> None:
    """A trigger that is taken out of the file and comes back goes on where it was."""
    path.write_text('{"old": "7"}')
    checkpoints = Checkpoints(path)
    checkpoints.remember("new", "1")
    checkpoints.close()
    assert written(path) == {"old": "7", "new": "1"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", r"the checkpoints can't be read from .*: .*Mend it, or move it away\."),
        (b"\xff", r"the checkpoints can't be read from .*Mend it"),
        (b"[]", r"has no checkpoints\. Move it away, or set COMET_CHECKPOINTS to another file\."),
        (b'{"a": 1}', r"has no checkpoints\."),
    ],
)
def test_a_file_that_has_no_checkpoints(path: Path, content: bytes, told: str) -> None:
    """An alarm, instead of beginning anew as if nothing had been read; the file stays as it is."""
    path.write_bytes(content)
    with pytest.raises(Alarm, match=told):
        Checkpoints(path).get("a")
    with pytest.raises(Alarm, match=told):
        Checkpoints(path).remember("a", "1")
    assert path.read_bytes() == content


def test_a_folder_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What can't be written is told in the log; publishing goes on, and when the folder is there, it is written."""
    checkpoints = Checkpoints(tmp_path / "no" / "checkpoints.json")
    with caplog.at_level(logging.ERROR, "comet"):
        checkpoints.remember("a", "1")
        wait(lambda: "can't be written to" in caplog.text)
    assert checkpoints.get("a") == "1"
    (tmp_path / "no").mkdir()
    checkpoints.remember("a", "2")
    wait(lambda: written(tmp_path / "no" / "checkpoints.json") == {"a": "2"})


def test_a_write_that_fails_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is tried again by itself."""
    path.mkdir()
    with caplog.at_level(logging.ERROR, "comet"):
        checkpoints = Checkpoints(path)
        checkpoints._texts = {}
        checkpoints.remember("a", "1")
        wait(lambda: "can't be written to" in caplog.text)
    path.rmdir()
    wait(lambda: written(path) == {"a": "1"})


def test_the_old_file_stays_until_the_new_one_is_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who dies while writing leaves the old one."""
    checkpoints = Checkpoints(path)
    checkpoints.remember("a", "1")
    checkpoints.close()

    def die(fd: int) -> None:
        raise SystemError("died")

    monkeypatch.setattr(os, "fsync", die)
    checkpoints.remember("a", "2")
    with pytest.raises(SystemError):
        checkpoints.close()
    monkeypatch.undo()
    assert written(path) == {"a": "1"}
    assert Checkpoints(path).get("a") == "1"


def test_closing_while_it_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered last is in the file, also if a thread is slow with what was remembered before."""
    checkpoints, fsync, slow = Checkpoints(path), os.fsync, []

    def sync(fd: int) -> None:
        if not slow:
            slow.append(fd)
            monkey.get_original("time", "sleep")(0.2)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", sync)
    checkpoints.remember("a", "1")
    wait(lambda: slow)
    checkpoints.remember("a", "2")
    checkpoints.close()
    gevent.sleep(0.3)
    assert written(path) == {"a": "2"}
