"""Ids and cursors: a place in the broker's log, as text and as numbers.

An id is ``EPOCH-SEQ``. As a cursor it says "I have everything up to here". SEQ is one counter over all
channels, so one cursor serves every set of channels on every wire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


#: Digits and letters that can't be mistaken for each other (no i, l, o, u): base 32.
EPOCH_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"

# At most 18 digits: a 64-bit integer everywhere, and no 4,000-digit number for int() to choke on.
CURSOR = re.compile(r"([0-9a-z]{6,32})-(0|[1-9][0-9]{0,17})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the log of one epoch."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Read a cursor. Anything that is not exactly one is None, never an error: the caller tells a gap."""
        match = CURSOR.fullmatch(text)
        return cls(match[1], int(match[2])) if match else None


#: A cursor that no log ever gives out: who resumes from it is always told a gap.
NOWHERE = Cursor("000000", 0)
