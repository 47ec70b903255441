"""Publishing and administration over HTTP."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from typing import Any

from flask import Request, Response

from ..breath import breathe
from ..core.errors import BadRequest, CometError, TooLarge, UnsupportedMedia
from ..core.update import TEXT, Closed, Update, check_channel, check_event, check_key, check_type, is_own
from . import bodies, limiting, parameters
from .current import the_request, worker
from .subscribing import describe


BATCH = 8 * 1_048_576
#: What bytes of text may say of themselves: subscribers are told utf-8.
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
_CHARSET = re.compile(r';[ \t]*charset\*?=[ \t]*"?([^;"\s]*)', re.IGNORECASE)


def publish(name: str) -> Response:
    """``POST /channels/NAME``: the body is the data."""
    comet, request = worker(), the_request()
    channel = check_channel(name)
    comet.access.check_write("publish", [channel])
    _check_encoding(request)
    # Everything that can be wrong is looked at before a large body is read for nothing. In the environ: Werkzeug takes
    # some microseconds to find a header, and here they count.
    environ = request.environ
    media_type, event, key = environ.get("CONTENT_TYPE") or TEXT, _event(request), environ.get("HTTP_IDEMPOTENCY_KEY")
    _check_text(check_type(media_type))
    if key is not None:
        check_key(key)
    data = bodies.read(request, comet.settings.max_update)
    if comet.limits.rates:
        limiting.check_publishing(1, len(data))
    (receipt,) = comet.publish([Update(channel, data, media_type, event, key)])
    answer: dict[str, object] = {"id": receipt.id, "channel": channel}
    if receipt.duplicate:
        answer["duplicate"] = True
    answer["subscribers"] = comet.audience.of(channel)
    # Flask would make an encoder for each answer.
    return Response(f"{json.dumps(answer)}\n", 200 if receipt.duplicate else 201, content_type="application/json")


def publish_batch() -> tuple[dict[str, object], int]:
    """``POST /channels``: a line of JSON for each update, all or none."""
    comet, request = worker(), the_request()
    comet.access.check_write("publish", [])
    if request.mimetype != "application/x-ndjson":
        raise UnsupportedMedia(
            f"a batch is application/x-ndjson, a line each; this is {request.mimetype or 'untyped'}."
        )
    _check_charset(request.headers["Content-Type"])
    _check_encoding(request)
    body = bodies.read(request, BATCH)
    entries = list(_lines(body, comet.settings.max_update))
    if not entries:
        raise BadRequest("the batch has no line: send one JSON object a line.")
    comet.access.check_write("publish", sorted({update.channel for update in entries}))
    if comet.limits.rates:
        limiting.check_publishing(len(entries), len(body))
    receipts = comet.publish(entries)
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
    comet.publish([Closed(channel)])
    return "", 204


def listing() -> dict[str, object]:
    """``GET /channels``"""
    comet = worker()
    comet.access.check_write("admin", [])
    log = comet.controller.log
    known = sorted({name for name in (*log.rings, *log.rules.names) if log.exists(name) and not is_own(name)})
    return {"channels": [describe(comet, name) for name in known]}


def _check_encoding(request: Request) -> None:
    environ = request.environ
    if "HTTP_CONTENT_ENCODING" in environ:
        raise UnsupportedMedia("the body has a Content-Encoding; send the bytes as they are to come out, without one.")
    coding = environ.get("HTTP_TRANSFER_ENCODING", "chunked")
    if coding.strip().lower() != "chunked":
        # gunicorn takes "gzip, chunked" and unpacks nothing.
        raise UnsupportedMedia(f"the transfer coding {coding[:40]!r} is not served; chunked is the only one.")


@lru_cache(maxsize=1000)
def _check_text(media_type: str) -> None:
    """Text is utf-8."""
    if media_type.lower().startswith("text/"):
        _check_charset(media_type)


def _check_charset(media_type: str) -> None:
    for charset in _CHARSET.findall(media_type):
        if charset.lower() not in _CHARSETS:
            raise UnsupportedMedia(f"the charset {charset[:40]!r} is not served; send utf-8.")


def _event(request: Request) -> str | None:
    """The event's name: by the query, else by the header. Neither may be wrong."""
    event = None
    for where, text in (("Comet-Event", _event_header(request)), ("event", parameters.utf8(request, "event"))):
        if text == "":
            raise BadRequest(f"{where} is empty: leave it out, or name the event.")
        if text is not None:
            event = check_event(text)
    return event


def _event_header(request: Request) -> str | None:
    """HTTP hands a header over as Latin-1; what is sent is UTF-8."""
    text: str | None = request.environ.get("HTTP_COMET_EVENT")
    try:
        return text and text.encode("latin-1").decode()
    except UnicodeError as error:
        raise BadRequest("Comet-Event is not UTF-8.") from error


def _lines(body: bytes, most: int) -> Iterator[Update]:
    for number, line in enumerate(BytesIO(body), 1):
        if line.strip(b" \t\r\n"):
            try:
                yield _of_line(line, most)
            except CometError as error:
                raise type(error)(f"line {number}: {error}") from error
        if number % 200 == 0:
            breathe()


_FIELDS = frozenset(("channel", "data", "event", "type", "encoding", "key"))


def _of_line(line: bytes, most: int) -> Update:
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
    media_type = fields.get("type")
    update = Update(
        fields["channel"], data, TEXT if media_type is None else media_type, fields.get("event"), fields.get("key")
    )
    _check_text(update.type)
    return update


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise BadRequest("not UTF-8.") from error
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
