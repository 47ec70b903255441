"""Rounds: who does which work when."""

from __future__ import annotations

import os
from collections.abc import Iterator

from .load import Lost
from .servers import Missing
from .works import Figures, Row, Scale, Work


#: Of one work: the rounds of each row, by its label.
Results = dict[str, list[Figures]]


def rounds(work: Work, scale: Scale, count: int) -> Iterator[tuple[Row, Figures | Exception]]:
    """Let each server do the work in each round, every second round backwards: what drifts, drifts for all. A server
    that fails or is not installed is told, and the others go on."""
    cores = sorted(_ALL)
    os.sched_setaffinity(0, {cores[-1]} if work.apart else _ALL)
    missing = set()
    for number in range(count):
        for row in work.rows[:: -1 if number % 2 else 1]:
            if row.server in missing:
                continue
            try:
                with row.server({cores[0]} if work.apart else _ALL) as server:
                    yield row, work.run(server, row, scale)
            except Missing as error:
                missing.add(row.server)
                yield row, error
            except (Lost, OSError, RuntimeError) as error:
                yield row, error


_ALL = os.sched_getaffinity(0)
