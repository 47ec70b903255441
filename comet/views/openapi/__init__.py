"""OpenAPI: the document that says what every route takes and what it answers.

``operations`` has the routes, ``components`` what they have in common. Patterns and bounds come from where they are
checked. Who adds a route adds it to ``operations``; a test compares the two.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Response

from ... import __version__
from ..current import base_url
from .components import HEADERS, PARAMETERS, REFUSALS, SCHEMAS, SECURITY
from .operations import PATHS


ABOUT = """\
Real-time HTTP push: publish an update to a channel, and all who subscribe to it have it at once, on the wire that suits
them.

Each path that takes GET takes HEAD, too, which answers with the headers alone; OPTIONS says what a path takes, and
answers a CORS preflight. A path that is not served is 404, another method 405 with `Allow`, and a request line or a
header of more than 8190 bytes 414 or 431."""


def openapi() -> Response:
    """``GET /openapi.json``"""
    return Response(json.dumps(document(base_url() or "/")) + "\n", mimetype="application/json")


def document(server: str) -> dict[str, Any]:
    """The document of the routes below the URL ``server``."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "comet", "version": __version__, "description": ABOUT},
        "servers": [{"url": server}],
        "paths": PATHS,
        "components": {
            "schemas": SCHEMAS,
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": REFUSALS,
            "securitySchemes": SECURITY,
        },
    }
