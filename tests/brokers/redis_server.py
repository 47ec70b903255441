"""The real redis-server, started by the tests in a folder of its own, and everything that can happen to one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.conftest import need
from tests.live.server import free_port
from tests.program import Program
from tests.timing import until


class RedisServer(Program):
    """One redis-server with an append-only file. ``options`` are of its configuration, ``maxmemory="10mb"``."""

    def __init__(self, folder: Path, **options: str) -> None:
        need("redis-server", "redis-cli")
        self.folder = folder
        self.port = free_port()
        self.options = {"appendonly": "yes", "appendfsync": "everysec", "save": "", **options}

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> RedisServer:
        arguments = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        for name, value in self.options.items():
            arguments += [f"--{name.replace('_', '-')}", value]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log)
        until(lambda: "PONG" in self.command("ping"), what="redis-server")
        return self

    def command(self, *arguments: str) -> str:
        """Run a command, and return what redis-cli prints."""
        password = self.options.get("requirepass")
        line = ["redis-cli", "-p", str(self.port), *(("-a", password, "--no-auth-warning") if password else ())]
        return subprocess.run([*line, *arguments], capture_output=True, text=True, timeout=10).stdout

    def restart_empty(self) -> None:
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir")
        self.start()

    def copy(self) -> Path:
        """A copy of its files as they are now."""
        self.command("bgrewriteaof")
        until(lambda: "aof_rewrite_in_progress:0" in self.command("info", "persistence"), what="the rewritten file")
        target = self.folder / "copy"
        shutil.copytree(self.folder / "appendonlydir", target)
        return target

    def restore(self, copy: Path) -> None:
        """Killed, and started again with the files of an earlier copy."""
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir")
        shutil.copytree(copy, self.folder / "appendonlydir")
        self.start()
