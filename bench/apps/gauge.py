"""The gauge: gunicorn's configuration of comet, and in each worker a greenlet that sleeps for a millisecond again and
again and keeps how late it was woken. ``GET /bench/lateness`` answers with it and begins anew.

``late`` is what the clock says. ``own`` is without the time in which this process could have run but another one had
the core: what remains was the worker's own doing.
"""

from __future__ import annotations

import os
import time
from typing import Any

from comet import serving


globals().update(serving.options(serving.read_settings()))


def post_worker_init(worker: Any) -> None:
    # In the worker only: gunicorn's master is not patched.
    import gevent

    serving.post_worker_init(worker)
    late: list[tuple[float, float]] = []
    gevent.spawn(_keep, late, gevent.sleep)

    def lateness() -> dict[str, object]:
        clock, own = ([pair[place] for pair in late] for place in (0, 1))
        late.clear()
        return {"pid": os.getpid(), "late": clock, "own": own}

    worker.wsgi.add_url_rule("/bench/lateness", view_func=lateness)


def _keep(late: list[tuple[float, float]], sleep: Any) -> None:
    schedule = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
    waited = _waited(schedule)
    while True:
        begun = time.monotonic()
        sleep(0.001)
        slept, before = time.monotonic() - begun, waited
        waited = _waited(schedule)
        late.append((max(0.0, slept - 0.001), max(0.0, slept - 0.001 - (waited - before))))


def _waited(schedule: int) -> float:
    """Seconds in which this thread was ready and had no core."""
    return int(os.pread(schedule, 100, 0).split()[1]) / 1e9
