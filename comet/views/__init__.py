"""HTTP in, HTTP out: the blueprint with every route of comet, and what holds for all of them."""

from __future__ import annotations

from flask import Blueprint, Flask, Request, Response
from werkzeug.exceptions import HTTPException

from ..access import Access
from ..core.errors import CometError
from . import (
    answers,
    bodies,
    client,
    metrics,
    openapi,
    problems,
    publishing,
    status,
    subscribing,
    sup,
    tokens,
    viewing,
)
from .current import end_connection, the_request, worker


_HEADERS = "Last-Event-ID, Cache-Control, Authorization, Content-Type, Idempotency-Key, Comet-Event"
_EXPOSED = "Comet-Cursor, ETag, Retry-After, X-SUP-ID"


def make_blueprint(url_prefix: str | None = None) -> Blueprint:
    """Every route, below ``url_prefix``. A blueprint of its own for each app, as Flask asks."""
    blueprint = Blueprint("comet", __name__, url_prefix=url_prefix)
    route = blueprint.add_url_rule
    route("/channels/<names>", view_func=subscribing.subscribe, methods=["GET"])
    route("/channels/<names>/<wire>", view_func=subscribing.subscribe, methods=["GET"])
    route("/channels/<name>/latest", view_func=sup.announced(subscribing.latest), methods=["GET"])
    route("/channels/<name>/view", view_func=viewing.view, methods=["GET"])
    route("/channels/<name>/info", view_func=sup.announced(subscribing.info), methods=["GET"])
    route("/sup.json", view_func=sup.Documents().sup, methods=["GET"])
    route("/channels/<name>", view_func=publishing.publish, methods=["POST"])
    route("/channels/<name>", view_func=publishing.delete, methods=["DELETE"])
    route("/channels", view_func=publishing.publish_batch, methods=["POST"])
    route("/channels", view_func=publishing.listing, methods=["GET"])
    route("/metrics", view_func=metrics.metrics, methods=["GET"])
    route("/status", view_func=status.page, methods=["GET"])
    route("/status.json", view_func=status.document, methods=["GET"])
    route("/comet<file>", view_func=client.client, methods=["GET"])
    route("/openapi.json", view_func=openapi.openapi, methods=["GET"])
    route("/tokens/<path:jti>", view_func=tokens.revoke, methods=["DELETE"])
    route("/healthz", view_func=healthz, methods=["GET"])
    route("/readyz", view_func=readyz, methods=["GET"])
    blueprint.after_request(finish)
    blueprint.register_error_handler(CometError, problems.of_comet)
    blueprint.register_error_handler(HTTPException, problems.of_http)
    return blueprint


def add_everywhere(app: Flask) -> None:
    """In an app with nothing but comet in it: what is refused before any route is found looks the same."""
    app.url_map.merge_slashes = False  # a redirect would keep whoever mistyped a name from being told
    app.register_error_handler(CometError, problems.of_comet)
    app.register_error_handler(HTTPException, problems.of_http)
    app.register_error_handler(Exception, problems.of_failure)
    # Once, for all that is answered, in place of the blueprint's: Flask takes its time over each.
    app.after_request_funcs.pop("comet")
    app.after_request(finish)


def healthz() -> tuple[str, int, dict[str, str]]:
    """The process runs; and how the request has reached it, which only a proxy in front could tell else."""
    request = the_request()
    reached_by = request.environ.get("SERVER_PROTOCOL", "HTTP/1.1")
    if any(name in request.headers for name in ("X-Forwarded-For", "Forwarded")):
        reached_by += ", forwarded"
    return "ok\n", 200, {"Content-Type": "text/plain; charset=utf-8", "Comet-Reached-By": reached_by}


def readyz() -> tuple[str, int, dict[str, str]]:
    """Streams and updates are taken: not draining, not full, the broker within reach."""
    controller = worker().controller
    controller.check_room()
    controller.check_broker()
    return "ready\n", 200, {"Content-Type": "text/plain; charset=utf-8"}


def finish(response: Response) -> Response:
    """What holds for every answer, errors too."""
    comet, request, headers = worker(), the_request(), response.headers
    environ = request.environ
    bodies.drop(response, request)
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", subscribing.NOT_STORED)
    if "token" in environ.get("QUERY_STRING", ""):
        # The address is a secret: a page must not send it to the sites of its pictures.
        headers["Referrer-Policy"] = "no-referrer"
    _share(response, comet.access, request)
    if comet.controller.stopping:
        end_connection()  # what is asked next is for another worker
    answers.watch(response, request)
    return response


def _share(response: Response, access: Access, request: Request) -> None:
    """CORS: let pages of the sites on the list read this answer."""
    origin = request.environ.get("HTTP_ORIGIN")
    if access.origins:
        response.vary.add("Origin")
    if origin is None or not access.allows_origin(origin):
        return
    named = origin.lower() in access.origins
    response.headers["Access-Control-Allow-Origin"] = origin if named else "*"
    if named:
        # Never together with "*": then every site could read with the user's cookies.
        response.headers["Access-Control-Allow-Credentials"] = "true"
    response.headers["Access-Control-Expose-Headers"] = _EXPOSED
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "GET")
        response.headers["Access-Control-Allow-Headers"] = _HEADERS
        response.headers["Access-Control-Max-Age"] = "600"
