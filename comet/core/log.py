"""Log: what one process holds of the broker's log, over all channels, and the one rule of gaps.

A subscriber is a cursor over this log. Reading is asking "what is newer than N on these channels?"; nothing here
waits, and nobody is remembered.

Rule 1. Entries are appended in SEQ order over *all* channels: one cursor over several channels is safe only so.
Rule 2. A reader at N has a gap exactly when the epoch differs, N is ahead of the head, N lies in a hole that a restart
has left, or N < ``lost`` of one of its channels. A channel without a record counts as lost up to ``floor``: the
greatest ``last`` of all forgotten channels.
Rule 3. A gap is told once for all channels of an answer, before the first entry that follows it. An answer that is
read in pages remembers what it has told, by channel, until it has read past it.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from operator import attrgetter
from typing import NamedTuple

from .changes import Changes
from .cursor import NOWHERE, Cursor
from .ring import REMEMBERED, Ring
from .rules import Rules
from .update import Closed, Update, is_own


Entry = Update | Closed

_seq = attrgetter("seq")

#: A cursor longer than this is cut where a gap quotes it.
QUOTED = 64


@dataclass(frozen=True, slots=True)
class Gap:
    """Updates after ``since`` that can no longer be supplied. ``first`` is the id of the first that follows, if any."""

    since: str
    first: str | None
    reason: str  # "trimmed", "epoch", "future" or "unknown"


class Page(NamedTuple):
    """What a reader gets next.

    ``seq`` is its cursor afterwards, and ``told`` what it has then been told of losses; ``more`` says that it is not at
    the head yet; ``ended`` that a channel of its set was closed, which ends the answer after these entries.
    """

    gap: Gap | None
    entries: Sequence[Entry]
    epoch: str
    seq: int
    more: bool
    ended: bool
    told: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries or self.gap)


@dataclass(slots=True)
class Position:
    """Where a reader stands, and how it reads.

    ``doubt`` is the gap that its cursor brought along: (cursor as sent, reason); it is told with the next page.
    ``told``: up to which SEQ it knows of losses ahead of it, for each name; they are not told again while it reads up
    to there.
    """

    names: tuple[str, ...]
    seq: int
    epoch: str
    newest_only: bool = False
    doubt: tuple[str, str] | None = None
    told: tuple[int, ...] = ()

    def move(self, epoch: str, seq: int, told: tuple[int, ...] = ()) -> None:
        """Stand behind a page that was read: all three are the page's."""
        self.epoch, self.seq, self.told, self.doubt = epoch, seq, told, None

    def copy(self) -> Position:
        return Position(self.names, self.seq, self.epoch, self.newest_only, self.doubt, self.told)


@dataclass(frozen=True, slots=True)
class Start:
    """How an answer begins: where its reader stands, what it is given first, and the cursor that leads here again."""

    position: Position
    entries: Sequence[Update]
    cursor: Cursor


