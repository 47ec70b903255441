"""The supervisor of a worker's triggers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from ...brokers import Leases, Receipt
from ...core.update import Update
from ...watching import Watch
from .. import Trigger
from .checkpoints import Checkpoints
from .publishing import Keeps, Render
from .state import State
from .supervised import Supervised, Terms
from .turns import Published


#: Seconds before a failed trigger is started again: the first time, and at the most.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 30.0

#: Seconds after which one that has raised an Alarm is tried again: somebody may have heeded it.
ALARM_PAUSE = 300.0

#: Seconds that a trigger has to return after ``stop``; then it is killed.
PATIENCE = 1.0


class Supervisor:
    """Runs triggers, each in a greenlet; one that fails is started again after a pause that doubles.

    Triggers that can read their source again sleep while their channel is not watched, which ``watch`` says. With
    ``leases`` one worker of many runs a trigger, and publishing goes by them; ``check`` then raises for updates that
    can't be published, and ``published`` is told of those that were. Without them ``checkpoints`` remembers how far
    sources have been read. ``keeps`` says whether anything is kept of a channel that was published to.

    The pauses are in seconds. A trigger that ran for longer than the longest of them begins with the first again.
    """

    def __init__(
        self,
        publish: Callable[[Sequence[Update]], list[Receipt]],
        *,
        leases: Leases | None = None,
        checkpoints: Checkpoints | None = None,
        check: Callable[[Sequence[Update]], None] = lambda updates: None,
        published: Published = lambda updates, receipts: None,
        watch: Callable[[str], Watch] = lambda channel: Watch(begun=True),
        keeps: Keeps = lambda channel, receipt: True,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
        alarm_pause: float = ALARM_PAUSE,
    ) -> None:
        self._stopping = Event()
        pauses = (first_pause, longest_pause, alarm_pause)
        self._terms = Terms(publish, leases, checkpoints, check, published, watch, keeps, *pauses, self._stopping)
        self._all: list[Supervised] = []
        self._greenlets: list[gevent.Greenlet] | None = None

    @property
    def states(self) -> list[State]:
        """What is known of each trigger."""
        return [each.state for each in self._all]

    def add(self, trigger: Trigger, render: Render | None = None, *, kind: str = "") -> None:
        """Take a trigger in; it runs at once if the others do. ``render`` makes of each update what is published;
        ``kind`` is what its state says that it is."""
        self._all.append(Supervised(trigger, self._terms, render, kind))
        if self._greenlets is not None:
            self._greenlets.append(gevent.spawn(self._all[-1].run))

    def start(self) -> None:
        """Run all triggers. Call it once, or again after ``stop``."""
        self._stopping.clear()
        self._greenlets = [gevent.spawn(each.run) for each in self._all]

    def stop(self) -> None:
        """Stop all triggers and wait for them, but not for ever."""
        self._stopping.set()
        for each in self._all:
            each.trigger.stop()
        greenlets, self._greenlets = self._greenlets or [], None
        gevent.joinall(greenlets, timeout=PATIENCE)
        gevent.killall(greenlets, timeout=PATIENCE)
        if self._terms.checkpoints is not None:
            self._terms.checkpoints.close()
