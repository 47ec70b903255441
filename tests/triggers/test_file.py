"""File: lines that are written, whatever becomes of the file's name meanwhile."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import gevent
import pytest

from comet.brokers import Receipt
from comet.core.errors import Alarm
from comet.core.update import Update
from comet.triggers.file import TOGETHER, File
from comet.triggers.file.followed import READ, Followed
from tests.timing import PATIENCE
from tests.triggers.watching import Published, ended, wait


class Batches(Published):
    """Beside the updates, how many came together."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        if updates:
            self.sizes.append(len(updates))
        return super().__call__(updates, checkpoint)


@pytest.fixture
def published() -> Batches:
    return Batches()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@contextmanager
def following(path: Path, published: Published, **options: object) -> Iterator[File]:
    """A trigger that has begun: what is written from now on is new."""
    linger = options.pop("linger", None)
    file = File("f", path=str(path), channel="a", **options)  # type: ignore[arg-type]
    if linger is not None:
        file.linger = float(linger)  # type: ignore[arg-type]
    begun = len(published.checkpoints)
    running = gevent.spawn(file.run, published)
    if not begun:
        wait(lambda: published.checkpoints or running.ready())
    try:
        yield file
    finally:
        file.stop()
        ended(running)


def write(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def numbers(begin: int, end: int) -> str:
    return "".join(f"{n}\n" for n in range(begin, end))


def test_lines_that_are_there_already_are_not_new(path: Path, published: Published) -> None:
    """It begins at the end, with the line that is not finished there."""
    write(path, "old\nhalf")
    with following(path, published):
        write(path, " and half\nnew\r\n\n")
        wait(lambda: len(published) == 3)
    assert published.texts == ["half and half", "new", ""]
    assert {(update.channel, update.type, update.event) for update in published} == {
        ("a", "text/plain; charset=utf-8", None)
    }


def test_a_file_that_comes_into_being(path: Path, published: Published) -> None:
    """It is waited for, and all of it is new."""
    with following(path, published, event="line", type="application/json"):
        write(path, "1\n2\n")
        wait(lambda: len(published) == 2)
    assert [(update.data, update.event, update.type) for update in published] == [
        (b"1", "line", "application/json"),
        (b"2", "line", "application/json"),
    ]


def test_a_line_waits_for_its_end(path: Path, published: Published) -> None:
    """What is half written is not published in halves."""
    write(path, "")
    with following(path, published):
        for piece in ("a", "b", "c\nd"):
            write(path, piece)
            gevent.sleep(0.12)
        wait(lambda: published)
        assert published.texts == ["abc"]


def test_lines_that_are_ready_together(path: Path, published: Batches) -> None:
    """They are published together."""
    with following(path, published):
        write(path, numbers(0, 100))
        wait(lambda: len(published) == 100)
    assert published.sizes == [100]
    assert published.texts == [str(n) for n in range(100)]


def test_a_file_that_is_renamed_while_it_is_written(path: Path, published: Published) -> None:
    """Each line once and in order, also what is written after the new file was made by who has not noticed."""
    written = 0
    with following(path, published):
        for turn in range(5):
            old = path.open("a")
            for _ in range(20):
                old.write(f"{written}\n")
                old.flush()
                written += 1
                gevent.sleep(0.004)
            path.rename(path.with_name(f"log.{turn}"))
            if turn % 2:
                path.touch()
            gevent.sleep(0.08 * (turn % 3))
            old.write(f"{written}\n")
            old.close()
            written += 1
            wait(lambda: len(published) == written)  # noqa: B023
    assert published.texts == [str(n) for n in range(written)]


def test_who_writes_on_to_the_renamed_file(path: Path, published: Published) -> None:
    """The lines of both are published until the old one is quiet; then its last line is taken as it is."""
    write(path, "")
    with following(path, published) as file:
        old = path.open("a")
        path.rename(path.with_name("log.1"))
        write(path, "new 1\n")
        wait(lambda: len(published) == 1)
        old.write("old 1\nno end")
        old.flush()
        wait(lambda: len(published) == 2)
        assert len(json.loads(published.checkpoints[-1])) == 2
        file.linger = 0.1
        wait(lambda: len(published) == 3)
        write(path, "new 2\n")
        wait(lambda: len(published) == 4)
        old.close()
    assert published.texts == ["new 1", "old 1", "no end", "new 2"]
    assert len(json.loads(published.checkpoints[-1])) == 1


def test_a_file_that_has_its_name_again(path: Path, published: Published) -> None:
    """It is not read a second time."""
    other = path.with_name("other")
    with following(path, published):
        write(path, "1\n")
        wait(lambda: len(published) == 1)
        path.rename(other)
        write(path, "2\n")
        wait(lambda: len(published) == 2)
        other.replace(path)
        gevent.sleep(0.12)
        write(path, "3\n")
        wait(lambda: len(published) == 3)
    assert published.texts == ["1", "2", "3"]


@pytest.mark.parametrize("again", ["a\n", "x\n", "xxxxxx\n", "one\ntwo\n"])
def test_a_file_that_is_truncated(path: Path, published: Published, again: str) -> None:
    """It is read from its beginning, also where a line stands again that stood there before, or it is longer by then.

    Only what is written anew with the same first bytes and is no shorter can't be told from what has grown.
    """
    with following(path, published):
        write(path, "one\ntwo\n")
        wait(lambda: len(published) == 2)
        if again == "one\ntwo\n":
            path.write_text("")
            gevent.sleep(0.12)
        path.write_text(again)
        wait(lambda: len(published) == 2 + again.count("\n"))
    assert published.texts == ["one", "two", *again.split()]


def test_keys_are_places(path: Path, published: Published) -> None:
    """Each line has its own for ever, also where the number of an inode comes again."""
    with following(path, published):
        for turn in range(10):
            write(path, "same\nsame\n")
            wait(lambda: len(published) == 2 * turn + 2)  # noqa: B023
            path.unlink()
    keys = [update.key or "" for update in published]
    assert len(set(keys)) == 20
    assert all(re.fullmatch(r"[0-9a-f]{8}(:[0-9]+){4}", key) for key in keys)


def test_two_triggers_with_one_file(path: Path, published: Published) -> None:
    """On two hosts files may have the same numbers: a line of one is never taken for a line of the other."""
    write(path, "")
    others = Batches()
    file = File("other", path=str(path), channel="a")
    other = gevent.spawn(file.run, others)
    wait(lambda: others.checkpoints)
    with following(path, published):
        write(path, "1\n")
        wait(lambda: published and others)
    file.stop()
    ended(other)
    assert published[0].key != others[0].key


# Stopped and started again.


def test_a_restart_goes_on_where_it_was(path: Path, published: Published) -> None:
    """Nothing is lost and nothing comes twice, wherever it was stopped; a line in halves neither."""
    write(path, numbers(0, 10))
    for turn in range(1, 4):
        with following(path, published):
            write(path, f"{numbers(turn * 10, turn * 10 + 5)}ha")
            wait(lambda: len(published) == turn * 10 - 5)  # noqa: B023
        write(path, f"lf\n{numbers(turn * 10 + 6, turn * 10 + 10)}")
    with following(path, published):
        wait(lambda: len(published) == 30)
    assert published.texts == [
        text for turn in (1, 2, 3) for text in [*numbers(turn * 10, turn * 10 + 5).split(), "half",
                                                *numbers(turn * 10 + 6, turn * 10 + 10).split()]
    ]  # fmt: skip


def test_renamed_while_it_was_stopped(path: Path, published: Published) -> None:
    """The file is known by its inode: it is read to its end first, then the one that has its name."""
    with following(path, published):
        write(path, "1\n")
        wait(lambda: len(published) == 1)
    write(path, "2\n")
    path.rename(path.with_name("log.1"))
    write(path, "3\n")
    with following(path, published):
        wait(lambda: len(published) == 3)
    assert published.texts == ["1", "2", "3"]


@pytest.mark.parametrize("how", ["removed", "truncated", "written anew", "another with its inode"])
def test_lost_while_it_was_stopped(
    path: Path, published: Published, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """What is there now is read from its beginning, and the log says that something may be missing."""
    with following(path, published):
        write(path, "old 1\nold 2\n")
        wait(lambda: len(published) == 2)
    if how == "removed":
        path.rename(path.with_name("away"))
        path.write_text("new\n")
        path.with_name("away").unlink()
    elif how == "another with its inode":
        checkpoint = json.loads(published.checkpoints[-1])
        path.unlink()
        path.write_text("new\n")
        checkpoint[0]["inode"] = path.stat().st_ino
        published.checkpoints.append(json.dumps(checkpoint))
    else:
        path.write_text("new\n" if how == "truncated" else "new\n" * 9)
    with caplog.at_level(logging.WARNING, "comet"), following(path, published):
        wait(lambda: len(published) > 2)
    assert set(published.texts[2:]) == {"new"}
    assert len(published) == (11 if how == "written anew" else 3)
    assert "may be lost" in caplog.text


def test_a_file_that_was_not_there_when_it_was_stopped(path: Path, published: Published) -> None:
    """When it is there after the restart, all of it is new."""
    with following(path, published):
        pass
    write(path, "1\n")
    with following(path, published):
        wait(lambda: published)
    assert published.texts == ["1"]


def test_what_was_published_before_a_crash_is_not_published_twice(path: Path, published: Published) -> None:
    """Without its last checkpoint it reads again, and the keys are the same."""
    write(path, "")
    with following(path, published):
        write(path, numbers(0, 5))
        wait(lambda: len(published) == 5)
    del published.checkpoints[1:]
    with following(path, published):
        write(path, "new\n")
        wait(lambda: "new" in published.texts)
    assert published.texts == ["0", "1", "2", "3", "4", "new"]


# What can't be read, and what is large.


def test_a_long_line(path: Path, published: Published, caplog: pytest.LogCaptureFixture) -> None:
    """It is cut, the next ones are whole, and the log says it once."""
    with caplog.at_level(logging.WARNING, "comet"), following(path, published, most=100):
        for _ in range(2):
            write(path, "x" * 3 * READ + "\nshort\n")
        wait(lambda: len(published) == 4)
    assert published.texts == ["x" * 100, "short"] * 2
    assert caplog.text.count("has a line of more than 100 bytes") == 1


@pytest.mark.parametrize(("what", "why"), [("folder", "it is not a file"), ("pipe", "it is not a file")])
def test_what_is_no_file(path: Path, published: Published, what: str, why: str) -> None:
    """An alarm with a sentence: no repetition makes a file of it. Nobody waits for the other end of a pipe."""
    path.mkdir() if what == "folder" else os.mkfifo(path)
    with pytest.raises(Alarm, match=f"{path} can't be followed: {why}"):
        gevent.spawn(File("f", path=str(path), channel="a").run, published).get(timeout=10 * PATIENCE)


def test_a_path_through_a_file(path: Path, published: Published) -> None:
    """It can't come into being: an alarm, too."""
    write(path, "")
    with pytest.raises(Alarm, match=r"log/x can't be read: not a directory\."):
        gevent.spawn(File("f", path=f"{path}/x", channel="a").run, published).get(timeout=10 * PATIENCE)


def test_no_descriptor_is_left_behind(path: Path, published: Published) -> None:
    """Neither by files that were renamed nor by a run that ends."""
    write(path, "")
    before = len(os.listdir("/proc/self/fd"))
    with following(path, published, linger=0.0):
        for turn in range(5):
            write(path, "x\n")
            wait(lambda: len(published) == turn + 1)  # noqa: B023
            path.rename(path.with_name("log.1"))
        write(path, "x\n")
        wait(lambda: len(published) == 6)
        wait(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)
    assert len(os.listdir("/proc/self/fd")) == before


def test_others_run_while_short_lines_are_read(path: Path) -> None:
    """What is read at once may be thousands of lines."""
    write(path, "\n" * READ)
    turns: list[int] = []

    def beside() -> None:
        while True:
            turns.append(1)
            gevent.sleep(0.0001)

    followed, running = Followed(str(path), most=1000, life=1), gevent.spawn(beside)
    assert len(followed.read()) == READ
    running.kill()
    followed.close()
    assert len(turns) > 3


def test_a_backlog_does_not_hold_the_others_up(path: Path, published: Batches) -> None:
    """Batches are bounded, and the loop turns again and again while they are published."""
    with following(path, published):
        pass
    write(path, numbers(0, 50_000))
    turns = [0]

    def tick() -> None:
        while len(published) < 50_000:
            turns.append(len(published))
            gevent.sleep(0)

    ticking = gevent.spawn(tick)
    with following(path, published):
        wait(lambda: len(published) == 50_000, seconds=60)
    ticking.join()
    assert published.texts == [str(n) for n in range(50_000)]
    assert max(published.sizes) == TOGETHER
    assert max(after - before for before, after in pairwise([*turns, 50_000])) < 10_000
