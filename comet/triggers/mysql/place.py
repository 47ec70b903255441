"""Place: where in a server's binary log a trigger goes on. Its text is the trigger's checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A border between two transactions. ``gtid``: the transaction before it, if known; ``server``: whose log it is."""

    file: str
    pos: int
    gtid: str
    server: str

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """The place that a checkpoint tells; None if it is not one of these."""
        try:
            fields = json.loads(text)
            return cls(str(fields["file"]), int(fields["pos"]), str(fields["gtid"]), str(fields["server"]))
        except (ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))
