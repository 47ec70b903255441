"""The time: in words, and as a clock with hands."""

from __future__ import annotations

from datetime import datetime

from jinja2 import Template


def time_text(now: datetime) -> str:
    return now.isoformat(sep=" ", timespec="seconds")


def draw_clock(face: Template, now: datetime) -> str:
    """The clock's face with its hands at ``now``, as SVG."""
    seconds = now.second
    minutes = now.minute + seconds / 60
    hours = now.hour % 12 + minutes / 60
    return face.render(
        time=f"{now:%H:%M:%S}", hour=f"{hours * 30:.2f}", minute=f"{minutes * 6:.1f}", second=seconds * 6
    )
