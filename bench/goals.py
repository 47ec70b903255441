"""Goals: what the figures must show, as ratios of medians in one run where there is somebody to be held against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from .works import MOST, Figures


#: The medians of each work and row.
Medians = Mapping[str, Mapping[str, Figures]]


@dataclass(frozen=True)
class Goal:
    """A figure and its bound: ``most`` or ``least``. ``of`` raises KeyError for what was not measured."""

    text: str
    of: Callable[[Medians], float]
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def bound(self) -> str:
        return f"≤ {self.most:,g}{self.unit}" if self.most is not None else f"≥ {self.least:,g}{self.unit}"

    @property
    def digits(self) -> int:
        """Of a measured value, so that it can be told from the bound."""
        bound = self.most if self.most is not None else self.least or 0.0
        return 2 if bound < 10 else 1 if bound < 1000 else 0

    def value(self, medians: Medians) -> float | None:
        try:
            return self.of(medians)
        except KeyError:
            return None

    def met(self, value: float) -> bool:
        return value <= self.most if self.most is not None else value >= (self.least or 0.0)


def figure(work: str, row: str, measure: str, unit: float = 1.0) -> Callable[[Medians], float]:
    return lambda medians: medians[work][row][measure] / unit


def ratio(work: str, measure: str, row: str, to: str) -> Callable[[Medians], float]:
    return lambda medians: medians[work][row][measure] / medians[work][to][measure]


def spread(work: str, measure: str, *rows: str) -> Callable[[Medians], float]:
    """The largest by the smallest; without a bound if one is lost in the noise."""

    def of(medians: Medians) -> float:
        values = [medians[work][row][measure] for row in rows]
        return max(values) / min(values) if min(values) > 0 else inf

    return of


MS, PERCENT, KIB = 1e-3, 0.01, 1024


def _fanout() -> Iterator[Goal]:
    for peer, many, most in (
        ("nchan", "3,000", 0.85),
        ("nchan", "10,000", 0.85),
        ("C loop", "3,000", 1.3),
        ("C loop", "10,000", 1.3),
        ("Tornado", "3,000", 1 / 2.5),
        ("Twisted", "3,000", 1 / 2.5),
        ("sse-starlette", "1,000", 1 / 5),
        ("flask-sse", "1,000", 1 / 5),
    ):
        of = ratio("fanout", "cpu", f"comet {many}", f"{peer} {many}")
        yield Goal(f"CPU a message at {many}: comet / {peer}", of, most=most)
    for many in ("3,000", "10,000"):
        of = ratio("fanout", "rate", f"comet {many}", f"nchan {many}")
        yield Goal(f"Deliveries a second at {many}: comet / nchan", of, least=1)
    yield Goal("Memory of an idle stream", figure("fanout", "comet 3,000", "memory", KIB), most=14.5, unit=" KiB")


def _bursts() -> Iterator[Goal]:
    yield Goal("Writes for a subscriber and a burst of ten", figure("bursts", "comet 1,000", "writes"), most=2)
    yield Goal("Updates a second: bursts of ten / single", figure("bursts", "comet 1,000", "gain"), least=5)


def _waking() -> Iterator[Goal]:
    for row in ("comet 10,000", "comet, plain 10,000"):
        yield Goal(
            f"Longest wait of another greenlet: {row}", figure("waking", row, "longest", MS), most=20, unit=" ms"
        )


def _full() -> Iterator[Goal]:
    one, two = f"comet {MOST:,}", f"sqlite, 2 workers {2 * MOST:,}"
    yield Goal("Full: streams", figure("full", one, "streams"), least=MOST)
    yield Goal("Full: updates delivered", figure("full", one, "delivered", PERCENT), least=100, unit=" %")
    yield Goal("Full: late, p99", figure("full", one, "p99", MS), most=330, unit=" ms")
    yield Goal("Full: CPU with a tick a second", figure("full", one, "share", PERCENT), most=34, unit=" %")
    yield Goal("Full: `/healthz`, p99", figure("full", one, "health", MS), most=30, unit=" ms")
    yield Goal("Full: memory of an idle stream", figure("full", one, "memory", KIB), most=14.5, unit=" KiB")
    yield Goal("Full and idle: CPU", figure("full", one, "idle", PERCENT), most=5, unit=" %")
    yield Goal("Two full workers: streams", figure("full-two", two, "streams"), least=2 * MOST)
    yield Goal("Two full workers: delivered", figure("full-two", two, "delivered", PERCENT), least=100, unit=" %")


def _http() -> Iterator[Goal]:
    opened = ratio("opening", "rate", "comet 1,500", "bare Flask 1,500")
    yield Goal("Streams opened a second: comet / bare Flask", opened, least=0.8)
    single = ratio("publishing", "single", "comet", "bare Flask")
    yield Goal("Single POSTs a second: comet / bare Flask", single, least=0.8)
    yield Goal("Updates a second in batches of 1,000", figure("publishing", "comet", "batch"), least=50_000)
    rise = figure("slow", "comet 3,000", "rise", PERCENT)
    yield Goal("Slow readers: rise of the fast ones' p99", rise, most=20, unit=" %")


def _growth() -> Iterator[Goal]:
    sizes = ("comet 100", "comet 1,000", "comet 10,000", f"comet {MOST:,}")
    yield Goal("Fan-out, 100 … 19,500 subscribers: most / least", spread("growth", "net", *sizes), most=1.5)
    channels = ("comet 10,000", "comet 10,000 on 100 channels", "comet 10,000 on 10,000 channels")
    yield Goal(
        "Fan-out, 10,000 readers of 1 … 10,000 channels: most / least", spread("growth", "net", *channels), most=1.5
    )
    own = [f"comet {many} on {many} channels" for many in ("100", "1,000", "10,000")]
    yield Goal(
        "CPU a message, 100 … 10,000 channels with a reader each: most / least", spread("growth", "cpu", *own), 1.5
    )


def _brokers() -> Iterator[Goal]:
    redis = ratio("brokers", "out", "redis 1,000", "comet 1,000")
    yield Goal("Deliveries a second and worker: redis / memory", redis, least=0.8)
    for broker in ("sqlite", "redis"):
        one, two = f"{broker} 1,000", f"{broker}, 2 workers 1,000"
        yield Goal(f"Capacity: {broker}, 2 workers / 1", ratio("brokers", "capacity", two, one), least=1.8)
        yield Goal(f"Updates a second in batches: {broker}", figure("brokers", one, "batch"), least=15_000)
        late = figure("across", two, "p50", MS)
        yield Goal(f"Publishing to delivery, 2 workers, median: {broker}", late, most=3, unit=" ms")
    own = figure("stall", "sqlite, 4 workers", "own", MS)
    yield Goal("Hub late by its own doing while 4 workers publish to SQLite, p99", own, most=10, unit=" ms")


def _triggers() -> Iterator[Goal]:
    for row in ("mysql-binlog 1", "activemq 1"):
        yield Goal(f"Source to subscriber, median: {row[:-2]}", figure("triggers", row, "p50", MS), most=5, unit=" ms")
        yield Goal(f"Source to subscriber, p99: {row[:-2]}", figure("triggers", row, "p99", MS), most=40, unit=" ms")
    rate = figure("triggers", "mysql-binlog 1", "rate")
    yield Goal("Rows of the binary log a second, each a transaction", rate, least=3000)
    longest = figure("triggers", "mysql-binlog 1", "longest", MS)
    yield Goal("Longest stall of the hub while 50,000 rows are caught up", longest, most=20, unit=" ms")


GOALS = (*_fanout(), *_bursts(), *_waking(), *_full(), *_http(), *_growth(), *_brokers(), *_triggers())
