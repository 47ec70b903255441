"""A client of the app under test, and what its tests ask of every answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Protocol

from flask import Flask
from werkzeug.test import TestResponse

from comet.extension import Comet


KEY = "test-key"
AUTH = {"Authorization": f"Bearer {KEY}"}
NOT_STORED = "no-cache, no-store, no-transform"
FOR_EVER = "public, max-age=31536000, immutable"


class Client:
    """Requests of the app, each checked for what every answer must have."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.comet: Comet = app.extensions["comet"]

    def ask(self, method: str, path: str, headers: Any = (), **options: Any) -> TestResponse:
        answer = self.app.test_client(use_cookies=False).open(path, method=method, headers=headers, **options)
        assert answer.status_code != 500, answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == self._cache_control(method, path, answer)
        media_type = answer.headers.get("Content-Type", "")
        assert not media_type.startswith("text/") or "charset=" in media_type
        return answer

    def _cache_control(self, method: str, path: str, answer: TestResponse) -> str:
        if method not in ("GET", "HEAD") or answer.status_code not in (200, 304):
            return NOT_STORED
        if "/comet" in path and path.endswith((".js", ".mjs", ".ts")):
            return FOR_EVER if re.search(r"-[0-9a-f]{12}\.", path) else "no-cache"
        if path.partition("?")[0].endswith("/sup.json"):
            return "private, max-age=1" if self.comet.worker.access.authorize else "max-age=1"
        return "no-cache" if path.partition("?")[0].endswith("/latest") else NOT_STORED

    def get(self, path: str, headers: Any = (), **options: Any) -> TestResponse:
        return self.ask("GET", path, headers, **options)

    def post(self, path: str, data: str | bytes = b"", headers: Any = (), **options: Any) -> TestResponse:
        """With the key."""
        body = data.encode() if isinstance(data, str) else data
        return self.ask("POST", path, {**AUTH, **dict(headers)}, input_stream=BytesIO(body), **options)

    def publish(self, channel: str, data: object = "x", **options: Any) -> str:
        """Publish without HTTP; return the id."""
        return self.comet.publish(channel, data, **options).id

    def poll(self, names: str, query: str = "") -> Any:
        """What a poll that need not wait is told."""
        answer = self.get(f"/channels/{names}/poll?timeout=1&{query}")
        assert answer.status_code == 200
        return answer.json

    def stream(self, path: str, headers: Any = ()) -> Iterator[bytes]:
        """The chunks of a stream as they come. Exhaust or close it."""
        answer = self.get(path, headers)
        assert answer.status_code == 200, answer.text
        try:
            yield from answer.iter_encoded()
        finally:
            answer.close()


class Serve(Protocol):
    def __call__(self, **settings: Any) -> Client: ...


def assert_problem(answer: TestResponse, status: int, *words: str) -> None:
    """The answer is a problem of this status, whose detail has these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json is not None
    assert set(answer.json) == {"type", "title", "status", "detail"}
    assert answer.json["status"] == status
    assert "Traceback" not in answer.text
    for word in words:
        assert word in answer.json["detail"]
