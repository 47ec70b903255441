"""Works: what the servers are made to do, and what is measured of it. The table at the bottom has them all."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from statistics import median

from . import peers
from .aside import Aside, probe, reader, slow_reader
from .load import PATIENCE, Connection, Crowd, Lost, storm, update
from .peers import Comet
from .servers import Server
from .sources import FromActiveMq, FromBinlog, Source


#: What a server took, by the names of the measures. What does not apply to it is left out.
Figures = dict[str, float]

#: Streams that a process has open files for here, whether it holds them or reads them.
MOST = 19_500


@dataclass(frozen=True)
class Row:
    """A server, and how large its work is."""

    server: type[Server]
    subscribers: int = 0
    channels: int = 1

    @property
    def label(self) -> str:
        many = f" {self.subscribers:,}" if self.subscribers else ""
        return self.server.name + many + (f" on {self.channels:,} channels" if self.channels > 1 else "")


@dataclass(frozen=True)
class Measure:
    """One figure of a work: its name and its unit. ``factor``: units in the figure's own (seconds, bytes, one)."""

    key: str
    title: str
    unit: str
    factor: float = 1.0
    better: str = "less"


@dataclass(frozen=True)
class Scale:
    """How much of the work is done: 1 is all of it."""

    of: float = 1.0

    def __call__(self, number: float, least: int = 1) -> int:
        return max(least, round(number * self.of))


@dataclass(frozen=True, eq=False)
class Work:
    """What every row's server does in each round. ``apart``: the server has the first core and the load the last;
    else both have all."""

    name: str
    title: str
    text: str
    run: Callable[[Server, Row, Scale], Figures]
    rows: Sequence[Row]
    measures: Sequence[Measure]
    rounds: int = 5
    apart: bool = True


# The works.


