"""Stopping: gunicorn tells a worker by TERM to end, for good or because it is reloaded.

When the whole server stops, the worker says from that moment on that it is not ready, and its port stays open as long
as it drains: so who asks ``/readyz`` in front of several hosts finds out before anybody is refused a connection. When
it is reloaded, others serve already (see ``handover``): it goes on until gunicorn closes its port, and then drains.

Read in gunicorn's master too: see ``serving``.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


#: In the folder of the server's workers, once all of them are to stop.
_MARK = "stopping"


def announce(server: Any, shared: Path) -> None:
    """Let this gunicorn's workers know when it stops: a signal alone does not say whether others come after them."""
    stop = server.stop

    def announced(graceful: bool = True) -> None:
        with suppress(OSError):  # their ports close sooner then
            (shared / _MARK).touch()
        stop(graceful)

    server.stop = announced


def is_announced(shared: Path | None) -> bool:
    """Whether all of the server stops."""
    return shared is not None and (shared / _MARK).exists()


def on_term(worker: Any, shared: Path | None, begin: Callable[[bool], None]) -> None:
    """Call ``begin`` as soon as this gunicorn worker is told to end, in the signal's handler, with whether all of the
    server stops. Then gunicorn does not know of it before the caller says ``worker.alive = False``; else it closes the
    port within a second."""
    if signal.getsignal(signal.SIGTERM) != worker.handle_exit:
        return  # somebody else's worker has its own way

    def told(number: int, frame: Any) -> None:
        # One that does not serve yet has nothing to drain: it may be waiting for just this signal.
        all_stop = worker.booted and is_announced(shared)
        begin(all_stop)
        if not all_stop:
            worker.handle_exit(number, frame)

    signal.signal(signal.SIGTERM, told)
