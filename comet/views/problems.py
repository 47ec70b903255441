"""Errors as answers: ``application/problem+json``, whose detail says what failed and what would have been right."""

from __future__ import annotations

import json
from http.client import responses

from flask import Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing.exceptions import WebsocketMismatch

from ..core.errors import CometError, TooManyChannels, Unauthorized, Unavailable
from ..core.redaction import redact
from ..core.ring import REMEMBERED
from .current import worker


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    worker().controller.counts.refusals[status] += 1
    return Response(text_of(status, detail), status, headers, mimetype="application/problem+json")


def text_of(status: int, detail: str) -> str:
    """The body of such an answer."""
    title = responses.get(status, "Error")
    # What was sent is quoted where it was wrong; a token in the wrong place is not.
    fields = {"type": "about:blank", "title": title, "status": status, "detail": redact(detail)}
    return json.dumps(fields) + "\n"


def of_comet(error: CometError) -> Response:
    headers = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="comet"'
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, TooManyChannels):
        headers["Retry-After"] = str(int(REMEMBERED))  # so long an unused channel is remembered
    return problem(error.status_hint, str(error), headers)


def of_http(error: HTTPException) -> Response:
    """What Flask and Werkzeug refuse by themselves: no route, no such method, a body too large for the app."""
    if error.response is not None:
        return error.response  # type: ignore[return-value]
    kept = {name: value for name, value in error.get_headers() if name in _KEPT}
    return problem(error.code or 500, _detail(error), kept)


_KEPT = ("Allow", "Retry-After", "WWW-Authenticate")


def _detail(error: HTTPException) -> str:
    if isinstance(error, NotFound) and error.description == NotFound.description:
        return f"nothing is served at {request.path[:100]!r}: channels are at /channels/NAME, their wires below."
    if isinstance(error, MethodNotAllowed):
        return f"{request.method[:20]} is not served at {request.path[:100]!r}: it takes {_methods(error)}."
    if isinstance(error, WebsocketMismatch):
        return f"there is no WebSocket at {request.path[:100]!r}: streams are plain HTTP here, without Upgrade."
    return error.description or error.name


def _methods(error: MethodNotAllowed) -> str:
    return ", ".join(sorted(error.valid_methods or ()))


def of_failure(error: Exception) -> Response:
    """What nobody thought of. The trace goes into the log, not out."""
    current_app.logger.exception("comet: a request failed")
    return problem(500, "the server failed at this; its log says why.")
