"""Figures: what the workers of a server have counted and said, as the page shows it. Pure: plain values in and out.

What it returns is JSON as it stands. Times are in seconds, sizes in bytes, rates in each second; what is not known is
None. A rate is the difference of two looks at what was counted; that of a channel is of what it keeps of the last ten
seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter
from typing import Any, NamedTuple, TypedDict

from ..core.counts import DELAYS
from ..core.ring import Ring
from ..tallies import BETWEEN, Tally, gather


Figures = dict[str, Any]

#: Channels that are shown: the busiest.
SHOWN = 50

#: Seconds that the rate of a channel is of.
WINDOW = 10.0

#: A worker that has said nothing for so many seconds is silent.
SILENT = 4.0

#: What is counted, and of which metrics.
COUNTS = {
    "updates": "comet_updates_total",
    "deliveries": "comet_deliveries_total",
    "bytes": "comet_delivered_bytes_total",
}

#: The states of a trigger, the one to be told first. One worker runs it, and in the others it is waiting.
STATES = ("alarm", "failed", "running", "ended", "asleep", "waiting", "stopped")

_time = attrgetter("time")


@dataclass(frozen=True, slots=True)
class Look:
    """What all workers had counted at a time."""

    time: float
    tallies: Sequence[Tally]


class Said(TypedDict):
    """What a worker says of itself beside its numbers: when; subscribers by channel; the states of its triggers; and
    why the broker is away, if it is."""

    time: float
    subscribers: dict[str, int]
    triggers: list[dict[str, Any]]
    broker: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the workers are: the name of the host, the version of comet, the kind of broker."""

    host: str
    version: str
    broker: str


class Channel(NamedTuple):
    """A channel in the log. ``last``: when it was published to, None if nothing is kept; ``rate``: None if too little
    is kept to say."""

    name: str
    stored: int = 0
    bytes: int = 0
    last: float | None = None
    rate: float | None = 0.0


def channel_of(name: str, ring: Ring, now: float) -> Channel:
    """What a channel's ring says."""
    newest = ring.newest
    if newest is None:
        return Channel(name)
    return Channel(name, len(ring), ring.size, newest.time, _rate(ring, now))


def _rate(ring: Ring, now: float) -> float | None:
    if ring.updates[-1].time < now - WINDOW:
        return 0.0
    first = bisect_left(ring.updates, now - WINDOW, lo=ring.start, key=_time)
    count = len(ring.updates) - first
    if first > ring.start or not _is_full(ring):
        return count / WINDOW
    # There may have been more in these seconds than is kept.
    return count / max(0.001, now - ring.updates[first].time) if count > 2 else None


def _is_full(ring: Ring) -> bool:
    rule = ring.rule
    return len(ring) >= rule.history or ring.size + len(ring.updates[-1].data) > rule.history_bytes


def figures(
    looks: Sequence[Look], said: Mapping[str, Said], channels: Sequence[Channel], place: Place, *, expected: int = 0
) -> Figures:
    """All that the page shows. ``looks``: the newest last; ``said``: by the workers' process ids; ``expected``: how
    many workers there should be, 0: that is not known yet, nor who is silent."""
    now = looks[-1].time
    totals = [gather(look.tallies) for look in (looks[0], looks[-1])]
    seconds = now - looks[0].time
    # One that has just begun has told nothing yet.
    living = [tally for tally in looks[-1].tallies if tally.lives and tally.numbers.get("each")]
    workers = sorted((_worker(tally, looks[0], now) for tally in living), key=lambda worker: worker["since"])
    for worker in workers:
        worker["silent"] = _silence(said.get(str(worker["pid"])), now) if expected else None
    by_wire = {wire: int(count) for wire, count in _labelled(totals[1], "comet_streams").items() if count}
    told = [said[tally.pid] for tally in living if tally.pid in said]
    return {
        "time": round(now, 3),
        "host": place.host,
        "version": place.version,
        "broker": _broker(place.broker, totals[1], told),
        "missing": max(0, expected - len(workers)),
        "workers": workers,
        "streams": {"total": sum(by_wire.values()), "by_wire": dict(sorted(by_wire.items()))},
        "totals": {name: _sum(totals[1], metric) for name, metric in COUNTS.items()},
        "rates": {name: _rate_of(totals, metric, seconds) for name, metric in COUNTS.items()},
        "channels": _channels(channels, told, now),
        "triggers": _triggers(said),
    }


def _labelled(numbers: Mapping[str, float], metric: str) -> dict[str, float]:
    """The numbers of a metric by its first label."""
    begin = metric + BETWEEN
    return {name.split(BETWEEN)[1]: number for name, number in numbers.items() if name.startswith(begin)}


