"""Stopping: gunicorn tells a worker by TERM to end, for good or because it is reloaded.

From that moment on the worker says that it is not ready. When the whole server stops, its port stays open as long as it
drains: so who asks ``/readyz`` in front of several hosts finds out before anybody is refused a connection. When it is
reloaded the port of the old worker closes at once: the new ones take who comes.

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


def on_term(worker: Any, shared: Path | None, begin: Callable[[], None]) -> None:
    """Call ``begin`` as soon as this gunicorn worker is told to end, in the signal's handler. When all of the server
    stops, gunicorn does not know of it before the caller says ``worker.alive = False``: then it closes the port."""
    if signal.getsignal(signal.SIGTERM) != worker.handle_exit:
        return  # somebody else's worker has its own way

    def told(number: int, frame: Any) -> None:
        begin()
        # One that does not serve yet has nothing to drain: it may be waiting for just this signal.
        if not worker.booted or shared is None or not (shared / _MARK).exists():
            worker.handle_exit(number, frame)

    signal.signal(signal.SIGTERM, told)


def name_ports(worker: Any) -> None:
    """Let the listening sockets of this gunicorn worker know their names when they are closed, too. In the worker.

    gunicorn asks for it with each connection, when it gets round to it: one that has come through a moment before the
    port was closed would end with a traceback, and its client with nothing.
    """
    from gevent.socket import socket  # only here, where everything is patched

    class Port(socket):  # type: ignore[misc]
        def __init__(self, sock: Any) -> None:
            self.name = sock.getsockname()
            super().__init__(sock.family, sock.type, fileno=sock.detach())

        def getsockname(self) -> Any:
            return self.name

    worker.sockets = [Port(sock) for sock in worker.sockets]
