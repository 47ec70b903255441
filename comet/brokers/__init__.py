"""The seam to the place where the log lives. Four verbs; whatever more a broker can do is a small optional interface.

A broker owns the :class:`~comet.core.log.Log` that this process reads. It appends to it in SEQ order over all
channels, *then* calls ``deliver`` with the names of the channels that have something new. ``deliver`` never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..core.log import Entry, Log, Page, Position


Deliver = Callable[[Iterable[str]], None]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the broker says of one accepted entry: its place, and whether its idempotency key was known already."""

    epoch: str
    seq: int
    prev: int
    time: float
    duplicate: bool = False

    @property
    def id(self) -> str:
        return f"{self.epoch}-{self.seq}"


class Broker(Protocol):
    """Where the log lives."""

    log: Log

    def start(self, deliver: Deliver) -> None:
        """Begin to fill the log. Called once, in the worker, before anybody publishes."""

    def publish(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Accept all entries, in order, or none. Raises TooManyChannels, or BrokerAway within two seconds."""

    def since(self, at: Position, *, size: int, limit: int) -> Page:
        """What is newer than a reader's cursor (see ``Log.read``), also where the log of this process begins later."""

    def stop(self) -> None:
        """Let go of everything. Nobody publishes afterwards."""


@runtime_checkable
class Tidies(Protocol):
    """A broker that must let time pass for its own log."""

    def tick(self, now: float, used: Container[str]) -> Iterator[None]:
        """Forget what is too old. Called about once a second and exhausted; at each yield others may run."""
