"""Frames: what a reader is written next, made once for all who stand at the same place with the same bytes."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .brokers import Broker
from .core.log import Position
from .core.wire import State, Wire


#: Bytes that a reader is given at once. More comes in pieces, with a breath between.
PIECE = 65_536

#: Entries that are given at once.
ENTRIES = 1000

#: Who is written the same: (signature of the wire, state, epoch and SEQ of the cursor, losses told).
Key = tuple[str, State, str, int, tuple[int, ...]]

#: Bytes of frames that are remembered. They are forgotten when something new comes.
REMEMBERED = 1 << 24


class Reader(Protocol):
    """A subscriber, or a cohort of them."""

    position: Position
    state: State


class Frame(NamedTuple):
    """The bytes, and where their reader stands after them. ``more``: not at the head yet; ``ended``: a channel was.

    ``updates``: how many they are of; ``gap``: the reason of the one that is told in them, if any.
    """

    text: bytes
    state: State
    epoch: str
    seq: int
    told: tuple[int, ...]
    more: bool
    ended: bool
    updates: int = 0
    gap: str = ""

    def move(self, reader: Reader) -> None:
        """Let a reader stand behind this frame, once it has the bytes."""
        reader.state = self.state
        reader.position.move(self.epoch, self.seq, self.told)


class Frames:
    """The frames between the cursors and the head of the log, as it is now."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._made: dict[Key, Frame] = {}
        self._weight = 0

    def after(self, reader: Reader, wire: Wire) -> Frame | None:
        """Return what is to be written next to a reader; None if nothing is new."""
        position = reader.position
        if position.doubt is not None or position.epoch != self.broker.log.epoch:
            return self._make(reader, wire)  # its gap is its own
        key = (wire.key, reader.state, position.epoch, position.seq, position.told)
        known = self._made.get(key)
        if known is None and self.broker.log.has_news(position):
            made = self._made
            known = self._make(reader, wire)
            if made is self._made:  # else the log has changed while the broker read
                self._remember(key, known)
        return known

    def forget(self) -> None:
        """The log has changed: frames end elsewhere now."""
        self._made = {}
        self._weight = 0

    def _make(self, reader: Reader, wire: Wire) -> Frame:
        page = self.broker.since(reader.position, size=PIECE, limit=ENTRIES)
        text, state = wire.frame(page.entries, page.gap, reader.state)
        updates = len(page.entries) - page.ended if text else 0  # the end of a channel is the last entry
        gap = page.gap.reason if page.gap and text else ""
        return Frame(text, state, page.epoch, page.seq, page.told, page.more, page.ended, updates, gap)

    def _remember(self, key: Key, frame: Frame) -> None:
        self._weight += len(frame.text) + 500
        if self._weight > REMEMBERED:
            self.forget()
        self._made[key] = frame
