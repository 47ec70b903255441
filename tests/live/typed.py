"""The command line, as it is typed: in a pipe, in the background, on a terminal, and in tmux."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import need
from tests.live.server import ROOT, Server
from tests.timing import PATIENCE


COMET = [sys.executable, "-m", "comet"]


class Typed(Server):
    """``python -m comet …`` that is a server, typed in a folder of its own."""

    def __init__(self, *arguments: str, **settings: object) -> None:
        super().__init__(*arguments, **settings)

    def command(self) -> list[str]:
        return [*COMET, *self.arguments]


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """That of the tests, with these COMET_* only."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
    return environ | {"PYTHONPATH": str(ROOT)} | {f"COMET_{name.upper()}": str(each) for name, each in settings.items()}


def typed(*arguments: str, input: bytes = b"", **settings: object) -> subprocess.CompletedProcess[str]:
    """Type a line that ends by itself."""
    done = subprocess.run(
        [*COMET, *arguments],
        env=environment(settings),
        input=input,
        capture_output=True,
        timeout=20 * PATIENCE,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@contextmanager
def running(*arguments: str, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """Type a line that goes on until it is ended. Its three streams are pipes, written and read without a buffer."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*COMET, *arguments], env=environment(settings), stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def terminal(command: list[str], environ: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Run a command in a terminal of its own, where Ctrl-C reaches every process of it."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(command[0], command, environ)
    try:
        yield pid, fd
    finally:
        os.close(fd)
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Tmux:
    """A terminal with a shell, as somebody has it before him. ``screen`` is what stands there."""

    def __init__(self, **settings: object) -> None:
        need("tmux")
        self._environ = environment(settings) | {"COMET": " ".join(COMET)}
        self._folder = tempfile.mkdtemp(prefix="comet-tmux-")

    def __enter__(self) -> Tmux:
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "-c", self._folder, "sh")
        self._pid = int(self._tmux("display-message", "-p", "#{pid}"))
        return self

    def __exit__(self, *error: object) -> None:
        self._tmux("kill-server")
        shutil.rmtree(self._folder, ignore_errors=True)

    def type(self, line: str) -> None:
        """A line, and Enter. What ``$COMET`` is, its shell knows."""
        self._tmux("send-keys", "-l", line)
        self.press("Enter")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p").rstrip("\n")

    def _tmux(self, *arguments: str) -> str:
        # Its own server, which nobody else has.
        line = ["tmux", "-S", str(Path(self._folder) / "socket"), *arguments]
        return subprocess.run(line, env=self._environ, capture_output=True, text=True, check=True).stdout
