"""HTTP in, HTTP out: the blueprint with every route of comet, and what holds for all of them."""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.exceptions import HTTPException

from ..core.errors import CometError
from . import problems, publishing, subscribing
from .current import worker


_HEADERS = "Last-Event-ID, Cache-Control, Authorization, Content-Type, Idempotency-Key, Comet-Event"
_EXPOSED = "Comet-Cursor, ETag, Retry-After, X-SUP-ID"


def make_blueprint(url_prefix: str | None = None) -> Blueprint:
    """Every route, below ``url_prefix``. A blueprint of its own for each app, as Flask asks."""
    blueprint = Blueprint("comet", __name__, url_prefix=url_prefix)
    route = blueprint.add_url_rule
    route("/channels/<names>", view_func=subscribing.subscribe, methods=["GET"])
    route("/channels/<names>/<wire>", view_func=subscribing.subscribe, methods=["GET"])
    route("/channels/<name>/latest", view_func=subscribing.latest, methods=["GET"])
    route("/channels/<name>/info", view_func=subscribing.info, methods=["GET"])
    route("/channels/<name>", view_func=publishing.publish, methods=["POST"])
    route("/channels/<name>", view_func=publishing.delete, methods=["DELETE"])
    route("/channels", view_func=publishing.publish_batch, methods=["POST"])
    route("/channels", view_func=publishing.listing, methods=["GET"])
    route("/healthz", view_func=healthz, methods=["GET"])
    route("/readyz", view_func=readyz, methods=["GET"])
    blueprint.after_request(with_headers)
    blueprint.after_request(publishing.drop_body)
    blueprint.register_error_handler(CometError, problems.of_comet)
    blueprint.register_error_handler(HTTPException, problems.of_http)
    return blueprint


def healthz() -> tuple[str, int, dict[str, str]]:
    """The process runs."""
    return "ok\n", 200, {"Content-Type": "text/plain; charset=utf-8"}


def readyz() -> tuple[str, int, dict[str, str]]:
    """Streams and updates are taken: not draining, not full."""
    worker().controller.check_room()
    return "ready\n", 200, {"Content-Type": "text/plain; charset=utf-8"}


def with_headers(response: Response) -> Response:
    """What every answer has, errors too."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Cache-Control", subscribing.NOT_STORED)
    origins = worker().access
    origin = request.headers.get("Origin")
    if origins.origins:
        response.vary.add("Origin")
    if origin is not None and origins.allows_origin(origin):
        named = origin.lower() in origins.origins
        response.headers["Access-Control-Allow-Origin"] = origin if named else "*"
        if named:
            # Never together with "*": then every site could read with the user's cookies.
            response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
        if request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "GET")
            response.headers["Access-Control-Allow-Headers"] = _HEADERS
            response.headers["Access-Control-Max-Age"] = "600"
    return response
