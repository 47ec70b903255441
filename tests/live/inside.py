"""The stand-alone server with a window into its process: ``Server(app="tests.live.inside:app")``."""

from __future__ import annotations

import gc
import os
import random
import threading
from array import array
from pathlib import Path

import gevent
import greenlet

from comet.core import log, ring
from comet.core.update import Update
from wsgi import app


if "TEST_REMEMBERED" in os.environ:
    # What is remembered for a minute is forgotten sooner.
    log.REMEMBERED = ring.REMEMBERED = float(os.environ["TEST_REMEMBERED"])


@app.get("/inside")
def inside() -> dict[str, int]:
    """What the process holds."""
    gc.collect()
    comet = app.extensions["comet"].worker
    return {
        "greenlets": sum(isinstance(each, greenlet.greenlet) and not each.dead for each in gc.get_objects()),
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "streams": len(comet.controller.streams),
        "writers": len(comet.peers.writers),
        "memory": _resident(),
    }


@app.get("/inside/greenlets")
def greenlets() -> dict[str, int]:
    """How many there are, and in which process."""
    gc.collect()
    alive = sum(isinstance(each, greenlet.greenlet) and not each.dead for each in gc.get_objects())
    return {"process": os.getpid(), "greenlets": alive}


@app.get("/inside/channels")
def channels() -> dict[str, int]:
    """Of how many channels it has a record."""
    return {"channels": len(app.extensions["comet"].worker.controller.log.rings)}


@app.get("/inside/written")
def written() -> dict[str, int]:
    """How many times a socket was written to directly."""
    return {"written": app.extensions["comet"].worker.controller._cohorts.written}


@app.get("/inside/frozen")
def frozen() -> dict[str, int]:
    """How many objects are left alone when garbage is collected."""
    return {"frozen": gc.get_freeze_count()}


@app.get("/inside/circles")
def circles() -> dict[str, list[str]]:
    """The types of comet's objects that nothing but gc could have found since this was asked before. It is off then."""
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = sorted({type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("comet.")})
    gc.set_debug(0)
    gc.garbage.clear()
    return {"circles": found}


def _resident() -> int:
    """Bytes of memory that the process takes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Publishers:
    """Three greenlets that publish at full speed, each to two of three channels, and large ones to a fourth.

    ``given``: the place of each update of a channel, by its number. Its data is its channel, its number, and filling.
    """

    def __init__(self) -> None:
        self.given = {channel: array("Q") for channel in "abcd"}
        self._going = False
        self._greenlets: list[gevent.Greenlet] = []

    def start(self) -> None:
        self._going = True
        self._greenlets = [gevent.spawn(self._publish, channels) for channels in ("ab", "bc", "ca")]

    def stop(self) -> None:
        self._going = False
        gevent.joinall(self._greenlets)

    def _publish(self, channels: str) -> None:
        worker = app.extensions["comet"].worker
        while self._going:
            batch = [*channels] * random.randint(1, 5) + ["d"]
            numbered = [(channel, self._number(channel)) for channel in batch]
            updates = [Update.of(channel, f"{channel} {number} {FILLING[channel]}") for channel, number in numbered]
            # Nothing has switched since they were numbered: their places come in the same order.
            for (channel, number), receipt in zip(numbered, worker.publish(updates), strict=True):
                self.given[channel][number] = receipt.seq

    def _number(self, channel: str) -> int:
        self.given[channel].append(0)
        return len(self.given[channel]) - 1


FILLING = {"a": "-" * 100, "b": "-" * 100, "c": "-" * 100, "d": "-" * 4000}
publishers = Publishers()


@app.post("/inside/publishers")
def start() -> str:
    publishers.start()
    return "started"


@app.delete("/inside/publishers")
def stop() -> dict[str, list[int]]:
    """Stop them; return all places that were given."""
    publishers.stop()
    return {channel: given.tolist() for channel, given in publishers.given.items()}
