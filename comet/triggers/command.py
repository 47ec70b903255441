"""Command: runs a program and publishes what it prints: all of it when it has changed, at a steady pace; or each line.

Each run is a session of its own, and whatever is left of its process group is killed when the run is over: ended, too
slow, or stopped.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gevent import Timeout, subprocess
from gevent.event import Event

from ..breath import breathe
from ..core.errors import Alarm, SourceFailed
from ..core.lines import Lines
from ..core.update import TEXT, Update
from . import Publish, beats


log = logging.getLogger("comet")

#: So much of a program's output, or of a line, is taken, in bytes.
MOST = 262_144

#: Bytes that are read at once, and lines that are published together at the most.
READ = 16_384
TOGETHER = 200

#: Errors of starting a program that pass: the machine has too little of something.
_TRANSIENT = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


class Command:
    """Each ``every`` seconds, run ``argv`` and publish its standard output to ``channel`` if it has changed. A run that
    takes longer than ``timeout`` seconds is killed, and the trigger fails.

    Or, with ``lines``, run it once and publish each line as it comes; lines that come together are published together.
    When it ends with another status than 0, the trigger fails.

    With ``errors`` standard error is taken too, as a terminal would show them. Of the output, or of a line, at most
    ``most`` bytes are taken. It runs while ``channel`` is watched, or ``always``: with ``lines`` always, because lines
    that nobody reads are lost.
    """

    def __init__(
        self,
        name: str,
        *,
        argv: Sequence[str],
        channel: str,
        every: float = 0.0,
        lines: bool = False,
        timeout: float = 30.0,
        event: str | None = None,
        type: str = TEXT,
        errors: bool = False,
        most: int = MOST,
        always: bool = False,
    ) -> None:
        if bool(every) == lines:
            raise ValueError("a command runs every so many seconds, or it gives lines.")
        self.name = name
        self.argv = list(argv)
        self.channel = channel
        self.every = every
        self.lines = lines
        self.timeout = timeout
        self.event = event
        self.type = type
        self.errors = errors
        self.most = most
        self.always = always or lines
        self._stopping = Event()
        self._process: Any = None
        self._before: bytes | None = None
        self._cut = False

    def run(self, publish: Publish) -> None:
        if self._stopping.is_set():
            self._before = None  # stopped: who comes now is to have the output, changed or not
        self._stopping.clear()
        if self.lines:
            self._follow(publish)
            return
        for _ in beats(self.every, self._stopping):
            output = self._output()
            # What a run printed before it was stopped is not its output.
            if self._stopping.is_set():
                return
            if output != self._before or not publish.kept:
                publish([self._update(output)])
                self._before = output

    def stop(self) -> None:
        self._stopping.set()
        self._kill()

    def _update(self, data: bytes) -> Update:
        return Update(self.channel, data, self.type, self.event)

    # The program.

    @contextmanager
    def _program(self) -> Iterator[Any]:
        """Its process, while it runs; nothing is left of it afterwards."""
        try:
            self._process = process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if self.errors else None,
                start_new_session=True,
            )
        except OSError as error:
            failure = SourceFailed if error.errno in _TRANSIENT else Alarm
            raise failure(f"{self.argv[0]} can't be run: {(error.strerror or str(error)).lower()}.") from error
        try:
            if self._stopping.is_set():
                self._kill()  # while it was being started
            yield process
        finally:
            self._kill()
            process.stdout.close()
            self._process = None

    def _kill(self) -> None:
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except OSError:
                pass  # nobody is left of it, or only what we may not kill

    # All that it prints.

    def _output(self) -> bytes:
        late = SourceFailed(f"{self.argv[0]} took longer than {self.timeout:g} seconds.")
        with self._program() as process, Timeout(self.timeout, late):
            return self._read(process)

    def _read(self, process: Any) -> bytes:
        output: bytes = process.stdout.read(self.most + 1)
        while process.stdout.read(READ):
            pass  # more than is taken; the program must not wait for us
        process.wait()
        if len(output) <= self.most:
            return output
        self._tell("prints")
        lines, end, _ = output[: self.most].rpartition(b"\n")
        return lines + end or output[: self.most]

    def _tell(self, what: str) -> None:
        if not self._cut:
            self._cut = True
            log.warning("comet: %s %s more than %d bytes; the rest is left out", self.name, what, self.most)

    # Each line.

    def _follow(self, publish: Publish) -> None:
        lines = Lines(self.most)
        with self._program() as process:
            while data := process.stdout.read1(READ):
                self._publish(publish, lines.feed(data))
                if lines.cut:
                    self._tell("prints a line of")
            self._publish(publish, lines.end())
            status = process.wait()
        if status and not self._stopping.is_set():
            how = f"with status {status}" if status > 0 else f"by signal {-status}"
            raise SourceFailed(f"{self.argv[0]} has ended {how}.")

    def _publish(self, publish: Publish, lines: Sequence[tuple[bytes, int]]) -> None:
        for begin in range(0, len(lines), TOGETHER):
            if self._stopping.is_set():
                return
            publish([self._update(line) for line, _ in lines[begin : begin + TOGETHER]])
            breathe()
