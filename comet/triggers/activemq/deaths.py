"""Deaths: which messages a worker has died of, that a message that brings it down does not do so for ever.

A message that was given before is noted in the checkpoint before it is tried, and not any more when it is published.
What is noted when it comes again, nobody has survived.
"""

from __future__ import annotations

import json

from .. import Publish
from .message import Message


#: So many messages are remembered: more than may be noted at once, if not many more.
REMEMBERED = 100


class Deaths:
    """What the checkpoint of ``publish`` notes."""

    def __init__(self, publish: Publish) -> None:
        self.publish = publish
        self._counts = _counts(publish.checkpoint())

    def begin(self, message: Message) -> int:
        """Note that it is tried now, if it was given before. Returns how often that was noted and had no end."""
        if not message.redelivered or message.key is None:
            return 0
        deaths = self._counts.pop(message.key, 0)
        self._counts[message.key] = deaths + 1
        while len(self._counts) > REMEMBERED:
            del self._counts[next(iter(self._counts))]
        self.publish([], json.dumps(self._counts))
        return deaths

    def without(self, message: Message) -> str | None:
        """The checkpoint that notes it no more; None: it is not noted."""
        if message.key not in self._counts:
            return None
        return json.dumps({key: deaths for key, deaths in self._counts.items() if key != message.key})

    def end(self, message: Message) -> None:
        """The checkpoint without it is remembered."""
        self._counts.pop(message.key or "", None)


def _counts(checkpoint: str | None) -> dict[str, int]:
    try:
        counts = json.loads(checkpoint or "{}")
    except ValueError:
        return {}
    return dict(counts) if isinstance(counts, dict) else {}
