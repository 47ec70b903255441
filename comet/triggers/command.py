"""Command: runs a program at a steady pace and publishes its standard output when it has changed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence

from gevent import Timeout, subprocess
from gevent.event import Event

from ..core.update import TEXT, Update
from . import Publish


#: So much of a program's output is taken, in bytes.
MOST = 262_144


class Command:
    """Every ``seconds``, run ``argv`` and publish its output to ``channel``. A run that takes longer than ``timeout``
    seconds is killed with all its children."""

    def __init__(
        self, name: str, argv: Sequence[str], *, channel: str, seconds: float, timeout: float = 30.0, type: str = TEXT
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.channel = channel
        self.seconds = seconds
        self.timeout = timeout
        self.type = type
        self._stopping = Event()
        self._before: bytes | None = None

    def run(self, publish: Publish) -> None:
        self._stopping.clear()
        begun = time.monotonic()
        while not self._stopping.is_set():
            output = self._output()
            if output != self._before:
                publish([Update(self.channel, output, self.type)])
                self._before = output
            passed = time.monotonic() - begun
            self._stopping.wait(self.seconds - passed % self.seconds)

    def stop(self) -> None:
        self._stopping.set()

    def _output(self) -> bytes:
        # A session of its own: what the program starts dies with it.
        process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            with Timeout(self.timeout, TimeoutError(f"{self.argv[0]} took longer than {self.timeout:g} seconds")):
                output: bytes = process.stdout.read(MOST)
                while process.stdout.read(65_536):
                    pass  # more than we take; the program must not wait for us
                process.wait()
            return output
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()
