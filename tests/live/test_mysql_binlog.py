"""Every change of a table in a real MariaDB through three real workers, while workers and MariaDB die."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator

import gevent
import pytest

from comet.triggers.mysql.binlog import Binlog
from tests.live.server import Server
from tests.live.test_mysql import ROOMY, Stage, strike, writing
from tests.mariadb import MariaDB
from tests.timing import until
from tests.triggers.conftest import cooperative
from tests.triggers.test_mysql_binlog import replay
from tests.triggers.watching import Published, ended, wait
from tests.triggers.writers import writers


__all__ = ["cooperative"]

TRIGGERS = """
[[triggers]]
name = "changes"
kind = "mysql-binlog"
url = "{url}"
table = "{schema}.orders"
channel = "changes"
"""


class Changes(Stage):
    """Three workers between the binary log and its subscribers. What is published is compared with what an
    undisturbed reader finds in the log from the same place on.
    """

    def __init__(self, mariadb: MariaDB, schema: str, server: Server) -> None:
        super().__init__(mariadb, schema, server)
        self.begin["changes"] = self.begin["told"]
        self.undisturbed = Binlog("undisturbed", url=mariadb.url(schema), channel="a", table=f"{schema}.orders")
        self.found = Published()
        self.look()

    def look(self, count: int | None = None) -> None:
        """Read the log, up to so many changes; at first only where it ends."""
        running = gevent.spawn(self.undisturbed.run, self.found)
        wait(lambda: self.found.checkpoints if count is None else len(self.found) >= count)
        self.undisturbed.stop()
        ended(running)

    def check(self) -> None:
        """Each change is told once, in the order of the commits, and they lead to what the table has."""
        orders = self.mariadb.execute("SELECT id, owner, n FROM orders", database=self.schema)
        rows = {id: {"id": id, "owner": owner, "n": n} for id, owner, n in orders}
        until(lambda: replay(self.updates("changes")) == rows, seconds=60, what="the rows of the table")
        told = self.updates("changes")
        self.look(len(told))
        assert told == [(update.event, update.data.decode()) for update in self.found]


@pytest.fixture
def stage(mariadb: MariaDB, schema: str, broker: str, cooperative: None) -> Iterator[Callable[..., Changes]]:
    servers: list[Server] = []

    def stage(app: str = "tests.live.apps.leading:app") -> Changes:
        files = {"comet.toml": TRIGGERS.format(url=f"{mariadb.url(schema)}?timeout=2", schema=schema)}
        servers.append(Server(app=app, workers=3, broker=broker, files=files, **ROOMY).__enter__())
        here = Changes(mariadb, schema, servers[-1])
        until(lambda: "Binlog Dump" in str(mariadb.execute("SHOW PROCESSLIST")), what="a reader of the log")
        return here

    yield stage
    for server in servers:
        server.kill()
        server.folder.cleanup()


def test_eight_writers_while_workers_and_the_database_die(
    stage: Callable[..., Changes], mariadb: MariaDB, schema: str
) -> None:
    """Nothing is lost, nothing doubled, and the order is that of the commits."""
    all_of_them = writers(mariadb, schema, pause=0.05)
    here = stage()
    with writing(all_of_them, 120):
        strike(here, kills=3, restarts=1, dice=random.Random(1))
    here.check()


@pytest.mark.soak
def test_the_same_for_longer(stage: Callable[..., Changes], mariadb: MariaDB, schema: str) -> None:
    """5,000 rows, ten workers and twice MariaDB; with the leases as they are."""
    all_of_them = writers(mariadb, schema, pause=0.25)
    here = stage("wsgi:app")
    with writing(all_of_them, 625):
        strike(here, kills=10, restarts=2, dice=random.Random(2))
    here.check()


def test_a_leader_that_was_frozen_is_refused(stage: Callable[..., Changes], mariadb: MariaDB, schema: str) -> None:
    """It has read a transaction and stops before it publishes it. When it goes on, another runs the trigger: the fence
    does not let it publish, and each change is in the channel once."""
    (writer, *_) = writers(mariadb, schema)
    here = stage()
    server = here.server
    writer.write(50)
    until(lambda: here.updates("changes"), what="changes that are published")
    server.file("freeze").touch()
    writer.write(100)
    until(lambda: list(server.file(".").glob("frozen-*")), what="a frozen worker")
    frozen = int(next(server.file(".").glob("frozen-*")).name.partition("-")[2])
    try:
        until(lambda: here.leader() not in (None, frozen), what="another leader")
        writer.write(150)
        assert "has refused" not in server.log()
    finally:
        os.kill(frozen, signal.SIGCONT)
    until(lambda: f"the fence of {frozen} has refused: another worker runs" in server.log(), what="the refusal")
    here.check()
