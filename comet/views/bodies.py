"""Request bodies: read within bounds, or dropped so that the refusal is seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import gevent
from flask import Request, Response
from gunicorn.http.errors import ParseException

from ..core.errors import BadRequest, TimedOut, TooLarge
from ..peers import NO_PEER
from .current import end_connection, worker


#: Bytes a second that a body must have come at, on average, once COMET_WRITE_TIMEOUT has passed: a byte now and then
#: would hold a connection for ever.
SLOWEST = 500.0

#: So much of a refused body is read and dropped, so that its sender sees the answer instead of a broken connection,
#: and no longer than so many seconds: whoever was refused must not hold a connection by dripping.
DROPPED = 4 * 1_048_576
LINGER = 30.0

_PIECE = 65_536
_FIRST_PIECE = 1024


def read(request: Request, most: int) -> bytes:
    """Read the request's body. Raises TooLarge beyond ``most`` bytes, TimedOut when it stalls for COMET_WRITE_TIMEOUT
    or comes too slowly, BadRequest when its framing is broken."""
    length = request.content_length
    if length is not None and length > most:
        raise TooLarge(f"{length} bytes; this takes at most {most}.")
    if length and _is_here(request, length):
        return request.stream.read(length)
    pieces, size = [], 0
    for piece in _pieces(request, worker().settings.write_timeout, length):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise TooLarge(f"more than {most} bytes; this takes no more.")
        if size == length:
            break
    # A hook of the app may have read it, and Flask has kept it then, unless it was a form.
    body = b"".join(pieces) or request.get_data()
    if length is not None and len(body) < length:
        raise BadRequest(f"the body ended after {size} of {length} bytes, or the application has read it as a form.")
    if len(body) > most:
        raise TooLarge(f"{len(body)} bytes; this takes at most {most}.")
    return body


def _is_here(request: Request, length: int) -> bool:
    """Whether all of the body came with the head, as most do: then it is read without timers. gunicorn has it ready."""
    body: Any = request.environ.get("wsgi.input")
    ready = getattr(getattr(getattr(body, "reader", None), "unreader", None), "buf", None)
    return ready is not None and not body.buf.tell() and ready.tell() >= length


class _TooSlow(Exception):
    pass


def _pieces(request: Request, timeout: float, length: int | None) -> Iterator[bytes]:
    begun, size = time.monotonic(), 0
    try:
        with _each_read_within(request, timeout) as is_gevents:
            while True:
                if length is None:
                    # As much as has come already: then one that drips is found out soon.
                    wanted = min(_PIECE, max(_FIRST_PIECE, size))
                else:
                    wanted = min(_PIECE, length - size)
                left = begun + timeout + (size + wanted) / SLOWEST - time.monotonic()
                with gevent.Timeout(max(0.001, left), _TooSlow) if is_gevents else nullcontext():
                    piece = request.stream.read(wanted)
                if not piece:
                    return
                size += len(piece)
                yield piece
    except TimeoutError as error:
        raise TimedOut(f"the body stalled for {timeout:g} seconds.") from error
    except _TooSlow as error:
        raise TimedOut(
            f"the body came too slowly: after {timeout:g} seconds it takes {SLOWEST:g} bytes a second on average."
        ) from error
    except (ParseException, OSError) as error:
        raise BadRequest(f"the body is broken: {type(error).__name__}.") from error


@contextmanager
def _each_read_within(request: Request, seconds: float) -> Iterator[bool]:
    """Bound each read from the connection: a body may be long, but it must not stand still. Gives whether the
    connection is gevent's, so that its timers run while a read waits."""
    sock: Any = request.environ.get("gunicorn.socket")
    if not hasattr(sock, "settimeout"):
        yield False
        return
    peers = worker().peers
    peer = peers.of(sock)
    peers.readers.add(peer)
    sock.settimeout(seconds)
    try:
        yield peer is not NO_PEER
    finally:
        sock.settimeout(None)
        peers.readers.discard(peer)


def drop(response: Response, request: Request) -> Response:
    """After a refusal: read what is left of the body, up to a limit, and end the connection after the answer."""
    if response.status_code < 400:
        return response
    body: Any = request.environ.get("wsgi.input")
    if not hasattr(body, "failed") or body.failed or not _has_body(request):
        return response
    # gunicorn reads the rest of a body before the next request, without any limit, unless it is marked as failed:
    # then it closes the connection.
    body.failed = True
    end_connection()
    if response.status_code != TimedOut.status_hint:
        try:
            with gevent.Timeout(LINGER, False), _each_read_within(request, worker().settings.write_timeout):
                _read_away(body, DROPPED)
        except (ParseException, OSError):
            pass  # it gets no more than the answer
    return response


def _read_away(body: Any, left: int) -> None:
    while left > 0 and (piece := body.read(min(_PIECE, left))):
        left -= len(piece)


def _has_body(request: Request) -> bool:
    return bool(request.content_length) or "chunked" in request.headers.get("Transfer-Encoding", "").lower()
