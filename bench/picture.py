"""Picture: a panel for each measure; in it a bar for each server up to its median, and a dot for each round."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from .rounds import Results
from .works import Measure, Work, number


WIDTH, BAR, LEFT, RIGHT = 800, 22, 250, 660
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2933}.title{font-weight:600}.soft{fill:#66758a}"
    ".bar{fill:#b8c4d2}.comet{fill:#e8743b}.dot{fill:#1f2933;fill-opacity:.55}"
    "@media(prefers-color-scheme:dark){text{fill:#e4e9f0}.soft{fill:#9aa8ba}.bar{fill:#4a5a6e}"
    ".comet{fill:#e8743b}.dot{fill:#fff;fill-opacity:.6}}"
)


def picture(work: Work, results: Results) -> str:
    """The work's figures as SVG, that follows a dark or a light page."""
    shapes: list[str] = []
    height = 0
    for measure in work.measures:
        values = _values(measure, results)
        if any(max(rounds) > 0 for rounds in values.values()):
            shapes += _panel(measure, values, height)
            height += 52 + BAR * len(values)
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}><title>{work.title}</title>'
    return "\n".join((head, f"<style>{STYLE}</style>", *shapes, "</svg>", ""))


def _values(measure: Measure, results: Results) -> dict[str, list[float]]:
    """The rounds of each row that has this measure, in its unit."""
    values = {
        label: [figures[measure.key] / measure.factor for figures in rounds if measure.key in figures]
        for label, rounds in results.items()
    }
    return {label: rounds for label, rounds in values.items() if rounds}


def _panel(measure: Measure, values: dict[str, list[float]], top: int) -> Iterator[str]:
    yield f'<text y="{top + 18}"><tspan class="title">{measure.title}</tspan>'
    yield f'<tspan class="soft" dx="8">{measure.unit}; {measure.better} is better</tspan></text>'
    scale = (RIGHT - LEFT) / max(map(max, values.values()))
    first = median(next(iter(values.values())))
    for row, (label, rounds) in enumerate(values.items()):
        y, middle = top + 30 + row * BAR, median(rounds)
        kind = "bar comet" if label.startswith("comet") else "bar"
        yield f'<text x="{LEFT - 10}" y="{y + 14}" text-anchor="end">{label}</text>'
        width = max(0.0, middle * scale)
        yield f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 4}" rx="2"/>'
        for value in rounds:
            yield f'<circle class="dot" cx="{LEFT + value * scale:.1f}" cy="{y + BAR / 2 - 2}" r="2.2"/>'
        ratio = f'<tspan class="soft" dx="6">×{middle / first:.2f}</tspan>' if first else ""
        yield f'<text x="{RIGHT + 12}" y="{y + 14}">{number(middle)}{ratio}</text>'
