"""Metrics: what ``GET /metrics`` tells, in the format of Prometheus, added up over the workers of this server.

Strategy: the rooms count in plain numbers. Once a second, and when somebody asks, these are laid down as this worker's
tally; who is asked gathers the tallies of all. prometheus_client makes families and text of that, in a way of its own
for each answer: no registry is used, so that an app that has one, or its multiprocess mode, is left alone.
"""

from __future__ import annotations

import logging
import os
import platform
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import cast

import gevent
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from . import __version__
from .brokers import HasHealth, Receipt
from .controller import Controller
from .core.counts import DELAYS, Histogram
from .core.encodings import Encodings
from .core.errors import BrokerAway
from .core.log import Entry
from .core.update import Update, is_own
from .core.wire import WIRES
from .ends import ENDS_OF_POLLS, ENDS_OF_STREAMS
from .peers import Peers
from .tallies import BETWEEN, UPDATES, Numbers, Own, Tally, gather, others
from .triggers.supervisor import Supervisor
from .triggers.supervisor.state import PHASES, State


log = logging.getLogger("comet")

#: In somebody else's app: a folder that all workers of a server share, and that is emptied before it starts.
#: prometheus_client itself would not look at what we put there.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"

#: Seconds between two looks at the clock, which tell by how much greenlets are late.
LOOK = 0.1

#: Looks between two tallies.
LOOKS = 10


