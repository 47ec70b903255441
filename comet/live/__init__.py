"""Live: the server of ``python -m comet live``: any command's output as a page.

The channel ``live`` has the output as plain text, and ``live.page`` the same as HTML with its colours, which the page
at / shows. Either the command is run again and again, and each output takes the place of the one before; or it is run
once, its lines are appended, and the server ends with it.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from flask import Flask, Response, render_template

from ..app import create_app
from ..core.rules import Rule
from ..settings import Settings
from .run import CHANNEL, PAGE, LineByLine, OverAndOver


#: So many lines are kept for who comes later, and shown.
LINES = 1000

#: They are kept for as long as the command runs, but for this many bytes; of what is run again and again, the newest.
_APPENDED = Rule(history=LINES, history_bytes=4 * 1_048_576, history_seconds=1e10, replay=LINES)
_REPLACED = Rule(history=10, history_seconds=1e10)

_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'unsafe-inline'; connect-src 'self'; "
    "img-src data:; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)


def create(
    settings: Settings, command: Sequence[str], *, every: float | None, ended: Callable[[str, bool], None]
) -> Flask:
    """The app. ``every``: seconds between two runs; None: once, and then ``ended`` is called with what went wrong, and
    whether anybody has watched."""
    rule = _APPENDED if every is None else _REPLACED
    # Without the triggers of a comet.toml: two servers would take from one source.
    settings = replace(settings, demo=False, triggers=(), channels={**settings.channels, CHANNEL: rule, PAGE: rule})
    app = create_app(settings)
    worker = app.extensions["comet"].worker
    if every is None:
        worker.add(LineByLine(command, worker=worker, ended=ended))
    else:
        worker.add(OverAndOver(command, every=every, most=settings.max_update))
    app.add_url_rule("/", "live", lambda: _page(shlex.join(command), appends=every is None))
    return app


def _page(title: str, *, appends: bool) -> Response:
    nonce = secrets.token_urlsafe(16)
    page = render_template(
        "live.html", title=title, appends=appends, channel=CHANNEL, page=PAGE, lines=LINES, nonce=nonce
    )
    headers = {"Content-Security-Policy": _POLICY.format(nonce=nonce), "Cache-Control": "no-cache"}
    return Response(page, headers=headers, content_type="text/html; charset=utf-8")
