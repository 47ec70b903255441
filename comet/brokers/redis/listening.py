"""Listening: what other programs publish on this Redis. It has nothing to do with the log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import redis

from ...breath import breathe
from ...core.errors import BrokerAway
from .. import Hear
from .link import Link, hear


def listen(link: Link, prefixes: Sequence[str], heard: Hear) -> None:
    """Tell of all messages on channels with these prefixes, for ever. Raises BrokerAway when the connection is lost."""
    connection = link.connection()
    try:
        connection.connect()
        _listen(connection, patterns(prefixes), (link.live, link.woken), heard)
    except redis.RedisError as error:
        raise BrokerAway(link.explain(error)) from error
    finally:
        connection.disconnect()


def _listen(connection: Any, wanted: Sequence[str], own: Sequence[str], heard: Hear) -> None:
    connection.send_command("PSUBSCRIBE", *wanted)
    unconfirmed = len(wanted)
    while True:
        kind, *rest = hear(connection)
        if kind == b"pmessage":
            name = rest[1].decode(errors="replace")
            if name not in own:
                heard(name, rest[2])
        elif kind == b"psubscribe" and unconfirmed:
            unconfirmed -= 1
        elif kind != b"pong":
            raise redis.ConnectionError(f"{kind.decode()} came unasked")
        breathe()


def patterns(prefixes: Sequence[str]) -> list[str]:
    """The patterns for prefixes. One that begins with another is left out: Redis would tell its messages twice."""
    least = [each for each in dict.fromkeys(prefixes) if not any(each != p and each.startswith(p) for p in prefixes)]
    return [re.sub(r"([\\*?\[\]^-])", r"\\\1", each) + "*" for each in least]
