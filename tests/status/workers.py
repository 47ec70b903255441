"""Workers that have counted and said something, for the tests of what is made of it."""

from __future__ import annotations

from typing import Any

from comet.status.figures import Figures, Look, Place, Said, figures
from comet.tallies import BETWEEN, Tally


PLACE = Place("host", "1.0", "sqlite")
NOW = 1_800_000_000.0


def tally(pid: int, *, lives: bool = True, born: float = NOW - 60, up: float = 1, **streams: int) -> Tally:
    """A worker with these streams; each has been given an update of 10 bytes."""
    count = sum(streams.values())
    numbers = {
        "sum": {
            "comet_updates_total": 100,
            f"comet_deliveries_total{BETWEEN}direct": count,
            f"comet_deliveries_total{BETWEEN}greenlet": 0,
            f"comet_delivered_bytes_total{BETWEEN}direct": 10 * count,
        },
        "now": {f"comet_streams{BETWEEN}{wire}": number for wire, number in streams.items()},
        "each": {
            "comet_process_start_time_seconds": born,
            "comet_process_resident_memory_bytes": 40_000_000,
            "comet_worker_stopping": 0,
            f"comet_broker_up{BETWEEN}sqlite": up,
        },
    }
    return Tally(str(pid), lives, numbers)  # type: ignore[arg-type]


def counted(tally: Tally, **more: float) -> Tally:
    """The same worker, later: it has counted more."""
    sums = {name: number + more.get(name.replace(BETWEEN, "__"), 0) for name, number in tally.numbers["sum"].items()}
    added = {name.replace("__", BETWEEN): number for name, number in more.items()}
    return tally._replace(numbers=tally.numbers | {"sum": added | sums})


def trigger(name: str, state: str, **more: Any) -> dict[str, Any]:
    known = {"name": name, "kind": "timer", "state": state, "leader": state in ("running", "alarm"), "position": None}
    rest = {"age": None, "updates": 0, "suppressed": 0, "restarts": 0, "error": "", "statement": ""}
    return {**known, **rest, **more}


def said(*triggers: dict[str, Any], ago: float = 0.0, broker: str = "", **subscribers: int) -> Said:
    return {"time": NOW - ago, "subscribers": subscribers, "triggers": list(triggers), "broker": broker}


def shown(*tallies: Tally, told: dict[str, Said] | None = None, **options: Any) -> Figures:
    """What is shown after one look."""
    return figures([Look(NOW, tallies)], told or {}, options.pop("channels", []), PLACE, **options)
