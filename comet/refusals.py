"""Refusals: how long those who found no room are sent away, so that about 100 a second come back."""

from __future__ import annotations

import random
import time

from .core.errors import Unavailable


class Refusals:
    """How long those who found no room are sent away: so that about 100 a second come back."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._count = 0
        self._seconds = 5.0

    def retry(self, error: Unavailable) -> int:
        """Milliseconds after which a client that is refused now should come back."""
        self._count += 1
        now = time.monotonic()
        if now - self._since >= 1.0:
            # All who are away come back within the time they were given: there are count times that many of them.
            rate = self._count / (now - self._since)
            self._seconds = min(120.0, max(5.0, self._seconds * rate / 100))
            self._since, self._count = now, 0
        return int(1000 * min(120.0, max(5.0, error.retry_after, self._seconds) * random.uniform(1.0, 1.3)))
