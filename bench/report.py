"""Report: the figures of a run as tables, the goals with what was met and what was not, and the page."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from .goals import GOALS
from .picture import picture
from .rounds import Results
from .servers import Server
from .works import Figures, Measure, Work, medians, number


@dataclass
class Run:
    """What came of each work, and what failed."""

    results: dict[Work, Results] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def medians(self) -> dict[str, dict[str, Figures]]:
        return {
            work.name: {label: medians(rounds) for label, rounds in results.items() if rounds}
            for work, results in self.results.items()
        }


PAGE = """# Performance

Written by `make bench`. The figures are one machine's; the ratios are what holds elsewhere. `make bench-quick` prints
the first lines of it in less than a minute, `make bench ONLY="fanout growth"` does some of the works only.

{machine}

## Goals

{goals}
{failures}
{works}

## How it is measured

* A connection for each subscriber, over loopback, where the sender also pays for most of what the kernel does for the
  receiver. An update has 100 bytes, and every server gives it an id. Everybody must get every update once and in
  order, or the round fails.
* The server has the first core and the load generator the last (`bench/load.py`, an epoll loop in Python), unless a
  work says otherwise. Each round starts each server afresh; they take turns, every second round backwards, so that
  what else the machine does hits all of them. Tables have medians, the least and the most.
* Everybody runs with its defaults, as its documentation would have a user write it (`bench/apps`); only the limits of
  connections are raised.

| server | what it is | version |
|---|---|---|
{servers}
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(head), ["---"] * len(head), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def work_table(work: Work, results: Results) -> str:
    """A row for each server: the median of each measure and its spread."""
    head = ["", *(f"{measure.title}{measure.unit and f' ({measure.unit})'}" for measure in work.measures)]
    return table(head, [[label, *(_cell(each, rounds) for each in work.measures)] for label, rounds in results.items()])


def _cell(measure: Measure, rounds: Sequence[Figures]) -> str:
    values = [figures[measure.key] / measure.factor for figures in rounds if measure.key in figures]
    if not values:
        return "–"
    spread = f" ({number(min(values))}–{number(max(values))})" if len(values) > 1 else ""
    return number(median(values)) + spread


def goals(run: Run, *, all_of_them: bool = True) -> str:
    """Each goal with what was measured; without ``all_of_them`` those that were."""
    known = run.medians
    told = [(goal, goal.value(known)) for goal in GOALS]
    rows = [
        [
            goal.text,
            goal.bound,
            "–" if value is None else f"{value:,.{goal.digits}f}{goal.unit}",
            "not measured" if value is None else "met" if goal.met(value) else "**missed**",
        ]
        for goal, value in told
        if all_of_them or value is not None
    ]
    return table(("goal", "bound", "measured", ""), rows)


def machine() -> Iterator[str]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    yield f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}"
    yield f"Python {platform.python_version()}"


def write(folder: Path, run: Run) -> None:
    """Write ``performance.md`` and its pictures."""
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("performance*.svg"):
        old.unlink()
    sections = []
    for work, results in run.results.items():
        shown = ""
        if len(results) > 3:
            (pictures / f"performance-{work.name}.svg").write_text(picture(work, results), encoding="utf-8")
            shown = f"\n\n![the same as bars](pictures/performance-{work.name}.svg)"
        count = max(map(len, results.values()), default=0)
        counted = f"{count} rounds." if count > 1 else "One round."
        sections.append(f"## {work.title}\n\n{work.text} {counted}\n\n{work_table(work, results)}{shown}")
    page = PAGE.format(
        machine="\n".join(f"* {fact}" for fact in machine()),
        goals=goals(run),
        failures="".join(f"\nFailed: {label}: {why}\n" for label, why in run.failures.items()),
        works="\n\n".join(sections),
        servers="\n".join(_servers(run)),
    )
    (folder / "performance.md").write_text(page, encoding="utf-8")


def _servers(run: Run) -> Iterator[str]:
    """A row for each that was measured."""
    seen: Mapping[type[Server], None] = {row.server: None for work in run.results for row in work.rows}
    for server in seen:
        yield f"| {server.name} | {server.title} | {server.version()} |"
