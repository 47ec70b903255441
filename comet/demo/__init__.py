"""The demo: channels that show what is so now, and the gallery, a page that shows them.

The time each second and a clock are the samples of 2009, reborn. A table and a chart of this server, and how many
people watch, are made of what its workers have counted.
"""

from __future__ import annotations

from datetime import datetime

from flask import Flask

from ..extension import Comet
from . import gallery
from .clock import draw_clock, time_text
from .minute import Minute
from .server import tell
from .traffic import draw


__all__ = ["add", "draw", "draw_clock", "time_text"]

#: The time is looked at so often, and published when the second has changed: so the hands move on the beat.
PACE = 0.1

#: Seconds between two looks at what the workers have counted.
LOOK = 1.0


def add(app: Flask, comet: Comet) -> None:
    """Add the channels of the demo, and the gallery page at ``/``."""
    worker = comet.worker
    face, table, chart = map(app.jinja_env.get_template, ("clock.svg", "server.html", "traffic.svg"))
    minute = Minute(worker.metrics.tallies)

    def watching() -> int:
        return worker.audience.of("watching")

    comet.every(PACE, channel="time")(lambda: time_text(datetime.now()))
    comet.every(PACE, channel="clock", type="image/svg+xml")(lambda: draw_clock(face, datetime.now()))
    comet.every(LOOK, channel="server", type="text/html; charset=utf-8")(lambda: tell(table, minute.look(), watching()))
    comet.every(LOOK, channel="traffic", type="image/svg+xml")(lambda: draw(chart, minute.look()))
    comet.every(LOOK, channel="watching")(lambda: f"{watching()} watching")
    app.add_url_rule("/", "gallery", gallery.gallery)
