"""What is behind the current request: the worker, and the connection."""

from __future__ import annotations

from typing import Any, cast

from flask import current_app, request, url_for

from ..worker import Worker


def worker() -> Worker:
    return cast(Worker, current_app.extensions["comet"].worker)


def base_url() -> str:
    """The URL below which the routes are, as the outside sees it; without a host where the request names none."""
    path, public = url_for(".sup").removesuffix("/sup.json"), worker().settings.public_url
    if public:
        return public + path.removeprefix(request.root_path)
    return (request.host_url.rstrip("/") if request.host else "") + path


def end_connection() -> None:
    """Say in the answer that the connection ends after it, so that its client sends no more on it, and end it then.

    WSGI has no word for that: it takes the ``pre_request`` of comet's gunicorn.conf.
    """
    find: Any = getattr(request.environ.get("wsgi.input"), "request", None)
    if find is not None and (found := find()) is not None:
        found.force_close()
