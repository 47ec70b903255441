"""Audience: how many subscribe to a channel, in all workers of this server.

Each worker says who subscribes to what in a file of its own, within a second of a change; the others look whether it
has changed at most once a second, when somebody asks. So a count is at most two seconds old, and asking costs nothing.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import gevent

from .core.update import is_own


log = logging.getLogger("comet")

#: Seconds between two sayings, and between two looks.
EVERY = 1.0

_SUFFIX = ".audience"


class _Said(NamedTuple):
    """What another worker has said: the time of its file, and subscribers by channel."""

    changed: int
    subscribers: Mapping[str, int]


class Audience:
    """Counts ``subscribed``, the subscribers of this worker by channel, and those of the others."""

    def __init__(self, subscribed: Mapping[str, int]) -> None:
        self._subscribed = subscribed
        self._folder: Path | None = None
        self._greenlet: gevent.Greenlet | None = None
        self._told: dict[str, int] = {}
        self._others: dict[Path, _Said] = {}
        self._looked = 0.0

    def start(self, folder: Path | None) -> None:
        """Begin to tell the others, in the folder that the workers share. Call it in the worker, once."""
        self._folder = folder
        if folder is not None:
            self._own(folder).unlink(missing_ok=True)  # a worker that has died had the same process id
            self._greenlet = gevent.spawn(self._run, folder)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        if self._folder is not None:
            self._own(self._folder).unlink(missing_ok=True)
            self._folder = None

    def of(self, channel: str) -> int:
        """How many subscribe to it now."""
        if self._folder is not None and time.monotonic() - self._looked >= EVERY:
            self._looked = time.monotonic()
            self._others = dict(self._look(self._folder))
        return self._subscribed.get(channel, 0) + sum(
            said.subscribers.get(channel, 0) for said in self._others.values()
        )

    def _run(self, folder: Path) -> None:
        while True:
            now = {name: count for name, count in self._subscribed.items() if not is_own(name)}
            if now != self._told:
                self._tell(folder, now)
            gevent.sleep(EVERY)

    def _tell(self, folder: Path, now: dict[str, int]) -> None:
        new = self._own(folder).with_suffix(".audience-new")
        try:
            new.write_text(json.dumps(now))
            new.replace(self._own(folder))
            self._told = now
        except OSError as error:  # once more in a second
            log.debug("comet: this worker could not tell who subscribes: %s", error)

    def _look(self, folder: Path) -> Iterator[tuple[Path, _Said]]:
        own = self._own(folder)
        for file in folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError, ValueError):
                if file == own:
                    continue
                if not _lives(int(file.stem)):
                    file.unlink()
                    continue
                changed, known = file.stat().st_mtime_ns, self._others.get(file)
                if known is None or known.changed != changed:
                    known = _Said(changed, json.loads(file.read_bytes()))
                yield file, known

    @staticmethod
    def _own(folder: Path) -> Path:
        return folder / f"{os.getpid()}{_SUFFIX}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
