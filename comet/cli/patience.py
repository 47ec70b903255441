"""Patience: how long to wait before the next attempt."""

from __future__ import annotations

import random


#: Seconds: the first pause, and the longest.
FIRST, LONGEST = 0.25, 30.0


class Patience:
    """Pauses that double, spread at random. ``reset`` when it went well."""

    def __init__(self) -> None:
        self._next = FIRST

    def reset(self) -> None:
        self._next = FIRST

    def pause(self, at_least: float = 0.0) -> float:
        """The seconds to wait now."""
        now, self._next = self._next, min(self._next * 2, LONGEST)
        return max(now, at_least) * random.uniform(1.0, 1.5)
