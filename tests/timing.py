"""Time in tests. A test waits for a state; what it does before it gives up is stretched on slow machines."""

from __future__ import annotations

import os
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
