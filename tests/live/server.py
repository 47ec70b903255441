"""The real server, started by the tests: ``gunicorn -k gevent`` on a free port, in a folder of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import requests

from tests.timing import PATIENCE, until


ROOT = Path(__file__).resolve().parents[2]
KEY = "test-key"
#: None: as it is by default. The tests that show how updates are written are run with 0, too.
DIRECT_WRITES = os.environ.get("COMET_TEST_DIRECT_WRITES")


#: Below those that the kernel gives to connections: one of these is still free when a server starts, or starts again.
PORTS = range(12_000, 32_000)


#: The last ports that were given out here: each is kept from other processes by a socket for datagrams.
_kept: deque[socket.socket] = deque()
KEPT = 200


def free_port() -> int:
    """A port for a server. Tests that run beside each other choose by chance, and whatever their seed is.

    Nobody else is given it, although the server takes a moment to start, or is started again.
    """
    while True:
        port = random.SystemRandom().choice(PORTS)
        mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket() as sock:
            try:
                mark.bind(("127.0.0.1", port))
                sock.bind(("127.0.0.1", port))
            except OSError:
                mark.close()
                continue  # it is taken
        _kept.append(mark)
        if len(_kept) > KEPT:
            _kept.popleft().close()
        return port


class Server:
    """One gunicorn. ``settings`` are COMET_* without the prefix, in lower case; ``arguments`` go to gunicorn.

    ``files`` are written into the folder where it starts: a comet.toml, say, and modules.
    """

    def __init__(
        self,
        *arguments: str,
        app: str = "wsgi:app",
        conf: str | None = None,
        files: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = arguments
        self.app = app
        self.conf = conf or str(ROOT / "gunicorn.conf.py")
        self.settings = {
            "bind": f"127.0.0.1:{self.port}",
            "publish_key": KEY,
            "direct_writes": DIRECT_WRITES,
            **settings,
        }
        self.folder = tempfile.TemporaryDirectory(prefix="comet-test-")
        self.log_path = Path(self.folder.name) / "log"
        for name, text in (files or {}).items():
            self.file(name).parent.mkdir(parents=True, exist_ok=True)
            self.file(name).write_text(text)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        try:
            self.spawn()
            until(self.is_up, seconds=20, what=f"{self.url}/healthz")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        self.folder.cleanup()

    def spawn(self) -> None:
        """Start it, without waiting for it."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
        environ["PYTHONPATH"] = str(ROOT)
        environ["TMPDIR"] = self.folder.name  # one that is killed leaves something behind
        for name, value in self.settings.items():
            if value is not None:
                environ[f"COMET_{name.upper()}"] = str(value)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder.name, env=environ, stdout=log, stderr=log, start_new_session=True
            )

    def command(self) -> list[str]:
        """What is started, and ends when it is killed."""
        return [sys.executable, "-m", "gunicorn", "-c", self.conf, *self.arguments, self.app]

    def is_up(self) -> bool:
        """Whether it answers."""
        assert self.process is not None
        assert self.process.poll() is None, f"gunicorn ended with {self.process.returncode}:\n{self.log()}"
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).status_code in (200, 404)
        except requests.RequestException:
            return False

    @property
    def runs(self) -> bool:
        """Whether its master process is there."""
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds: float = 20) -> int:
        """Wait for its end; return its exit status."""
        assert self.process is not None
        return self.process.wait(seconds * PATIENCE)

    def kill(self) -> None:
        """End it and its workers, whatever state they are in. Only the group that was started here."""
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()
            self.process = None

    def signal(self, number: int) -> None:
        """Send a signal to the master."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        assert self.process is not None
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def file(self, name: str) -> Path:
        """A file in its folder."""
        return Path(self.folder.name) / name

    # Talking to it.

    @property
    def auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}"}

    def publish(
        self, channel: str, data: str | bytes, type: str = "text/plain; charset=utf-8", **headers: str
    ) -> dict[str, Any]:
        """Publish, and return the answer."""
        body = data.encode() if isinstance(data, str) else data
        answer = requests.post(
            f"{self.url}/channels/{channel}",
            body,
            headers={"Content-Type": type, **self.auth, **headers},
            timeout=10,
        )
        assert answer.status_code in (200, 201), answer.text
        return dict(answer.json())

    def publish_all(self, channel: str, datas: Iterable[str], type: str = "text/plain; charset=utf-8") -> None:
        """Publish many as one batch."""
        lines = [json.dumps({"channel": channel, "data": data, "type": type}) for data in datas]
        headers = {**self.auth, "Content-Type": "application/x-ndjson"}
        answer = requests.post(f"{self.url}/channels", "\n".join(lines), headers=headers, timeout=20)
        assert answer.status_code == 201, answer.text

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(f"{self.url}{path}", **{"timeout": 10, **options})

    def connect(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10 * PATIENCE)

    def open(self, path: str, *headers: str, version: str = "1.1") -> socket.socket:
        """Send a GET on a raw connection, and return that, nothing read yet."""
        sock = self.connect()
        lines = [f"GET {path} HTTP/{version}", f"Host: 127.0.0.1:{self.port}", *headers, "", ""]
        sock.sendall("\r\n".join(lines).encode("latin-1"))
        return sock
