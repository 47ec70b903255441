"""The samples of 2009, reborn: the time each second, an SVG clock, and a page that shows both."""

from __future__ import annotations

from datetime import datetime

from flask import Flask, render_template

from .extension import Comet


def add(app: Flask, comet: Comet) -> None:
    """Add the channels ``time`` and ``clock`` and the gallery page at ``/``."""
    comet.every(1.0, channel="time")(time_now)
    comet.every(1.0, channel="clock", type="image/svg+xml")(clock_now)
    app.add_url_rule("/", "gallery", gallery)


def gallery() -> str:
    return render_template("gallery.html")


def time_now() -> str:
    return datetime.now().isoformat(sep=" ", timespec="seconds")


def clock_now() -> str:
    return draw_clock(datetime.now())


def draw_clock(now: datetime) -> str:
    """A clock's face with its hands at ``now``, as SVG."""
    seconds = now.second
    minutes = now.minute + seconds / 60
    hours = now.hour % 12 + minutes / 60
    marks = "".join(
        f'<line x1="0" y1="-88" x2="0" y2="-{80 if n % 5 else 72}" transform="rotate({n * 6})" '
        f'stroke="#334" stroke-width="{1 if n % 5 else 3}"/>'
        for n in range(60)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-100 -100 200 200" width="320" height="320">'
        f'<circle r="95" fill="#fdfdfb" stroke="#334" stroke-width="4"/>{marks}'
        f'<line y2="-48" stroke="#223" stroke-width="6" stroke-linecap="round" transform="rotate({hours * 30:.2f})"/>'
        f'<line y2="-70" stroke="#223" stroke-width="4" stroke-linecap="round" transform="rotate({minutes * 6:.2f})"/>'
        f'<line y1="16" y2="-78" stroke="#c22" stroke-width="2" transform="rotate({seconds * 6})"/>'
        '<circle r="4" fill="#c22"/></svg>'
    )
