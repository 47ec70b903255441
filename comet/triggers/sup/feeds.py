"""Feeds: what the SUP-IDs of a document stand for, as it is configured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...core.errors import BadRequest, SettingsError
from ...core.sup import sup_id
from ...core.update import check_channel
from .fetching import shown


@dataclass(frozen=True, slots=True)
class Feed:
    """What a SUP-ID stands for: where it is fetched from, and the channel that it is published to."""

    id: str
    channel: str
    url: str


def read_feed(url: str, each: str, value: str | Mapping[str, str]) -> Feed:
    """What a SUP-ID of the document at ``url`` stands for: a channel of another comet, or what is named."""
    where = f"ids.{each}"
    if isinstance(value, str):
        return Feed(each, _channel(value, where), _latest(url, each, value))
    named = isinstance(value, Mapping) and set(value) == {"channel", "feed"}
    if not named or not all(isinstance(each, str) for each in value.values()):
        # Without the value: a URL may have a password.
        raise SettingsError(f'{where} is not right; it must be a channel, or {{channel = "…", feed = "https://…"}}.')
    return Feed(each, _channel(value["channel"], where), check_url(value["feed"], f"{where}.feed"))


def _channel(name: str, where: str) -> str:
    try:
        return check_channel(name)
    except BadRequest as error:
        raise SettingsError(f"{where}: {error}") from error


def _latest(url: str, each: str, channel: str) -> str:
    """Where the channel of another comet is fetched from. Its SUP-ID is made of just that."""
    parts = urlsplit(url)
    root = parts.path.removesuffix("/sup.json")
    if root == parts.path or sup_id(root, channel) != each:
        raise SettingsError(
            f"ids.{each}: its feed is not {channel} of a comet at {shown(url)}, so it must be named: "
            f'{{channel = "{channel}", feed = "https://…"}}.'
        )
    return f"{parts.scheme}://{parts.netloc}{root}/channels/{channel}/latest"


def check_url(url: str, key: str) -> str:
    """Return the URL. Raises SettingsError where it is none of HTTP."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        # What is wrong may be that a password has a slash.
        place = re.sub("://.*@", "://…@", shown(url))
        raise SettingsError(f"{key} is {place!r}; it must be a URL such as https://example.org/sup.json.")
    return url
