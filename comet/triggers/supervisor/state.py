"""State: what is known of a trigger in this worker, for status pages and metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...brokers import Receipt


#: Not started, or stopped with the worker; asleep while nobody watches; waiting while another worker runs it; running;
#: failed, and about to be started again; alarm: somebody must mend something; ended by itself.
Phase = Literal["stopped", "asleep", "waiting", "running", "failed", "alarm", "ended"]


@dataclass(slots=True)
class State:
    """It changes as the trigger runs. All but the position counts from the start of the worker.

    ``leader``: this worker runs it. ``position``: its last checkpoint from here. ``duplicates``: updates that were
    published before. ``reconnects``: how often it had to be started again. ``error``: the last one, in one line.
    """

    name: str
    phase: Phase = "stopped"
    leader: bool = False
    position: str | None = None
    updates: int = 0
    duplicates: int = 0
    reconnects: int = 0
    error: str = ""
    last: float | None = None

    @property
    def age(self) -> float | None:
        """Seconds since it has published something; None if it never has."""
        return None if self.last is None else time.monotonic() - self.last

    def published(self, receipts: Sequence[Receipt], checkpoint: str | None) -> None:
        again = sum(receipt.duplicate for receipt in receipts)
        self.updates += len(receipts) - again
        self.duplicates += again
        self.position = self.position if checkpoint is None else checkpoint
        self.last = time.monotonic() if receipts else self.last

    def failed(self, phase: Literal["failed", "alarm"], error: BaseException) -> None:
        self.phase = phase
        self.reconnects += 1
        self.error = " ".join(f"{type(error).__name__}: {error}".split())
