"""Command: runs a program at a steady pace and publishes what it prints when that has changed.

Each run is a session of its own, and whatever is left of its process group is killed when the run is over: ended, too
slow, or stopped.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence
from typing import Any

from gevent import Timeout, subprocess
from gevent.event import Event

from ..core.errors import Alarm, SourceFailed
from ..core.update import TEXT, Update
from . import Publish, beats


log = logging.getLogger("comet")

#: So much of a program's output is taken, in bytes.
MOST = 262_144


class Command:
    """Every ``seconds``, run ``argv`` and publish its standard output to ``channel``.

    With ``errors`` its standard error too, as a terminal would show them.

    A run that takes longer than ``timeout`` seconds is killed, and the trigger fails. Of the output at most ``most``
    bytes are taken, up to the end of a line. It runs while ``channel`` is watched, or ``always``.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        channel: str,
        seconds: float,
        timeout: float = 30.0,
        type: str = TEXT,
        errors: bool = False,
        most: int = MOST,
        always: bool = False,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.channel = channel
        self.seconds = seconds
        self.timeout = timeout
        self.type = type
        self.errors = errors
        self.most = most
        self.always = always
        self._stopping = Event()
        self._process: Any = None
        self._before: bytes | None = None
        self._cut = False

    def run(self, publish: Publish) -> None:
        if self._stopping.is_set():
            self._before = None  # stopped: who comes now is to have the output, changed or not
        self._stopping.clear()
        for _ in beats(self.seconds, self._stopping):
            output = self._output()
            # What a run printed before it was stopped is not its output.
            if output != self._before and not self._stopping.is_set():
                publish([Update(self.channel, output, self.type)])
                self._before = output

    def stop(self) -> None:
        self._stopping.set()
        self._kill()

    def _output(self) -> bytes:
        try:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if self.errors else None,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as error:
            raise Alarm(f"{self.argv[0]} can't be run: {(error.strerror or str(error)).lower()}.") from error
        try:
            if self._stopping.is_set():
                return b""  # while it was being started
            with Timeout(self.timeout, SourceFailed(f"{self.argv[0]} took longer than {self.timeout:g} seconds.")):
                return self._read()
        finally:
            self._kill()
            self._process.stdout.close()
            self._process = None

    def _read(self) -> bytes:
        output: bytes = self._process.stdout.read(self.most + 1)
        while self._process.stdout.read(65_536):
            pass  # more than is taken; the program must not wait for us
        self._process.wait()
        if len(output) <= self.most:
            return output
        if not self._cut:
            self._cut = True
            log.warning("comet: %s prints more than %d bytes; the rest is left out", self.name, self.most)
        lines, end, _ = output[: self.most].rpartition(b"\n")
        return lines + end or output[: self.most]

    def _kill(self) -> None:
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except OSError:
                pass  # nobody is left of it, or only what we may not kill
