"""A server of feeds and of their SUP document, in threads of this process."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Feeds:
    """``pages`` are answered by their paths: status, headers, body; of several one after the other, and the last for
    ever. What is not there is 404.

    ``asked`` has the path of each request, and ``conditions`` the If-None-Match of those that had one.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.asked: list[str] = []
        self.conditions: list[tuple[str, str]] = []
        self.packed = False

    def page(self, path: str, body: str | bytes, status: int = 200, *, later: bool = False, **headers: str) -> str:
        """Serve this from now on, or only after what is served before; headers with _ for -. Returns the URL."""
        data = body.encode() if isinstance(body, str) else body
        page = status, {name.replace("_", "-"): value for name, value in headers.items()}, data
        self.pages[path] = [*(self.pages[path] if later else ()), page]
        return self.url + path

    def document(
        self, *updates: tuple[object, object], since: float = 0, until: float = 1e9, period: object = 60, **headers: str
    ) -> str:
        """Serve a SUP document. The times are seconds since 1970."""
        times = {"updated_time": _rfc3339(until), "since_time": _rfc3339(since)}
        fields = {**times, "period": period, "available_periods": {}, "updates": list(updates)}
        return self.page("/sup.json", json.dumps(fields), **{"Content_Type": "application/json", **headers})

    def count(self, path: str) -> int:
        return self.asked.count(path)


def _rfc3339(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


@contextmanager
def serving() -> Iterator[Feeds]:
    """Serve on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path
            feeds.asked.append(path)  # before the answer: who has that may look here at once
            pages = feeds.pages.get(path, [(404, {}, b"nothing")])
            status, headers, body = pages.pop(0) if len(pages) > 1 else pages[0]
            condition = self.headers["If-None-Match"]
            if condition is not None:
                feeds.conditions.append((path, condition))
                if condition == headers.get("ETag"):
                    status, body = 304, b""
            headers = dict(headers)
            if feeds.packed and body:
                body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    feeds = Feeds(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield feeds
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
