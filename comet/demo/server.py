"""The table of this server: what is so now, and the most of it in the last minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from jinja2 import Template

from ..status.page import amount, size
from .minute import MINUTE, Sample, rates


class Row(NamedTuple):
    """``key`` is the same in each table: whatever keeps the rows of a page apart goes by it."""

    key: str
    name: str
    now: str
    most: str


def tell(table: Template, samples: Sequence[Sample], watching: int) -> str:
    """The table, as HTML. ``samples``: of the last minute."""
    return table.render(rows=list(_rows(samples)), watching=watching)


def _rows(samples: Sequence[Sample]) -> Iterator[Row]:
    recent = [sample for sample in samples if sample.time >= samples[-1].time - MINUTE]
    for key, name, words in _RATES:
        yield _row(key, name, (rate for _, rate in rates(samples, key)), words)
    for key, name, words in _STATES:
        yield _row(key, name, (getattr(sample, key) for sample in recent), words)


def _row(key: str, name: str, numbers: Iterable[float | None], words: Callable[[float | None], str]) -> Row:
    known = list(numbers)
    return Row(key, name, words(known[-1]), words(max((each for each in known if each is not None), default=None)))


def _load(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}"


_RATES = (
    ("updates", "Updates a second", amount),
    ("deliveries", "Deliveries a second", amount),
    ("bytes", "Written a second", size),
)

_STATES = (
    ("streams", "Open streams", amount),
    ("workers", "Workers", amount),
    ("memory", "Memory of the workers", size),
    ("load", "Load of the machine", _load),
)