class Log:
    """The log over all channels. ``limit`` bounds its memory in bytes: beyond it the oldest history goes first.

    ``mirror``: its broker keeps the history elsewhere, and may have more of it.
    """

    def __init__(self, epoch: str, *, rules: Rules | None = None, limit: int = 1 << 28, mirror: bool = False) -> None:
        self.epoch = epoch
        self.mirror = mirror
        self.rules = rules or Rules()
        self.limit = limit
        self.head = 0
        self.floor = 0
        #: SEQs that were jumped over: (the head before, the first that may be given out after). Whoever stands between
        #: has seen updates that this log does not know.
        self.holes: list[tuple[int, int]] = []
        self.weight = 0
        self.published = 0
        self.rings: dict[str, Ring] = {}
        self.changes = Changes()

    # Writing.

    def open(self, name: str) -> Ring:
        """Return the channel's ring; begin one if there is none. What lies below the floor counts as lost in it."""
        ring = self.rings.get(name)
        if ring is None:
            ring = self.rings[name] = Ring(self.rules[name], self.floor)
        return ring

    def adopt(self, name: str, lost: int) -> None:
        """Know a channel that exists in the broker already. Its entries after ``lost`` are appended next."""
        ring = self.open(name)
        ring.last = ring.lost = lost
        self._exists(name, ring)

    def restart(self, epoch: str) -> None:
        """Begin an empty log of another epoch. Every reader of the old one is told the gap."""
        self.epoch = epoch
        self.head = self.floor = self.weight = self.published = 0
        self.holes = []
        names = list(self.rings)
        self.rings, self.changes = {}, Changes()
        for name in names:
            self.open(name)

    def append(self, entry: Entry) -> None:
        """Take the next entry of the broker's log. Its SEQ must be greater than the head."""
        if entry.seq <= self.head:
            raise AssertionError(f"SEQ {entry.seq} after {self.head}: entries must come in order.")
        ring = self.open(entry.channel)
        before = ring.weight
        if isinstance(entry, Closed):
            ring.close(entry.seq, entry.time)
        else:
            if entry.prev > max(ring.last, self.floor):
                ring.skip(entry.prev)
                ring.partial = self.mirror
            ring.append(entry)
        self.changes.note(entry)
        ring.idle_since = None
        self._exists(entry.channel, ring)
        self.head = entry.seq
        self.weight += ring.weight - before
        if self.weight > self.limit:
            self._evict()

    def skip(self, name: str, seq: int) -> bool:
        """Nothing of a channel up to there is kept, unless it has come here. Return whether that is news."""
        ring = self.open(name)
        before = ring.weight
        if is_news := ring.last < seq:
            ring.skip(seq)
        self.weight += ring.weight - before
        return is_news

    def tick(self, now: float, used: Container[str]) -> Iterator[None]:
        """Let time pass: expire old updates, stop telling old ends, forget channels that nobody needs for 60 s.

        ``used`` are the channels with subscribers; they are kept. Call it about once a second, and exhaust it:
        it yields after each 200 channels, where the caller may let others run.
        """
        self.changes.tick(now)
        for count, (name, ring) in enumerate(list(self.rings.items()), 1):
            if count % 200 == 0:
                yield
            if self.rings.get(name) is not ring:
                continue  # forgotten while others ran
            before = ring.weight
            ring.expire(now)
            self.weight += ring.weight - before
            if ring.closed and now - ring.closed_at >= REMEMBERED:
                ring.closed = 0
            if len(ring) or name in used or name in self.rules.names:
                ring.idle_since = None
            elif ring.idle_since is None:
                ring.idle_since = now
            elif now - ring.idle_since >= ring.remembered and not ring.closed:
                self.forget(name)

    def _exists(self, name: str, ring: Ring) -> None:
        if not ring.published:
            ring.published = True
            self.published += not is_own(name)

    def release(self, name: str) -> None:
        """The last subscriber of a channel has left: a name that was never published needs no record."""
        if not self.rings[name].published:
            self.forget(name)

    def exists(self, name: str) -> bool:
        """Whether the channel was published to or declared. A subscription alone does not make one."""
        ring = self.rings.get(name)
        return name in self.rules.names or (ring is not None and ring.published)

    def forget(self, name: str) -> None:
        """Drop a channel's record; the floor remembers for it what is lost."""
        ring = self.rings.pop(name)
        self.published -= ring.published and not is_own(name)
        self.weight -= ring.weight
        self.floor = max(self.floor, ring.last)

    def _evict(self) -> None:
        # Down to 90 %, so that a full log does not come here for each update.
        rings = [(ring.first, name) for name, ring in self.rings.items() if len(ring)]
        heapq.heapify(rings)
        while rings and self.weight > self.limit * 0.9:
            _, name = heapq.heappop(rings)
            ring = self.rings[name]
            before = ring.weight
            ring.drop()
            ring.partial = self.mirror
            self.weight += ring.weight - before
            if len(ring):
                heapq.heappush(rings, (ring.first, name))

    # Reading.

    def cursor(self, seq: int) -> Cursor:
        return Cursor(self.epoch, seq)

    def last(self, names: Iterable[str]) -> int:
        """SEQ of the newest entry of these channels: all readers at or beyond it stand together."""
        newest = 0
        for name in names:  # a plain loop: this is asked for each stream at each update
            ring = self.rings.get(name)
            last = self.floor if ring is None else ring.last
            if last > newest:
                newest = last
        return newest

    def missed(self, names: Iterable[str], seq: int) -> tuple[int, ...]:
        """Up to which SEQ a reader at ``seq`` has missed something that can't be supplied, for each of these channels
        (0: nothing); empty if nothing at all is missed."""
        rings, floor = self.rings, self.floor
        if seq >= self.head:
            return ()
        missed = [rings[name].missed(seq) if name in rings else floor if seq < floor else 0 for name in names]
        return tuple(missed) if any(missed) else ()

    def lacks(self, names: Iterable[str], seq: int) -> bool:
        """Whether a reader at ``seq`` of these channels has missed something that can't be supplied from here."""
        return bool(self.missed(names, seq))

    def begin(self, names: tuple[str, ...], since: str | None, last: int | None, *, newest_only: bool = False) -> Start:
        """Begin an answer: after the cursor ``since``, or with the ``last`` updates of each channel.

        ``last`` None is what the rules say. A cursor that makes no sense is a gap, never an error.
        """
        if since:
            return self._resume(names, since, newest_only)
        recent: list[Update] = []
        for name in names:
            if ring := self.rings.get(name):
                recent += ring.recent(self.replay(name, last, newest_only))
        return self.start(names, recent, self.head, newest_only)

    def replay(self, name: str, last: int | None, newest_only: bool) -> int:
        """How many updates of a channel an answer without a cursor begins with."""
        rule = self.rules[name]
        count = rule.replay if last is None else last
        return min(count, 1) if newest_only or rule.conflate else count

    def start(self, names: tuple[str, ...], recent: Iterable[Update], upto: int, newest_only: bool) -> Start:
        """An answer that begins with these recent updates, and goes on behind ``upto``."""
        entries = sorted((update for update in recent if update.seq <= upto), key=_seq)
        place = entries[0].seq - 1 if entries else upto
        return Start(Position(names, upto, self.epoch, newest_only), entries, self.cursor(place))

    def _resume(self, names: tuple[str, ...], since: str, newest_only: bool) -> Start:
        cursor = Cursor.parse(since)
        if cursor is None:
            reason = "unknown"
        elif cursor.epoch != self.epoch:
            reason = "epoch"
        elif cursor.seq > self.head or any(before < cursor.seq < after for before, after in self.holes):
            reason = "future"
        else:
            return Start(Position(names, cursor.seq, self.epoch, newest_only), (), cursor)
        # Who comes back with the cursor of this answer before having read its gap must be told the gap again.
        # A cursor from the future would pass for a good one later: it is not handed back.
        again = cursor if cursor is not None and reason == "epoch" else NOWHERE
        return Start(Position(names, 0, self.epoch, newest_only, (since[:QUOTED], reason)), (), again)

    def has_news(self, at: Position) -> bool:
        """Whether there is anything to tell this reader."""
        return at.seq < self.last(at.names) or at.doubt is not None or at.epoch != self.epoch

    def read(self, at: Position, *, size: int = 65_536, limit: int = 1000) -> Page:
        """What is newer than the reader's cursor, in SEQ order: at most ``limit`` entries or about ``size`` bytes.

        Does not move the reader: the caller does (``Position.move``), once the page is its own.
        """
        if at.epoch != self.epoch:
            gone = at.doubt or (str(Cursor(at.epoch, at.seq)), "epoch")
            at = Position(at.names, 0, self.epoch, at.newest_only, gone)
        doubt = at.doubt
        missed = self.missed(at.names, at.seq)
        if doubt is None and missed and any(new > old for new, old in zip_longest(missed, at.told, fillvalue=0)):
            doubt = (str(self.cursor(at.seq)), "trimmed")
        entries: list[Entry] = []
        for entry in self._after(at):
            if isinstance(entry, Closed):
                entries.append(entry)
                return Page(_gap(doubt, entries), entries, self.epoch, entry.seq, more=False, ended=True)
            size -= len(entry.data)
            if entries and (size < 0 or len(entries) >= limit):
                return self._page(doubt, entries, entries[-1].seq, missed, more=True)
            entries.append(entry)
        return self._page(doubt, entries, self.head, missed, more=False)

    def _page(
        self, doubt: tuple[str, str] | None, entries: list[Entry], seq: int, missed: tuple[int, ...], *, more: bool
    ) -> Page:
        told = missed if missed and any(lost > seq for lost in missed) else ()
        return Page(_gap(doubt, entries), entries, self.epoch, seq, more, ended=False, told=told)

    def _after(self, at: Position) -> Iterable[Entry]:
        sources = [self._channel(name, at) for name in at.names]
        return sources[0] if len(sources) == 1 else heapq.merge(*sources, key=_seq)

    def _channel(self, name: str, at: Position) -> Iterable[Entry]:
        ring = self.rings.get(name)
        if ring is None or ring.last <= at.seq:
            return ()
        if ring.closed:
            return (Closed(name, ring.closed_at, self.epoch, ring.closed),)
        if at.newest_only or ring.rule.conflate:
            return ring.recent(1) if ring.updates and ring.updates[-1].seq > at.seq else ()
        return ring.after(at.seq)


def _gap(doubt: tuple[str, str] | None, entries: Iterable[Entry]) -> Gap | None:
    if doubt is None:
        return None
    since, reason = doubt
    return Gap(since, next((entry.id for entry in entries if isinstance(entry, Update)), None), reason)