def fanout(server: Server, row: Row, scale: Scale) -> Figures:
    subscribers = scale(row.subscribers)
    updates = scale(min(60, max(20, 120_000 // row.subscribers)), 5)
    with Crowd(server) as first:
        first.open(1)  # what is loaded with the first stream is not the cost of the others
    with Crowd(server) as crowd:
        empty = server.memory()
        crowd.open(subscribers)
        memory = server.memory() - empty
        crowd.publish(3)
        begun = server.cpu()
        seconds = crowd.publish(updates)
        cpu = server.cpu() - begun
    delivered = subscribers * updates
    return {"cpu": cpu / delivered, "rate": delivered / seconds, "memory": memory / subscribers}


def bursts(server: Server, row: Row, scale: Scale) -> Figures:
    assert isinstance(server, Comet)
    with Crowd(server) as crowd:
        crowd.open(scale(row.subscribers))
        crowd.publish(3)
        singles, many = scale(60, 3), scale(60, 3)
        alone = singles / crowd.publish(singles)
        before = crowd.chunks
        together = 10 * many / crowd.publish(10 * many, _on_channels(server), at_once=10)
        writes = (crowd.chunks - before) / len(crowd) / many
    return {"single": alone, "burst": together, "gain": together / alone, "writes": writes}


def waking(server: Server, row: Row, scale: Scale) -> Figures:
    with Crowd(server) as crowd:
        crowd.open(scale(row.subscribers))
        crowd.publish(2)
        lateness(server)
        time.sleep(1)
        idle = max(_merged(lateness(server), "late"))
        crowd.publish(scale(10, 2))
        late = _merged(lateness(server), "late")
    return {"longest": max(late), "p99": quantile(late, 0.99), "idle": idle}


def full(server: Server, row: Row, scale: Scale, *, ticks: int = 60, idle: float = 30) -> Figures:
    """As many streams as there are open files, first silent, then with an update each second."""
    with ExitStack() as stack:
        with Crowd(server) as first:
            first.open(1)
        empty = server.memory()
        readers = _readers(server, scale(row.subscribers), stack)
        streams = sum(part.hear() for part in readers)
        figures = {"streams": streams, "memory": (server.memory() - empty) / streams}
        if idle and isinstance(server, Comet):  # the others have no heartbeat
            figures["idle"] = _share(server, lambda: time.sleep(scale(idle)))
        beside = stack.enter_context(Aside(probe, server))
        count = scale(ticks, 2)
        figures["share"] = _share(server, lambda: _publish(server, count, every=1.0))
        late = _heard(readers, count)
        took = beside.ask()
    figures |= {"p50": quantile(late, 0.5), "p99": quantile(late, 0.99), "health": quantile(took, 0.99)}
    return figures | {"delivered": len(late) / streams / count}


def opening(server: Server, row: Row, scale: Scale) -> Figures:
    with Crowd(server) as crowd, Connection(server) as asker:
        crowd.publish(1)
        path = _resuming(server, asker)
        crowd.publish(20)
        crowd.open(50, lambda place: path, replay=True)
        count = scale(row.subscribers)
        begun, before = time.monotonic(), server.cpu()
        crowd.open(count, lambda place: path, replay=True)
        seconds, cpu = time.monotonic() - begun, server.cpu() - before
    return {"rate": count / seconds, "cpu": cpu / count}


def publishing(server: Server, row: Row, scale: Scale) -> Figures:
    storm(server, 8, 0.2)
    begun, before = time.monotonic(), server.cpu()
    accepted = storm(server, 8, max(0.3, 2 * scale.of))
    seconds, cpu = time.monotonic() - begun, server.cpu() - before
    figures = {"single": accepted / seconds, "cpu": cpu / accepted}
    if isinstance(server, Comet):
        make = _on_channels(server, ["batches"])
        with Crowd(server) as nobody:
            nobody.publish(1000, make, at_once=1000)
            count = 1000 * scale(20, 2)
            figures["batch"] = count / nobody.publish(count, make, at_once=1000)
    return figures


def slow(server: Server, row: Row, scale: Scale) -> Figures:
    """Fast readers of large updates, first among themselves, then beside slow ones."""
    count = scale(32, 5)
    with ExitStack() as stack:
        readers = _readers(server, scale(row.subscribers - 100), stack)
        for part in readers:
            part.hear()
        _publish(server, 2, every=0.25, size=32_768)
        _heard(readers, 2)
        _publish(server, count, every=0.25, size=32_768, begin=3)
        without = quantile(_heard(readers, count + 2), 0.99)
        stack.enter_context(Aside(slow_reader, server, scale(100), 64_000)).hear()
        _publish(server, count, every=0.25, size=32_768, begin=count + 3)
        beside = quantile(_heard(readers, 2 * count + 2), 0.99)
    return {"without": without, "beside": beside, "rise": beside / without - 1}


def growth(server: Server, row: Row, scale: Scale) -> Figures:
    """All subscribers get an update a tick, from one channel or from many. What the publishing takes is measured
    before anybody listens, and taken off."""
    channels, subscribers = scale(row.channels), scale(row.subscribers)
    make, path = None, None
    if channels > 1:
        assert isinstance(server, Comet)
        names = [f"bench{number}" for number in range(channels)]
        make, path = _on_channels(server, names), lambda place: Comet.stream_of(names[place % channels])
    ticks = scale(min(100, max(10, 100_000 // row.subscribers)), 3)
    with Crowd(server) as crowd:
        crowd.publish(3, make)
        begun = server.cpu()
        crowd.publish(ticks, make)
        publishing = server.cpu() - begun
        crowd.open(subscribers, path)
        crowd.publish(3, make)
        begun = server.cpu()
        crowd.publish(ticks, make)
        cpu = server.cpu() - begun
    return {"cpu": cpu / (ticks * subscribers), "net": (cpu - publishing) / (ticks * subscribers)}


def brokers(server: Server, row: Row, scale: Scale) -> Figures:
    figures = publishing(server, row, scale)
    with Crowd(server) as crowd:
        crowd.open(scale(row.subscribers))
        crowd.publish(3)
        updates = scale(100, 5)
        begun = server.cpu()
        seconds = crowd.publish(updates)
        cpu = server.cpu() - begun
        delivered = updates * len(crowd)
    workers = server.workers if isinstance(server, Comet) else 1
    return figures | {"out": delivered / seconds, "cpu": cpu / delivered, "capacity": workers * delivered / cpu}


def across(server: Server, row: Row, scale: Scale) -> Figures:
    with ExitStack() as stack:
        readers = _readers(server, scale(row.subscribers), stack)
        for part in readers:
            part.hear()
        count = scale(100, 5)
        _publish(server, count, every=0.05)
        late = _heard(readers, count)
    return {"p50": quantile(late, 0.5), "p99": quantile(late, 0.99)}


def stall(server: Server, row: Row, scale: Scale) -> Figures:
    assert isinstance(server, Comet)
    lateness(server)
    seconds = max(0.5, 5 * scale.of)
    accepted = storm(server, 16, seconds)
    late = lateness(server)
    return {
        "rate": accepted / seconds,
        "own": quantile(_merged(late, "own"), 0.99),
        "late": quantile(_merged(late, "late"), 0.99),
        "longest": max(_merged(late, "own")),
    }


def triggers(server: Server, row: Row, scale: Scale) -> Figures:
    """One after the other to a subscriber, and then many at once."""
    assert isinstance(server, Source)
    with ExitStack() as stack:
        readers = _readers(server, row.subscribers, stack)
        for part in readers:
            part.hear()
        count = scale(1000, 20)
        for turn in range(1, count + 1):
            time.sleep(0.003)
            server.send(update(turn))
        late = _heard(readers, count)
    figures = {"p50": quantile(late, 0.5), "p99": quantile(late, 0.99)}
    if isinstance(server, FromBinlog):
        rows, before = scale(50_000, 500), server.published()
        lateness(server)
        begun = time.monotonic()
        server.send_many(rows)
        while server.published() < before + rows:
            if time.monotonic() > begun + PATIENCE:
                raise Lost(f"{server.name} has not published {rows} rows")
            time.sleep(0.02)
        figures["rate"] = rows / (time.monotonic() - begun)
        figures["longest"] = max(_merged(lateness(server), "own"))
    return figures


# What they share.


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all stays below."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def lateness(server: Server) -> list[dict[str, list[float]]]:
    """What the gauge of each worker has kept since it was last asked."""
    workers = server.workers if isinstance(server, Comet) else 1
    answers: dict[int, dict[str, list[float]]] = {}
    while len(answers) < workers:  # a new connection goes to any of them
        with Connection(server) as connection:
            answer = json.loads(connection.ask(server.request("GET", "/bench/lateness")))
        answers.setdefault(answer["pid"], answer)
    return list(answers.values())


def _merged(late: Sequence[dict[str, list[float]]], key: str) -> list[float]:
    return [each for answer in late for each in answer[key]]


def _on_channels(server: Comet, channels: Sequence[str] = ("bench",)) -> Callable[[Sequence[int]], bytes]:
    """Publish the numbers to each of these channels, in one batch."""
    return lambda numbers: server.batch((channel, update(number)) for number in numbers for channel in channels)


def _readers(server: Server, subscribers: int, stack: ExitStack) -> list[Aside]:
    """Processes of readers, each with as many streams as it has open files for, and an address of its own."""
    counts = [min(MOST, subscribers - begun) for begun in range(0, subscribers, MOST)]
    return [
        stack.enter_context(Aside(reader, server, count, f"127.0.0.{place}")) for place, count in enumerate(counts, 1)
    ]


def _heard(readers: Sequence[Aside], last: int) -> array[float]:
    """How late each update came to each reader, when all have had the last."""
    for part in readers:
        part.tell(last)
    return sum((part.hear() for part in readers), array("d"))


def _publish(server: Server, count: int, *, every: float, size: int = 100, begin: int = 1) -> None:
    begun = time.monotonic()
    with Connection(server) as publisher:
        for turn in range(count):
            time.sleep(max(0.0, begun + turn * every - time.monotonic()))
            publisher.ask(server.post(update(begin + turn, size)))
    time.sleep(max(0.0, begun + count * every - time.monotonic()))


def _share(server: Server, act: Callable[[], None]) -> float:
    """Which share of a core the server takes while this is done."""
    begun, before = time.monotonic(), server.cpu()
    act()
    return (server.cpu() - before) / (time.monotonic() - begun)


def _resuming(server: Server, asker: Connection) -> str:
    """The path of a stream that begins after the newest update."""
    if isinstance(server, Comet):
        info = json.loads(asker.ask(server.request("GET", f"{server.publish}/info")))
        return f"{server.stream}?since={info['last']}"
    return f"{server.stream}?since=1"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each measure."""
    keys = {key for figures in rounds for key in figures}
    return {key: median(figures[key] for figures in rounds if key in figures) for key in keys}


# The table.

CPU = Measure("cpu", "CPU", "µs a message", 1e-6)
DELIVERIES = Measure("rate", "deliveries", "1,000 a second", 1e3, better="more")
MEMORY = Measure("memory", "memory", "KiB an idle stream", 1024)
P50 = Measure("p50", "late, median", "ms", 1e-3)
P99 = Measure("p99", "late, p99", "ms", 1e-3)
SINGLE = Measure("single", "single updates", "a second", better="more")
BATCH = Measure("batch", "in batches of 1,000", "1,000 a second", 1e3, better="more")
STREAMS = (
    Measure("streams", "streams", "", better="more"),
    Measure("delivered", "delivered", "% of all updates", 0.01, better="more"),
    Measure("share", "CPU, a tick a second", "% of a core", 0.01),
    P50,
    P99,
    Measure("health", "/healthz, p99", "ms", 1e-3),
)

WORKS = (
    Work(
        "fanout",
        "One channel, many subscribers",
        "An update at a time, each published as soon as the last subscriber has the one before. **CPU** is the "
        "server's processor time for each update that a subscriber got, the kernel's work and the POST included. "
        "**Memory** is what is resident with all streams open and nothing sent yet, less that before. flask-sse and "
        "sse-starlette are slow, so they get 1,000 subscribers, with comet and the C loop beside them.",
        fanout,
        [
            *(Row(server, 3000) for server in (Comet, peers.Plain, peers.CLoop, peers.Nchan, peers.Bare)),
            *(Row(server, 3000) for server in (peers.Node, peers.Tornado, peers.Twisted, peers.Aiohttp)),
            *(Row(server, 1000) for server in (Comet, peers.CLoop, peers.Starlette, peers.FlaskSse)),
            *(Row(server, 10_000) for server in (Comet, peers.Plain, peers.CLoop, peers.Nchan)),
        ],
        [CPU, DELIVERIES, MEMORY],
    ),
    Work(
        "bursts",
        "Bursts of ten",
        "Ten updates in one POST, against single ones, each time waiting for the last subscriber. **Writes** are "
        "chunks that the readers counted, for each subscriber and burst.",
        bursts,
        [Row(Comet, 1000), Row(peers.Plain, 1000)],
        [
            Measure("single", "single", "updates a second", better="more"),
            Measure("burst", "in bursts", "updates a second", better="more"),
            Measure("gain", "gain", "times", better="more"),
            Measure("writes", "writes", "a subscriber and burst"),
        ],
    ),
    Work(
        "waking",
        "What everybody's waking costs the others",
        "A greenlet in the worker sleeps for a millisecond again and again, while all subscribers get ten updates one "
        "after the other. How late was it woken?",
        waking,
        [Row(peers.Gauged, 10_000), Row(peers.GaugedPlain, 10_000)],
        [
            Measure("longest", "longest wait", "ms", 1e-3),
            P99,
            Measure("idle", "longest with nothing to do", "ms", 1e-3),
        ],
    ),
    Work(
        "full",
        "Every descriptor in use",
        "First 30 seconds of silence, in which only heartbeats are written; then an update a second for a minute, "
        "while somebody asks `/healthz` 20 times a second. **Late** is from before the POST until the update has come "
        "to a subscriber's socket, by the kernel's clock.",
        full,
        [Row(Comet, MOST), Row(peers.Plain, MOST), Row(peers.Nchan, MOST)],
        [MEMORY, Measure("idle", "CPU, idle", "% of a core", 0.01), *STREAMS],
        rounds=1,
    ),
    Work(
        "full-two",
        "Two workers, both full",
        "The same for 20 seconds, without the silence, on SQLite. Servers and load share the machine's cores.",
        partial(full, ticks=20, idle=0),
        [Row(peers.TwoOnSqlite, 2 * MOST)],
        [MEMORY, *STREAMS],
        rounds=1,
        apart=False,
    ),
    Work(
        "opening",
        "Coming back",
        "Streams that are opened with a cursor and get the 20 updates after it, 50 at a time.",
        opening,
        [Row(Comet, 1500), Row(peers.Plain, 1500), Row(peers.Bare, 1500)],
        [
            Measure("rate", "opened", "streams a second", better="more"),
            Measure("cpu", "CPU", "µs a stream", 1e-6),
        ],
    ),
    Work(
        "publishing",
        "Publishing, with nobody listening",
        "Single POSTs over 8 connections, and batches of 1,000 lines of NDJSON over one.",
        publishing,
        [Row(Comet), Row(peers.Bare)],
        [SINGLE, Measure("cpu", "CPU", "µs a POST", 1e-6), BATCH],
    ),
    Work(
        "slow",
        "Slow readers in the crowd",
        "Updates of 32 KiB, 4 a second for 8 seconds, to 2,900 readers; then again, beside 100 more that read 64 kB "
        "a second, which is half of what comes.",
        slow,
        [Row(Comet, 3000), Row(peers.Plain, 3000)],
        [
            Measure("without", "fast ones late, p99", "ms", 1e-3),
            Measure("beside", "the same beside slow ones", "ms", 1e-3),
            Measure("rise", "rise", "%", 0.01),
        ],
        rounds=3,
    ),
    Work(
        "growth",
        "Cost as the work grows",
        "An update a tick for everybody, from one channel or spread over many: then published as one batch, a line for "
        "each channel. **Fan-out** is without what the same publishing takes when nobody listens. Where each channel "
        "has a reader of its own, nothing is made once for several, and each of them is woken by itself.",
        growth,
        [
            *(Row(server, subscribers) for subscribers in (100, 1000, 10_000, MOST) for server in (Comet, peers.CLoop)),
            *(Row(Comet, *both) for both in ((10_000, 100), (10_000, 10_000), (1000, 1000), (100, 100))),
        ],
        [CPU, Measure("net", "fan-out", "µs a message", 1e-6)],
        rounds=3,
    ),
    Work(
        "brokers",
        "Brokers: throughput",
        "Updates in with nobody listening: single ones over 8 connections, and batches of 1,000. Then 1,000 "
        "subscribers, each update published as soon as all have the one before, so that none goes out together with "
        "others. All workers share one core; **capacity** is what the "
        "workers would deliver with a core each, by the processor time that a delivery took. Redis is on the load's "
        "core and not counted.",
        brokers,
        [
            Row(Comet, 1000),
            *(Row(server, 1000) for server in (peers.OnSqlite, peers.TwoOnSqlite, peers.OnRedis, peers.TwoOnRedis)),
            Row(peers.FlaskSse, 1000),
        ],
        [
            SINGLE,
            BATCH,
            Measure("out", "deliveries", "1,000 a second", 1e3, better="more"),
            CPU,
            Measure("capacity", "capacity", "1,000 a second", 1e3, better="more"),
        ],
    ),
    Work(
        "across",
        "Brokers: from publishing to delivery",
        "20 updates a second to 1,000 subscribers, with two workers half of them on the other one. Servers, Redis and "
        "load share the machine's cores; who reads the streams does so when nobody else needs one. nchan and the C "
        "loop, one process each and without a broker, show what the machine itself takes at this pace.",
        across,
        [
            Row(Comet, 1000),
            *(Row(server, 1000) for server in (peers.TwoOnSqlite, peers.TwoOnRedis)),
            *(Row(server, 1000) for server in (peers.Nchan, peers.CLoop, peers.FlaskSse)),
        ],
        [P50, P99],
        rounds=3,
        apart=False,
    ),
    Work(
        "stall",
        "Brokers: the hub while SQLite is busy",
        "Four workers on one core publish single updates flat out to one SQLite file; the gauge is in each. **Own** "
        "is without the time in which another worker had the core.",
        stall,
        [Row(peers.FourOnSqlite)],
        [
            Measure("rate", "updates in", "a second", better="more"),
            Measure("own", "late, own, p99", "ms", 1e-3),
            Measure("longest", "late, own, longest", "ms", 1e-3),
            Measure("late", "late by the clock, p99", "ms", 1e-3),
        ],
        rounds=3,
    ),
    Work(
        "triggers",
        "Triggers: from the source to a subscriber",
        "1,000 rows or messages, each 3 ms after the one before was committed or acknowledged: **late** is from before "
        "the INSERT or SEND until the update has come to the subscriber's socket. Then 50,000 rows as fast as "
        "MariaDB writes them, each in a transaction of its own: **stall** is how late a greenlet in the worker was "
        "woken while they were caught up, by the worker's own doing. The source is on the load's core.",
        triggers,
        [Row(FromBinlog, 1), Row(FromActiveMq, 1)],
        [
            P50,
            P99,
            Measure("rate", "caught up", "rows a second", better="more"),
            Measure("longest", "longest stall", "ms", 1e-3),
        ],
        rounds=3,
    ),
)

#: For daily use, in less than a minute.
QUICK = Work(
    "quick",
    "The floor, comet, and the best of the others",
    "",
    fanout,
    [Row(server, 2000) for server in (Comet, peers.CLoop, peers.Nchan)],
    [CPU, DELIVERIES, MEMORY],
    rounds=3,
)
