"""An app with a page, a tick, and publishing from every place that a program has."""

from __future__ import annotations

import itertools
import os
import threading

import gevent
from flask import Flask
from gevent import monkey

from comet import Comet


app = Flask(__name__)
comet = Comet(app)
numbers = itertools.count()


@app.get("/")
def page() -> str:
    return f"the app's own page, from {os.getpid()}"


@comet.every(0.05, channel="ticks")
def tick() -> str:
    return f"tick {next(numbers)}"


@app.get("/publish/<channel>/<text>")
def publish(channel: str, text: str) -> str:
    return comet.publish(channel, text).id


@app.get("/native/<channel>/<text>")
def native(channel: str, text: str) -> str:
    """By a thread of the operating system, whatever is patched."""
    start, lock = monkey.get_original("_thread", "start_new_thread"), monkey.get_original("_thread", "allocate_lock")
    done, ids = lock(), []
    done.acquire()

    def run() -> None:
        try:
            ids.append(comet.publish(channel, text).id)
        finally:
            done.release()

    start(run, ())
    while not done.acquire(False):
        gevent.sleep(0.001)
    return ids[0]


@app.get("/pool/<channel>/<text>")
def pool(channel: str, text: str) -> str:
    """By gevent's thread pool."""
    return str(gevent.get_hub().threadpool.apply(lambda: comet.publish(channel, text).id))


@app.get("/thread/<channel>/<text>")
def thread(channel: str, text: str) -> str:
    """By what ``threading`` calls a thread: a greenlet, if that is patched."""
    ids: list[str] = []
    run = threading.Thread(target=lambda: ids.append(comet.publish(channel, text).id))
    run.start()
    run.join()
    return ids[0]


@app.get("/first/<channel>")
def first(channel: str) -> str:
    """Wait for the first update in a view."""
    return next(comet.subscribe(channel, last=0)).data.decode()


@app.get("/inside")
def inside() -> dict[str, int]:
    return {"streams": len(comet.worker.controller.streams)}
