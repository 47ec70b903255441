"""Tallies: what the workers of one server have counted, for whichever of them is asked.

Strategy: a folder that only these processes read. Each worker has two files there. Its *tally* says everything, and is
written anew about once a second. Its *mark* is locked while the worker lives, however it ends, and holds the number of
its updates, which is right at every moment. What a worker has counted stays when it ends; what it had at hand does not.

``gather`` adds all of them up. A tally says of each number how that is done:

* ``sum``: added; workers that have ended count, too
* ``latest``: the greatest; workers that have ended count, too
* ``now``: added, of those that live
* ``most``: the greatest, of those that live
* ``each``: one for each that lives; its process id stands behind the name

gunicorn's master makes the folder, removes it, and lays the tallies of workers that have ended into one, or they would
become thousands. A worker without a folder speaks for itself alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


#: By how they are added up: numbers by their names. A name is that of a metric and the values of its labels.
Numbers = dict[str, dict[str, float]]

#: Between the parts of a name.
BETWEEN = "\x1f"

#: What is counted in the mark.
UPDATES = "comet_updates_total"

#: The tallies of those that have ended, in one; and how many names of theirs it remembers. Who has listed the folder
#: before they were removed must not count them twice.
ENDED = "ended"
REMEMBERED = 100

_COUNT = struct.Struct("=q")


PREFIX = "comet-metrics-"

#: Seconds after which a folder that nobody has locked is one of a server that was killed, not of one that begins.
BEGINS = 60.0


def make_folder(beside: str | None, uid: int, gid: int) -> Path:
    """Make the folder of a server that begins, for the user that its workers are, and remove those that servers have
    left there that were killed. Remove it in the end. Raises OSError."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=beside))
    if os.geteuid() == 0:
        os.chown(folder, uid, gid)
    # Held until the server and all of its workers have ended. systemd-tmpfiles looks for that, too: it would remove
    # what did not change for some days.
    _lock(folder)
    owner = folder.stat().st_uid
    for other in folder.parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = other.lstat()
            if found.st_uid == owner and time.time() - found.st_mtime > BEGINS:
                lock = _lock(other)
                shutil.rmtree(other, ignore_errors=True)
                os.close(lock)
    return folder


def _lock(folder: Path) -> int:
    """Raises OSError if another process has it."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise
    return file


class Tally(NamedTuple):
    """Of one worker: its process id, whether it lives, and what it has counted."""

    pid: str
    lives: bool
    numbers: Numbers


class Own:
    """The files of this worker. ``updates`` is what it has published; without a folder only it knows."""

    def __init__(self) -> None:
        self.updates = 0
        self.name = ""
        self.folder: Path | None = None
        self._mark = -1

    def open(self, folder: Path) -> None:
        """Be seen by the others. Raises OSError. Call it in the worker: what was made before a fork has no name yet."""
        self.name = self.name or f"{os.getpid()}-{time.time_ns()}"
        self._mark = os.open(folder / f"{self.name}.mark", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._mark, fcntl.LOCK_EX)
        self.folder = folder
        self.published(0)

    def published(self, count: int) -> None:
        """So many updates more. It is told at once: it costs a microsecond."""
        self.updates += count
        if self._mark >= 0:
            os.pwrite(self._mark, _COUNT.pack(self.updates), 0)

    def write(self, numbers: Numbers) -> None:
        """Replace what was told before. Raises OSError."""
        if self.folder is not None:
            _replace(self.folder / f"{self.name}.tally", numbers)

    def close(self) -> None:
        """What was counted stays."""
        if self._mark >= 0:
            os.close(self._mark)
            self._mark, self.folder = -1, None


def others(folder: Path, own: str = "") -> Iterator[Tally]:
    """What is told in the folder, but for the worker of that name."""
    tallies = dict(_read_all(folder))
    tallies.pop(own, None)
    # Last of all: who was laid in between is in there, and not any more beside it.
    ended = _read(folder / ENDED)
    for name in ended.get("names", ()):
        tallies.pop(name, None)
    yield Tally("", False, ended.get("numbers", {}))
    yield from tallies.values()


def gather(tallies: Iterable[Tally]) -> dict[str, float]:
    """Add them up."""
    all: dict[str, float] = {}
    for pid, lives, numbers in tallies:
        for how, values in numbers.items():
            if how == "each" and lives:
                all |= {f"{name}{BETWEEN}{pid}": value for name, value in values.items()}
            elif how == "sum" or (how == "now" and lives):
                _add(all, values)
            elif how == "latest" or (how == "most" and lives):
                _take_greatest(all, values)
    return all


def lay_down(folder: Path, pid: int) -> None:
    """Put the tally of a worker that has ended to those of all that have. Only its parent may do so."""
    ended = _read(folder / ENDED)
    numbers = {"sum": {}, "latest": {}} | ended.get("numbers", {})
    names = list(ended.get("names", ()))
    gone = dict(_read_all(folder, pid=str(pid)))
    for name, tally in gone.items():
        if name not in names:
            _add(numbers["sum"], tally.numbers.get("sum", {}))
            _take_greatest(numbers["latest"], tally.numbers.get("latest", {}))
            names.append(name)
    _replace(folder / ENDED, {"names": names[-REMEMBERED:], "numbers": numbers})
    # All that is its own here, also what it was writing when it was killed, and what others keep (status, audience).
    for left in (*folder.glob(f"{pid}-*"), *folder.glob(f"{pid}.*")):
        left.unlink(missing_ok=True)


def _add(all: dict[str, float], values: Mapping[str, float]) -> None:
    for name, value in values.items():
        all[name] = all.get(name, 0) + value


def _take_greatest(all: dict[str, float], values: Mapping[str, float]) -> None:
    for name, value in values.items():
        all[name] = max(all.get(name, value), value)


def _read_all(folder: Path, pid: str = "*") -> Iterator[tuple[str, Tally]]:
    """Every worker's, or those of a process: the names of their files, and what is in them."""
    for mark in sorted(folder.glob(f"{pid}-*.mark")):
        with suppress(FileNotFoundError):  # laid down by now
            lives, updates = _read_mark(mark)
            numbers: Numbers = _read(mark.with_suffix(".tally"))
            numbers.setdefault("sum", {})[UPDATES] = updates
            yield mark.stem, Tally(mark.stem.partition("-")[0], lives, numbers)


def _read_mark(mark: Path) -> tuple[bool, int]:
    """Whether its worker lives, and the updates that it has published."""
    with mark.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            lives = False
        except BlockingIOError:
            lives = True
        content = file.read(_COUNT.size)
        return lives, _COUNT.unpack(content)[0] if len(content) == _COUNT.size else 0


def _read(file: Path) -> dict:  # type: ignore[type-arg] # JSON
    try:
        return dict(json.loads(file.read_bytes()))
    except FileNotFoundError:
        return {}


def _replace(file: Path, value: object) -> None:
    """All or nothing: who reads it finds what was there, or this."""
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(value))
    os.replace(aside, file)
