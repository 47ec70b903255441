"""Cohorts: subscribers that wait together.

Those that are caught up and have had exactly the same bytes stand in one cohort, up to 128 with one cursor, so that
nothing is looked up for each of them when an update comes. A cohort that is woken is dissolved: its members read what
is new and gather again where they stand then.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any

from gevent import get_hub, getcurrent
from gevent.event import Event

from .breath import breathe
from .core.log import Log, Position
from .core.wire import State, Wire


#: Subscribers that stand together. They are woken without a pause: 128 of them take a few milliseconds.
COHORT = 128

#: Who shares bytes: (signature of the wire, state, epoch and SEQ of the cursor).
Key = tuple[object, State, str, int]


class Subscription:
    """One subscriber: where it stands in the log, and what it has had.

    The flags say why it was woken when there is nothing new: its peer has ``gone``, it is ``leaving`` (the worker
    stops, and it says goodbye), or it is ``beating`` (it has been silent for long enough). ``cohort`` is the one that
    it waits with. ``wire`` None: a reader in this process, that takes updates as they are.
    """

    __slots__ = ("beating", "cohort", "gone", "leaving", "position", "state", "wire")

    def __init__(self, position: Position, wire: Wire | None = None) -> None:
        self.position = position
        self.wire = wire
        self.state: State = wire.initial if wire else None
        self.cohort: Cohort | None = None
        self.gone = False
        self.leaving = False
        self.beating = False

    @property
    def names(self) -> tuple[str, ...]:
        return self.position.names


class Cohort:
    """Subscribers with the same channels, the same bytes so far, one cursor, and one Event that wakes them all.

    The Event carries no data: it says "look again". It is set once; who waits again waits on another.
    ``members`` are those who wait, with their greenlets: a dict, to wake them in the order in which they came, which
    is the order of their memory. ``due``: when the heartbeat is.
    """

    __slots__ = ("due", "event", "key", "members", "names")

    def __init__(self, key: Key, names: tuple[str, ...], due: float) -> None:
        self.key = key
        self.names = names
        self.due = due
        self.event = Event()
        self.members: dict[Subscription, Any] = {}

    @property
    def place(self) -> tuple[str, int]:
        """Epoch and SEQ of the cursor."""
        return self.key[2:]


class Cohorts:
    """All cohorts of a worker, found by what they share and by the channels that they wait for."""

    def __init__(self, log: Log, heartbeat: float) -> None:
        self.log = log
        self.heartbeat = heartbeat
        self._all: set[Cohort] = set()
        self._with_room: dict[Key, Cohort] = {}
        self._by_channel: dict[str, dict[Cohort, None]] = {}

    def wait(self, subscription: Subscription, timeout: float | None = None) -> None:
        """Stand with those who have had the same, until they are woken, or this one alone. A subscriber that is not
        caught up, or is to end, does not wait."""
        cohort = self.join(subscription)
        if cohort is None:
            breathe()
        elif cohort.event.wait(timeout):
            subscription.cohort = None
        else:
            self.leave(subscription)

    def join(self, subscription: Subscription) -> Cohort | None:
        """Let a subscriber stand where it belongs: nowhere, if it has something to do. This greenlet, which must be its
        own, waits on the cohort's Event next."""
        wire, position, epoch = subscription.wire, subscription.position, self.log.epoch
        last = self.log.last(position.names)
        # Also if it was told to end while it was writing: nobody will wake it for that again.
        if position.seq < last or position.epoch != epoch or subscription.gone or subscription.leaving:
            return None
        # Where the newest entry of its channels is: whoever has had that stands here, wherever the head is.
        key = (wire.key if wire else position.names, subscription.state, epoch, last)
        cohort = self._with_room.get(key)
        if cohort is None or len(cohort.members) >= COHORT:
            cohort = self._with_room[key] = self._gather(key, position.names)
        cohort.members[subscription] = getcurrent()
        subscription.cohort = cohort
        return cohort

    def leave(self, subscription: Subscription) -> None:
        """Take a subscriber out of its cohort, if it stands in one."""
        cohort = subscription.cohort
        if cohort is not None:
            subscription.cohort = None
            del cohort.members[subscription]
            if not cohort.members:
                self._dissolve(cohort)

    def wake(self, cohort: Cohort, *, beat: bool = False) -> None:
        """Dissolve a cohort and wake its members; with ``beat`` they are due to say that they are alive."""
        self._dissolve(cohort)
        if beat:
            for member in cohort.members:
                member.beating = True
        cohort.event.set()

    def wake_one(self, subscription: Subscription) -> None:
        """Wake one subscriber, if it waits; the others of its cohort sleep on."""
        if subscription.cohort is not None:
            get_hub().loop.run_callback(self._switch_to, subscription, subscription.cohort)

    def _switch_to(self, subscription: Subscription, cohort: Cohort) -> None:
        # Unless it was woken with all in the meantime: then its greenlet may wait for something else by now.
        if subscription.cohort is cohort and not cohort.event.is_set():
            greenlet = cohort.members[subscription]
            self.leave(subscription)
            greenlet.switch(cohort.event)  # as the Event does it with each who waits

    def behind(self, names: Iterable[str]) -> list[Cohort]:
        """The cohorts that wait for one of these channels and have not had its newest entry."""
        waiting: dict[Cohort, None] = {}
        for name in names:
            waiting |= self._by_channel.get(name, {})
        return [cohort for cohort in waiting if cohort.place != (self.log.epoch, self.log.last(cohort.names))]

    def due(self, now: float) -> list[Cohort]:
        """The cohorts that have been silent for long enough."""
        return [cohort for cohort in self._all if now >= cohort.due]

    def _gather(self, key: Key, names: tuple[str, ...]) -> Cohort:
        # Spread out, so that the heartbeats of many cohorts do not come together.
        cohort = Cohort(key, names, time.monotonic() + self.heartbeat * random.uniform(0.8, 1.0))
        self._all.add(cohort)
        for name in names:
            self._by_channel.setdefault(name, {})[cohort] = None
        return cohort

    def _dissolve(self, cohort: Cohort) -> None:
        self._all.discard(cohort)
        if self._with_room.get(cohort.key) is cohort:
            del self._with_room[cohort.key]
        for name in cohort.names:
            waiting = self._by_channel.get(name)
            if waiting is not None:
                waiting.pop(cohort, None)
                if not waiting:
                    del self._by_channel[name]
