"""Subscribing over HTTP: the request becomes a wire, a start in the log, and a generator."""

from __future__ import annotations

import time
from contextlib import suppress

import gevent
from flask import Request, Response, after_this_request

from ..access import own_origin
from ..cohorts import Subscription
from ..core.errors import BadRequest, Forbidden, NotFound, Unavailable
from ..core.log import Start
from ..core.wire import BY_TYPE, INERT, JSONP, SSE, WIRES, Envelope, Iframe, Poll, Wire
from ..peers import FRAMINGS, Peer
from ..streams import Body, Chunks, one_shot, refusal, streaming
from ..tokens import Token
from ..worker import Worker
from . import limiting, parameters
from .current import end_connection, the_request, worker
from .server import check_server


#: Seconds that ``latest`` waits for a trigger that has slept.
FRESH = 1.0

NOT_STORED = "no-cache, no-store, no-transform"


def subscribe(names: str, wire: str | None = None) -> Response:
    """``GET /channels/NAMES[/WIRE]``"""
    comet, request = worker(), the_request()
    if wire is None:
        wire = _by_accept(request)
        after_this_request(_varies)
    channels = parameters.names(names)
    if wire not in WIRES:
        raise NotFound(f"there is no wire {wire[:40]!r}: {', '.join(WIRES)}; or latest, info, view.")
    check_server(comet, request)
    goes_round_cors = wire in ("jsonp", "iframe")
    if goes_round_cors:
        comet.access.check_site()
    try:
        token = comet.access.check_subscribe(channels, cookies=not goes_round_cors)
    except Unavailable as error:
        return _refused(comet, request, _make(comet, request, wire, channels), error)
    made = _make(comet, request, wire, channels)
    since, last = parameters.since(request), parameters.last(request)
    try:
        counts = comet.limits.counts and request.method != "HEAD"
        place = limiting.enter(cookies=not goes_round_cors) if counts else None
        start = comet.controller.begin(made.names, since, last, newest_only=made.conflates)
    except Unavailable as error:
        return _refused(comet, request, made, error)
    environ = request.environ
    framing = FRAMINGS.get(environ["SERVER_PROTOCOL"]) if comet.direct_writes else None
    peer = comet.peers.of(environ.get("gunicorn.socket"), framing)
    body = _body(comet, request, made, start, peer, token)
    response = Response(body, 200, _headers(comet, made, start), content_type=made.content_type)
    if request.method != "HEAD":
        if made.one_shot:
            response.call_on_close(lambda: peer.release(last=comet.controller.stopping))
            if place is not None:
                response.call_on_close(place.leave)
        else:
            release = peer.release if place is None else place.before(peer.release)
            response.call_on_close(release)
            end_connection()
            # Past Werkzeug: the response is only closed where an app has put another body around this one.
            told = None if comet.embedded else environ
            response.response, response.direct_passthrough = Body(body, release, told), True
    return response


def _headers(comet: Worker, wire: Wire, start: Start) -> dict[str, str]:
    headers = {"Cache-Control": NOT_STORED, "Comet-Cursor": str(start.cursor), **wire.headers}
    if not wire.one_shot:
        headers["X-Accel-Buffering"] = "no"
        if comet.embedded:
            # An app's compressor would hold a stream back until it has a block full.
            headers["Content-Encoding"] = "identity"
    return headers


def _body(comet: Worker, request: Request, wire: Wire, start: Start, peer: Peer, token: Token) -> Chunks:
    """What the server iterates over. Nothing of it runs before that; on HEAD nothing at all."""
    if isinstance(wire, Poll):
        timeout = parameters.seconds(request, "timeout", comet.settings.poll_timeout, *parameters.TIMEOUTS)
        timeout = min(timeout, token.expires - time.time())
        limit = parameters.whole(request, "limit", parameters.LIMIT, *parameters.LIMITS)
        body = one_shot(comet.controller, wire, start, peer, timeout=timeout, limit=limit, jti=token.jti)
    else:
        body = streaming(
            comet.controller,
            wire,
            start,
            peer,
            expires=token.expires,
            jti=token.jti,
            rate=parameters.rate(request),
            address=limiting.address(),
        )
    if request.method != "HEAD":
        try:
            comet.controller.check_room()
        except Unavailable as error:
            if not _is_event_source(request, wire):
                raise
            return refusal(_goodbye(comet, wire, error))
    return body


