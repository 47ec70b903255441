"""The stand-alone server with a window into its process: ``Server(app="tests.live.inside:app")``."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import greenlet

from comet.core import log as core_log
from wsgi import app


if "TEST_REMEMBERED" in os.environ:
    # What is remembered for a minute is forgotten sooner.
    core_log.REMEMBERED = float(os.environ["TEST_REMEMBERED"])


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


def _resident() -> int:
    """Bytes of memory that the process takes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
