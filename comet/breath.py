"""Breath: let the others run, but not more often than it helps.

The hub turns once for all greenlets: whoever works for long without a switch keeps timers, accepts and every other
stream waiting. ``gevent.sleep(0)`` is not a breath: it makes timers and accepts late by half a second, because gevent
looks at sockets only after 50 of its callbacks. A timer of almost zero is exactly one turn of the loop.
"""

from __future__ import annotations

import time

import gevent
from gevent import get_hub


#: Seconds of work between two turns of the loop.
SLICE = 0.004


def breathe() -> None:
    """Let the loop turn once if it has not turned for ``SLICE`` seconds. Call it after each piece of work."""
    hub = get_hub()
    # The hub itself (a callback of a greenlet's end, say) can't wait for its own loop.
    if not -1.0 < time.time() - hub.loop.now() < SLICE and gevent.getcurrent() is not hub:
        gevent.sleep(1e-9)


def turn() -> None:
    """Let the loop turn once."""
    gevent.sleep(1e-9)


class Pause:
    """The breath of work that everybody waits for: it goes on for a third of the time, and for ``SLICE`` at least.

    With the plain ``breathe`` it would have four milliseconds of each turn: next to nothing where a turn takes a tenth
    of a second, because hundreds of requests are ready in each.
    """

    #: Seconds of work after which even then the others have their turn.
    LONGEST = 0.05

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self) -> None:
        """The work begins."""
        self._until = time.perf_counter() + SLICE

    def breathe(self) -> None:
        """Let the loop turn if it is time. Call it after each piece of the work."""
        begun = time.perf_counter()
        if begun >= self._until:
            turn()
            now = time.perf_counter()
            self._until = now + min(max(SLICE, (now - begun) / 2), self.LONGEST)