def _refused(comet: Worker, request: Request, wire: Wire, error: Unavailable) -> Response:
    """The answer to a request that can't be served now."""
    if not _is_event_source(request, wire):
        raise error
    text = _goodbye(comet, wire, error)
    return Response(text, 200, {"Cache-Control": NOT_STORED}, content_type=wire.content_type)


def _goodbye(comet: Worker, wire: Wire, error: Unavailable) -> bytes:
    comet.controller.counts.refusals[error.status_hint] += 1
    return wire.goodbye(comet.refusals.retry(error))


def _varies(response: Response) -> Response:
    response.vary.add("Accept")
    return response


def _by_accept(request: Request) -> str:
    """The wire of the type that is wanted most; the first of several, and a named one before a wildcard."""
    best, wire = 0.0, "text"
    for media_type, quality in request.accept_mimetypes:
        essence = media_type.partition(";")[0].strip().lower()
        if quality > best and (essence in BY_TYPE or essence in ("text/plain", "text/*", "*/*")):
            best, wire = quality, BY_TYPE.get(essence, "text")
    return wire


def _make(comet: Worker, request: Request, kind: str, names: tuple[str, ...]) -> Wire:
    if kind == "sse" and parameters.flag(request, "envelope"):
        return comet.wire(Envelope, names, heartbeat=comet.settings.heartbeat)
    if kind == "iframe":
        return Iframe(names, comet.encodings, origin=_target(comet, request))
    if kind == "jsonp":
        return JSONP(names, comet.encodings, callback=parameters.callback(request))
    if kind == "multipart" and len(names) > 1:
        raise BadRequest("multipart replaces one thing in place: it takes one channel.")
    return comet.wire(WIRES[kind], names)


def _target(comet: Worker, request: Request) -> str:
    """The origin that may read the messages of an iframe."""
    origin = request.args.get("origin")
    if origin is None:
        # "/" is the page's own origin: all there is to say to a client that names no host.
        return request.host_url.rstrip("/") if request.host else "/"
    if not parameters.ORIGIN.fullmatch(origin):
        raise BadRequest(f"origin={origin[:70]!r}: it takes an origin such as https://app.example.")
    if not own_origin(request, origin) and not comet.access.allows_origin(origin):
        raise Forbidden(f"COMET_ALLOWED_ORIGINS does not name {origin[:200]}.")
    return origin


def _is_event_source(request: Request, wire: Wire) -> bool:
    # A browser's EventSource gives up for good on any status but 200.
    named = any(media_type == "text/event-stream" for media_type, _ in request.accept_mimetypes)
    return isinstance(wire, SSE) and (named or "Last-Event-ID" in request.headers)


def latest(name: str) -> Response:
    """``GET /channels/NAME/latest``: the newest update as itself."""
    comet = worker()
    channel = parameters.one(name)
    comet.access.check_subscribe([channel])
    _freshen(comet, channel)
    update = comet.controller.newest(channel)
    if update is None:
        raise NotFound(f"nothing is kept of {channel}.")
    media_type = update.type
    if update.essence.startswith("text/") and "charset" not in media_type.lower():
        media_type += "; charset=utf-8"
    headers = {"Cache-Control": "no-cache", "ETag": f'"{update.id}"', "Content-Security-Policy": INERT}
    response = Response(update.data, 200, headers, content_type=media_type)
    response.make_conditional(the_request())
    return response


def _freshen(comet: Worker, channel: str) -> None:
    """Wait a moment for a trigger that is woken by this: what it has published before it slept may be old."""
    if comet.started and comet.controller.watching.touch(channel):
        start = comet.controller.begin((channel,), None, 0)
        with gevent.Timeout(FRESH, False), suppress(Unavailable):
            next(comet.controller.pages(Subscription(start.position)), None)


def info(name: str) -> dict[str, object]:
    """``GET /channels/NAME/info``"""
    comet = worker()
    channel = parameters.one(name)
    comet.access.check_subscribe([channel])
    if not comet.controller.log.exists(channel) and comet.controller.newest(channel) is None:
        raise NotFound(f"{channel} was never published to nor declared.")
    return describe(comet, channel)


def describe(comet: Worker, channel: str) -> dict[str, object]:
    log = comet.controller.log
    ring = log.rings.get(channel)
    newest = ring.newest if ring else None
    kept = newest is not None
    return {
        "channel": channel,
        "first": str(log.cursor(ring.first)) if ring and kept else None,
        "last": newest.id if newest else None,
        "time": round(newest.time, 3) if newest else None,
        "stored": len(ring) if ring else 0,
        "bytes": ring.size if ring else 0,
        "subscribers": comet.audience.of(channel),
    }
