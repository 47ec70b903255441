"""The bare one: the least that a Flask app with a generator can do. What comet takes beyond this is what it costs.

No ids over restarts, no bounds, no gaps, no heartbeats, no departures, no slow readers.
"""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask, Response, request
from gevent.event import Event


app = Flask(__name__)
log: list[bytes] = []
news = Event()


@app.get("/stream")
def stream() -> Response:
    cursor = int(request.args.get("since", len(log)))
    return Response(updates(cursor), mimetype="text/event-stream")


def updates(cursor: int) -> Iterator[bytes]:
    yield b":\n\n"
    while True:
        event = news
        if cursor < len(log):
            yield b"".join(log[cursor:])
            cursor = len(log)
            continue
        event.wait()


@app.post("/publish")
def publish() -> tuple[dict[str, object], int]:
    global news
    log.append(b"id: %d\ndata: %s\n\n" % (len(log) + 1, request.get_data()))
    event, news = news, Event()
    event.set()
    return {"id": str(len(log)), "channel": "bench", "subscribers": 0}, 201
