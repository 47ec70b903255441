"""Report: the figures of a run as a table, and as a page with a picture.

A row for each server, a column for each measure; the first server is the one that the others are held against.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

from .rounds import MEASURES, Figures, Measure, Work


Results = Mapping[str, Sequence[Figures]]

PAGE = """# Performance

Written by `make bench`. The figures are those of one machine; the ratios are what holds elsewhere.

{table}

Median of {work.rounds} rounds (least–most), and its ratio to the first row.

![The same figures as a picture](pictures/performance.svg)

## What was measured

* {work.subscribers:,} subscribers on one channel, one connection each, over loopback. An update has 100 bytes of \
text; each subscriber must get each one once and in order, or the run fails.
* *CPU*: processor time of the server, kernel included, for each update that a subscriber got. At {work.pace:g} \
updates a second ({work.paced} of them), and back to back ({work.saturated}): the next is published as soon as the \
last subscriber has the one before. Each is published by a POST, whose cost is in the figure.
* *Memory*: resident memory of the server with {work.subscribers:,} idle streams less that with none, for each stream. \
The kernel's socket memory is not in it.
* The server runs on one core, the load generator (an epoll loop in Python, `bench/load.py`) on another. Each round \
starts each server afresh, and the servers take turns within a round.

| server | what it is |
|---|---|
{servers}

## Where

{machine}
"""


def table(results: Results) -> Iterator[list[str]]:
    """The head and a row for each server: the median, its spread, and its ratio to the first one's."""
    yield ["", *(f"{measure.title}, {measure.unit}" for measure in MEASURES)]
    first = next(iter(results.values()))
    for name, rounds in results.items():
        cells = []
        for measure in MEASURES:
            values = [measure.of(figures) for figures in rounds]
            middle = median(values)
            ratio = middle / median(map(measure.of, first))
            cells.append(f"{middle:.1f} ({min(values):.1f}–{max(values):.1f}) ×{ratio:.2f}")
        yield [name, *cells]


def for_terminal(results: Results) -> str:
    """A line for each figure."""
    head, *rows = table(results)
    lines = []
    for title, *cells in zip(head[1:], *(row[1:] for row in rows), strict=True):
        lines += [title, *(f"  {row[0]:<10}{cell}" for row, cell in zip(rows, cells, strict=True))]
    return "\n".join(lines)


def write(folder: Path, results: Results, work: Work, titles: Mapping[str, str]) -> None:
    """Write ``performance.md`` and its picture."""
    head, *rows = table(results)
    lines = [head, ["---"] * len(head), *rows]
    page = PAGE.format(
        table="\n".join(f"| {' | '.join(cells)} |" for cells in lines),
        work=work,
        servers="\n".join(f"| {name} | {title} |" for name, title in titles.items()),
        machine="\n".join(f"* {fact}" for fact in machine()),
    )
    (folder / "performance.md").write_text(page, encoding="utf-8")
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "performance.svg").write_text(picture(results), encoding="utf-8")


def machine() -> Iterator[str]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(":")[2].strip() for line in cpuinfo.splitlines() if "model name" in line), "unknown")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    yield f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}"
    packages = ("gunicorn", "gevent", "greenlet", "Flask", "Werkzeug")
    yield f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages)


# The picture: a panel for each measure, a bar for each server up to its median, a dot for each round.

WIDTH, BAR, LEFT, RIGHT = 720, 22, 90, 620
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933}.title{font-weight:600}.unit,.ratio{fill:#66758a}"
    ".bar{fill:#b8c4d2}.comet{fill:#e8743b}.dot{fill:#1f2933;fill-opacity:.55}"
    "@media(prefers-color-scheme:dark){text{fill:#e4e9f0}.unit,.ratio{fill:#9aa8ba}.bar{fill:#4a5a6e}"
    ".comet{fill:#e8743b}.dot{fill:#fff;fill-opacity:.6}}"
)


def picture(results: Results) -> str:
    panel = 34 + BAR * len(results) + 22
    shapes = [shape for number, measure in enumerate(MEASURES) for shape in _panel(results, measure, number * panel)]
    size = f'width="{WIDTH}" height="{panel * len(MEASURES)}" viewBox="0 0 {WIDTH} {panel * len(MEASURES)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}><title>Performance</title>'
    return "\n".join([head, f"<style>{STYLE}</style>", *shapes, "</svg>", ""])


def _panel(results: Results, measure: Measure, top: int) -> Iterator[str]:
    better = "less is better" if measure.less else "more is better"
    yield f'<text x="0" y="{top + 18}"><tspan class="title">{measure.title}</tspan>'
    yield f'<tspan class="unit" dx="8">{measure.unit}, {better}</tspan></text>'
    columns = {name: [measure.of(figures) for figures in rounds] for name, rounds in results.items()}
    scale = (RIGHT - LEFT) / max(map(max, columns.values()))
    first = median(next(iter(columns.values())))
    for row, (name, values) in enumerate(columns.items()):
        y, middle = top + 30 + row * BAR, median(values)
        yield f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{name}</text>'
        kind = "bar comet" if name.startswith("comet") else "bar"
        yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{middle * scale:.1f}" height="{BAR - 5}" rx="2"/>'
        for value in values:
            yield f'<circle class="dot" cx="{LEFT + value * scale:.1f}" cy="{y + (BAR - 5) / 2}" r="2.2"/>'
        yield f'<text x="{RIGHT + 12}" y="{y + 14}">{middle:.1f}<tspan class="ratio" dx="6">×{middle / first:.2f}'
        yield "</tspan></text>"
