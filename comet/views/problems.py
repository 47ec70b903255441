"""Errors as answers: ``application/problem+json``, whose detail says what failed and what would have been right."""

from __future__ import annotations

import json
from http import HTTPStatus

from flask import Response
from werkzeug.exceptions import HTTPException

from ..core.errors import CometError, Unauthorized, Unavailable


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}) + "\n"
    return Response(body, status, headers, mimetype="application/problem+json")


def of_comet(error: CometError) -> Response:
    headers = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = 'Bearer realm="comet"'
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    return problem(error.status_hint, str(error), headers)


def of_http(error: HTTPException) -> Response:
    """What Flask and Werkzeug refuse by themselves: no route, no such method, a body too large for the app."""
    if error.response is not None:
        return error.response  # type: ignore[return-value]
    kept = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After", "Location")}
    return problem(error.code or 500, error.description or "", kept)
