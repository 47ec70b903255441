"""Publishing and administration over HTTP."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Response, request
from gunicorn.http.errors import ParseException

from ..breath import breathe
from ..core.errors import BadRequest, CometError, TimedOut, TooLarge, UnsupportedMedia
from ..core.update import TEXT, Closed, Update, check_channel
from .current import worker
from .subscribing import describe


BATCH = 8 * 1_048_576
#: So much of a refused body is read and dropped, so that its sender sees the answer instead of a broken connection.
DROPPED = 4 * 1_048_576
_PIECE = 65_536


def publish(name: str) -> tuple[dict[str, object], int]:
    """``POST /channels/NAME``: the body is the data."""
    comet = worker()
    channel = check_channel(name)
    comet.access.check_write("publish", [channel])
    if "Content-Encoding" in request.headers:
        raise UnsupportedMedia("the body has a Content-Encoding; send the bytes as they are to come out.")
    update = Update(
        channel,
        b"",
        _media_type(request.headers.get("Content-Type") or TEXT),
        _header_text("event", request.args.get("event")) or _header_text("Comet-Event", _utf8("Comet-Event")),
        request.headers.get("Idempotency-Key"),
    )
    data = read_body(comet.settings.max_update, comet.settings.write_timeout)
    update = Update(channel, data, update.type, update.event, update.key)
    (receipt,) = comet.controller.update([update])
    answer: dict[str, object] = {"id": receipt.id, "channel": channel}
    if receipt.duplicate:
        answer["duplicate"] = True
    answer["subscribers"] = comet.controller.subscribers(channel)
    return answer, 200 if receipt.duplicate else 201


def publish_batch() -> tuple[dict[str, object], int]:
    """``POST /channels``: a line of JSON for each update, all or none."""
    comet = worker()
    comet.access.check_write("publish", [])
    if request.mimetype != "application/x-ndjson":
        raise UnsupportedMedia(
            f"a batch is application/x-ndjson, a line each; this is {request.mimetype or 'untyped'}."
        )
    if "Content-Encoding" in request.headers:
        raise UnsupportedMedia("the body has a Content-Encoding; send the lines as they are.")
    body = read_body(BATCH, comet.settings.write_timeout)
    entries = list(_lines(body, comet.settings.max_update))
    if not entries:
        raise BadRequest("the batch has no line: send one JSON object a line.")
    comet.access.check_write("publish", sorted({update.channel for update in entries}))
    receipts = comet.controller.update(entries)
    duplicates = sum(receipt.duplicate for receipt in receipts)
    return {
        "count": len(receipts) - duplicates,
        "duplicates": duplicates,
        "first": receipts[0].id,
        "last": receipts[-1].id,
    }, 201


def delete(name: str) -> tuple[str, int]:
    """``DELETE /channels/NAME``: forget the history, tell and end the subscribers."""
    comet = worker()
    channel = check_channel(name)
    comet.access.check_write("admin", [channel])
    comet.controller.update([Closed(channel)])
    return "", 204


def listing() -> dict[str, object]:
    """``GET /channels``"""
    comet = worker()
    comet.access.check_write("admin", [])
    log = comet.controller.log
    known = sorted({name for name in (*log.rings, *log.rules.names) if log.exists(name)})
    return {"channels": [describe(comet, name) for name in known]}


def _media_type(text: str) -> str:
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if text.lower().startswith("text/") and charset not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise UnsupportedMedia(f"the charset {charset[:40]!r} is not served; send utf-8.")
    return text


def _header_text(where: str, text: str | None) -> str | None:
    if text == "":
        raise BadRequest(f"{where} is empty: leave it out, or name the event.")
    return text


def _utf8(header: str) -> str | None:
    """A header's text. HTTP hands it over as Latin-1; what is sent is UTF-8."""
    text = request.headers.get(header)
    try:
        return text and text.encode("latin-1").decode()
    except UnicodeError as error:
        raise BadRequest(f"{header} is not UTF-8.") from error


