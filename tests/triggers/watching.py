"""What the tests of all triggers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gevent

from comet.brokers import Receipt
from comet.brokers.memory import MemoryBroker
from comet.core.update import Update
from tests.timing import PATIENCE, until


class Published(list[Update]):
    """A ``publish`` that remembers what was accepted (no key twice), and every checkpoint."""

    lasts = kept = True

    def __init__(self) -> None:
        super().__init__()
        self.checkpoints: list[str] = []
        self._broker = MemoryBroker()

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        receipts = self._broker.publish(updates)
        self.extend(update for update, receipt in zip(updates, receipts, strict=True) if not receipt.duplicate)
        if checkpoint is not None:
            self.checkpoints.append(checkpoint)
        return receipts

    def checkpoint(self) -> str | None:
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def texts(self) -> list[str]:
        return [update.data.decode() for update in self]


def wait(state: Callable[[], object], seconds: float = 10.0) -> None:
    until(state, seconds=seconds, sleep=gevent.sleep)


def ended(greenlet: gevent.Greenlet) -> None:
    """Wait for its end, and fail with what it failed with."""
    greenlet.get(timeout=10 * PATIENCE)
