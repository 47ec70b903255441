"""gunicorn, run by a command: this process becomes its master."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication

from .. import serving
from ..settings import Settings
from .failures import FAILED, fail


def run(read: Callable[[], Settings], make: Callable[[], Any], **options: Any) -> NoReturn:
    """Run gunicorn until it is told to stop, with the settings that are read now, and when it is told to reload."""
    _check_bind(read().bind)
    _Master(lambda: {**serving.options(read()), **options}, make).run()
    raise AssertionError("gunicorn's master ends the process itself")


class _Master(BaseApplication):  # type: ignore[misc]
    """gunicorn with the options that are read, serving the app that ``make`` returns in each worker."""

    def __init__(self, read: Callable[[], dict[str, Any]], make: Callable[[], Any]) -> None:
        self.read = read
        self.make = make
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.read().items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self.make()


def _check_bind(bind: str) -> None:
    """gunicorn would try for five seconds, in many words."""
    if bind.startswith("unix:"):
        return
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    try:
        socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        # The text of create_server says it twice. A name that is not known has a negative number, and its own text.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)
        fail(f"can't listen on {bind} (COMET_BIND): {why.lower()}.", FAILED)
