"""Supervised: one trigger, which is run whenever it should be, and started again when it fails."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gevent
from gevent.event import Event

from ...brokers import Leases, Receipt
from ...core.errors import Alarm, CometError, LeaseLost
from ...core.update import Update
from ...watching import Watch, either
from .. import Rereads, Trigger
from .checkpoints import Checkpoints
from .publishing import Alone, Keeps, Noted, Render, source_of
from .state import State
from .turns import Published, Turn


log = logging.getLogger("comet")


@dataclass(frozen=True, slots=True)
class Terms:
    """What all triggers of a worker share (see ``Supervisor``)."""

    publish: Callable[[Sequence[Update]], list[Receipt]]
    leases: Leases | None
    checkpoints: Checkpoints | None
    check: Callable[[Sequence[Update]], None]
    published: Published
    watch: Callable[[str], Watch]
    keeps: Keeps
    first_pause: float
    longest_pause: float
    alarm_pause: float
    stopping: Event


class Supervised:
    """Run it in a greenlet of its own, until the supervisor stops or the trigger ends by itself."""

    def __init__(self, trigger: Trigger, terms: Terms, render: Render | None = None, kind: str = "") -> None:
        self.trigger = trigger
        self.terms = terms
        self.render = render
        self.state = State(trigger.name, kind or type(trigger).__name__.lower())

    def run(self) -> None:
        try:
            self._run_for_ever()
        finally:
            if self.terms.stopping.is_set():
                self.state.phase = "stopped"

    def _run_for_ever(self) -> None:
        terms, watch = self.terms, self._watch()
        pause = terms.first_pause
        while not terms.stopping.is_set():
            begun = time.monotonic()
            try:
                if self._run_while_watched(watch):
                    return
            except (Exception, gevent.Timeout, SystemExit) as error:
                # gevent's Timeout is no Exception, and a SystemExit would end the whole worker.
                self.state.failed("failed", error)
                if terms.stopping.is_set() and isinstance(error, CometError):
                    return  # a worker that stops publishes no more
                if time.monotonic() - begun > terms.longest_pause:
                    pause = terms.first_pause  # it had been well for a while
                self._log(error, pause)
                terms.stopping.wait(pause * random.uniform(0.8, 1.2))
                pause = min(pause * 2, terms.longest_pause)

    def _log(self, error: BaseException, pause: float) -> None:
        text = "comet: the trigger %s failed; it is started again in about %.1f s"
        if isinstance(error, CometError):
            log.error(f"{text}: %s", self.trigger.name, pause, error)  # its text says everything
        else:
            log.error(text, self.trigger.name, pause, exc_info=error)

    def _tell(self, alarm: Alarm, begun: float) -> None:
        """Say what somebody must mend: once, while it is the same and the trigger has not been well in between."""
        before = self.state.error
        self.state.failed("alarm", alarm)
        if self.state.error != before or time.monotonic() - begun > self.terms.longest_pause:
            log.error("comet: the trigger %s has stopped: %s", self.trigger.name, alarm)

    # Only while it is watched.

    def _watch(self) -> Watch:
        if isinstance(self.trigger, Rereads) and not self.trigger.always:
            channels = [self.trigger.channel, *getattr(self.trigger, "other_channels", ())]
            return either([self.terms.watch(channel) for channel in channels])
        return Watch(begun=True)

    def _run_while_watched(self, watch: Watch) -> bool:
        """Wait until it is watched, and run it until it is not. Returns whether it has ended by itself."""
        stopping = self.terms.stopping
        if not watch.begun.is_set():
            self.state.phase = "asleep"
            gevent.wait([stopping, watch.begun], count=1)
        if stopping.is_set():
            return False
        leave = Event()
        guard = gevent.spawn(self._guard, watch, leave)
        try:
            return self._run_in_turn(leave) if self.terms.leases else self._run(self._alone(), leave)
        finally:
            guard.kill()

    def _guard(self, watch: Watch, leave: Event) -> None:
        """Let the trigger stop when nobody watches any more."""
        gevent.wait([self.terms.stopping, watch.over], count=1)
        self._leave(leave)

    def _leave(self, leave: Event) -> None:
        leave.set()
        self.trigger.stop()

    def _alone(self) -> Alone:
        return Alone(self.trigger.name, self.terms.publish, self.terms.checkpoints)

    # Only in one worker.

    def _run_in_turn(self, leave: Event) -> bool:
        """Run it when it is this worker's turn. Returns whether it has ended by itself."""
        terms = self.terms
        assert terms.leases is not None
        self.state.phase = "waiting"
        turn = Turn(terms.leases, self.trigger.name, lambda: self._leave(leave), terms.check, terms.published)
        try:
            if not turn.begin(leave) or leave.is_set():
                return False
            ended = self._run(turn, leave)
            if turn.lease is not None or ended:
                return ended
        except LeaseLost:
            self.trigger.stop()
        finally:
            turn.end()
        log.info("comet: another worker runs the trigger %s now", self.trigger.name)
        return False

    def _run(self, publish: Alone | Turn, leave: Event) -> bool:
        """Run it. Returns whether it has ended by itself."""
        self.state.phase, self.state.leader = "running", True
        begun, source, keeps = time.monotonic(), source_of(self.trigger), self.terms.keeps
        try:
            self.trigger.run(Noted(publish, self.state, source=source, keeps=keeps, render=self.render))
        except Alarm as alarm:
            self._tell(alarm, begun)
            leave.wait(self.terms.alarm_pause)  # in its turn: another worker would only say the same
            return False
        finally:
            self.state.leader = False
        if leave.is_set() or self.terms.stopping.is_set():
            return False
        self.state.phase = "ended"
        log.info("comet: the trigger %s has ended", self.trigger.name)
        leave.wait()  # in its turn: another worker would run it once more
        return True
