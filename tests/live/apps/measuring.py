"""An app that has metrics of its own, in prometheus_client's multiprocess mode."""

from __future__ import annotations

from collections.abc import Sequence

import prometheus_client
from flask import Flask
from prometheus_client import CollectorRegistry, generate_latest, multiprocess

from comet import Comet


app = Flask(__name__)
comet = Comet(app)
visits = prometheus_client.Counter("visits", "Visits.")


@comet.authorize
def allowed(action: str, channels: Sequence[str]) -> bool:
    return True


@app.get("/healthz")
def healthz() -> str:
    return ""


@app.post("/visit")
def visit() -> str:
    visits.inc()
    comet.publish("visits", "x")
    return ""


@app.get("/metrics")
def metrics() -> str:
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry).decode()
