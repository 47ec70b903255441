"""Where tests run beside each other, in several processes: one that is marked ``alone`` has the machine for itself.

Strategy: everybody goes through a door into a room. Who is to be alone keeps the door shut until the room is empty: so
nobody comes in before, and while it is there nobody can.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Room:
    """Shared by the processes that were given the same folder."""

    def __init__(self, folder: Path) -> None:
        self._door = os.open(folder / "door", os.O_CREAT | os.O_RDWR)
        self._room = os.open(folder / "room", os.O_CREAT | os.O_RDWR)

    @contextmanager
    def inside(self, *, alone: bool) -> Iterator[None]:
        """Go in as soon as there is nobody who is, or wants to be, alone."""
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        finally:
            fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._door)
        os.close(self._room)
