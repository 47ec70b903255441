"""Handing over: while gunicorn reloads, the old workers serve until the new ones do.

gunicorn tells the old ones to end as soon as it has forked the new, which need a second until they have loaded the app:
in that second somebody would be refused, or wait. With the memory broker it stays so: two logs at one time would each
have a part of what is published.

A worker says that it serves by the length of the file in which gunicorn's workers show their master that they live. It
has no name and ends with the worker: nothing is left to be taken for another's.

Read in gunicorn's master: see ``serving``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any


#: Seconds that the new workers may take before the old ones are told to end, whatever the new ones do.
PATIENCE = 30.0


def say_serving(worker: Any) -> None:
    """In the worker: it takes connections from now on."""
    os.ftruncate(worker.tmp.fileno(), 1)
    worker.notify()  # to gunicorn the time of the file's last change is a sign of life, by another clock


def serves(worker: Any) -> bool:
    """In the master: whether this worker takes connections."""
    return os.fstat(worker.tmp.fileno()).st_size > 0


def hand_over(server: Any, alone: Callable[[], bool]) -> None:
    """Let this gunicorn end old workers only when the new ones serve; ``alone``: not if there may be but one."""
    manage = server.manage_workers

    def managed() -> None:
        deadline = time.monotonic() + PATIENCE
        while not alone() and _too_early(server) and time.monotonic() < deadline:
            time.sleep(0.02)
            server.reap_workers()  # one that fails ends gunicorn here as it does elsewhere
        manage()

    server.manage_workers = managed


def _too_early(server: Any) -> bool:
    """Whether old workers are about to be told to end, and not all of those that stay serve."""
    workers = sorted(server.WORKERS.values(), key=lambda worker: worker.age)
    old = len(workers) - server.num_workers
    return old > 0 and not all(map(serves, workers[old:]))
