"""Servers: those that are measured, a small class each. The table at the bottom says which, and in what order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import ClassVar


ROOT = Path(__file__).resolve().parents[1]
GUNICORN = (sys.executable, "-m", "gunicorn", "-k", "gevent")


class Server:
    """A server on a free port, alone on one core. Each says what it is, how it is started, and two paths:
    ``stream`` answers a GET with Server-Sent Events, a POST to ``publish`` has its body sent on all of them."""

    name: ClassVar[str]
    title: ClassVar[str]
    stream: ClassVar[str]
    publish: ClassVar[str]
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(self, core: int) -> None:
        self.core = core
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.address: tuple[str, int] = sock.getsockname()
        self.bind = "{}:{}".format(*self.address)

    def command(self) -> tuple[str, ...]:
        raise NotImplementedError

    def environ(self) -> Mapping[str, str]:
        return {}

    def __enter__(self) -> Server:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
        self.folder = tempfile.TemporaryDirectory(prefix="comet-bench-")  # without a gunicorn.conf.py or comet.toml
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.command(),
            cwd=self.folder.name,
            env={**environ, "PYTHONPATH": str(ROOT), **self.environ()},
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {self.core}),
        )
        deadline = time.monotonic() + 20
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                self.log.seek(0)
                raise RuntimeError(f"{self.name} does not answer:\n{self.log.read().decode(errors='replace')}")
            time.sleep(0.02)
        return self

    def __exit__(self, *error: object) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself
        self.process.wait()
        self.folder.cleanup()

    def _answers(self) -> bool:
        # Connecting is not enough: gunicorn's master listens before its worker has booted.
        connection = HTTPConnection(*self.address, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return bool(connection.getresponse().status)
        except OSError:
            return False
        finally:
            connection.close()

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


class Bare(Server):
    name = "bare"
    title = "a Flask generator that waits on a gevent Event and does nothing else (`bench/bare.py`), same gunicorn"
    stream = "/stream"
    publish = "/publish"

    def command(self) -> tuple[str, ...]:
        limits = ("--worker-connections", "60000", "--backlog", "4096", "--keep-alive", "5")
        return (*GUNICORN, "-b", self.bind, *limits, "--no-control-socket", "bench.bare:app")


class Comet(Server):
    name = "comet"
    title = "as it comes, on the wire `sse`"
    stream = "/channels/bench/sse"
    publish = "/channels/bench"
    headers: ClassVar[Mapping[str, str]] = {"Authorization": "Bearer bench"}

    def command(self) -> tuple[str, ...]:
        return (*GUNICORN, "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app")

    def environ(self) -> Mapping[str, str]:
        return {"COMET_BIND": self.bind, "COMET_PUBLISH_KEY": "bench"}


#: The others are held against the first.
SERVERS: tuple[type[Server], ...] = (Bare, Comet)
