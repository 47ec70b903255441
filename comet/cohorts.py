"""Cohorts: subscribers that wait together.

Those that are caught up and have had exactly the same bytes stand in one cohort, up to 128 with one cursor, so that
nothing is looked up for each of them when an update comes. A cohort that is woken is dissolved: its members read what
is new and gather again where they stand then.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

from gevent.event import Event

from .core.log import Log, Position
from .core.wire import State, Wire


#: Subscribers that stand together. They are woken without a pause: 128 of them take a few milliseconds.
COHORT = 128

#: Who shares bytes: (signature of the wire, state, epoch and SEQ of the cursor).
Key = tuple[object, State, str, int]


class Subscription:
    """One subscriber: where it stands in the log, what it has had, and the Event that wakes it.

    The Event carries no data: it says "look again". The flags say why when there is nothing new: its peer has
    ``gone``, it is ``leaving`` (the worker stops, and it says goodbye), or it is ``beating`` (it has been silent for
    long enough). ``wire`` None: a reader in this process, that takes updates as they are.
    """

    __slots__ = ("beating", "cohort", "event", "gone", "leaving", "position", "state", "wire", "written")

    def __init__(self, position: Position, wire: Wire | None = None) -> None:
        self.position = position
        self.wire = wire
        self.state: State = wire.initial if wire else None
        self.written = 0
        self.cohort: Cohort | None = None
        self.event = Event()
        self.gone = False
        self.leaving = False
        self.beating = False

    @property
    def names(self) -> tuple[str, ...]:
        return self.position.names

    def wake(self) -> None:
        self.event.set()


class Cohort:
    """Subscribers with the same channels, the same bytes so far, and one cursor. ``due``: when its heartbeat is."""

    __slots__ = ("due", "key", "members", "names")

    def __init__(self, key: Key, names: tuple[str, ...], due: float) -> None:
        self.key = key
        self.names = names
        self.due = due
        self.members: set[Subscription] = set()

    @property
    def place(self) -> tuple[str, int]:
        """Epoch and SEQ of the cursor."""
        return self.key[2:]

    @property
    def full(self) -> bool:
        return len(self.members) >= COHORT


class Cohorts:
    """All cohorts of a worker, found by what they share and by the channels that they wait for."""

    def __init__(self, log: Log, heartbeat: float) -> None:
        self.log = log
        self.heartbeat = heartbeat
        self._all: set[Cohort] = set()
        self._with_room: dict[Key, Cohort] = {}
        self._by_channel: dict[str, set[Cohort]] = {}

    def join(self, subscription: Subscription) -> None:
        """Let a subscriber stand where it belongs. It must be caught up, and wait on its Event after this.

        Between asking the log and this nothing may switch.
        """
        self.leave(subscription)  # it may have been woken alone
        wire, names = subscription.wire, subscription.names
        # Where the newest entry of its channels is: whoever has had that stands here, wherever the head is.
        key = (wire.key if wire else names, subscription.state, self.log.epoch, self.log.last(names))
        cohort = self._with_room.get(key)
        if cohort is None or cohort.full:
            cohort = self._with_room[key] = self._gather(key, names)
        cohort.members.add(subscription)
        subscription.cohort = cohort

    def leave(self, subscription: Subscription) -> None:
        """Take a subscriber out of its cohort, if it stands in one."""
        cohort = subscription.cohort
        if cohort is not None:
            subscription.cohort = None
            cohort.members.discard(subscription)
            if not cohort.members:
                self._dissolve(cohort)

    def wake(self, cohort: Cohort, *, beat: bool = False) -> None:
        """Dissolve a cohort and wake its members; with ``beat`` they are due to say that they are alive."""
        self._dissolve(cohort)
        for member in cohort.members:
            member.cohort = None
            member.beating |= beat
            member.wake()
        cohort.members.clear()

    def behind(self, names: Iterable[str]) -> list[Cohort]:
        """The cohorts that wait for one of these channels and have not had its newest entry."""
        waiting: set[Cohort] = set()
        for name in names:
            waiting |= self._by_channel.get(name, set())
        return [cohort for cohort in waiting if cohort.place != (self.log.epoch, self.log.last(cohort.names))]

    def due(self, now: float) -> list[Cohort]:
        """The cohorts that have been silent for long enough."""
        return [cohort for cohort in self._all if now >= cohort.due]

    def _gather(self, key: Key, names: tuple[str, ...]) -> Cohort:
        # Spread out, so that the heartbeats of many cohorts do not come together.
        cohort = Cohort(key, names, time.monotonic() + self.heartbeat * random.uniform(0.8, 1.0))
        self._all.add(cohort)
        for name in names:
            self._by_channel.setdefault(name, set()).add(cohort)
        return cohort

    def _dissolve(self, cohort: Cohort) -> None:
        self._all.discard(cohort)
        if self._with_room.get(cohort.key) is cohort:
            del self._with_room[cohort.key]
        for name in cohort.names:
            waiting = self._by_channel.get(name)
            if waiting is not None:
                waiting.discard(cohort)
                if not waiting:
                    del self._by_channel[name]
