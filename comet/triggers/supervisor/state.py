"""State: what is known of a trigger in this worker, for status pages and metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ...brokers import Receipt
from ...core.update import Update


#: Not started, or stopped with the worker; asleep while nobody watches; waiting while another worker runs it; running;
#: failed, and about to be started again; alarm: somebody must mend something; ended by itself.
Phase = Literal["stopped", "asleep", "waiting", "running", "failed", "alarm", "ended"]
PHASES: tuple[Phase, ...] = get_args(Phase)


#: So much of a position is shown: that of a query has the digest of each row.
SHOWN = 200


@dataclass(slots=True)
class State:
    """It changes as the trigger runs. All but the position counts from the start of the worker.

    ``leader``: this worker runs it. ``position``: its last checkpoint from here, or the beginning of that.
    ``duplicates``: updates that were published before. ``reconnects``: how often it had to be started again.
    ``error``: the last one, in one line; ``statement``: what to type to mend it, if that is known. ``newest``: the
    channel of what it has published last, and its place there.
    """

    name: str
    kind: str = ""
    phase: Phase = "stopped"
    leader: bool = False
    position: str | None = None
    updates: int = 0
    duplicates: int = 0
    reconnects: int = 0
    error: str = ""
    statement: str = ""
    last: float | None = None
    newest: tuple[str, Receipt] | None = None

    @property
    def age(self) -> float | None:
        """Seconds since it has published something; None if it never has."""
        return None if self.last is None else time.monotonic() - self.last

    def published(self, updates: Sequence[Update], receipts: Sequence[Receipt]) -> None:
        again = sum(receipt.duplicate for receipt in receipts)
        self.updates += len(receipts) - again
        self.duplicates += again
        if receipts:
            self.last = time.monotonic()
            self.newest = updates[-1].channel, receipts[-1]

    def stands(self, checkpoint: str | None) -> None:
        """This is how far it has read."""
        long = checkpoint is not None and len(checkpoint) > SHOWN
        self.position = f"{checkpoint[:SHOWN]}…" if checkpoint and long else checkpoint

    def failed(self, phase: Literal["failed", "alarm"], error: BaseException) -> None:
        self.phase = phase
        self.reconnects += 1
        self.error = " ".join(f"{type(error).__name__}: {error}".split())
        self.statement = getattr(error, "statement", "")
