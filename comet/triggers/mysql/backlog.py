"""Backlog: what was read of the log and is not published yet.

Who reads puts pieces in and waits where there is no room; who publishes takes out what has gathered meanwhile. So a
busy table is published by hundreds of rows, and a quiet one row by row, at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gevent.event import Event

from ...core.update import Update
from .place import Place


#: Updates, and bytes of theirs, that are published together at the most. Brokers take twenty times as many updates
#: in a batch, but everything else in the worker has to wait for each.
TOGETHER = 500
BYTES = 1 << 20

#: Seconds after which a place without updates is remembered, too: the log behind it may be purged.
SELDOM = 5.0


@dataclass(slots=True)
class Piece:
    """Updates that are published together, and the place behind them; None: within a transaction."""

    updates: list[Update] = field(default_factory=list)
    place: Place | None = None
    size: int = 0

    def add(self, update: Update) -> None:
        self.updates.append(update)
        self.size += len(update.data)

    def extend(self, more: Piece) -> None:
        self.updates += more.updates
        self.size += more.size
        self.place = more.place or self.place

    def has_room_for(self, more: Piece) -> bool:
        return len(self.updates) + len(more.updates) <= TOGETHER and self.size + more.size <= BYTES

    @property
    def is_full(self) -> bool:
        return len(self.updates) >= TOGETHER or self.size >= BYTES


class Backlog:
    """Between one greenlet that reads and one that publishes."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._count = self._size = 0
        self._passed: Place | None = None
        self._error: BaseException | None = None
        self._stopped, self._news, self._room = Event(), Event(), Event()

    # Who reads.

    def add(self, piece: Piece) -> None:
        """Put a piece in. Waits for room."""
        while self._count >= 2 * TOGETHER or self._size >= 2 * BYTES:
            self._room.clear()
            self._room.wait()
        self._pieces.append(piece)
        self._count += len(piece.updates)
        self._size += piece.size
        self._passed = None
        self._news.set()

    def passed(self, place: Place) -> None:
        """A transaction without updates is over: there is no hurry to remember that."""
        if self._pieces:
            self._pieces[-1].place = place
        else:
            self._passed = place

    def fail(self, error: BaseException) -> None:
        """Nothing more comes."""
        self._error = error
        self._news.set()

    # Who publishes.

    def stop(self) -> None:
        self._stopped.set()
        self._news.set()

    def stops_within(self, seconds: float) -> bool:
        return bool(self._stopped.wait(seconds))

    def take(self) -> Piece | None:
        """Wait for something to publish; None after ``stop``. Raises what reading failed with, after what it read."""
        while not self._stopped.is_set():
            if self._pieces:
                return self._gather()
            if self._error is not None:
                raise self._error
            self._news.clear()
            if not self._news.wait(SELDOM) and self._passed is not None:
                place, self._passed = self._passed, None
                return Piece(place=place)
        return None

    def _gather(self) -> Piece:
        piece = self._pieces.popleft()
        while self._pieces and piece.has_room_for(self._pieces[0]):
            piece.extend(self._pieces.popleft())
        self._count -= len(piece.updates)
        self._size -= piece.size
        self._room.set()
        return piece
