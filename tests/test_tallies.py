"""Tallies: what workers lay down, and what is made of it."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from comet.tallies import BETWEEN, PREFIX, UPDATES, Own, Tally, gather, lay_down, make_folder, others


def told(folder: Path) -> dict[str, float]:
    return gather(others(folder))


def worker(folder: Path, updates: int = 0, **numbers: dict[str, float]) -> Own:
    own = Own()
    own.open(folder)
    own.published(updates)
    own.write(numbers)
    return own


def test_how_each_number_is_added_up() -> None:
    """Sums and what is greatest of all times outlive their worker; the rest is of those that live."""
    numbers = [
        {"sum": {"s": 1.0}, "latest": {"l": 5.0}, "now": {"n": 1.0}, "most": {"m": 3.0}, "each": {"e": 7.0}},
        {"sum": {"s": 2.0}, "latest": {"l": 4.0}, "now": {"n": 2.0}, "most": {"m": 2.0}, "each": {"e": 8.0}},
        {"sum": {"s": 4.0}, "latest": {"l": 6.0}, "now": {"n": 4.0}, "most": {"m": 9.0}, "each": {"e": 9.0}},
    ]
    tallies = [Tally(str(pid), pid < 3, each) for pid, each in enumerate(numbers, 1)]
    each = {f"e{BETWEEN}1": 7.0, f"e{BETWEEN}2": 8.0}
    assert gather(tallies) == {"s": 7.0, "l": 6.0, "n": 3.0, "m": 3.0, **each}


def test_updates_are_right_at_every_moment(tmp_path: Path) -> None:
    """Also those since the last tally, and before the first."""
    own = Own()
    own.published(2)
    own.open(tmp_path)
    assert told(tmp_path) == {UPDATES: 2}
    own.write({"sum": {UPDATES: 2, "other": 1}})
    own.published(3)
    assert told(tmp_path) == {UPDATES: 5, "other": 1}
    own.close()


def test_a_worker_that_ends_leaves_what_it_has_counted(tmp_path: Path) -> None:
    """Whether it has said so or not; what it had at hand goes with it."""
    own = worker(tmp_path, 3, sum={"s": 1}, now={"n": 1}, each={"e": 1})
    assert told(tmp_path) == {UPDATES: 3, "s": 1, "n": 1, f"e{BETWEEN}{os.getpid()}": 1}
    own.close()
    assert told(tmp_path) == {UPDATES: 3, "s": 1}


def test_what_is_laid_down_counts_once(tmp_path: Path) -> None:
    """It is in one file then, whose size does not grow with their number; those of other workers stay."""
    for number in range(3):
        worker(tmp_path, 1, sum={"s": 1}, latest={"l": number}).close()
    before = told(tmp_path)
    lay_down(tmp_path, os.getpid())
    assert told(tmp_path) == before == {UPDATES: 3, "s": 3, "l": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["ended"]
    worker(tmp_path, 1).close()
    lay_down(tmp_path, os.getpid() + 1)
    assert len(list(tmp_path.glob("*.mark"))) == 1
    lay_down(tmp_path, os.getpid())
    assert told(tmp_path) == {UPDATES: 4, "s": 3, "l": 2}


def test_nothing_is_left_of_one_that_was_killed_while_it_wrote(tmp_path: Path) -> None:
    own = Own()
    own.open(tmp_path)
    own.write({})
    for name in (f"{own.name}.new", f"{os.getpid()}.said", f"{os.getpid()}.audience", f"{os.getpid() + 1}.said"):
        (tmp_path / name).touch()
    own.close()
    lay_down(tmp_path, os.getpid())
    assert {left.name for left in tmp_path.iterdir()} == {"ended", f"{os.getpid() + 1}.said"}


def test_who_has_been_read_before_it_was_laid_down_does_not_count_twice(tmp_path: Path) -> None:
    """A reader that has the file of a worker in its hand finds its name among those that ended."""
    own = worker(tmp_path, 5)
    own.close()
    mark = (tmp_path / f"{own.name}.mark").read_bytes()
    lay_down(tmp_path, os.getpid())
    (tmp_path / f"{own.name}.mark").write_bytes(mark)
    assert told(tmp_path) == {UPDATES: 5}


def test_a_worker_that_is_just_beginning_is_there(tmp_path: Path) -> None:
    """Its mark may be empty, and it has no tally yet."""
    (tmp_path / "1-1.mark").touch()
    assert told(tmp_path) == {UPDATES: 0}


def test_a_folder_of_a_server_that_was_killed_is_removed_by_the_next_one(tmp_path: Path) -> None:
    """By then nobody has it locked. One that has just begun stays, and one that another server has."""
    killed, young, foreign = (tmp_path / f"{PREFIX}{name}" for name in ("killed", "young", "foreign"))
    for folder in (killed, young, foreign):
        folder.mkdir()
        (folder / "1-1.mark").touch()
    live = make_folder(str(tmp_path), os.getuid(), os.getgid())
    foreign_lock = os.open(foreign, os.O_RDONLY)
    fcntl.flock(foreign_lock, fcntl.LOCK_SH)
    for folder in (killed, live, foreign):
        os.utime(folder, (1, 1))
    new = make_folder(str(tmp_path), os.getuid(), os.getgid())
    assert set(tmp_path.iterdir()) == {young, foreign, live, new}
    os.close(foreign_lock)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Others may write where temporary files are."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "tmp").mkdir()
    link = tmp_path / "tmp" / f"{PREFIX}link"
    link.symlink_to(tmp_path / "theirs")
    os.utime(link, (1, 1), follow_symlinks=False)
    make_folder(str(tmp_path / "tmp"), os.getuid(), os.getgid())
    assert (tmp_path / "theirs").is_dir() and link.is_symlink()


def test_others_are_all_but_oneself(tmp_path: Path) -> None:
    """Whoever asks knows what is newer of itself."""
    first, second = worker(tmp_path, 1), worker(tmp_path, 2)
    assert gather(others(tmp_path, first.name)) == {UPDATES: 2}
    assert json.loads((tmp_path / f"{first.name}.tally").read_text()) == {}
    first.close()
    second.close()
