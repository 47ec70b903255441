"""The samples of 2009, reborn: the time each second, an SVG clock, and a page that shows both."""

from __future__ import annotations

import secrets
from datetime import datetime

from flask import Flask, Response, render_template, request
from jinja2 import Template

from .extension import Comet


#: Looked at so often, published when the second has changed: so the hands move on the beat.
PACE = 0.1


def add(app: Flask, comet: Comet) -> None:
    """Add the channels ``time``, ``clock`` and ``hello`` and the gallery page at ``/``."""
    face = app.jinja_env.get_template("clock.svg")
    comet.every(PACE, channel="time")(lambda: time_text(datetime.now()))
    comet.every(PACE, channel="clock", type="image/svg+xml")(lambda: draw_clock(face, datetime.now()))
    app.add_url_rule("/", "gallery", gallery)


def time_text(now: datetime) -> str:
    return now.isoformat(sep=" ", timespec="seconds")


def draw_clock(face: Template, now: datetime) -> str:
    """The clock's face with its hands at ``now``, as SVG. They point exactly: the minute hand moves with the seconds."""
    seconds = now.second
    minutes = now.minute + seconds / 60
    hours = now.hour % 12 + minutes / 60
    return face.render(
        time=f"{now:%H:%M:%S}", hour=f"{hours * 30:.2f}", minute=f"{minutes * 6:.1f}", second=seconds * 6
    )


def gallery() -> str:
    return render_template("gallery.html")
