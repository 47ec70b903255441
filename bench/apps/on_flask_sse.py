"""flask-sse: its blueprint, and Redis behind it."""

from __future__ import annotations

import os

from gevent import monkey


monkey.patch_all()

from itertools import count  # noqa: E402

from flask import Flask, request  # noqa: E402
from flask_sse import sse  # noqa: E402


app = Flask(__name__)
app.config["REDIS_URL"] = os.environ["REDIS_URL"]
app.register_blueprint(sse, url_prefix="/stream")
ids = count(1)


@app.post("/publish")
def publish() -> tuple[str, int]:
    sse.publish(request.get_data(as_text=True), id=next(ids))
    return "", 204
