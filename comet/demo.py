"""The samples of 2009, reborn: the time each second, an SVG clock, and a page that shows both."""

from __future__ import annotations

import secrets
from datetime import datetime

from flask import Flask, Response, current_app, render_template, request
from jinja2 import Template

from .extension import Comet


#: Looked at so often, published when the second has changed: so the hands move on the beat.
PACE = 0.1

#: The wires as the page shows them: a path below /channels, and what it is good for.
WIRES = (
    ("time/html", "A page that never finishes loading. No script."),
    ("clock/multipart", "A picture that replaces itself. No script."),
    ("time/sse", "Server-Sent Events, for EventSource"),
    ("time/ndjson", "A JSON object a line, for programs"),
    ("time/poll", "One JSON answer, as soon as there is news"),
    ("time/text", "Plain lines, for eyes and for curl"),
    ("time/iframe", "Scripts that post messages to the page around them"),
    ("time/jsonp", "One answer as a script, for old browsers"),
)


def add(app: Flask, comet: Comet) -> None:
    """Add the channels ``time`` and ``clock`` and the gallery page at ``/``."""
    face = app.jinja_env.get_template("clock.svg")
    comet.every(PACE, channel="time")(lambda: time_text(datetime.now()))
    comet.every(PACE, channel="clock", type="image/svg+xml")(lambda: draw_clock(face, datetime.now()))
    app.add_url_rule("/", "gallery", gallery)


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


def gallery() -> Response:
    """``GET /``: the channels live, how each is embedded, and how to publish."""
    settings = current_app.extensions["comet"].worker.settings
    base = (settings.public_url or request.host_url).rstrip("/")
    nonce = secrets.token_urlsafe(16)
    page = render_template("gallery.html", base=base, nonce=nonce, open=settings.open, wires=WIRES)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src 'self' data:; "
        "frame-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(page, headers={"Content-Security-Policy": policy})