class Metrics:
    """What this worker tells, and what all of them do."""

    def __init__(self, controller: Controller, peers: Peers, triggers: Supervisor, encodings: Encodings) -> None:
        self._controller = controller
        self._peers = peers
        self._triggers = triggers
        self._encodings = encodings
        self._own = Own()
        self._duplicates = self._bytes = 0
        self._born = time.time()
        self._fault = ""
        self._keeper: gevent.Greenlet | None = None

    def start(self, folder: Path | None) -> None:
        """Begin to tell the other workers, in the folder that they share. Call it in the worker, once."""
        if folder is None and FOLDER in os.environ:
            folder = Path(os.environ[FOLDER])
        if folder is not None:
            self._try(lambda: self._own.open(folder))
        self._keeper = gevent.spawn(self._keep)

    def stop(self) -> None:
        """Lay down what was counted last. Nothing is told of this worker afterwards."""
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper = None
            self._write(self._numbers())
            self._own.close()

    @property
    def folder(self) -> Path | None:
        """Where the workers tell each other; None: each knows of itself alone."""
        return self._own.folder

    def published(self, entries: Sequence[Entry], receipts: Sequence[Receipt]) -> None:
        """Count what was published, whoever did it. comet's own channels are nobody's business."""
        count = 0
        for entry, receipt in zip(entries, receipts, strict=True):
            if isinstance(entry, Update) and not is_own(entry.channel):
                if receipt.duplicate:
                    self._duplicates += 1
                else:
                    count += 1
                    self._bytes += len(entry.data)
        if count:
            # The broker has them: whatever fails here must not look like a failure of that.
            self._try(lambda: self._own.published(count))

    # Telling.

    def text(self, accept: str) -> tuple[bytes, str]:
        """The answer to a scrape that accepts this: its body, and its type."""
        encode, content_type = choose_encoder(accept)
        return encode(cast(CollectorRegistry, self)), content_type

    def collect(self) -> Iterator[Metric]:
        """As a registry of prometheus_client does."""
        return self.families()

    def families(self) -> Iterator[Metric]:
        """What all workers of this server tell: of this one as it is now, of the others as it was a second ago."""
        return families(gather(self.tallies()))

    def tallies(self) -> list[Tally]:
        """What each of them tells. What is told here is laid down first: no later answer, of whichever worker, may
        have less."""
        numbers = self._numbers()
        self._write(numbers)
        folder = self._own.folder
        return [Tally(str(os.getpid()), True, numbers), *(others(folder, self._own.name) if folder else ())]

    def _keep(self) -> None:
        """Notice by how much a greenlet is late, and tell the others what there is, for ever."""
        lateness = self._controller.counts.lateness
        while True:
            for _ in range(LOOKS):
                due = time.monotonic() + LOOK
                gevent.sleep(LOOK)
                lateness.note(max(0.0, time.monotonic() - due))
            self._write(self._numbers())

    def _write(self, numbers: Numbers) -> None:
        self._try(lambda: self._own.write(numbers))

    def _try(self, work: Callable[[], None]) -> None:
        """Do something with the files. What fails is told once, while it is the same: nothing depends on it."""
        try:
            work()
            self._fault = ""
        except OSError as error:
            if str(error) != self._fault:
                log.warning("comet: /metrics is told without what other workers have counted: %s", error)
            self._fault = str(error)

    # What this worker tells.

    def _numbers(self) -> Numbers:
        return {
            "sum": dict(self._sums()),
            "latest": dict(self._latest()),
            "now": dict(self._now()),
            "most": dict(self._most()),
            "each": dict(self._each()),
        }

    def _sums(self) -> Iterator[tuple[str, float]]:
        counts = self._controller.counts
        yield UPDATES, self._own.updates
        yield "comet_duplicates_total", self._duplicates
        yield "comet_published_bytes_total", self._bytes
        for wire in (*WIRES, "python"):
            yield name("comet_opens_total", wire), counts.opens[wire]
            for reason in ENDS_OF_POLLS if wire in POLLS else ENDS_OF_STREAMS:
                yield name("comet_closes_total", wire, reason), counts.closes[wire, reason]
        for way, delivered in (("direct", counts.direct), ("greenlet", counts.yielded)):
            yield name("comet_deliveries_total", way), delivered.updates
            yield name("comet_delivered_bytes_total", way), delivered.bytes
        for reason in GAPS:
            yield name("comet_gaps_total", reason), counts.gaps[reason]
        yield "comet_cuts_total", self._peers.cuts
        for status, count in counts.refusals.items():
            yield name("comet_refusals_total", str(status)), count
        yield from _buckets("comet_publish_to_write_seconds", counts.delay)
        yield from _buckets("comet_hub_lateness_seconds", counts.lateness)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield "comet_process_cpu_seconds_total", usage.ru_utime + usage.ru_stime
        for state in self._states():
            yield name("comet_trigger_updates_total", state.name, state.kind), state.updates
            yield name("comet_trigger_duplicates_total", state.name, state.kind), state.duplicates
            yield name("comet_trigger_restarts_total", state.name, state.kind), state.reconnects

    def _latest(self) -> Iterator[tuple[str, float]]:
        for state in self._states():
            if state.age is not None:
                yield name("comet_trigger_last_update_timestamp_seconds", state.name, state.kind), _time(state)

    def _now(self) -> Iterator[tuple[str, float]]:
        controller, counts = self._controller, self._controller.counts
        yield "comet_workers", 1
        closed = dict.fromkeys((*WIRES, "python"), 0)
        for (wire, _), count in counts.closes.items():
            closed[wire] += count
        for wire, count in closed.items():
            yield name("comet_streams", wire), counts.opens[wire] - count
        yield "comet_streams_limit", controller.max_streams
        yield "comet_log_memory_bytes", controller.log.weight
        yield "comet_encodings_memory_bytes", self._encodings.weight
        for state in self._states():
            for phase in PHASES:
                yield name("comet_trigger_state", state.name, state.kind, phase), state.phase == phase
            yield name("comet_trigger_leader", state.name, state.kind), state.leader

    def _most(self) -> Iterator[tuple[str, float]]:
        yield "comet_channels", self._controller.log.published
        yield name("comet_build_info", __version__, platform.python_version(), gevent.__version__), 1

    def _each(self) -> Iterator[tuple[str, float]]:
        broker = type(self._controller.broker).__name__.removesuffix("Broker").lower()
        yield name("comet_broker_up", broker), self._reaches_broker()
        yield "comet_worker_stopping", self._controller.stopping
        yield "comet_process_start_time_seconds", self._born
        yield from _proc()

    def _states(self) -> list[State]:
        return [state for state in self._triggers.states if not is_own(state.name)]

    def _reaches_broker(self) -> bool:
        broker = self._controller.broker
        try:
            if isinstance(broker, HasHealth):
                broker.check()
        except BrokerAway:
            return False
        return True


def name(*parts: str) -> str:
    """A number's name in a tally: that of its metric, and the values of its labels."""
    return BETWEEN.join(parts)


def families(numbers: dict[str, float]) -> Iterator[Metric]:
    """What was gathered, as prometheus_client has it."""
    by_metric: dict[str, list[tuple[list[str], float]]] = {}
    for key, value in numbers.items():
        metric, *labels = key.split(BETWEEN)
        by_metric.setdefault(metric, []).append((labels, value))
    for metric, (help, *names) in METRICS.items():
        found = by_metric.get(metric, [])
        if metric in HISTOGRAMS:
            yield _histogram(metric, help, found)
        elif found:
            kind = CounterMetricFamily if metric.endswith("_total") else GaugeMetricFamily
            family = kind(metric, help, labels=names)
            for labels, value in sorted(found):
                family.add_metric(labels, value)
            yield family


