"""The last minute of this server: what its workers had counted at each second of it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..tallies import BETWEEN, Tally, gather


#: Seconds that are remembered.
MINUTE = 60.0

#: Whoever asks again within so many seconds is told the same.
FRESH = 0.5

#: A rate is of so many seconds: the other workers tell what they have counted a second later.
SPAN = 3.5


class Sample(NamedTuple):
    """What was so at a time. The last three only grow, and then by what has happened in between."""

    time: float
    workers: int
    streams: int
    memory: float
    load: float | None
    updates: float
    deliveries: float
    bytes: float


class Minute:
    """Looks at what the workers have counted, whenever it is asked. Of a time when nobody asks it knows nothing."""

    def __init__(self, tallies: Callable[[], Sequence[Tally]]) -> None:
        self._tallies = tallies
        self._samples: deque[Sample] = deque()

    def look(self) -> list[Sample]:
        """Those of the last minute; the last one is of now."""
        samples, now = self._samples, time.time()
        if samples and samples[-1].time > now:
            samples.clear()  # the clock was set back
        if not samples or now - samples[-1].time >= FRESH:
            samples.append(sample(now, self._tallies(), load()))
        while samples[0].time < now - MINUTE - SPAN:
            samples.popleft()
        return list(samples)


def sample(now: float, tallies: Sequence[Tally], load: float | None = None) -> Sample:
    totals = gather(tallies)
    return Sample(
        now,
        sum(tally.lives for tally in tallies),
        int(_sum(totals, "comet_streams")),
        _sum(totals, "comet_process_resident_memory_bytes"),
        load,
        _sum(totals, "comet_updates_total"),
        _sum(totals, "comet_deliveries_total"),
        _sum(totals, "comet_delivered_bytes_total"),
    )


def _sum(totals: Mapping[str, float], metric: str) -> float:
    return sum(number for name, number in totals.items() if name.split(BETWEEN)[0] == metric)


def load() -> float | None:
    """How many processes want the processors of this machine, as it counts them. None: it does not."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def rates(samples: Iterable[Sample], what: str) -> list[tuple[float, float | None]]:
    """At each time how much of something there was in a second; None where too little is known to say."""
    found: list[tuple[float, float | None]] = []
    before: deque[Sample] = deque()
    for now in samples:
        while before and now.time - before[0].time > SPAN:
            before.popleft()
        grown = getattr(now, what) - getattr(before[0], what) if before else 0
        # A worker that is being replaced may be missing for a moment.
        found.append((now.time, max(0.0, grown) / (now.time - before[0].time) if before else None))
        before.append(now)
    return found
