"""Cohorts: subscribers that wait together.

Those that are caught up and have had exactly the same bytes stand in one cohort, up to 128 with one cursor, so that
nothing is looked up or written down for each of them when an update comes. There are two ways on from there:

* the cohort is *woken* and dissolved: its members read what is new, yield it, and gather again where they stand then
* it is *written* to, where the sockets are ours to write: its members sleep on and move together. Who could not take
  all the bytes at once leaves, with the bytes left and a cursor of its own, and its greenlet goes on alone.

A socket is the cohort's while its greenlet stands in one, and the greenlet's at all other times: never both's.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from gevent import get_hub, getcurrent
from gevent.event import Event

from .breath import breathe
from .core.counts import Counts
from .core.log import Log, Position
from .core.wire import State, Wire
from .frames import Frame
from .peers import Framing, Peer


#: Subscribers that stand together. They are woken without a pause: 128 of them take a few milliseconds.
COHORT = 128

#: A cohort with fewer left is dissolved when its members have another to stand in.
FEW = 32

#: Who shares bytes: (signature of the wire, framing, state, epoch and SEQ of the place; see ``Cohorts._place``).
Key = tuple[object, Framing | None, State, str, int]


class Subscription:
    """One subscriber: where it stands in the log, and what it has had. While it stands in a cohort, both are that's.

    The flags say why it was woken when there is nothing new: its peer has ``gone``, it is ``leaving`` (the worker
    stops, and it says goodbye), it is ``expiring`` (its token ends soon, or has ended), or it is ``beating`` (it has
    been silent for long enough). ``rest`` are bytes that it was being written when its socket was full; they go out
    before all else. ``wire`` None: a reader in this process, that takes updates as they are. ``peer`` None: only its
    greenlet writes to it. ``expires`` is the end of its token, in seconds since 1970, and ``jti`` what that is revoked
    by. ``updates`` and ``bytes`` are what it has been written; while it stands in a cohort, what that has been written
    comes on top.
    """

    __slots__ = (
        "beating",
        "bytes",
        "cohort",
        "expires",
        "expiring",
        "gone",
        "greenlet",
        "jti",
        "leaving",
        "peer",
        "position",
        "rest",
        "state",
        "updates",
        "wire",
    )

    def __init__(
        self,
        position: Position,
        wire: Wire | None = None,
        peer: Peer | None = None,
        expires: float = math.inf,
        jti: str = "",
    ) -> None:
        self.position = position
        self.wire = wire
        self.peer = peer
        self.expires = expires
        self.jti = jti
        self.expiring = False
        self.state: State = wire.initial if wire else None
        self.cohort: Cohort | None = None
        self.greenlet: Any = None  # while it stands in a cohort
        self.rest: memoryview | None = None
        self.gone = False
        self.leaving = False
        self.beating = False
        self.updates = self.bytes = 0

    @property
    def names(self) -> tuple[str, ...]:
        return self.position.names

    @property
    def kind(self) -> str:
        """The name of its wire."""
        return self.wire.name if self.wire else "python"

    @property
    def called(self) -> bool:
        """Whether there is something to do for it beside what is new."""
        return self.gone or self.leaving or self.expiring


class Cohort:
    """Subscribers with the same channels, the same bytes so far, one cursor, and one Event that wakes them all.

    The Event carries no data: it says "look again". It is set once; who waits again waits on another.
    ``members`` are those who wait, with the ``send`` of their sockets: a dict, to wake them in the order in which they
    came, which is the order of their memory. ``due``: when the heartbeat is. ``framing`` is how their sockets are
    written; None: they are not ours to write. ``updates`` and ``bytes`` are what a member has been written that was
    there from the beginning.
    """

    __slots__ = ("bytes", "due", "event", "framing", "key", "members", "position", "state", "updates", "wire")

    def __init__(self, key: Key, first: Subscription) -> None:
        self.key = key
        self.framing = key[1]
        self.wire = first.wire
        self.position = first.position
        self.state = first.state
        self.due = 0.0
        self.updates = self.bytes = 0
        self.event = Event()
        self.members: dict[Subscription, Callable[[bytes], int] | None] = {}

    @property
    def place(self) -> tuple[str, int]:
        """Epoch and SEQ of where it stands; at the head that is the newest entry of its channels."""
        return self.key[3:]

    @property
    def asleep(self) -> bool:
        """Whether there is anybody left, and they were not woken."""
        return bool(self.members) and not self.event.is_set()

    def send(self, data: bytes) -> list[tuple[Subscription, int]]:
        """Send to all members. Return those that have not taken all of it, with the bytes that they took; -1: gone.

        Nothing in here may switch: the members' greenlets must not run between.
        """
        size = len(data)
        short = []
        for member, write in self.members.items():
            try:
                taken = write(data)  # type: ignore[misc] # who has a framing has a socket
            except BlockingIOError:
                taken = 0
            except OSError:
                taken = -1
            if taken != size:
                short.append((member, taken))
        return short


class Cohorts:
    """All cohorts of a worker, found by what they share and by the channels that they wait for."""

    def __init__(self, log: Log, heartbeat: float, counts: Counts | None = None) -> None:
        self.log = log
        self.heartbeat = heartbeat
        self.counts = counts or Counts()
        self._all: set[Cohort] = set()
        self._with_room: dict[Key, dict[Cohort, None]] = {}
        self._by_channel: dict[str, dict[Cohort, None]] = {}
        #: How many times a socket was written to directly.
        self.written = 0

    def wait(self, subscription: Subscription, timeout: float | None = None) -> None:
        """Stand with those who have had the same, until they are woken, or this one alone. A subscriber that is not
        caught up, or is to end, does not wait."""
        cohort = self.join(subscription)
        if cohort is None:
            breathe()
        else:
            cohort.event.wait(timeout)
            if subscription.cohort is cohort:
                self.leave(subscription)

    def pause(self, subscription: Subscription, seconds: float) -> None:
        """Let a subscriber wait alone, whatever comes, until the time is over or it has something else to do. It beats
        if that is longer than others are silent."""
        if subscription.called:
            return
        position = subscription.position
        alone = Cohort(("alone", None, subscription.state, position.epoch, position.seq), subscription)
        alone.members[subscription] = None
        subscription.cohort, subscription.greenlet = alone, getcurrent()
        alone.event.wait(min(seconds, self.heartbeat))
        if subscription.cohort is alone:
            self.leave(subscription)
        subscription.beating = seconds > self.heartbeat

    def join(self, subscription: Subscription) -> Cohort | None:
        """Let a subscriber stand where it belongs: nowhere, if it has something to do. This greenlet, which must be its
        own, waits on the cohort's Event next."""
        position, epoch = subscription.position, self.log.epoch
        last = self.log.last(position.names)
        # Also if it was told to end while it was writing: nobody will wake it for that again.
        if position.seq < last or position.epoch != epoch or subscription.called:
            return None
        wire, peer = subscription.wire, subscription.peer
        signature = wire.key if wire else position.names
        framing = peer.framing if peer else None
        key = (signature, framing, subscription.state, epoch, self._place(position))
        room = self._with_room.get(key)
        cohort = next(iter(room)) if room else self._gather(key, subscription)
        cohort.members[subscription] = peer.send if peer and framing else None
        if len(cohort.members) >= COHORT:
            self._full(cohort)
        subscription.cohort = cohort
        subscription.greenlet = getcurrent()
        # Taken off now and put on when it leaves: what comes between costs nothing for each member.
        subscription.updates -= cohort.updates
        subscription.bytes -= cohort.bytes
        subscription.position = cohort.position  # one for all of them: less to keep, and nothing to write for each
        return cohort

    def leave(self, subscription: Subscription) -> None:
        """Take a subscriber out of its cohort, if it stands in one, with a cursor of its own."""
        cohort = subscription.cohort
        if cohort is not None:
            subscription.cohort = subscription.greenlet = None
            subscription.position = cohort.position.copy()
            subscription.state = cohort.state
            subscription.updates += cohort.updates
            subscription.bytes += cohort.bytes
            del cohort.members[subscription]
            if not cohort.members:
                self._dissolve(cohort)
            elif cohort in self._all:
                self._with_room.setdefault(cohort.key, {})[cohort] = None

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
            self._let_go(subscription)(cohort.event)

    def write(self, cohort: Cohort, text: bytes, frame: Frame | None = None) -> None:
        """Write to all members, who sleep on, and move them past the frame; without one it was a heartbeat.

        There is no switch point in here. Who takes part of it leaves with the rest; who takes nothing, from where it
        stood before. Their greenlets wait for their sockets, each for its own.
        """
        assert cohort.framing is not None
        data = cohort.framing(text) if text else b""
        short = cohort.send(data) if text else []
        self.written += len(cohort.members) if text else 0
        for member, taken in short:
            if taken <= 0:
                member.beating = frame is None
                member.gone = member.gone or taken < 0
                self._part(member)
        if frame is not None:
            frame.move(cohort)
        self._count(cohort, len(text), frame)
        for member, taken in short:
            if taken > 0:
                member.rest = memoryview(data)[taken:]
                self._part(member)
        if text or frame is None:
            self._postpone(cohort)
        if frame is not None and cohort.members:
            self._move(cohort)

    def _count(self, cohort: Cohort, size: int, frame: Frame | None) -> None:
        """Count what was written to those who are in the cohort now."""
        members, direct = len(cohort.members), self.counts.direct
        cohort.bytes += size
        direct.bytes += members * size
        if frame is not None:
            cohort.updates += frame.updates
            direct.updates += members * frame.updates
            if frame.gap:
                self.counts.gaps[frame.gap] += members

    def _part(self, member: Subscription) -> None:
        """Take a member out and wake it. Its cohort must not have been woken."""
        cohort = member.cohort
        assert cohort is not None
        get_hub().loop.run_callback(self._let_go(member), cohort.event)

    def _let_go(self, member: Subscription) -> Callable[[Event], object]:
        """Take one out that waits. Return what wakes it when it is given the cohort's Event, as that does it itself."""
        cohort = member.cohort
        assert cohort is not None
        switch: Callable[[Event], object] = member.greenlet.switch
        self.leave(member)
        # Else the Event, when it is set, would switch to it once more, whatever it waits for by then: gevent takes who
        # is switched to so for one whom the Event has forgotten.
        cohort.event.unlink(switch)
        return switch

    def _place(self, position: Position) -> int:
        """Where a reader stands: at the newest entry of its channels, wherever the head is, if it is caught up. Who is
        behind it, or was given more by the broker than this log has yet, stands at its own cursor."""
        last = self.log.last(position.names)
        return last if last <= position.seq <= self.log.head else position.seq

    def _move(self, cohort: Cohort) -> None:
        """Let a cohort that was written to be found where it stands now."""
        self._full(cohort)
        position = cohort.position
        key = cohort.key = (*cohort.key[:2], cohort.state, position.epoch, self._place(position))
        room = self._with_room.get(key)
        if len(cohort.members) >= COHORT:
            return
        if room is None:
            self._with_room[key] = {cohort: None}
            return
        other = next(iter(room))
        room[cohort] = None
        fewer = min(cohort, other, key=lambda each: len(each.members))
        if len(fewer.members) < FEW:
            self.wake(fewer)  # they find nothing new, and join where there is room

    def awaits(self, names: Iterable[str]) -> bool:
        """Whether anybody waits for one of these channels."""
        return any(name in self._by_channel for name in names)

    def behind(self, names: Iterable[str]) -> list[Cohort]:
        """The cohorts that wait for one of these channels and have not had its newest entry."""
        waiting: dict[Cohort, None] = {}
        for name in names:
            waiting |= self._by_channel.get(name, {})
        return [cohort for cohort in waiting if cohort.place != (self.log.epoch, self.log.last(cohort.position.names))]

    def due(self, now: float) -> list[Cohort]:
        """The cohorts that have been silent for long enough."""
        return [cohort for cohort in self._all if now >= cohort.due]

    def _gather(self, key: Key, first: Subscription) -> Cohort:
        cohort = Cohort(key, first)
        self._postpone(cohort)
        self._all.add(cohort)
        self._with_room.setdefault(key, {})[cohort] = None
        for name in first.names:
            self._by_channel.setdefault(name, {})[cohort] = None
        return cohort

    def _postpone(self, cohort: Cohort) -> None:
        # Spread out, so that the heartbeats of many cohorts do not come together.
        cohort.due = time.monotonic() + self.heartbeat * random.uniform(0.8, 1.0)

    def _full(self, cohort: Cohort) -> None:
        """Let nobody else stand here."""
        room = self._with_room.get(cohort.key)
        if room is not None:
            room.pop(cohort, None)
            if not room:
                del self._with_room[cohort.key]

    def _dissolve(self, cohort: Cohort) -> None:
        self._all.discard(cohort)
        self._full(cohort)
        for name in cohort.position.names:
            waiting = self._by_channel.get(name)
            if waiting is not None:
                waiting.pop(cohort, None)
                if not waiting:
                    del self._by_channel[name]
