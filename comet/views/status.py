"""``GET /status`` and ``GET /status.json``: the live page for administration, and the same figures once."""

from __future__ import annotations

from flask import Response, after_this_request, jsonify, request

from ..core.errors import Unavailable
from ..peers import FRAMINGS
from ..status.page import POLICY, still
from ..streams import Body, streaming
from . import limiting, parameters
from .current import end_connection, worker
from .server import check_server


#: Seconds after which a page comes again for which there was no room: a full server must be seen, too.
FULL = 5


def page() -> Response:
    """``GET /status``: a page that never finishes loading; with ``?still=1`` one that does."""
    comet = worker()
    _check_access()
    held = parameters.flag(request, "still")
    check_server(comet, request)
    if held:
        return _still()
    try:
        comet.controller.check_room()
    except Unavailable:
        return _still(again=FULL)
    wire = comet.status.wire
    start = comet.controller.begin(wire.names, None, None, newest_only=True)
    peer = comet.peers.of(request.environ.get("gunicorn.socket"), FRAMINGS.get(request.environ["SERVER_PROTOCOL"]))
    body = streaming(comet.controller, wire, start, peer, address=limiting.address())
    headers = {**wire.headers, "X-Accel-Buffering": "no"}
    if comet.embedded:
        headers["Content-Encoding"] = "identity"  # an app's compressor would hold it back
    response = Response(body, headers=headers, content_type=wire.content_type)
    if request.method != "HEAD":
        response.call_on_close(peer.release)
        end_connection()
        environ = None if comet.embedded else request.environ
        response.response, response.direct_passthrough = Body(body, peer.release, environ), True
    return response


def _still(*, again: int | None = None) -> Response:
    """The page as it is now. A browser comes ``again`` after so many seconds; None: never."""
    status = worker().status
    headers = {"Content-Security-Policy": POLICY} | ({"Refresh": str(again)} if again else {})
    return Response(still(status.figures(), status.place), headers=headers, content_type=status.wire.content_type)


def document() -> Response:
    """``GET /status.json``"""
    comet = worker()
    _check_access()
    return jsonify(comet.status.figures())


def _check_access() -> None:
    after_this_request(_challenge)
    worker().access.check_page()


def _challenge(response: Response) -> Response:
    """Let a browser ask for the key: it sends none by itself."""
    if response.status_code == 401 and worker().access.keys:
        response.headers.add("WWW-Authenticate", 'Basic realm="comet", charset="UTF-8"')
    return response
