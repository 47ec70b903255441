"""Report: the figures of a run as a table, and as a page with a picture."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

from .rounds import MEASURES, Figures, Measure, Work
from .servers import SERVERS


Results = Mapping[str, Sequence[Figures]]

PAGE = """# Performance

Written by `make bench`. The figures are one machine's; the ratios are what holds elsewhere.

{table}

Medians of {work.rounds} rounds, the least and the most, and the ratio to the first row's median.

![the same as bars](pictures/performance.svg)

| server | what it is |
|---|---|
{servers}

## How it was measured

* {work.subscribers:,} subscribers on one channel, a connection each, over loopback. An update has 100 bytes. Everybody
  must get every update once and in order, or the run fails.
* **CPU** is the processor time of the server, the kernel's work for it included, for each update that a subscriber got.
  *Paced*: {work.pace:g} updates a second, {work.paced} in all. *Back to back*: {work.saturated}, each published as soon
  as the last subscriber has the one before; **throughput** is what came of that. Each takes a POST, which is included.
* **Memory** is the server's resident memory with all streams open and nothing sent yet, less that before, for each of
  them. What the kernel keeps for a connection is not in it.
* The server has one core and the load generator another (`bench/load.py`, an epoll loop in Python). Each round starts
  each server afresh; they take turns, so that what else the machine does hits all of them.

## Where

{machine}
"""


def table(results: Results) -> str:
    """A row for each server: the median, its spread, and its ratio to the first one's."""
    rows = [["", *(f"{measure.title} ({measure.unit})" for measure in MEASURES)], ["---"] * (len(MEASURES) + 1)]
    for name, values in results.items():
        rows.append([name, *(_cell(measure, values, results) for measure in MEASURES)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows)


def _cell(measure: Measure, rounds: Sequence[Figures], results: Results) -> str:
    values = [measure.of(figures) for figures in rounds]
    return f"{median(values):.1f} ({min(values):.1f}–{max(values):.1f}) ×{_ratio(measure, rounds, results):.2f}"


def _ratio(measure: Measure, rounds: Sequence[Figures], results: Results) -> float:
    return median(map(measure.of, rounds)) / median(map(measure.of, next(iter(results.values()))))


def machine() -> Iterator[str]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    yield f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, {platform.system()} {platform.release()}"
    packages = ("gunicorn", "gevent", "greenlet", "Flask", "Werkzeug")
    yield f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in packages)


def write(folder: Path, results: Results, work: Work) -> None:
    """Write ``performance.md`` and its picture."""
    servers = "\n".join(f"| {server.name} | {server.title} |" for server in SERVERS)
    facts = "\n".join(f"* {fact}" for fact in machine())
    page = PAGE.format(table=table(results), work=work, servers=servers, machine=facts)
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "performance.md").write_text(page, encoding="utf-8")
    (folder / "pictures" / "performance.svg").write_text(picture(results), encoding="utf-8")


# The picture: a panel for each measure; in it a bar for each server up to its median, and a dot for each round.

WIDTH, BAR, LEFT, RIGHT = 720, 22, 90, 620
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933}.title{font-weight:600}.soft{fill:#66758a}"
    ".bar{fill:#b8c4d2}.comet{fill:#e8743b}.dot{fill:#1f2933;fill-opacity:.55}"
    "@media(prefers-color-scheme:dark){text{fill:#e4e9f0}.soft{fill:#9aa8ba}.bar{fill:#4a5a6e}"
    ".comet{fill:#e8743b}.dot{fill:#fff;fill-opacity:.6}}"
)


def picture(results: Results) -> str:
    panel = 52 + BAR * len(results)
    shapes = (shape for place, measure in enumerate(MEASURES) for shape in _panel(results, measure, place * panel))
    size = f'width="{WIDTH}" height="{panel * len(MEASURES)}" viewBox="0 0 {WIDTH} {panel * len(MEASURES)}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}><title>Performance</title>'
    return "\n".join((head, f"<style>{STYLE}</style>", *shapes, "</svg>", ""))


def _panel(results: Results, measure: Measure, top: int) -> Iterator[str]:
    yield f'<text y="{top + 18}"><tspan class="title">{measure.title}</tspan>'
    yield f'<tspan class="soft" dx="8">{measure.unit}; {measure.better} is better</tspan></text>'
    scale = (RIGHT - LEFT) / max(measure.of(figures) for rounds in results.values() for figures in rounds)
    for row, (name, rounds) in enumerate(results.items()):
        y, middle = top + 30 + row * BAR, median(map(measure.of, rounds))
        kind = "bar comet" if name.startswith("comet") else "bar"
        yield f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{name}</text>'
        yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{middle * scale:.1f}" height="{BAR - 4}" rx="2"/>'
        for figures in rounds:
            x = LEFT + measure.of(figures) * scale
            yield f'<circle class="dot" cx="{x:.1f}" cy="{y + BAR / 2 - 2}" r="2.2"/>'
        ratio = _ratio(measure, rounds, results)
        yield f'<text x="{RIGHT + 12}" y="{y + 14}">{middle:.1f}<tspan class="soft" dx="6">×{ratio:.2f}</tspan></text>'
