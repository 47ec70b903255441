"""Changes: when each channel was published to last, in the order of the log.

It outlives the history: what changed a minute ago has changed, whether its update is still kept or not.
"""

from __future__ import annotations

from .update import Closed, Update, is_own


#: Seconds for which changes are remembered.
REMEMBERED = 660.0


class Changes:
    """The newest update of each channel. ``now`` is the time by the clock that stamps updates, about a second ago
    (0: nobody has told it)."""

    __slots__ = ("_newest", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._newest: dict[str, tuple[int, float]] = {}

    def note(self, entry: Update | Closed) -> None:
        """Something was published; or the channel was deleted, and there is nothing of it to fetch."""
        self._newest.pop(entry.channel, None)
        if isinstance(entry, Update):
            self._newest[entry.channel] = entry.seq, entry.time

    def since(self, time: float) -> list[tuple[str, int]]:
        """The channels that have changed at that time or later, with the SEQ of their newest update."""
        newest = self._newest.items()
        return [(channel, seq) for channel, (seq, when) in newest if when >= time and not is_own(channel)]

    def tick(self, now: float) -> None:
        """Let time pass: forget what is too old for anybody to ask."""
        self.now = now
        old = []
        for channel, (_, when) in self._newest.items():
            if when >= now - REMEMBERED:
                break
            old.append(channel)
        for channel in old:
            del self._newest[channel]
