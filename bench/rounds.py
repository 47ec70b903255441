"""Rounds: what is measured, and in what order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .load import Load, Publisher
from .servers import Server


@dataclass(frozen=True)
class Work:
    """What each server does in each round. ``paced`` updates come at ``pace`` a second; ``saturated`` ones each as
    soon as the last subscriber has the one before."""

    rounds: int = 5
    subscribers: int = 3000
    paced: int = 20
    pace: float = 5.0
    saturated: int = 60


QUICK = Work(rounds=2, subscribers=500, paced=10, saturated=60)


@dataclass(frozen=True)
class Figures:
    """What one server took in one round. Processor time in microseconds for each update that a subscriber got."""

    paced: float
    saturated: float
    rate: float
    memory: float


def rounds(work: Work, servers: tuple[type[Server], ...], core: int) -> Iterator[tuple[type[Server], Figures]]:
    """Measure each server in each round, every second round backwards: what drifts, drifts for all."""
    for number in range(work.rounds):
        for server in servers[:: -1 if number % 2 else 1]:
            yield server, measure(server(core), work)


def measure(server: Server, work: Work) -> Figures:
    """Start a server, let everybody subscribe and publish to them. Raises Lost if anybody misses anything."""
    with server, Load(server.address, server.stream) as load:
        with Load(server.address, server.stream) as first:
            first.open(1)  # what is loaded with the first stream is not the second one's
        before = server.memory()
        load.open(work.subscribers)
        memory = (server.memory() - before) / work.subscribers
        publisher = Publisher(server.address, server.publish, server.headers)
        count = _Count(server, load, publisher)
        count.publish(5)
        paced, _ = count.publish(work.paced, 1 / work.pace)
        saturated, seconds = count.publish(work.saturated)
        publisher.close()
    delivered = work.saturated * work.subscribers
    return Figures(
        paced=paced / (work.paced * work.subscribers) * 1e6,
        saturated=saturated / delivered * 1e6,
        rate=delivered / seconds,
        memory=memory / 1024,
    )


class _Count:
    """Publishes, waits for everybody, and counts the server's processor time."""

    def __init__(self, server: Server, load: Load, publisher: Publisher) -> None:
        self.server, self.load, self.publisher = server, load, publisher
        self.last = 0

    def publish(self, updates: int, every: float = 0.0) -> tuple[float, float]:
        """Publish so many, at most one ``every`` so many seconds; return the seconds of processor, and of the clock."""
        used, begun = self.server.cpu(), time.monotonic()
        for tick in range(updates):
            time.sleep(max(0.0, begun + tick * every - time.monotonic()))
            self.last += 1
            self.publisher.publish(self.last)
            self.load.read(self.last)
        return self.server.cpu() - used, time.monotonic() - begun


@dataclass(frozen=True)
class Measure:
    """One thing that is told of the figures. ``less``: less of it is better."""

    title: str
    unit: str
    of: Callable[[Figures], float]
    less: bool = True


MEASURES = (
    Measure("CPU, paced", "µs for each delivered message", lambda figures: figures.paced),
    Measure("CPU, back to back", "µs for each delivered message", lambda figures: figures.saturated),
    Measure("Throughput, back to back", "1,000 messages a second", lambda figures: figures.rate / 1000, less=False),
    Measure("Memory", "KiB for each idle stream", lambda figures: figures.memory),
)
