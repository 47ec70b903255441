"""Can this server hold streams? Asked before the first one, answered with the one command that works."""

from __future__ import annotations

import threading

import gevent
from flask import Request
from gevent import monkey

from ..core.errors import WrongServer


COMMAND = "gunicorn -k gevent wsgi:app"

_fits: bool | None = None


def check_server(request: Request) -> None:
    """Raise WrongServer if each stream would take a thread or the whole process."""
    global _fits
    if _fits is None:
        _fits = _each_request_has_its_greenlet()
    # Flask's test client has no server at all.
    if not _fits and not request.environ.get("werkzeug.request_is_test", False):
        raise WrongServer(
            f"this server can't hold streams: each would take a thread or the whole process. Start it with {COMMAND}",
            retry_after=60,
        )


def _each_request_has_its_greenlet() -> bool:
    if not monkey.is_module_patched("socket"):
        return False  # flask run, a sync worker, gthread
    if gevent.getcurrent().parent is None:
        return False  # a sync worker whose app has patched: one request at a time, in the main greenlet
    # A thread pool, patched or not, holds as many streams as it has threads. gevent's own handlers are no threads.
    return isinstance(threading.current_thread(), threading._DummyThread)
