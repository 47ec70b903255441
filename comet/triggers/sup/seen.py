"""Seen: how far the feeds of a SUP document have been followed. It is the trigger's checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass(slots=True)
class Place:
    """Of one feed: the update-id that was ``told`` last, the ``mark`` of the body that was fetched last (its ETag, or a
    hash), and how often it is still ``due`` to be fetched."""

    told: str = ""
    mark: str = ""
    due: int = 1


@dataclass(slots=True)
class Seen:
    """All feeds, up to the time (of the server) ``until``; by the document at ``url``, which has no secrets here."""

    url: str
    until: float | None = None
    places: dict[str, Place] = field(default_factory=dict)

    @classmethod
    def parse(cls, url: str, text: str | None) -> Seen:
        """Read a checkpoint. One of another document is worth nothing: its feeds are fetched anew."""
        try:
            fields = json.loads(text or "{}")
            if fields["url"] != url:
                return cls(url)
            return cls(url, fields["until"], {each: Place(*place) for each, place in fields["places"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(url)

    def __str__(self) -> str:
        places = {each: [place.told, place.mark, place.due] for each, place in self.places.items()}
        return json.dumps({"url": self.url, "until": self.until, "places": places}, separators=(",", ":"))
