"""Counts: what a worker has done since its start, in plain numbers.

The rooms add to them while they work, at most a few times for each write to a whole cohort, never for each member of
it. Who shows them looks now and then, and works out what came in between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field


#: Upper bounds, in seconds: from what one write costs to what a person notices.
DELAYS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Histogram:
    """How many values lay in which range, and their sum. ``buckets`` has one more than there are ``bounds``."""

    __slots__ = ("bounds", "buckets", "sum")

    def __init__(self, bounds: tuple[float, ...] = DELAYS) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def note(self, value: float) -> None:
        # A value that equals a bound lies below it.
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Delivered:
    """What was written in one of the two ways: updates and bytes, each as often as a stream was given it."""

    __slots__ = ("bytes", "updates")

    def __init__(self) -> None:
        self.updates = 0
        self.bytes = 0


@dataclass(slots=True)
class Counts:
    """All of a worker. ``closes`` are by wire and reason (see ``ends``), ``opens`` by wire, ``gaps`` by reason."""

    opens: Counter[str] = field(default_factory=Counter)
    closes: Counter[tuple[str, str]] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)
    #: Answers that say what was wrong, by status.
    refusals: Counter[int] = field(default_factory=Counter)
    #: Written to the sockets of a cohort, and yielded by the greenlet of a stream or a poll.
    direct: Delivered = field(default_factory=Delivered)
    yielded: Delivered = field(default_factory=Delivered)
    #: From the news of an update in this worker to the write to a cohort that waits for it.
    delay: Histogram = field(default_factory=Histogram)
    #: By how much a greenlet that sleeps is woken late.
    lateness: Histogram = field(default_factory=Histogram)
