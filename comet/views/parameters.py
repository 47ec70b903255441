"""What a request says, read strictly: a wrong name or parameter is a BadRequest that says what would be right."""

from __future__ import annotations

import re

from flask import Request

from ..core.errors import BadRequest
from ..core.update import check_channel


MOST_CHANNELS = 16

_CALLBACK = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*(\.[A-Za-z_$][A-Za-z0-9_$]*)*")


def names(text: str) -> tuple[str, ...]:
    """Channel names joined by commas, each once."""
    found = tuple(dict.fromkeys(text.split(",")))
    if len(found) > MOST_CHANNELS:
        raise BadRequest(f"{len(found)} channels in one request; it takes 1 to {MOST_CHANNELS}.")
    for name in found:
        check_channel(name)
    return found


def since(request: Request) -> str | None:
    """The cursor, as sent. The header wins: a browser that reconnects sends it beside the URL of its first request."""
    return request.headers.get("Last-Event-ID") or request.args.get("since") or None


def whole(request: Request, name: str, default: int | None, least: int, most: int) -> int | None:
    text = request.args.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not least <= int(text) <= most:
        raise BadRequest(f"{name}={text[:40]!r}: it takes a whole number from {least} to {most}.")
    return int(text)


def seconds(request: Request, name: str, default: float, least: float, most: float) -> float:
    text = request.args.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text, re.ASCII) or not least <= float(text) <= most:
        raise BadRequest(f"{name}={text[:40]!r}: it takes {least:g} to {most:g} seconds.")
    return float(text)


def flag(request: Request, name: str) -> bool:
    text = request.args.get(name, "0")
    if text not in ("0", "1"):
        raise BadRequest(f"{name}={text[:40]!r}: it takes 1 or 0.")
    return text == "1"


def callback(request: Request) -> str:
    text = request.args.get("callback", "callback")
    if len(text) > 64 or not _CALLBACK.fullmatch(text):
        raise BadRequest(
            f"callback={text[:70]!r}: it takes a JavaScript name such as app.update, at most 64 characters."
        )
    return text
