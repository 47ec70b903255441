"""The real MariaDB, started by the tests in a folder of its own, and everything that can happen to one."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymysql

from tests.conftest import need
from tests.live.server import free_port
from tests.program import Program
from tests.timing import PATIENCE, until


#: A small one that is quick to start; what was committed outlives the process, not the host.
OPTIONS = {
    "server_id": "1",
    "character_set_server": "utf8mb4",
    "innodb_buffer_pool_size": "32M",
    "innodb_log_file_size": "8M",
    "innodb_flush_log_at_trx_commit": "2",
    "performance_schema": "OFF",
}

#: What the binary log must be for row events with names of columns.
BINLOG = {"log_bin": "binlog", "binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_row_metadata": "FULL"}


class MariaDB(Program):
    """One mariadbd. ``options`` are its variables (``binlog_row_image="MINIMAL"``); None takes one of ``BINLOG`` out.

    Whoever has made one closes it.
    """

    def __init__(self, **options: str | None) -> None:
        need("mariadbd", "mariadb-install-db")
        self.port = free_port()
        # Not below pytest's own: a socket's path is short.
        self.folder = Path(tempfile.mkdtemp(prefix="comet-mariadb-"))
        self.options = {**OPTIONS, **BINLOG, **options}
        self._install()

    def _install(self) -> None:
        subprocess.run(
            [
                "mariadb-install-db",
                *self._common(),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            check=True,
            capture_output=True,
            timeout=120 * PATIENCE,
            env=self._environ,
        )

    @property
    def _environ(self) -> dict[str, str]:
        # A server that starts removes the temporary tables of every other one in the same folder.
        return {**os.environ, "TMPDIR": str(self.folder)}

    def _common(self) -> list[str]:
        return ["--no-defaults", f"--user={getpass.getuser()}", f"--datadir={self.folder / 'data'}"]

    def start(self) -> MariaDB:
        """Start it, also again, and wait until somebody can log in: the port is open before."""
        arguments = [
            shutil.which("mariadbd") or "mariadbd",
            *self._common(),
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
        ]
        for name, value in self.options.items():
            if value is not None:
                arguments.append(f"--{name.replace('_', '-')}={value}")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                arguments, stdout=log, stderr=log, start_new_session=True, env=self._environ
            )
        until(self._lets_in, seconds=60, what=f"MariaDB: {self.log}")
        return self

    def _lets_in(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"MariaDB has ended:\n{self.log}"
        try:
            self.connect().close()
        except pymysql.Error:
            return False
        return True

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Talking to it.

    def connect(self, database: str | None = None, **options: Any) -> pymysql.Connection[Any]:
        """A connection of root's."""
        return pymysql.connect(
            **{
                "host": "127.0.0.1",
                "port": self.port,
                "user": "root",
                "database": database,
                "charset": "utf8mb4",
                "autocommit": True,
                "ssl_disabled": True,
                "connect_timeout": 5,
                "read_timeout": 60 * PATIENCE,
                "write_timeout": 60 * PATIENCE,
                **options,
            }
        )

    def execute(self, *statements: str, database: str | None = None) -> Sequence[tuple[Any, ...]]:
        """Run statements as root; return the rows of the last."""
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def url(self, database: str, user: str = "root", password: str = "") -> str:
        credentials = quote(user, safe="") + (":" + quote(password, safe="") if password else "")
        return f"mysql://{credentials}@127.0.0.1:{self.port}/{database}"
