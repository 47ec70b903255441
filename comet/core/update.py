"""Update: one published thing. Frozen, validated at birth, trusted afterwards.

A publisher makes an update without a place; the broker gives it one (``placed``), and from then on it has an id.
A channel's end takes a place in the log too: it is a ``Closed``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any

from .cursor import Cursor
from .errors import BadRequest


TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
BINARY = "application/octet-stream"

CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@~-]{0,127}")
#: These would pass for control events of EventSource, where a channel's name is the event.
CONTROL_NAMES = frozenset({"open", "error", "message"})

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PARAMETER = rf'[ \t]*;[ \t]*{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*")'
TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:{_PARAMETER})*")
KEY = re.compile(r"[\x20-\x7e]{1,128}")


@lru_cache(maxsize=10_000)
def check_channel(name: str) -> str:
    """Return the channel's name. Raises BadRequest with the rule where it breaks one."""
    if not CHANNEL.fullmatch(name):
        raise BadRequest(
            f"{_shown(name)} is not a channel name: 1 to 128 of A-Z a-z 0-9 . _ : @ ~ -, "
            "beginning with a letter or a digit."
        )
    if name in CONTROL_NAMES or is_own(name):
        raise BadRequest(
            f"{_shown(name)} can't name a channel: open, error, message and names beginning with comet. are reserved."
        )
    return name


def is_own(channel: str) -> bool:
    """Whether a channel is one of comet's own: nobody else publishes to it, subscribes to it or is told of it."""
    return channel.startswith("comet.")


@lru_cache(maxsize=1000)
def check_event(event: str) -> str:
    """Return the event's name. Raises BadRequest where a subscriber could take it for something else."""
    if not 1 <= len(event) <= 128 or event[0].isspace() or any(map(_unspeakable, event)):
        raise BadRequest(
            f"{_shown(event)} is not an event name: 1 to 128 characters, no leading blank, "
            "no control characters, no U+2028, no U+2029."
        )
    if event in ("open", "error") or event.startswith("comet."):
        raise BadRequest(
            f"{_shown(event)} can't name an event: open, error and names beginning with comet. are reserved."
        )
    return event


def _unspeakable(character: str) -> bool:
    # Cs: a lone surrogate has no UTF-8 and could not be sent at all.
    return character in "\u2028\u2029" or unicodedata.category(character) in ("Cc", "Cs")


@lru_cache(maxsize=1000)
def check_type(media_type: str) -> str:
    """Return the media type. Raises BadRequest where it is none or longer than 128 characters."""
    if len(media_type) > 128 or not TYPE.fullmatch(media_type):
        raise BadRequest(
            f"{_shown(media_type)} is not a media type: type/subtype with optional ;name=value parameters, "
            "at most 128 printable ASCII characters."
        )
    return media_type


def check_key(key: str) -> str:
    """Return the idempotency key. Raises BadRequest where it is not 1 to 128 printable ASCII characters."""
    if not KEY.fullmatch(key):
        raise BadRequest(f"{_shown(key)} is not an idempotency key: 1 to 128 printable ASCII characters.")
    return key


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


@dataclass(frozen=True, slots=True)
class Update:
    """One published thing.

    ``key`` is its idempotency key: the broker accepts it once for each channel. ``time`` is in seconds
    since 1970. ``prev`` is the channel's last SEQ before this one. Epoch, seq, prev and time are the broker's.
    """

    channel: str
    data: bytes
    type: str = TEXT
    event: str | None = None
    key: str | None = None
    time: float = 0.0
    epoch: str = ""
    seq: int = 0
    prev: int = 0

    def __post_init__(self) -> None:
        if self.seq:
            return  # placed(): checked when it was born
        check_channel(self.channel)
        check_type(self.type)
        if self.event is not None:
            check_event(self.event)
        if self.key is not None:
            check_key(self.key)

    @classmethod
    def of(
        cls,
        channel: str,
        value: object,
        *,
        type: str | None = None,
        event: str | None = None,
        key: str | None = None,
    ) -> Update:
        """Make an update of what a program has at hand: str, bytes, or anything JSON (dict, list, number).

        Raises BadRequest for what has no JSON.
        """
        if isinstance(value, str):
            data, fallback = _encode(value), TEXT
        elif isinstance(value, (bytes, bytearray, memoryview)):
            data, fallback = bytes(value), BINARY
        else:
            data, fallback = _encode(_as_json(value)), JSON
        return cls(channel, data, type or fallback, event, key)

    def placed(self, *, epoch: str, seq: int, prev: int, time: float) -> Update:
        """Return this update with its place in the log."""
        # Interned: a history has the same channel and type over and over, a third of what a short update takes.
        channel, media_type = intern(self.channel), intern(self.type)
        return Update(channel, self.data, media_type, self.event, self.key, time, epoch, seq, prev)

    @property
    def id(self) -> str:
        return str(Cursor(self.epoch, self.seq))

    @property
    def text(self) -> str | None:
        """The data as text, or None if it is not UTF-8."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            return None

    @property
    def essence(self) -> str:
        """The media type without parameters, in lower case: ``text/html``."""
        return self.type.partition(";")[0].strip().lower()


class OwnUpdate(Update):
    """An update of one of comet's own channels, by which its workers tell each other something (see ``is_own``)."""

    __slots__ = ()

    def __post_init__(self) -> None:
        assert is_own(self.channel)


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest("the data has a lone surrogate, which UTF-8 can't carry.") from error


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"a {type(value).__name__} can't be published: {error}.") from error


@dataclass(frozen=True, slots=True)
class Closed:
    """The end of a channel, at its place in the log. Published like an update; its subscribers are told and ended."""

    channel: str
    time: float = 0.0
    epoch: str = ""
    seq: int = 0

    @property
    def id(self) -> str:
        return str(Cursor(self.epoch, self.seq))
