"""Said: what a worker knows that is no number, told to the other workers of this server in a file.

It is written every second while the page's channel is watched. Files of workers that have ended are not read.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from heapq import nlargest
from pathlib import Path
from typing import Any

import gevent

from ..controller import Controller
from ..core.errors import BrokerAway
from ..core.redaction import redact
from ..core.update import is_own
from ..triggers.supervisor import Supervisor
from ..triggers.supervisor.state import State
from .figures import Said


log = logging.getLogger("comet")

#: Seconds between two sayings.
EVERY = 1.0

#: So many channels are told with their subscribers: those that have most.
TOLD = 500

#: So much of an error is shown.
LONGEST = 2000


class Sayings:
    """What this worker says, and what all have said. ``channel``: while it is watched, somebody asks."""

    def __init__(self, controller: Controller, triggers: Supervisor, channel: str) -> None:
        self.controller = controller
        self.triggers = triggers
        self.channel = channel
        self._folder: Path | None = None
        #: Since when somebody asks, in seconds since 1970.
        self._asked = math.inf
        self._greenlet: gevent.Greenlet | None = None

    def start(self, folder: Path | None) -> None:
        self._folder = folder
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        if self._folder is not None:
            self._file(str(os.getpid())).unlink(missing_ok=True)
            self._folder = None

    def expected(self, at_start: int) -> int:
        """How many workers there should be, if at the start it was so many: signals change it (TTIN, TTOU)."""
        with suppress(OSError, ValueError):
            return int((self._folder / "workers").read_text()) if self._folder else 0
        return at_start

    def has_been_asked(self, seconds: float) -> bool:
        """Whether the workers have had so much time to say something."""
        return time.time() - self._asked > seconds

    def all(self, pids: Iterable[str]) -> dict[str, Said]:
        """What these workers have said last, by their process ids. This one says what is so now."""
        own = str(os.getpid())
        said = {pid: self._read(pid) for pid in pids if pid != own and self._folder is not None}
        # What is older was said to somebody else.
        begun = min(self._asked, time.time()) - 2 * EVERY
        return {own: self._say()} | {pid: each for pid, each in said.items() if each and each["time"] > begun}

    def _run(self) -> None:
        """Say it, while anybody asks, for ever."""
        watch = self.controller.watching.watch(self.channel)
        while True:
            if not watch.begun.is_set():
                self._asked = math.inf
                watch.begun.wait()
            self._asked = min(self._asked, time.time())
            if self._folder is not None:
                self._write(self._folder)
            gevent.sleep(EVERY)

    def _write(self, folder: Path) -> None:
        file = self._file(str(os.getpid()))
        try:
            file.with_suffix(".new").write_text(json.dumps(self._say()))
            os.replace(file.with_suffix(".new"), file)
        except OSError as error:
            log.debug("comet: this worker could not say anything for the status page: %s", error)

    def _read(self, pid: str) -> Said | None:
        with suppress(OSError, ValueError):
            found: Said = json.loads(self._file(pid).read_bytes())
            return found
        return None

    def _file(self, pid: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{pid}.said"

    # What this worker says.

    def _say(self) -> Said:
        states = [state for state in self.triggers.states if not is_own(state.name)]
        return {
            "time": time.time(),
            "subscribers": self._subscribers(),
            "triggers": [_trigger(state) for state in states],
            "broker": self._broker(),
        }

    def _subscribers(self) -> dict[str, int]:
        found = ((name, count) for name, count in self.controller.subscribed.items() if not is_own(name))
        return dict(nlargest(TOLD, found, key=lambda item: item[1]))

    def _broker(self) -> str:
        try:
            self.controller.check_broker()
        except BrokerAway as error:
            return str(error)
        return ""


def _trigger(state: State) -> dict[str, Any]:
    error = redact(state.error)
    return {
        "name": state.name,
        "kind": state.kind,
        "state": state.phase,
        "leader": state.leader,
        "position": state.position,
        "age": state.age,
        "updates": state.updates,
        "suppressed": state.duplicates,
        "restarts": state.reconnects,
        "error": error if len(error) <= LONGEST else f"{error[:LONGEST]}…",
        "statement": state.statement,
    }
