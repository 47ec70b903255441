"""The seam to the place where the log lives. Four verbs; whatever more a broker can do is a small optional interface.

A broker owns the :class:`~comet.core.log.Log` that this process reads. It appends to it in SEQ order over all
channels, *then* calls ``deliver`` with the names of the channels that have something new. ``deliver`` never waits.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ..core.cursor import EPOCH_LETTERS
from ..core.log import Entry, Log, Page, Position


Deliver = Callable[[Iterable[str]], None]

#: Told of a message of another program: the name of its channel, and what it says.
Hear = Callable[[str, bytes], None]


def new_epoch() -> str:
    return "".join(EPOCH_LETTERS[byte % 32] for byte in secrets.token_bytes(8))


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


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a trigger. ``fence`` grows with each new holder: who comes late with an old one is refused."""

    name: str
    fence: int


@runtime_checkable
class Leases(Protocol):
    """A broker that several workers share: of them one runs a trigger, and publishing knows where its source stands."""

    def lease(self, name: str, seconds: float) -> Lease | None:
        """Take the lease, or renew one's own, for so long; None: another worker has it."""

    def give_back(self, lease: Lease) -> None:
        """Let the next worker have it at once."""

    def publish_under(self, lease: Lease, entries: Sequence[Entry], checkpoint: str | None = None) -> list[Receipt]:
        """Publish and remember the checkpoint, both or neither. Raises LeaseLost if another worker has the lease."""

    def checkpoint(self, name: str) -> str | None:
        """What was last remembered under this lease."""


@runtime_checkable
class Watches(Protocol):
    """A broker that knows which channels are watched, in whichever worker."""

    woken: Callable[[], None]
    """Called when a channel has begun to be watched, though not always. Must not wait."""

    def watch(self, channels: Mapping[str, float]) -> None:
        """Let these channels count as watched for so many seconds from now, if not longer. Raises BrokerAway."""

    def watched(self, channels: Collection[str]) -> set[str]:
        """Those of the channels that count as watched. Raises BrokerAway."""


@runtime_checkable
class Listens(Protocol):
    """A broker on a server that carries messages of other programs too."""

    def listen(self, prefixes: Sequence[str], hear: Hear) -> None:
        """Call ``hear`` with what they publish on channels with these prefixes, each once, until it is killed.

        Raises BrokerAway when the connection is lost: what is published until the next call is missed.
        """


@runtime_checkable
class CatchesUp(Protocol):
    """A broker whose log here may be behind what other workers have delivered already."""

    def catch_up(self) -> None:
        """Take over what is new, now. Asked before a cursor is called one from the future. Raises BrokerAway."""


@runtime_checkable
class HasHealth(Protocol):
    """A broker that may be out of reach."""

    def check(self) -> None:
        """Raise BrokerAway, with the reason, if nothing can be published now."""


@runtime_checkable
class Tidies(Protocol):
    """A broker that must let time pass for its own log."""

    def tick(self, now: float, used: Container[str]) -> Iterator[None]:
        """Forget what is too old. Called about once a second and exhausted; at each yield others may run."""
