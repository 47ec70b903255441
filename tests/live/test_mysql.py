"""Rows of a real MariaDB through three real workers, while workers and MariaDB die."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.conftest import need
from tests.live.server import ROOT, Server, free_port
from tests.mariadb import MariaDB
from tests.timing import PATIENCE, until
from tests.triggers.writers import Writer, follow, writers


TRIGGERS = """
[[triggers]]
name = "box"
kind = "mysql-outbox"
url = "{url}"
table = "outbox"

[[triggers]]
name = "rows"
kind = "mysql-query"
url = "{url}"
query = "SELECT * FROM orders"
key = "id"
channel = "rows"
every = 0.05
always = true
"""

ROOMY = {"history": 1_000_000, "history_bytes": 1 << 28, "memory": 1 << 30}


class Stage:
    """Three workers between a database and its subscribers."""

    def __init__(self, mariadb: MariaDB, schema: str, server: Server) -> None:
        self.mariadb = mariadb
        self.schema = schema
        self.server = server
        self.begin = {channel: self._poll(channel)[1] for channel in ("told", "rows")}

    def leader(self) -> int | None:
        """The worker that runs the triggers: one that is connected to the database."""
        port = f":{self.mariadb.port:04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        sockets = {f"socket:[{line[9]}]" for line in lines if line[2].endswith(port) and line[3] == "01"}
        for pid in self.server.workers():
            if sockets & set(_files(pid)) and "T" not in _state(pid):
                return pid
        return None

    def updates(self, channel: str) -> list[tuple[str | None, str]]:
        """Event and data of everything that was published."""
        cursor, told = self.begin[channel], []
        while True:
            updates, cursor = self._poll(channel, cursor)
            if not updates:
                return told
            told += updates

    def _poll(self, channel: str, since: str = "") -> tuple[list[tuple[str | None, str]], str]:
        after = f"since={since}" if since else "last=0"
        answer = self.server.get(f"/channels/{channel}/poll?{after}&limit=1000&timeout=1").json()
        assert answer["gap"] is None
        return [(each["event"], each["data"]) for each in answer["updates"]], answer["cursor"]

    def rows(self, done: int) -> int:
        """Rows of the outbox that wait (0), or are published (1)."""
        count = f"SELECT COUNT(*) FROM outbox WHERE done = {done}"
        return int(self.mariadb.execute(count, database=self.schema)[0][0])

    def check(self) -> None:
        """Each row that was committed is in the channel once, and the differences lead to what the table has."""
        until(lambda: self.rows(0) == 0, seconds=60, what="rows that are published")
        sent = self.mariadb.execute("SELECT event, data FROM outbox ORDER BY id", database=self.schema)
        until(lambda: sorted(self.updates("told")) == sorted(sent), what="each row once, whichever worker is asked")
        orders = self.mariadb.execute("SELECT id, owner, n FROM orders", database=self.schema)
        rows = {id: {"id": id, "owner": owner, "n": n} for id, owner, n in orders}
        until(lambda: follow(self.updates("rows")) == rows, what="the rows of the table")


def _files(pid: int) -> Iterator[str]:
    try:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            yield os.readlink(file)
    except OSError:
        pass  # it has ended, or the file was closed


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "T"  # it has ended: that runs nothing either


@pytest.fixture
def stage(mariadb: MariaDB, schema: str, broker: str) -> Iterator[Callable[..., Stage]]:
    servers: list[Server] = []

    def stage(app: str = "tests.live.apps.leading:app") -> Stage:
        files = {"comet.toml": TRIGGERS.format(url=f"{mariadb.url(schema)}?timeout=2")}
        servers.append(Server(app=app, workers=3, broker=broker, files=files, **ROOMY).__enter__())
        return Stage(mariadb, schema, servers[-1])

    yield stage
    for server in servers:
        server.kill()
        server.folder.cleanup()


@contextmanager
def writing(all_of_them: list[Writer], changes: int) -> Iterator[None]:
    """They write meanwhile; it ends when each has committed so many changes."""
    with ThreadPoolExecutor(len(all_of_them)) as pool:
        work = [pool.submit(writer.write, changes) for writer in all_of_them]
        yield
        for each in work:
            each.result(timeout=300 * PATIENCE)


def strike(stage: Stage, kills: int, restarts: int, dice: random.Random) -> None:
    """Kill the leader so often, and MariaDB, whenever something was published since the last time."""
    blows = ["worker"] * kills + ["database"] * restarts
    dice.shuffle(blows)
    for blow in blows:
        leader = until(stage.leader, seconds=60, what="a worker that runs the triggers")
        time.sleep(dice.uniform(0.2, 0.6))
        if blow == "worker":
            os.kill(leader, signal.SIGKILL)
            until(lambda leader=leader: stage.leader() not in (None, leader), seconds=60, what="another leader")
        else:
            stage.mariadb.restart()


def test_eight_writers_while_workers_and_the_database_die(
    stage: Callable[..., Stage], mariadb: MariaDB, schema: str
) -> None:
    """Nothing is lost and nothing doubled."""
    all_of_them = writers(mariadb, schema, pause=0.05)
    here = stage()
    with writing(all_of_them, 120):
        strike(here, kills=3, restarts=1, dice=random.Random(1))
    here.check()


@pytest.mark.soak
def test_the_same_for_longer(stage: Callable[..., Stage], mariadb: MariaDB, schema: str) -> None:
    """5,000 rows, ten workers and twice MariaDB; with the leases as they are."""
    all_of_them = writers(mariadb, schema, pause=0.25)
    here = stage("wsgi:app")
    with writing(all_of_them, 625):
        strike(here, kills=10, restarts=2, dice=random.Random(2))
    here.check()


def test_a_leader_that_was_frozen_is_refused(stage: Callable[..., Stage], mariadb: MariaDB, schema: str) -> None:
    """It has read rows and stops before it publishes them. When it goes on, another runs the trigger: the fence does
    not let it publish, and each row is in the channel once."""
    (writer, *_) = writers(mariadb, schema)
    here = stage()
    writer.write(50)
    until(lambda: here.rows(0) == 0, what="rows that are published")
    server = here.server
    server.file("freeze").touch()
    writer.write(100)
    frozen = until(lambda: [int(file.name.partition("-")[2]) for file in _frozen(server)], what="a frozen worker")[0]
    try:
        until(lambda: here.leader() not in (None, frozen), what="another leader")
        writer.write(150)
        # Not over HTTP: the frozen one may be asked.
        until(lambda: here.rows(1) > 50, what="what the other one publishes")
        assert "has refused" not in server.log()
    finally:
        os.kill(frozen, signal.SIGCONT)
    until(lambda: f"the fence of {frozen} has refused: another worker runs" in server.log(), what="the refusal")
    here.check()


def _frozen(server: Server) -> list[Path]:
    return list(Path(server.folder.name).glob("frozen-*"))


# The example.


def test_the_shop_to_try(tmp_path: Path) -> None:
    """One command starts it all, and Ctrl-C ends it: the page has the table, the news are told."""
    need("mariadbd", "mariadb-install-db")
    folder = tmp_path / "orders"
    shutil.copytree(ROOT / "examples" / "orders", folder)
    config = folder / "comet.toml"
    config.write_text(config.read_text().replace(":33071/", f":{free_port()}/"))
    bind = f"127.0.0.1:{free_port()}"
    environ = {**os.environ, "COMET_CONFIG": str(config), "COMET_BIND": bind}
    command = [sys.executable, str(ROOT / "examples" / "orders" / "run.py")]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output, start_new_session=True)
    try:
        until(lambda: "<td><span class=" in latest(bind, "orders"), seconds=60, what="an order")
        until(lambda: re.search("has ordered|on its way", latest(bind, "news")), what="what is told of it")
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(60 * PATIENCE)
    text = (tmp_path / "output").read_text()
    assert status == 0, text
    assert f"http://{bind}/channels/news,orders/html" in text
    assert latest(bind, "orders") == ""


def latest(bind: str, channel: str) -> str:
    try:
        answer = requests.get(f"http://{bind}/channels/{channel}/latest", timeout=10)
    except requests.ConnectionError:
        return ""
    return answer.text if answer.status_code == 200 else ""