def _histogram(metric: str, help: str, found: Iterable[tuple[list[str], float]]) -> Metric:
    values = {labels[0]: value for labels, value in found}
    bounds = [*map(str, DELAYS), "+Inf"]
    counts = accumulate(values.get(bound, 0) for bound in bounds)
    return HistogramMetricFamily(metric, help, list(zip(bounds, counts, strict=True)), values.get("sum", 0.0))


def _buckets(metric: str, histogram: Histogram) -> Iterator[tuple[str, float]]:
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.buckets, strict=True):
        yield name(metric, bound), count
    yield name(metric, "sum"), histogram.sum


def _time(state: State) -> float:
    return round(time.time() - (state.age or 0), 3)


def _proc() -> Iterator[tuple[str, float]]:
    """What Linux knows of this process."""
    try:
        resident = int(Path("/proc/self/statm").read_text().split()[1])
        # Not by a look at all of them: with 20,000 streams that takes 10 ms. Kernels before 6.2 say 0.
        open_files = os.stat("/proc/self/fd").st_size
    except OSError:
        return
    yield "comet_process_resident_memory_bytes", resident * resource.getpagesize()
    if open_files:
        yield "comet_process_open_fds", open_files


POLLS = [name for name, wire in WIRES.items() if wire.one_shot]

#: Why a gap is told (see core/log.py).
GAPS = ("trimmed", "epoch", "future", "unknown")

HISTOGRAMS = ("comet_publish_to_write_seconds", "comet_hub_lateness_seconds")

#: Every metric: what it says, and the names of its labels. What ends in _total is a counter.
METRICS: dict[str, tuple[str, ...]] = {
    "comet_build_info": ("What runs here; always 1.", "version", "python", "gevent"),
    "comet_workers": ("Worker processes that live.",),
    UPDATES: ("Updates published by these workers: over HTTP, by Python and by triggers. Duplicates are not counted.",),
    "comet_duplicates_total": ("Updates that were not published, since their idempotency keys were known.",),
    "comet_published_bytes_total": ("Bytes of the data of published updates.",),
    "comet_streams": ("Streams, and polls that wait, by wire.", "wire"),
    "comet_streams_limit": ("How many streams are taken (COMET_MAX_STREAMS, of all workers).",),
    "comet_opens_total": ("Streams and polls that have begun, by wire.", "wire"),
    "comet_closes_total": ("Streams and polls that have ended, by wire and by why.", "wire", "reason"),
    "comet_deliveries_total": (
        "Updates written to streams and polls, each once for each of them; by the way taken: direct to the socket, or "
        "by the greenlet.",
        "way",
    ),
    "comet_delivered_bytes_total": ("Bytes written to streams and polls, by the way taken.", "way"),
    "comet_gaps_total": ("Gaps told to subscribers, by why.", "reason"),
    "comet_cuts_total": ("Connections cut because their peers took nothing for COMET_WRITE_TIMEOUT.",),
    "comet_refusals_total": ("Requests answered with an error, by HTTP status.", "status"),
    "comet_publish_to_write_seconds": (
        "From the moment in which a worker has an update to that in which a cohort of up to 128 streams has been "
        "written to, or woken.",
    ),
    "comet_hub_lateness_seconds": ("By how much a sleeping greenlet is woken late: how busy the workers' loops are.",),
    "comet_channels": ("Channels that were published to and are not forgotten.",),
    "comet_log_memory_bytes": ("History in memory, of all workers.",),
    "comet_encodings_memory_bytes": ("Encoded updates in memory, of all workers.",),
    "comet_broker_up": ("Whether this worker reaches the broker: 1 or 0.", "broker", "worker"),
    "comet_trigger_state": ("How many workers have this trigger in this state.", "trigger", "kind", "state"),
    "comet_trigger_leader": ("How many workers run this trigger: 1, or 0.", "trigger", "kind"),
    "comet_trigger_updates_total": ("Updates published by this trigger.", "trigger", "kind"),
    "comet_trigger_duplicates_total": ("Updates of this trigger that had been published before.", "trigger", "kind"),
    "comet_trigger_restarts_total": ("How often this trigger had to be started again.", "trigger", "kind"),
    "comet_trigger_last_update_timestamp_seconds": (
        "When this trigger has published last, in seconds since 1970.",
        "trigger",
        "kind",
    ),
    "comet_worker_stopping": ("Whether this worker drains: 1 or 0.", "worker"),
    "comet_process_start_time_seconds": ("When this worker began, in seconds since 1970.", "worker"),
    "comet_process_cpu_seconds_total": ("Processor time of the workers.",),
    "comet_process_resident_memory_bytes": ("Resident memory of this worker.", "worker"),
    "comet_process_open_fds": ("Open file descriptors of this worker (from Linux 6.2).", "worker"),
}
