"""The channel of comet's own whose name depends on where it runs: the live page for administration.

It is declared by its whole name: so it counts as there, however many channels there are.
"""

from __future__ import annotations

import os
from hashlib import blake2b

from ..core.rules import Rule


#: Nobody is to see an old page: it is kept for no longer than it is right.
RULE = Rule(history=1, history_seconds=5.0, conflate=True)


def status_channel(bind: str) -> str:
    """Its name. Of this server alone: others may share its broker."""
    place = "\0".join((os.uname().nodename, bind, os.getcwd()))
    return f"comet.status.{blake2b(place.encode(), digest_size=4).hexdigest()}"