def _sum(numbers: Mapping[str, float], metric: str) -> int:
    return int(sum(number for name, number in numbers.items() if name.split(BETWEEN)[0] == metric))


def _rate_of(totals: Sequence[Mapping[str, float]], metric: str, seconds: float) -> float | None:
    """By how much it has grown in a second."""
    if seconds <= 0:
        return None
    return round(max(0, _sum(totals[-1], metric) - _sum(totals[0], metric)) / seconds, 2)


def _broker(kind: str, totals: Mapping[str, float], told: Iterable[Said]) -> Figures:
    reached = all(number for name, number in totals.items() if name.startswith("comet_broker_up" + BETWEEN))
    why = next((said["broker"] for said in told if said["broker"]), "")
    return {"kind": kind, "state": "ok" if reached and not why else "away", "error": why}


def _worker(tally: Tally, before: Look, now: float) -> Figures:
    numbers = gather([tally])
    each = {metric: _labelled(numbers, metric).get(tally.pid) for metric in _EACH.values()}
    return {
        "pid": int(tally.pid),
        **{name: each[metric] for name, metric in _EACH.items()},
        "stopping": bool(_labelled(numbers, "comet_worker_stopping").get(tally.pid)),
        "streams": int(sum(_labelled(numbers, "comet_streams").values())),
        "late": _lateness(numbers, next((gather([each]) for each in before.tallies if each.pid == tally.pid), {})),
    }


_EACH = {"since": "comet_process_start_time_seconds", "memory": "comet_process_resident_memory_bytes"}


def _lateness(numbers: Mapping[str, float], before: Mapping[str, float]) -> float | None:
    """By how many seconds its loop was late at the most, between two looks: one of the bounds of the histogram."""
    now, then = (_labelled(each, "comet_hub_lateness_seconds") for each in (numbers, before))
    if not then:
        return None
    bounds = [*map(str, DELAYS), "+Inf"]
    risen = [place for place, bound in enumerate(bounds) if now.get(bound, 0) > then.get(bound, 0)]
    return min(float(bounds[risen[-1]]), 2 * DELAYS[-1]) if risen else None


def _silence(said: Said | None, now: float) -> float | None:
    """For how many seconds a worker has said nothing, if that is long."""
    if said is None:
        return SILENT
    silence = now - said["time"]
    return round(silence, 1) if silence > SILENT else None


def _channels(channels: Sequence[Channel], told: Iterable[Said], now: float) -> Figures:
    # No Counter to look up in: it is slow where nothing is found, and there may be thousands of channels.
    subscribers = dict(sum((Counter(said["subscribers"]) for said in told), Counter[str]()))
    unknown = subscribers.keys() - {channel.name for channel in channels}
    all_ = [*channels, *map(Channel, sorted(unknown))]

    def busy(channel: Channel) -> tuple[float, ...]:
        return channel.rate or 0.0, subscribers.get(channel.name, 0), channel.last or 0.0

    shown = [
        {
            "channel": channel.name,
            "stored": channel.stored,
            "bytes": channel.bytes,
            "subscribers": subscribers.get(channel.name, 0),
            "age": None if channel.last is None else round(max(0.0, now - channel.last), 1),
            "rate": None if channel.rate is None else round(channel.rate, 2),
        }
        for channel in nlargest(SHOWN, all_, key=busy)
    ]
    return {"total": len(all_), "more": len(all_) - len(shown), "busiest": shown}


def _triggers(said: Mapping[str, Said]) -> list[Figures]:
    """Each trigger once, as the worker knows it that runs it; first those that do not work."""
    told: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for pid, each in said.items():
        for trigger in each["triggers"]:
            told[trigger["name"]].append((pid, trigger))
    found = [_trigger(name, each) for name, each in sorted(told.items())]
    return sorted(found, key=lambda trigger: min(STATES.index(trigger["state"]), 2))


def _trigger(name: str, told: list[tuple[str, Mapping[str, Any]]]) -> Figures:
    pid, first = min(told, key=lambda item: (not item[1]["leader"], STATES.index(item[1]["state"])))
    ages = [trigger["age"] for _, trigger in told if trigger["age"] is not None]
    return {
        "name": name,
        "kind": first["kind"],
        "state": first["state"],
        "worker": int(pid) if first["state"] in STATES[:4] else None,
        "position": first["position"],
        "age": round(min(ages), 1) if ages else None,
        **{key: sum(trigger[key] for _, trigger in told) for key in ("updates", "suppressed", "restarts")},
        "error": first["error"],
        "statement": first["statement"],
    }
