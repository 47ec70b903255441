"""``GET /channels/NAME/view``: a channel for people. What is newest, how old it is, and whether the line is alive.

The page subscribes as any other does, by comet.js; without a script it shows a frame with the wire ``html``. HTML of a
publisher is shown in a frame of its own, in which no script runs: neither can it touch the page around it.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from flask import Response, request
from jinja2 import Environment, FileSystemLoader

from ..core.redaction import PARAMETER
from . import parameters
from .client import files
from .current import worker


#: Styles and pictures are as on the wire ``html``: what is published may have its own, and the frame has this policy.
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; connect-src 'self'; frame-src 'self'; img-src * data:; "
    "media-src *; font-src *; style-src * 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def view(name: str) -> Response:
    """``GET /channels/NAME/view``. A channel that does not exist yet is waited for, as on every wire."""
    channel = parameters.one(name)
    worker().access.check_subscribe([channel])
    nonce = secrets.token_urlsafe(16)
    page = _PAGE.render(
        channel=channel,
        token=request.args.get(PARAMETER),
        now=time.time(),
        nonce=nonce,
        script=files()["comet.js"].versioned,
    )
    headers = {"Content-Security-Policy": POLICY.format(nonce=nonce)}
    return Response(page, headers=headers, content_type="text/html; charset=utf-8")


_ENVIRONMENT = Environment(
    autoescape=True,
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGE = _ENVIRONMENT.get_template("view.html")
