"""``channels``: what channels there are."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import click
from requests import Response

from . import options, output
from .failures import FAILED, fail, tell
from .remote import Trouble


@click.command()
@options.as_json
@options.url
def channels(as_json: bool, url: str) -> None:
    """Show what channels there are. It takes the key, COMET_PUBLISH_KEY.

    UPDATES is how many are kept, WATCHED by how many streams, AGE how long ago the last one came, and LAST its id.
    """
    remote = options.administrator(url)
    try:
        answer = remote.ask("GET", "/channels")
        try:
            found = answer.json()["channels"]
            lines = [json.dumps(each, ensure_ascii=False) for each in found] if as_json else _table(found, _now(answer))
        except (ValueError, KeyError, TypeError):
            raise remote.stranger(answer) from None
    except Trouble as trouble:
        fail(str(trouble), FAILED)
    if found:
        output.say("\n".join(lines))
    elif not as_json:
        tell("there is no channel yet: publishing makes one.")


def _table(found: list[dict[str, Any]], now: float) -> list[str]:
    rows = [("NAME", "UPDATES", "WATCHED", "AGE", "LAST")]
    for each in found:
        last, at = each["last"] or "-", each.get("time")
        age = "-" if at is None else _age(now - at)
        rows.append((each["channel"], str(each["stored"]), str(each["subscribers"]), age, last))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return [
        f"{name:<{widths[0]}}  {stored:>{widths[1]}}  {watched:>{widths[2]}}  {age:>{widths[3]}}  {last}"
        for name, stored, watched, age, last in rows
    ]


_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"))


def _age(seconds: float) -> str:
    for unit, name in _UNITS:
        if seconds >= unit:
            return f"{seconds // unit:.0f}{name}"
    return f"{max(0, seconds):.0f}s"


def _now(answer: Response) -> float:
    """By the server's clock, which the times are of."""
    try:
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return time.time()
