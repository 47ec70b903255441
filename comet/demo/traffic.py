"""The chart: how many updates a second this server has delivered in the last minute, drawn as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jinja2 import Template

from ..status.page import amount
from .minute import MINUTE, SPAN, Sample, rates


#: Where the line may go, in units of the drawing: from the left, from the top.
LEFT, TOP, RIGHT, BOTTOM = 40.0, 56.0, 472.0, 240.0

Points = list[tuple[float, float]]


def draw(chart: Template, samples: Sequence[Sample]) -> str:
    """The chart of the minute before the last of the samples."""
    now = samples[-1].time
    known = [(now - time, rate) for time, rate in rates(samples, "deliveries") if rate is not None]
    known = [(age, rate) for age, rate in known if age <= MINUTE]
    top = ceiling(max((rate for _, rate in known), default=0))
    lines = [[_place(age, rate / top) for age, rate in line] for line in pieces(known)]
    return chart.render(
        left=LEFT,
        right=RIGHT,
        bottom=BOTTOM,
        marks=[(f"{top * part:g}", _place(0, part)[1]) for part in (0, 0.5, 1)],
        lines=[(_path(line), line[0][0], line[-1][0]) for line in lines],
        end=lines[-1][-1] if lines else None,
        rate=amount(known[-1][1]) if known else "–",
    )


def ceiling(most: float) -> float:
    """The end of a scale that holds ``most``: a number that is easy to halve, and at least 10."""
    step = 10.0
    while True:
        for times in (1, 2, 4, 6, 8):
            if most <= times * step:
                return times * step
        step *= 10


def pieces(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """What belongs on one line: it breaks where nobody has looked for a while."""
    found: list[list[tuple[float, float]]] = [[point] for point in points[:1]]
    for before, point in pairwise(points):
        if before[0] - point[0] > SPAN:
            found.append([])
        found[-1].append(point)
    return found


def _place(age: float, part: float) -> tuple[float, float]:
    """Where something is on the drawing that was so many seconds ago, and is such a part of the scale."""
    return round(RIGHT - age / MINUTE * (RIGHT - LEFT), 1), round(BOTTOM - part * (BOTTOM - TOP), 1)


def _path(points: Points) -> str:
    return " ".join(f"{x:g} {y:g}" for x, y in points)
