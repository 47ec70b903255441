"""An app with a tick that sleeps and one that does not. Each call leaves a line with its process in a file."""

from __future__ import annotations

import os

from flask import Flask

from comet import Comet
from comet.views import subscribing


#: A request for the newest update waits for a tick that it wakes. On a slow machine that takes longer than a second.
subscribing.FRESH = 20.0

app = Flask(__name__)
comet = Comet(app, url_prefix=None)


def call(name: str) -> int:
    with open(name, "a+", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
        file.seek(0)
        return len(file.readlines())


@comet.every(0.05, channel="sleepy")
def sleepy() -> int:
    return call("sleepy")


@comet.every(0.05, channel="sleepless", always=True)
def sleepless() -> int:
    return call("sleepless")
