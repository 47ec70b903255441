"""The browser client: the files of ``comet/static``, which ``make client`` has made.

Each is served under its name, to be asked for anew each time, and under a name with its version, to be kept for ever.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Response, request

from ..core.errors import NotFound


STATIC = Path(__file__).parent.parent / "static"

TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",
}

FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class File:
    """A file of the client."""

    name: str
    data: bytes

    @property
    def version(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:12]

    @property
    def versioned(self) -> str:
        """Its name with its version: another one for other bytes."""
        stem, dot, suffix = self.name.partition(".")
        return f"{stem}-{self.version}{dot}{suffix}"

    @property
    def integrity(self) -> str:
        """What a page says of it that wants these bytes and no other (SRI)."""
        return f"sha384-{base64.b64encode(hashlib.sha384(self.data).digest()).decode()}"


@cache
def files() -> dict[str, File]:
    """All files of the client, by their names with and without version."""
    found = [File(path.name, path.read_bytes()) for path in sorted(STATIC.iterdir()) if path.suffix in TYPES]
    return {name: file for file in found for name in (file.name, file.versioned)}


def client(file: str) -> Response:
    """``GET /comet.js`` and the like"""
    found = files().get(f"comet{file}")
    if found is None:
        raise NotFound(f"there is no comet{file[:60]}: {', '.join(sorted({each.name for each in files().values()}))}.")
    response = Response(found.data, content_type=TYPES[Path(found.name).suffix])
    kept = f"comet{file}" == found.versioned
    response.headers["Cache-Control"] = FOR_EVER if kept else "no-cache"
    # A page of another site may load it, also with an integrity: it is the same for everybody.
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.set_etag(found.version)
    response.make_conditional(request)
    return response
