"""Time in tests. A test waits for a state; what it does before it gives up is stretched on slow machines."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar


T = TypeVar("T")

#: All times in tests are multiples of this, so that COMET_TEST_PATIENCE=5 makes every test five times as patient.
PATIENCE = float(os.environ.get("COMET_TEST_PATIENCE", "1"))


def until(
    state: Callable[[], T], *, seconds: float = 10.0, what: str = "", sleep: Callable[[float], object] = time.sleep
) -> T:
    """Return the state as soon as it is true; fail if it is not within ``seconds``.

    Where greenlets of this process bring the state about, ``sleep`` must be gevent's.
    """
    begun = time.monotonic()
    while not (value := state()):
        waited = time.monotonic() - begun
        assert waited < seconds * PATIENCE, f"not within {seconds} s: {what or state}"
        sleep(min(max(0.01, waited / 20), 0.1))  # asking keeps a processor busy that others wait for
    return value


class Stopwatch:
    """How long something takes. While the machine stands still, so does this: only what keeps up with its ticks counts.

    ``seconds``: so far, and at the end of the with statement in all.
    """

    TICK = 0.01

    def __init__(self) -> None:
        self.seconds = 0.0
        self._over = threading.Event()
        self._ticking = threading.Thread(target=self._tick)

    def __enter__(self) -> Stopwatch:
        self._ticking.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._ticking.join()

    def _tick(self) -> None:
        before = time.monotonic()
        while not self._over.wait(self.TICK):
            now = time.monotonic()
            self.seconds += min(now - before, 3 * self.TICK)
            before = now


def within(seconds: float, state: Callable[[], T], what: str = "") -> T:
    """Wait for the state; fail if it takes longer, by a stopwatch."""
    with Stopwatch() as watch:
        value = until(state, what=what)
    assert watch.seconds <= seconds * PATIENCE, f"it took {watch.seconds:.2f} s: {what or state}"
    return value
