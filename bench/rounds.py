"""Rounds: what is measured, and in what order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .load import Load
from .servers import SERVERS, Server


@dataclass(frozen=True)
class Work:
    """What each server does in each round. ``paced`` updates come at ``pace`` a second; ``saturated`` ones each as
    soon as the last subscriber has the one before."""

    rounds: int = 5
    subscribers: int = 3000
    paced: int = 20
    pace: float = 5.0
    saturated: int = 60


QUICK = Work(rounds=2, subscribers=500, paced=10)


@dataclass(frozen=True)
class Figures:
    """What one server took in one round: microseconds of processor for each update that a subscriber got, such
    deliveries in a second, and bytes for each idle stream."""

    paced: float
    saturated: float
    rate: float
    memory: float


def rounds(work: Work, core: int) -> Iterator[tuple[str, Figures]]:
    """Measure each server in each round, every second round backwards: what drifts, drifts for all."""
    for number in range(work.rounds):
        for server in SERVERS[:: -1 if number % 2 else 1]:
            yield server.name, measure(server(core), work)


def measure(server: Server, work: Work) -> Figures:
    """Start a server, let everybody subscribe, and publish to them. Raises Lost if anybody misses anything."""
    with server, Load(server) as load:
        with Load(server) as first:
            first.open(1)  # what is loaded with the first stream is not the cost of the others
        empty = server.memory()
        load.open(work.subscribers)
        memory = (server.memory() - empty) / work.subscribers
        load.publish(5)
        at_start = server.cpu()
        load.publish(work.paced, 1 / work.pace)
        between = server.cpu()
        seconds = load.publish(work.saturated)
        at_end = server.cpu()
    delivered = work.subscribers * work.saturated
    return Figures(
        paced=(between - at_start) * 1e6 / (work.subscribers * work.paced),
        saturated=(at_end - between) * 1e6 / delivered,
        rate=delivered / seconds,
        memory=memory,
    )


@dataclass(frozen=True)
class Measure:
    """One thing that is told of the figures."""

    title: str
    unit: str
    of: Callable[[Figures], float]
    better: str = "less"


MEASURES = (
    Measure("CPU, paced", "µs a message", lambda figures: figures.paced),
    Measure("CPU, back to back", "µs a message", lambda figures: figures.saturated),
    Measure("Throughput", "1,000 messages a second", lambda figures: figures.rate / 1000, better="more"),
    Measure("Memory", "KiB an idle stream", lambda figures: figures.memory / 1024),
)
