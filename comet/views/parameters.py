"""What a request says, read strictly: a wrong name or parameter is a BadRequest that says what would be right."""

from __future__ import annotations

import re
import sys
from urllib.parse import parse_qsl

from flask import Request

from ..core.errors import BadRequest
from ..core.update import check_channel


MOST_CHANNELS = 16

#: The least and the most: seconds that a poll waits, updates in its answer, writes to a stream in a second.
TIMEOUTS = 1, 60
LIMITS = 1, 1000
RATES = 0.1, 1000

#: Updates in the answer of a poll that names no limit.
LIMIT = 100

#: As browsers write it: in ASCII, whatever the letters of the host.
ORIGIN = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+|\*", re.IGNORECASE)
CALLBACK = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*(\.[A-Za-z_$][A-Za-z0-9_$]*)*")


def names(text: str) -> tuple[str, ...]:
    """Channel names joined by commas, each once."""
    found = tuple(dict.fromkeys(text.split(",")))
    if len(found) > MOST_CHANNELS:
        raise BadRequest(f"{len(found)} channels in one request; it takes 1 to {MOST_CHANNELS}.")
    for name in found:
        check_channel(name)
    return found


def one(text: str) -> str:
    """The name of a single channel."""
    found = names(text)
    if len(found) != 1:
        raise BadRequest("this takes one channel.")
    return found[0]


def _given(request: Request, name: str) -> str | None:
    """What the query says of it. Most requests have none: then nothing is taken apart."""
    if not request.query_string or name not in request.args:  # its get would raise within for each that is not there
        return None
    return request.args[name]


def since(request: Request) -> str | None:
    """The cursor, as sent. The header wins: a browser that reconnects sends it beside the URL of its first request."""
    header = request.environ.get("HTTP_LAST_EVENT_ID", "")
    try:
        header = header.encode("latin-1").decode()
    except UnicodeError:
        pass  # it is no cursor in any case, and told as it came
    return header or _given(request, "since") or None


def utf8(request: Request, name: str) -> str | None:
    """A parameter whose very characters count. Flask would hand over bytes that are not UTF-8 percent-encoded."""
    if _given(request, name) is None:
        return None
    try:
        fields = parse_qsl(request.query_string.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{name} is not UTF-8.") from error
    return dict(reversed(fields))[name]


def whole(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = _given(request, name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not least <= int(text) <= most:
        raise BadRequest(f"{name}={text[:40]!r}: it takes a whole number from {least} to {most}.")
    return int(text)


def last(request: Request) -> int | None:
    """How many recent updates of each channel are asked for; more than is kept is cut, however much more."""
    text = _given(request, "last")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]+", text, re.ASCII):
        raise BadRequest(f"last={text[:40]!r}: it takes a whole number from 0.")
    return int(text) if len(text) < 19 else sys.maxsize


def seconds(request: Request, name: str, default: float, least: float, most: float) -> float:
    text = _given(request, name)
    return default if text is None else _number(name, text, least, most, "seconds")


def rate(request: Request) -> float | None:
    """How many times a second a stream is written to at most; None: as often as there is something new."""
    text = _given(request, "rate")
    return None if text is None else _number("rate", text, *RATES, "writes a second")


def _number(name: str, text: str, least: float, most: float, unit: str) -> float:
    # As many decimals as a program prints: a third of a minute is 20.000000000000004 seconds to some.
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,30})?", text, re.ASCII) or not least <= float(text) <= most:
        raise BadRequest(f"{name}={text[:40]!r}: it takes {least:g} to {most:g} {unit}.")
    return float(text)


def flag(request: Request, name: str) -> bool:
    text = _given(request, name)
    if text not in (None, "0", "1"):
        raise BadRequest(f"{name}={text[:40]!r}: it takes 1 or 0.")
    return text == "1"


def callback(request: Request) -> str:
    text = request.args.get("callback", "callback")
    if len(text) > 64 or not CALLBACK.fullmatch(text):
        raise BadRequest(
            f"callback={text[:70]!r}: it takes a JavaScript name such as app.update, at most 64 characters."
        )
    return text
