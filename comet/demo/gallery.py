"""The gallery: each channel of the demo live, the ways to have it elsewhere, and a place to publish."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from flask import Response, current_app, render_template, request

from ..views.client import files


class Panel(NamedTuple):
    """A channel on the page. ``picture``: what it shows is an image. ``label``: what a screen reader calls it; ``role``
    says that it changes too often to be read out, but for ``status``. ``unscripted``: what a frame shows without a
    script, where that is not this channel alone; empty: nothing. ``terminal``: what curl is told."""

    channel: str
    title: str
    text: str
    label: str
    role: str
    terminal: str
    picture: bool = False
    unscripted: str | None = None


PANELS = (
    Panel(
        "clock",
        "A picture that keeps changing",
        "An SVG each second, in the place of the one before.",
        "A clock with hands that shows the server’s time",
        "img",
        "curl {}/latest",
        picture=True,
    ),
    Panel(
        "time",
        "A line of text",
        "The time of the server. What is text stays text, on every wire.",
        "The server’s time",
        "timer",
        "curl -N {}/text",
    ),
    Panel(
        "watching",
        "You, and whoever else is here",
        "How many look at this page: it is a channel, too.",
        "How many people watch",
        "status",
        "curl -N {}/text",
        unscripted="",
    ),
    Panel(
        "server",
        "A table",
        "What the workers of this server have counted. Only what has changed in it changes on the page.",
        "Figures of this server",
        "region",
        "curl -N {}/ndjson",
        unscripted="server,watching",
    ),
    Panel(
        "traffic",
        "A chart",
        "Drawn by the server, and pushed: how many updates a second it has delivered.",
        "A chart of the updates that were delivered each second of the last minute",
        "img",
        "curl {}/latest",
        picture=True,
    ),
)

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


def gallery() -> Response:
    """``GET /``: the channels live, how each is embedded, and how to publish."""
    settings = current_app.extensions["comet"].worker.settings
    base = (settings.public_url or request.host_url).rstrip("/")
    nonce = secrets.token_urlsafe(16)
    scripts = [files()[name].versioned for name in ("comet.js", "comet-elements.js")]
    page = render_template(
        "gallery.html", base=base, nonce=nonce, open=settings.open, panels=PANELS, scripts=scripts, wires=WIRES
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src 'self' data:; "
        "frame-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(page, headers={"Content-Security-Policy": policy})
