"""What is behind the current request: the worker, and the connection."""

from __future__ import annotations

from typing import Any, cast

from flask import Request, current_app, request, url_for

from ..worker import Worker


def worker() -> Worker:
    app: Any = current_app
    return cast(Worker, app._get_current_object().extensions["comet"].worker)


def the_request() -> Request:
    """The request itself. What Flask has in its place looks for it at each touch, thirty times as long as it takes."""
    standing_in: Any = request
    return cast(Request, standing_in._get_current_object())


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
    find: Any = getattr(the_request().environ.get("wsgi.input"), "request", None)
    if find is not None and (found := find()) is not None:
        found.force_close()