def _lines(body: bytes, most: int) -> Iterator[Update]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"line {_line_of(body, error.start)} is not UTF-8.") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield _of_line(line, most)
            except CometError as error:
                raise type(error)(f"line {number}: {error}") from error
        if number % 200 == 0:
            breathe()


def _line_of(body: bytes, place: int) -> int:
    return body.count(b"\n", 0, place) + 1


_FIELDS = frozenset(("channel", "data", "event", "type", "encoding", "key"))


def _of_line(line: str, most: int) -> Update:
    fields = _object(line)
    for name, value in fields.items():
        if name not in _FIELDS:
            raise BadRequest(f"{name[:40]!r} is not a field: {', '.join(sorted(_FIELDS))} are.")
        if not isinstance(value, str) and not (value is None and name not in ("channel", "data")):
            raise BadRequest(f"{name} must be a string; JSON goes into data as text.")
    if "channel" not in fields or "data" not in fields:
        raise BadRequest("channel and data are both needed.")
    data = _data(fields["data"], fields.get("encoding"))
    if len(data) > most:
        raise TooLarge(f"{len(data)} bytes; an update has at most {most} (COMET_MAX_UPDATE).")
    return Update(fields["channel"], data, fields.get("type") or TEXT, fields.get("event"), fields.get("key"))


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        # RecursionError: brackets 20,000 deep are no ValueError.
        raise BadRequest("not JSON.") from error
    if not isinstance(value, dict):
        raise BadRequest("not a JSON object.")
    return value


def _data(text: str, encoding: str | None) -> bytes:
    if encoding is None:
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise BadRequest("data has a lone surrogate, which UTF-8 can't carry.") from error
    if encoding != "base64":
        raise BadRequest(f"encoding {encoding[:40]!r}: base64 is the only one.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("data is not base64.") from error


# Bodies.


def read_body(most: int, timeout: float) -> bytes:
    """Read the request's body. Raises TooLarge beyond ``most`` bytes, TimedOut when it stalls for ``timeout`` seconds,
    BadRequest when its framing is broken."""
    length = request.content_length
    if length is not None and length > most:
        raise TooLarge(f"{length} bytes; this takes at most {most}.")
    pieces, size = [], 0
    for piece in _pieces(timeout):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise TooLarge(f"more than {most} bytes; this takes no more.")
    if length is not None and size < length:
        raise BadRequest(f"the body ended after {size} of {length} bytes.")
    return b"".join(pieces)


def _pieces(timeout: float) -> Iterator[bytes]:
    try:
        with _each_read_within(timeout):
            while piece := request.stream.read(_PIECE):
                yield piece
    except TimeoutError as error:
        raise TimedOut(f"the body stalled for {timeout:g} seconds.") from error
    except (ParseException, OSError) as error:
        raise BadRequest(f"the body is broken: {type(error).__name__}.") from error


@contextmanager
def _each_read_within(seconds: float) -> Iterator[None]:
    """Bound each read from the connection: a body may be long, but it must not stand still."""
    sock: Any = request.environ.get("gunicorn.socket")
    if not hasattr(sock, "settimeout"):
        yield
        return
    sock.settimeout(seconds)
    try:
        yield
    finally:
        sock.settimeout(None)


def drop_body(response: Response) -> Response:
    """After a refusal: read what is left of the body, up to a limit, and end the connection after the answer."""
    body: Any = request.environ.get("wsgi.input")
    if response.status_code < 400 or not hasattr(body, "failed") or body.failed or not _has_body():
        return response
    # gunicorn reads the rest of a body before the next request, without any limit, unless it is marked as failed:
    # then it closes the connection.
    body.failed = True
    if response.status_code != TimedOut.status_hint:
        left = DROPPED
        try:
            with _each_read_within(worker().settings.write_timeout):
                while left > 0 and (piece := body.read(min(_PIECE, left))):
                    left -= len(piece)
        except (ParseException, OSError):
            pass  # it gets no more than the answer
    return response


def _has_body() -> bool:
    return bool(request.content_length) or "chunked" in request.headers.get("Transfer-Encoding", "").lower()
