"""Refusals: who finds no room comes back later, and not all at once."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest

from comet.core.errors import Full, Stopping
from comet.refusals import Refusals


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("clients", "arriving", "most"),
    [(50, 0, 60), (1_000, 1, 110), (10_000, 0, 110), (10_000, 300, 110), (30_000, 5, 600)],
)
def test_many_clients_find_no_room(clients: int, arriving: float, most: int) -> None:
    """However they come, after the first round about 100 a second come back, or as few as 120 seconds allow."""
    clock = Clock()
    refusals = Refusals(clock)
    away = [clock.now + random.random() * arriving for _ in range(clients)]
    heapq.heapify(away)
    in_second: Counter[int] = Counter()
    while away[0] < 1000 + arriving + 300:
        clock.now = heapq.heappop(away)
        in_second[int(clock.now)] += 1
        retry = refusals.retry(Full("full", retry_after=5))
        assert 5_000 <= retry <= 120_000
        heapq.heappush(away, clock.now + retry / 1000)
    later = [count for second, count in in_second.items() if second > 1000 + arriving + 130]
    assert max(later) <= most


def test_one_client_finds_no_room() -> None:
    """Alone, it is sent away for as long as the refusal says."""
    refusals = Refusals(Clock())
    assert refusals.retry(Stopping("stopping", retry_after=9)) == 9_000
    assert refusals.retry(Stopping("stopping", retry_after=500)) == 120_000
