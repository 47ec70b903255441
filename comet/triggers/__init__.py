"""The seam to the sources of updates. A trigger has two verbs; the supervisor runs it and starts it again."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import gevent
from gevent.event import Event

from ..brokers import Leases, Receipt
from ..core.errors import LeaseLost
from ..core.update import Update
from .turns import Turn


log = logging.getLogger("comet")

Publish = Callable[[Sequence[Update]], list[Receipt]]

#: Seconds before a failed trigger is started again: the first time, and at the most.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0

#: Seconds that a trigger has to return after ``stop``; then it is killed.
PATIENCE = 1.0


class Trigger(Protocol):
    """A source that is watched in a greenlet of its own."""

    name: str

    def run(self, publish: Publish) -> None:
        """Watch the source and publish, until ``stop``. What it raises, the supervisor tells and tries again."""

    def stop(self) -> None:
        """Return from ``run`` at once. Called from another greenlet; must not wait."""


def beats(seconds: float, stopping: Event) -> Iterator[None]:
    """Yield at a steady pace until ``stopping`` is set: at once, and then every ``seconds``.

    The pace does not drift: beats are counted from the start, and those that slow work has missed are left out.
    """
    begun, beat = time.monotonic(), 0
    while not stopping.is_set():
        yield
        # At least the next one: a timer may ring a moment early, and one beat must not be two.
        beat = max(beat + 1, math.ceil((time.monotonic() - begun) / seconds))
        stopping.wait(max(0.0, begun + beat * seconds - time.monotonic()))


class Supervisor:
    """Runs triggers, each in a greenlet; one that fails is started again after a pause that doubles.

    With ``leases`` publishing is theirs, and ``check`` raises for updates that can't be published.

    The pauses are in seconds. A trigger that ran for longer than the longest of them begins with the first again.
    """

    def __init__(
        self,
        publish: Publish,
        *,
        leases: Leases | None = None,
        check: Callable[[Sequence[Update]], None] = lambda updates: None,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self.publish = publish
        self.leases = leases
        self.check = check
        self.first_pause = first_pause
        self.longest_pause = longest_pause
        self.triggers: list[Trigger] = []
        self._stopping = Event()
        self._greenlets: list[gevent.Greenlet] | None = None

    def add(self, trigger: Trigger) -> None:
        """Take a trigger in; it runs at once if the others do."""
        self.triggers.append(trigger)
        if self._greenlets is not None:
            self._greenlets.append(gevent.spawn(self._supervise, trigger))

    def start(self) -> None:
        """Run all triggers. Call it once, or again after ``stop``."""
        self._stopping.clear()
        self._greenlets = [gevent.spawn(self._supervise, trigger) for trigger in self.triggers]

    def stop(self) -> None:
        """Stop all triggers and wait for them, but not for ever."""
        self._stopping.set()
        for trigger in self.triggers:
            trigger.stop()
        greenlets, self._greenlets = self._greenlets or [], None
        gevent.joinall(greenlets, timeout=PATIENCE)
        gevent.killall(greenlets, timeout=PATIENCE)

    def _run(self, trigger: Trigger) -> bool:
        """Run a trigger until it ends; where workers share it, when it is this one's turn. True: it ended by itself."""
        if self.leases is None:
            trigger.run(self.publish)
            return True
        turn = Turn(self.leases, trigger.name, trigger.stop, self.check)
        try:
            if not turn.begin(self._stopping):
                return True
            try:
                trigger.run(turn.publish)
            except LeaseLost:
                return False
            return turn.lease is not None
        finally:
            turn.end()

    def _supervise(self, trigger: Trigger) -> None:
        pause = self.first_pause
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                if not self._run(trigger):
                    log.info("comet: another worker runs the trigger %s now", trigger.name)
                    continue
                if not self._stopping.is_set():
                    log.info("comet: the trigger %s has ended", trigger.name)
                return
            except (Exception, gevent.Timeout, SystemExit):
                # gevent's Timeout is no Exception, and a SystemExit would end the whole worker.
                if time.monotonic() - begun > self.longest_pause:
                    pause = self.first_pause  # it had been well for a while
                log.exception("comet: the trigger %s failed; it is started again in about %.1f s", trigger.name, pause)
            self._stopping.wait(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, self.longest_pause)
