"""A server of somebody else's that a test starts: what can happen to it."""

from __future__ import annotations

import os
import signal
import subprocess

from tests.timing import PATIENCE


class Program:
    """Its process, if it runs. Who inherits says how to ``start`` it."""

    process: subprocess.Popen[bytes] | None = None

    def start(self) -> object:
        raise NotImplementedError

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """As an administrator would; one that does not end is killed."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10 * PATIENCE)
            except subprocess.TimeoutExpired:
                pass
            self.kill()

    def kill(self) -> None:
        """At once, whatever state it is in."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Killed, and started again with what it has on disk."""
        self.kill()
        self.start()
