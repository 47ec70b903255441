"""Place: where in a server's binary log a trigger goes on. Its text is the trigger's checkpoint."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """A border between two transactions. ``gtid``: the transaction before it, if known; ``server``: whose log it is.

    ``lineage`` is another whenever a trigger begins anew: a log that was reset has the same names for other things.
    """

    file: str
    pos: int
    gtid: str
    server: str
    lineage: str = field(default_factory=lambda: secrets.token_hex(6))

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """The place that a checkpoint tells; None if it is not one of these."""
        try:
            fields = json.loads(text)
            names = (str(fields[name]) for name in ("gtid", "server", "lineage"))
            return cls(str(fields["file"]), int(fields["pos"]), *names)
        except (ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))
