"""Refusals: how long those who found no room are sent away."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from .core.errors import Unavailable


#: So many a second are to come back, and after so many seconds at the least and at the most.
RATE = 100.0
SHORTEST, LONGEST = 5.0, 120.0


class Refusals:
    """Gives each who is refused a moment of its own to come back at: about 100 of them in a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = 0.0

    def retry(self, error: Unavailable) -> int:
        """Milliseconds after which a client that is refused now should come back."""
        now = self._clock()
        shortest = min(LONGEST, max(SHORTEST, error.retry_after))
        self._last = max(now + shortest, self._last + 1 / RATE)
        if self._last > now + LONGEST:
            # All moments are taken: whoever comes now shares one with somebody, evenly.
            self._last = now + LONGEST
            return int(1000 * random.uniform(shortest, LONGEST))
        return int(1000 * (self._last - now))
