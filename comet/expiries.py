"""Expiries: when the streams whose token runs out are told, and when they are ended; and which tokens are revoked.

One look a second for all of them: they stand by the second in which something is due. That is a dictionary with at
most an entry for each second until the last of them, and looked through as a whole: a millisecond for 50,000.
"""

from __future__ import annotations

import math
import time
from typing import TypeVar

from .cohorts import Subscription


K = TypeVar("K")

#: Seconds before the end of its token at which a stream is told, so that its client can come with a new one.
WARNING = 30.0


class Expiries:
    """The streams that rest on a token: on its end, ``expires``, and by its ``jti`` on not being revoked."""

    def __init__(self) -> None:
        #: The jti of tokens that are good no more.
        self.revoked: set[str] = set()
        self._due: dict[int, set[Subscription]] = {}
        self._by_jti: dict[str, set[Subscription]] = {}

    def add(self, subscription: Subscription) -> None:
        if subscription.jti:
            self._by_jti.setdefault(subscription.jti, set()).add(subscription)
        if subscription.jti in self.revoked:
            self._end(subscription)  # since it was let in
        elif subscription.expires < math.inf:
            self._note(subscription, subscription.expires - WARNING)

    def remove(self, subscription: Subscription) -> None:
        """Harmless for one that is not here."""
        if subscription.jti:
            _discard(self._by_jti, subscription.jti, subscription)
        if subscription.expires < math.inf:
            for moment in (subscription.expires - WARNING, subscription.expires):
                _discard(self._due, math.ceil(moment), subscription)

    def due(self, now: float) -> list[Subscription]:
        """Those who are to be told now, or to be ended. Who is told comes again at the end."""
        found: list[Subscription] = []
        for second in [second for second in self._due if second <= now]:
            found += self._due.pop(second)
        for subscription in found:
            if subscription.expires > now:
                self._note(subscription, subscription.expires)
        return found

    def revoke(self, jti: str) -> list[Subscription]:
        """From now on this token is good no more. Return those who rest on it: they are to be ended."""
        self.revoked.add(jti)
        found = list(self._by_jti.get(jti, ()))
        for subscription in found:
            self._end(subscription)
        return found

    def _end(self, subscription: Subscription) -> None:
        self.remove(subscription)
        subscription.expires = time.time()
        subscription.expiring = True

    def _note(self, subscription: Subscription, moment: float) -> None:
        self._due.setdefault(math.ceil(moment), set()).add(subscription)


def _discard(sets: dict[K, set[Subscription]], key: K, subscription: Subscription) -> None:
    there = sets.get(key)
    if there is not None:
        there.discard(subscription)
        if not there:
            del sets[key]
