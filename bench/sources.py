"""Sources: comet with a trigger, and the program that it watches, which runs on the core of the load: what that takes
is not counted. ``publish`` is the source's own way here: a row, or a message."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pymysql

from .load import Connection, Lost
from .peers import Gauged
from .servers import ROOT, free_address, packages, said


#: Seconds in which a source starts.
PATIENCE = 60.0

ACTIVEMQ = "/usr/share/activemq/bin/activemq.jar"


class Source(Gauged):
    """comet with one trigger, which publishes on the channel of the benchmark what ``send`` gives to its source."""

    #: Its table in comet.toml, but for name and channel.
    trigger = ""

    def environ(self) -> Mapping[str, str]:
        return {**super().environ(), "COMET_CHECKPOINTS": str(self.folder / "checkpoints.json")}

    def declare(self, **keys: str) -> None:
        lines = [f"{key} = {json.dumps(value)}" for key, value in {"name": "bench", "channel": "bench", **keys}.items()]
        (self.folder / "comet.toml").write_text("\n".join(["[[triggers]]", *lines, ""]))

    def send(self, update: bytes) -> None:
        """Give one to the source. Returns when that has it."""
        raise NotImplementedError

    def published(self) -> int:
        """How many updates there have been."""
        with Connection(self) as connection:
            last = json.loads(connection.ask(self.request("GET", "/channels/bench/info")))["last"]
        return int(last.rpartition("-")[2])


class FromBinlog(Source):
    name = "mysql-binlog"
    title = "comet with a `mysql-binlog` trigger on a table of MariaDB"
    needs: ClassVar[tuple[str, ...]] = ("/usr/sbin/mariadbd",)

    def prepare(self, stack: ExitStack) -> None:
        host, port = free_address()
        common = ("--no-defaults", f"--user={getpass.getuser()}", f"--datadir={self.folder / 'data'}")
        install = ("mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db")
        # A server that starts removes the temporary tables of every other one in the same folder.
        environ = {**os.environ, "TMPDIR": str(self.folder)}
        subprocess.run(install, check=True, capture_output=True, timeout=PATIENCE, env=environ)
        options = [f"--{name}={value}" for name, value in {**MARIADB, "bind-address": host, "port": port}.items()]
        files = [f"--{name}={self.folder / name}" for name in ("socket", "pid-file")]
        files.append(f"--tmpdir={self.folder}")
        self.start(("/usr/sbin/mariadbd", *common, *options, *files), os.sched_getaffinity(0), stack)
        self._database = stack.enter_context(_awaited(lambda: pymysql.connect(**self._options(host, port))))
        self._execute("CREATE DATABASE bench", "USE bench", "CREATE TABLE numbers (data VARCHAR(200))")
        self.declare(kind="mysql-binlog", url=f"mysql://root@{host}:{port}/bench", table="bench.numbers")

    @staticmethod
    def _options(host: str, port: int) -> dict[str, Any]:
        return {"host": host, "port": port, "user": "root", "autocommit": True, "ssl_disabled": True}

    def _execute(self, *statements: str, arguments: tuple[object, ...] | None = None) -> list[tuple[Any, ...]]:
        with self._database.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement, arguments)
            return list(cursor.fetchall())

    def _answers(self) -> bool:
        # It publishes what happens from when it reads on.
        return super()._answers() and "Binlog Dump" in str(self._execute("SHOW PROCESSLIST"))

    def send(self, update: bytes) -> None:
        self._execute("INSERT INTO numbers VALUES (%s)", arguments=(update.decode(),))

    def send_many(self, count: int) -> None:
        """So many rows as fast as MariaDB writes them, each in a transaction of its own."""
        row = "INSERT INTO numbers VALUES (REPEAT('.', 100))"
        self._execute(f"BEGIN NOT ATOMIC FOR i IN 1..{count} DO {row}; END FOR; END")

    @classmethod
    def version(cls) -> str:
        return f"{packages('PyMySQL', 'mysql-replication')}, {said('/usr/sbin/mariadbd', '--version')}"


class FromActiveMq(Source):
    name = "activemq"
    title = "comet with an `activemq` trigger on a queue"
    needs: ClassVar[tuple[str, ...]] = ("java", ACTIVEMQ)

    def prepare(self, stack: ExitStack) -> None:
        host, port = free_address()
        shutil.copy(ROOT / "tests" / "activemq.xml", self.folder)
        (self.folder / "data" / "tmp").mkdir(parents=True)
        line = ["java", "-Xms64m", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
        for name, value in {
            "java.io.tmpdir": self.folder / "data" / "tmp",
            "activemq.home": Path(ACTIVEMQ).parent.parent,
            "activemq.base": self.folder,
            "activemq.conf": self.folder,
            "activemq.data": self.folder / "data",
            "activemq.classpath": self.folder,
            "stomp.port": port,
        }.items():
            line.append(f"-D{name}={value}")
        command = (*line, "-jar", ACTIVEMQ, "start", f"xbean:file:{self.folder / 'activemq.xml'}")
        self.start(command, os.sched_getaffinity(0), stack)
        self._sock = stack.enter_context(_awaited(lambda: socket.create_connection((host, port), timeout=PATIENCE)))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = stack.enter_context(self._sock.makefile("rb"))
        self._say("CONNECT", "accept-version:1.2", "host:bench", awaits=1)
        self.declare(kind="activemq", url=f"stomp://{host}:{port}", destination="/queue/bench")

    def _say(self, *lines: str, body: bytes = b"", awaits: int = 0) -> None:
        """Send a frame, and wait for so many."""
        self._sock.sendall("\n".join([*lines, "", ""]).encode() + body + b"\0")
        for _ in range(awaits):
            frame = b""
            while not frame.endswith(b"\0"):
                byte = self._file.read(1)
                if not byte:
                    raise Lost("ActiveMQ has closed the connection")
                frame += byte
            if b"ERROR" in frame[:6]:
                raise Lost(f"ActiveMQ says {frame!r}")

    def send(self, update: bytes) -> None:
        head = ("SEND", "destination:/queue/bench", "persistent:true", "receipt:r", f"content-length:{len(update)}")
        self._say(*head, body=update, awaits=1)

    @classmethod
    def version(cls) -> str:
        return f"{packages('stomp.py')}, ActiveMQ {said('dpkg-query', '-W', '-f', '${Version}', 'activemq')}"


#: As small as MariaDB can be, and with a log that has whole rows with names.
MARIADB: Mapping[str, object] = {
    "skip-name-resolve": 1,
    "log-bin": "binlog",
    "server-id": 1,
    "binlog-format": "ROW",
    "binlog-row-metadata": "FULL",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "8M",
    "innodb-flush-log-at-trx-commit": 2,
    "performance-schema": "OFF",
}


def _awaited(connect: Any) -> Any:
    """A connection to what is being started."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return connect()
        except (OSError, pymysql.Error):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
