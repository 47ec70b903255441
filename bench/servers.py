"""Servers: those that are measured, one small class each. The table at the bottom says which, and in what order."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar


ROOT = Path(__file__).resolve().parents[1]
GUNICORN = (sys.executable, "-m", "gunicorn", "-k", "gevent")


class Server:
    """One server, started on a free port. A new one says its name, its command and where it streams and publishes."""

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

    @property
    def bind(self) -> str:
        return "{}:{}".format(*self.address)

    def command(self) -> tuple[str, ...]:
        raise NotImplementedError

    def environ(self) -> Mapping[str, str]:
        return {}

    def __enter__(self) -> Server:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
        environ |= {"PYTHONPATH": str(ROOT), **self.environ()}
        self.folder = tempfile.TemporaryDirectory(prefix="comet-bench-")
        self.log = Path(self.folder.name) / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder.name,
                env=environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {self.core}),
            )
        try:
            self._await_answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.folder.cleanup()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                # Connecting is not enough: gunicorn's master listens before its worker has booted.
                connection = http.client.HTTPConnection(*self.address, timeout=5)
                connection.request("GET", "/healthz")
                connection.getresponse()
                connection.close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{self.name} does not answer:\n{self.log.read_text(errors='replace')}")

    # What it takes.

    def processes(self) -> list[int]:
        """The ids of the server and of all that it has started."""
        found = [self.process.pid]
        for pid in found:
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def cpu(self) -> float:
        """Seconds of processor that its threads have used so far, as exact as the scheduler counts."""
        threads = (thread for pid in self.processes() for thread in Path(f"/proc/{pid}/task").iterdir())
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def memory(self) -> int:
        """Bytes that are resident."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes())
        return pages * os.sysconf("SC_PAGE_SIZE")


class Comet(Server):
    """As it comes."""

    name = "comet"
    title = "comet as it comes: every setting at its default"
    stream = "/channels/bench/sse"
    publish = "/channels/bench"
    headers: ClassVar[Mapping[str, str]] = {"Authorization": "Bearer bench"}

    def command(self) -> tuple[str, ...]:
        return (*GUNICORN, "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app")

    def environ(self) -> Mapping[str, str]:
        return {"COMET_BIND": self.bind, "COMET_PUBLISH_KEY": "bench"}


class Bare(Server):
    """The bare Flask generator, on the same gunicorn."""

    name = "bare"
    title = (
        "a Flask generator that waits on one gevent Event and does nothing else (`bench/bare.py`), on the same gunicorn"
    )
    stream = "/stream"
    publish = "/publish"

    def command(self) -> tuple[str, ...]:
        limits = ("--worker-connections", "60000", "--backlog", "4096", "--keep-alive", "5")
        return (*GUNICORN, "-b", self.bind, *limits, "--no-control-socket", "bench.bare:app")


SERVERS: tuple[type[Server], ...] = (Bare, Comet)
