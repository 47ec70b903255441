"""The stand-alone server, whose workers hand over within a second or two. One freezes where the test wants it to.

A file ``freeze`` in its folder stops the worker that is just about to publish for a trigger: it has read its source,
and not published yet.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import Any

from comet import create_app
from comet.core.errors import LeaseLost
from comet.triggers.supervisor import turns


turns.HOLDS, turns.RENEWS = 1.0, 0.3

app = create_app()
worker = app.extensions["comet"].worker


def freezing(publish_under: Callable[..., Any]) -> Callable[..., Any]:
    def publish(*arguments: Any) -> Any:
        if os.path.exists("freeze"):
            os.rename("freeze", f"frozen-{os.getpid()}")
            os.kill(os.getpid(), signal.SIGSTOP)
        try:
            return publish_under(*arguments)
        except LeaseLost as error:
            logging.getLogger("comet").warning("the fence of %d has refused: %s", os.getpid(), error)
            raise

    return publish


worker.controller.broker.publish_under = freezing(worker.controller.broker.publish_under)
