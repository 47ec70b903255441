"""Expiries: when the streams whose token runs out are told, and when they are ended.

One look a second for all of them: they stand by the second in which something is due. That is a dictionary with at
most an entry for each second until the last of them, and looked through as a whole: a millisecond for 50,000.
"""

from __future__ import annotations

import math

from .cohorts import Subscription


#: Seconds before the end of its token at which a stream is told, so that its client can come with a new one.
WARNING = 30.0


class Expiries:
    """The streams whose token has an end, ``expires``."""

    def __init__(self) -> None:
        self._due: dict[int, set[Subscription]] = {}

    def add(self, subscription: Subscription) -> None:
        self._note(subscription, subscription.expires - WARNING)

    def remove(self, subscription: Subscription) -> None:
        """Harmless for one that is not here."""
        for moment in (subscription.expires - WARNING, subscription.expires):
            second = math.ceil(moment)
            there = self._due.get(second)
            if there is not None:
                there.discard(subscription)
                if not there:
                    del self._due[second]

    def due(self, now: float) -> list[Subscription]:
        """Those who are to be told now, or to be ended. Who is told comes again at the end."""
        found: list[Subscription] = []
        for second in [second for second in self._due if second <= now]:
            found += self._due.pop(second)
        for subscription in found:
            if subscription.expires > now:
                self._note(subscription, subscription.expires)
        return found

    def _note(self, subscription: Subscription, moment: float) -> None:
        self._due.setdefault(math.ceil(moment), set()).add(subscription)
