"""Can this server hold streams? Asked with each request, answered with the one command that works."""

from __future__ import annotations

import sys
import threading
from io import BytesIO

import gevent
from flask import Flask, Request, current_app
from gevent import monkey

from ..core.errors import WrongServer
from ..settings import refuse_workers
from ..worker import Worker
from .current import the_request


_fits: bool | None = None


def begin(worker: Worker) -> None:
    """Start the background greenlets with the first request, where they can run."""
    request = the_request()
    if worker.alone and request.environ.get("wsgi.multiprocess"):
        worker.refuse(refuse_workers("Several"))
    elif not worker.started and not _is_test(request) and _each_request_has_its_greenlet():
        worker.start()


def check_server(worker: Worker, request: Request) -> None:
    """Raise WrongServer if each stream would take a thread or the whole process."""
    worker.check()
    if not _is_test(request) and not _each_request_has_its_greenlet():
        raise WrongServer(
            "this server can't hold streams: each would take a thread or the whole process. "
            f"Start it with: {command(worker, current_app._get_current_object())}",  # type: ignore[attr-defined]
            retry_after=60,
        )
    worker.start()


def command(worker: Worker, app: Flask) -> str:
    """The one command that serves this app."""
    if not worker.embedded:
        return "python -m comet serve"
    return f"gunicorn -k gevent {_place(app)}"


def _place(app: Flask) -> str:
    """Where gunicorn finds the app: MODULE:NAME. Flask's own names for factories are known."""
    module = sys.modules.get(app.import_name)
    name = app.name if app.import_name == "__main__" else app.import_name
    named = vars(module) if module else {}
    for attribute, value in named.items():
        if value is app:
            return f"{name}:{attribute}"
    factory = next((known for known in ("create_app", "make_app") if known in named), None)
    return f"'{name}:{factory}()'" if factory else f"{name}:app"


def _is_test(request: Request) -> bool:
    # Flask's test client: no server at all, and one request at a time.
    return isinstance(request.environ["wsgi.input"], BytesIO) and not request.environ["wsgi.multithread"]


def _each_request_has_its_greenlet() -> bool:
    global _fits
    if _fits is None:
        _fits = _look()
    return _fits


def _look() -> bool:
    if not monkey.is_module_patched("socket"):
        return False  # flask run, a sync worker, gthread
    if gevent.getcurrent().parent is None:
        return False  # a sync worker whose app has patched: one request at a time, in the main greenlet
    # A thread pool, patched or not, holds as many streams as it has threads. gevent's own handlers are no threads.
    return isinstance(threading.current_thread(), threading._DummyThread)
