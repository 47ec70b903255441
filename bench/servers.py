"""Servers: a server under measurement, started alone on its core, and what it takes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Self


ROOT = Path(__file__).resolve().parents[1]
APPS = ROOT / "bench" / "apps"
#: Where the peers from PyPI are installed.
PEERS = str(ROOT / ".venv-bench" / "bin" / "python")


class Missing(Exception):
    """A program that a server needs is not installed."""


class Server:
    """A server on a free port. Each says what it is, how it is started, and two paths: ``stream`` answers a GET with
    Server-Sent Events, a POST to ``publish`` has its body sent on all of them with an id."""

    name: ClassVar[str]
    title: ClassVar[str]
    stream: ClassVar[str] = "/stream"
    publish: ClassVar[str] = "/publish"
    #: Of every request.
    headers: ClassVar[Mapping[str, str]] = {}
    #: Whether the head of a stream leaves before its first update.
    greets: ClassVar[bool] = True
    #: Programs, by name or path, that must be installed.
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, cores: Iterable[int] = (0,)) -> None:
        self.cores = set(cores)
        self.address = free_address()
        self.port = str(self.address[1])
        self.bind = "{}:{}".format(*self.address)

    def command(self) -> tuple[str, ...]:
        raise NotImplementedError

    def environ(self) -> Mapping[str, str]:
        return {}

    @classmethod
    def version(cls) -> str:
        """What the figures are of."""
        raise NotImplementedError

    # Its life.

    def __enter__(self) -> Self:
        for program in self.needs:
            if not (shutil.which(program) or Path(program).exists()):
                raise Missing(f"{self.name} needs {program}, which is not installed")
        with ExitStack() as stack:
            # Without a gunicorn.conf.py or a comet.toml.
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="comet-bench-")))
            self.log = stack.enter_context(tempfile.TemporaryFile())
            self.prepare(stack)
            self.process = self.start(self.command(), self.cores, stack)
            self._await()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def prepare(self, stack: ExitStack) -> None:
        """Lay ready in ``folder`` what the command needs, and on the stack what undoes it."""

    def start(self, command: Sequence[str], cores: set[int], stack: ExitStack) -> subprocess.Popen[bytes]:
        """Start a process in the folder; the stack ends it and all that it has started."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**environ, "PYTHONPATH": str(ROOT), **self.environ()},
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        stack.callback(_stop, process)
        return process

    def _await(self) -> None:
        deadline = time.monotonic() + 20
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                raise RuntimeError(f"{self.name} does not answer: {self.log.read().decode(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        # Connecting is not enough: gunicorn's master listens before its worker has booted.
        try:
            with socket.create_connection(self.address, timeout=5) as sock:
                sock.sendall(self.request("GET", "/healthz"))
                return sock.recv(1) != b""
        except OSError:
            return False

    # What it is sent.

    def request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> bytes:
        """The bytes of a request."""
        lines = {"Host": self.bind, **self.headers, **headers}
        if method == "POST":
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body

    def post(self, data: bytes) -> bytes:
        """The request that publishes one update."""
        return self.request("POST", self.publish, data, {"Content-Type": "text/plain; charset=utf-8"})

    def subscribed(self, count: int) -> bool:
        """Whether so many streams get what is published now. Asked of those that do not greet."""
        return True

    # What it takes.

    def processes(self) -> list[int]:
        """The ids of the server and of all that it has started."""
        found = [self.process.pid]
        for pid in found:
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def cpu(self) -> float:
        """Seconds of processor that its threads have used so far, to the nanosecond of the scheduler."""
        threads = (thread for pid in self.processes() for thread in Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def memory(self) -> int:
        """Bytes that are resident."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes())
        return pages * os.sysconf("SC_PAGE_SIZE")


def free_address() -> tuple[str, int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        host, port = sock.getsockname()
    return host, port


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it ended by itself
    process.wait()


def said(*command: str) -> str:
    """The first line that a program says, on whichever output."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except OSError:
        return "not installed"
    return (run.stdout or run.stderr).partition("\n")[0].strip()


def packages(*names: str, python: str = sys.executable) -> str:
    """The versions of Python packages where a server finds them."""
    told = "print(*(f'{name} {version(name)}' for name in sys.argv[1:]), sep=', ')"
    script = f"import sys; from importlib.metadata import version; {told}"
    return said(python, "-c", script, *names)
