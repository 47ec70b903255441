"""The seam to the sources of updates. A trigger has two verbs; the supervisor runs it and starts it again."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import gevent
from gevent.event import Event

from ..brokers import Receipt
from ..core.update import Update


log = logging.getLogger("comet")

Publish = Callable[[Sequence[Update]], list[Receipt]]

#: Seconds before a failed trigger is started again: the first time, and at the most.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0


class Trigger(Protocol):
    """A source that is watched in a greenlet of its own."""

    name: str

    def run(self, publish: Publish) -> None:
        """Watch the source and publish, until ``stop``. What it raises, the supervisor tells and tries again."""

    def stop(self) -> None:
        """Return from ``run`` at once."""


class Supervisor:
    """Runs triggers, each in a greenlet; one that fails is started again after a pause that doubles."""

    def __init__(self, publish: Publish) -> None:
        self.publish = publish
        self.triggers: list[Trigger] = []
        self._stopping = Event()
        self._greenlets: list[gevent.Greenlet] | None = None

    def add(self, trigger: Trigger) -> None:
        """Take a trigger in; it runs at once if the others do."""
        self.triggers.append(trigger)
        if self._greenlets is not None:
            self._greenlets.append(gevent.spawn(self._supervise, trigger))

    def start(self) -> None:
        self._stopping.clear()
        self._greenlets = [gevent.spawn(self._supervise, trigger) for trigger in self.triggers]

    def stop(self) -> None:
        """Stop all triggers and wait for them, but not for ever."""
        self._stopping.set()
        for trigger in self.triggers:
            trigger.stop()
        gevent.joinall(self._greenlets or [], timeout=1.0)
        gevent.killall(self._greenlets or [], timeout=1.0)
        self._greenlets = None

    def _supervise(self, trigger: Trigger) -> None:
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                trigger.run(self.publish)
                if not self._stopping.is_set():
                    log.info("comet: the trigger %s has ended", trigger.name)
                return
            except Exception:
                if time.monotonic() - begun > LONGEST_PAUSE:
                    pause = FIRST_PAUSE  # it had been well for a while
                log.exception("comet: the trigger %s failed; it is started again in about %.1f s", trigger.name, pause)
            self._stopping.wait(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, LONGEST_PAUSE)
