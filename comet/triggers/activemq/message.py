"""Message: one of ActiveMQ's, and the update that it becomes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...core.errors import BadRequest
from ...core.update import BINARY, TEXT, Update, check_key, check_type


_CHARSET = re.compile(r';\s*charset="?([^\s";]+)"?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Message:
    """``ack`` is its name in acknowledgements. ``redelivered``: given before; that it is False says nothing."""

    id: str
    ack: str
    source: str
    body: bytes
    type: str | None = None
    persistent: bool = False
    redelivered: bool = False

    @classmethod
    def of(cls, source: str, headers: Mapping[str, str], body: bytes | None) -> Message:
        return cls(
            id=headers.get("message-id", ""),
            ack=headers.get("ack", ""),
            source=source,
            body=body or b"",
            type=headers.get("content-type"),
            persistent=headers.get("persistent") == "true",
            redelivered=headers.get("redelivered") == "true",
        )

    def update(self, channel: str, event: str | None = None) -> Update:
        body, type = _typed(self.body, self.type)
        return Update(channel, body, type, event, self.key)

    @property
    def key(self) -> str | None:
        """Its message-id, which is unique below its destination, as an idempotency key; None: it has none."""
        if not self.id:
            return None
        key = f"{self.source} {self.id}"
        try:
            return check_key(key)
        except BadRequest:
            return hashlib.sha256(key.encode()).hexdigest()


def _typed(body: bytes, declared: str | None) -> tuple[bytes, str]:
    """The body with its media type. No declaration, and none that is broken, keeps a message from being published."""
    try:
        type = check_type((declared or "").strip())
    except BadRequest:
        return body, _guess(body)
    charset = _CHARSET.search(type)
    if charset is None or charset[1].lower() in ("utf-8", "utf8", "us-ascii") or not type.lower().startswith("text/"):
        return body, type
    try:
        # Text is UTF-8 on every wire.
        return body.decode(charset[1]).encode(), f"{type.partition(';')[0].strip()}; charset=utf-8"
    except (LookupError, ValueError):
        return body, BINARY


def _guess(body: bytes) -> str:
    try:
        body.decode()
    except UnicodeDecodeError:
        return BINARY
    return TEXT
