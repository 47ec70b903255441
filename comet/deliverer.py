"""Deliverer: the greenlet that brings everybody up to the head of the log, and the ticker beside it.

Publishers only append and say for which channels: an answer to a POST never waits for the fan-out. The deliverer goes
from cohort to cohort. In the plain way it wakes one, and its greenlets yield what is new: that alone is correct and
complete. In the fast lane it writes the same bytes to the cohort's sockets itself, and the greenlets sleep on.

What came together leaves together, for it always goes up to the head. It lets the hub turn every few milliseconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import gevent
from gevent.event import Event

from .breath import Pause, breathe, turn
from .cohorts import COHORT, Cohort, Cohorts
from .frames import Frames


log = logging.getLogger("comet")


class Deliverer:
    """Serves the cohorts. ``tidy`` is called about once a second."""

    def __init__(self, cohorts: Cohorts, frames: Frames, tidy: Callable[[], None]) -> None:
        self._cohorts = cohorts
        self._frames = frames
        self._tidy = tidy
        self._delay = cohorts.counts.delay
        self._news: set[str] = set()
        #: When the first of the news came, of that which is brought now and of that which is brought next.
        self._came = self._comes = 0.0
        self._more = Event()
        self._pause = Pause()
        self._woken = 0
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        self._greenlets = [gevent.spawn(_for_ever, self._deliver), gevent.spawn(_for_ever, self._tick)]

    def stop(self) -> None:
        gevent.killall(self._greenlets)

    def notify(self, names: Iterable[str]) -> None:
        """There is something new for these channels. Never waits."""
        self._frames.forget()
        # Who does not wait now will look before waiting: for an update that nobody waits for, nobody is woken.
        if self._cohorts.awaits(names):
            self._go_on(names, time.monotonic())

    def _go_on(self, names: Iterable[str], came: float) -> None:
        """Bring what is new on these channels, in the next round."""
        if not self._news:
            self._comes = came
        self._news.update(names)
        self._more.set()

    def _deliver(self) -> None:
        """Bring everybody up to the head, cohort by cohort, for ever."""
        while True:
            self._more.wait()
            self._more.clear()
            news, self._news, self._came = self._news, set(), self._comes
            self._pause.begin()
            for cohort in self._cohorts.behind(news):
                self._bring_up(cohort)

    def _bring_up(self, cohort: Cohort) -> None:
        if cohort.framing is None or cohort.wire is None:
            self._delay.note(time.monotonic() - self._came)
            self._wake(cohort)
            return
        frame = self._frames.after(cohort, cohort.wire) if cohort.asleep else None
        if frame is None:
            return
        if frame.ended:
            self._wake(cohort)  # ending is each stream's own business
            return
        self._cohorts.write(cohort, frame.text, frame)
        self._delay.note(time.monotonic() - self._came)
        if frame.more:
            # In the next round: who publishes faster than one cohort takes it must not keep the others waiting.
            self._go_on(cohort.position.names, self._came)
        self._pause.breathe()

    def _wake(self, cohort: Cohort, *, beat: bool = False) -> None:
        self._cohorts.wake(cohort, beat=beat)
        # They run at the next turn: at most a full cohort of them, then room for timers and sockets.
        self._woken += len(cohort.members)
        if self._woken >= COHORT:
            self._woken = 0
            turn()

    def beat(self) -> None:
        """Let everybody know who has heard nothing for long that the connection lives."""
        for cohort in self._cohorts.due(time.monotonic()):
            if cohort.framing is None or cohort.wire is None:
                self._wake(cohort, beat=True)
            elif cohort.asleep:
                self._cohorts.write(cohort, cohort.wire.heartbeat(cohort.state))
                breathe()

    def _tick(self) -> None:
        """Make heartbeats due and let time pass, for ever."""
        pace = min(1.0, self._cohorts.heartbeat / 10)
        while True:
            gevent.sleep(pace)
            self.beat()
            self._tidy()


def _for_ever(loop: Callable[[], None]) -> None:
    """Run a loop that must not end; should it fail, say so and go on."""
    while True:
        try:
            loop()
        except Exception:
            log.exception("comet: %s failed and is started again", loop.__name__)
            gevent.sleep(0.1)
