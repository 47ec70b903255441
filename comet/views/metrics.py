"""``GET /metrics``: what has been counted, for Prometheus."""

from __future__ import annotations

from flask import Response, request

from .current import worker


def metrics() -> Response:
    """``GET /metrics``"""
    comet = worker()
    comet.access.check_write("admin", [])
    body, content_type = comet.metrics.text(request.headers.get("Accept", ""))
    return Response(body, 200, content_type=content_type)
