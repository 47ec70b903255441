"""Ring: one channel's bounded history.

It keeps its updates in SEQ order in one list; what is trimmed is let go and skipped by moving ``start``, and the list
is cut when half of it is skipped, so that both ends cost nothing.

Three numbers outlive what is kept:

* ``last``: SEQ of the channel's newest update ever, its end included
* ``lost``: SEQ of the newest one that is no longer kept: a reader at N has a gap exactly when N < ``lost``
* ``closed``: SEQ of the channel's end, while it is still told as such (0: it is not)

It is ``partial`` where the broker may have more of the channel: in a mirror that had no room for it, or missed it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from sys import getsizeof

from .rules import Rule
from .update import Update


_seq = attrgetter("seq")

#: Seconds for which the end of a channel is told as such, and an unused channel is remembered.
REMEMBERED = 60.0

#: What an update costs beside its data, in bytes: objects, numbers and list entry. Measured: 200 to 212 with
#: tracemalloc, 226 to 240 of resident memory.
OVERHEAD = 240

#: In the place of an update that is no longer kept.
_GONE = Update("gone", b"")


def weight(update: Update) -> int:
    """Bytes of memory that an update takes while it is kept."""
    names = (name for name in (update.event, update.key) if name is not None)
    return OVERHEAD + len(update.data) + sum(map(getsizeof, names))


class Ring:
    """One channel's history. ``floor`` is where a channel without a record begins: what lies below it is lost."""

    __slots__ = (
        "closed",
        "closed_at",
        "idle_since",
        "last",
        "lost",
        "partial",
        "published",
        "rule",
        "size",
        "start",
        "updates",
        "weight",
    )

    def __init__(self, rule: Rule, floor: int) -> None:
        self.rule = rule
        self.updates: list[Update] = []
        self.start = 0
        self.size = 0
        self.weight = 0
        self.last = floor
        self.lost = floor
        self.closed = 0
        self.closed_at = 0.0
        self.published = False
        self.partial = False
        self.idle_since: float | None = None

    def __len__(self) -> int:
        return len(self.updates) - self.start

    def __iter__(self) -> Iterator[Update]:
        return self.after(0)

    @property
    def first(self) -> int:
        """SEQ of the oldest update that is kept. The ring must not be empty."""
        return self.updates[self.start].seq

    @property
    def remembered(self) -> float:
        """Seconds for which it is remembered after it became empty: as long as the broker may have something."""
        return REMEMBERED + (self.rule.history_seconds if self.partial else 0)

    @property
    def newest(self) -> Update | None:
        return self.updates[-1] if len(self) else None

    def append(self, update: Update) -> None:
        """Keep an update, and trim what is then too much."""
        self.updates.append(update)
        self.size += len(update.data)
        self.weight += weight(update)
        self.last = update.seq
        self.closed = 0
        rule = self.rule
        # The newest always stays: it has not been delivered yet.
        while len(self) > 1 and (len(self) > rule.history or self.size > rule.history_bytes):
            self.drop()
        self.expire(update.time)

    def skip(self, prev: int) -> None:
        """Something up to ``prev`` never came here: what is older can't be supplied without a hole any more."""
        while len(self):
            self.drop()
        self.last = self.lost = prev
        self.closed = 0

    def drop(self) -> None:
        """Forget the oldest update. The ring must not be empty."""
        gone = self.updates[self.start]
        self.updates[self.start] = _GONE
        self.lost = gone.seq
        self.size -= len(gone.data)
        self.weight -= weight(gone)
        self.start += 1
        if self.start * 2 > len(self.updates):
            del self.updates[: self.start]
            self.start = 0

    def expire(self, now: float) -> None:
        """Forget what is older than the rule allows."""
        oldest = now - self.rule.history_seconds
        while len(self) and self.updates[self.start].time < oldest:
            self.drop()

    def close(self, seq: int, now: float) -> None:
        """Forget everything and end the channel at ``seq``."""
        self.updates.clear()
        self.start = self.size = self.weight = 0
        self.partial = False
        self.last = self.lost = self.closed = seq
        self.closed_at = now

    def missed(self, seq: int) -> int:
        """Up to which SEQ a reader at ``seq`` has missed something here that can't be supplied; 0: nothing."""
        if self.closed:
            return 0  # whoever has not had everything is told the end instead
        if self.rule.conflate and len(self):
            return 0  # the newest is all it wants, and that is kept
        return self.lost if seq < self.lost else 0

    def after(self, seq: int) -> Iterator[Update]:
        """The updates that are kept and newer than ``seq``, oldest first."""
        for index in range(self._place(seq), len(self.updates)):
            yield self.updates[index]

    def recent(self, count: int) -> list[Update]:
        """The ``count`` newest, oldest first."""
        return self.updates[max(self.start, len(self.updates) - count) :] if count else []

    def _place(self, seq: int) -> int:
        # Nearly every reader is at the head or one update behind it: look there first.
        if seq >= self.last:
            return len(self.updates)
        if self.start == len(self.updates) or seq < self.updates[self.start].seq:
            return self.start
        return bisect_right(self.updates, seq, lo=self.start, key=_seq)
