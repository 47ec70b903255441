"""SUP: the name under which the Simple Update Protocol tells of a channel."""

from __future__ import annotations

from hashlib import md5


def sup_id(root: str, channel: str) -> str:
    """The SUP-ID of a channel whose server is at the URL path ``root``: of ``latest``, whatever its host."""
    return md5(f"{root}/channels/{channel}/latest".encode(), usedforsecurity=False).hexdigest()[:10]
