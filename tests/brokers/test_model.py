"""Every broker against one model, driven by Hypothesis through its four verbs: alone, and as two workers of one log."""

from __future__ import annotations

import secrets
import time
from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import gevent.socket
import pytest
import redis.connection
from hypothesis.stateful import run_state_machine_as_test

import comet.brokers.redis
from comet.brokers.memory import MemoryBroker
from comet.brokers.redis import RedisBroker, window
from comet.brokers.redis.entries import Frame
from comet.brokers.sqlite import SqliteBroker
from comet.core.log import Log, Position
from comet.core.update import Update
from tests.brokers.model import KEY_SECONDS, LITTLE, PLENTY, RULES, Machine, Worker
from tests.brokers.redis_server import RedisServer
from tests.brokers.redis_workers import make_older, sockets_may_be_dropped
from tests.core.exploring import explore
from tests.timing import PATIENCE


OPTIONS = {"rules": RULES, "idempotency_seconds": KEY_SECONDS}

#: The memory of the workers. One that has little asks its broker for what it lacks.
WORKERS = pytest.mark.parametrize("limits", [(LITTLE,), (PLENTY, LITTLE)], ids=["one", "two"])

#: How far: in ``make test``, and in ``make soak``.
FAR = pytest.mark.parametrize("examples", [25, pytest.param(500, marks=pytest.mark.soak)], ids=["short", "soak"])


def run(machine: type[Machine], examples: int) -> None:
    run_state_machine_as_test(machine, settings=explore(examples, stateful_step_count=30))


# Memory.


class MemoryWorker(Worker):
    broker: MemoryBroker

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(MemoryBroker(clock=lambda: self.now, **OPTIONS))  # type: ignore[arg-type]
        self.broker.start(lambda names: None)

    def let_pass(self, seconds: float, used: Container[str]) -> None:
        self.now += seconds
        for _ in self.broker.tick(self.now, used):
            pass


class MemoryMachine(Machine):
    def start(self) -> list[Worker]:
        return [MemoryWorker()]


@FAR
def test_memory_is_as_the_model_says(examples: int) -> None:
    """Received and told as lost together are all, whatever was published, deleted, trimmed and read in what order."""
    run(MemoryMachine, examples)


# SQLite.


class SqliteWorker(Worker):
    """It looks when it is told to, and when it publishes."""

    broker: SqliteBroker

    def __init__(self, path: Path, limit: int) -> None:
        self.passed = 0.0
        super().__init__(SqliteBroker(path, limit=limit, **OPTIONS))  # type: ignore[arg-type]
        store = self.broker._store
        store.options = replace(store.options, clock=lambda: time.time() + self.passed)
        self.broker.start(lambda names: None)
        self.broker._greenlets.pop().kill()

    def let_pass(self, seconds: float, used: Container[str]) -> None:
        self.passed += seconds
        for _ in self.broker.tick(time.time() + self.passed, used):
            pass
        self.broker._tidy()
        self.look()


class SqliteMachine(Machine):
    """Workers on one file, with so much memory each."""

    path: Path
    limits: tuple[int, ...]

    def start(self) -> list[Worker]:
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()
        return [SqliteWorker(self.path, limit) for limit in self.limits]


@FAR
@WORKERS
def test_sqlite_is_as_the_model_says(tmp_path: Path, limits: tuple[int, ...], examples: int) -> None:
    """One worker, and two that share a file."""
    run(type("OfThisFile", (SqliteMachine,), {"path": tmp_path / "log.db", "limits": limits}), examples)


# Redis.


class RedisWorker(Worker):
    """It hears live frames, but does not look of its own accord."""

    broker: RedisBroker

    def __init__(self, url: str, limit: int, *, first: bool) -> None:
        super().__init__(RedisBroker(url, limit=limit, **OPTIONS))  # type: ignore[arg-type]
        self.first = first
        self.held: list[Frame] = []
        self.arrived = 0
        ours = self.broker._window
        self.take, ours._take = ours._take, self.on_frame  # type: ignore[method-assign]
        self.broker.start(lambda names: None)
        self.broker._greenlets.pop().kill()

    def on_frame(self, frame: Frame) -> None:
        if self.deaf:
            self.held.append(frame)
        else:
            self.take(frame)
        self.arrived = frame.head

    def hear(self, *, lose: bool) -> None:
        super().hear(lose=lose)
        held, self.held = self.held, []
        for frame in () if lose else held:
            self.take(frame)

    def settle(self, head: int) -> None:
        with gevent.Timeout(10 * PATIENCE):
            while self.arrived < head:
                gevent.sleep(0.0005)
        super().settle(head)

    def let_pass(self, seconds: float, used: Container[str]) -> None:
        if self.first:
            make_older(self.broker, seconds)
        else:
            make_log_older(self.log, seconds)
        for _ in self.broker.tick(time.time(), used):
            pass
        self.broker._tidy()

    def stop(self) -> None:
        with sockets_may_be_dropped():
            self.broker.stop()


def make_log_older(log: Log, seconds: float) -> None:
    """As ``make_older`` does with the log of the worker that it is given."""
    for ring in log.rings.values():
        ring.updates[:] = [replace(update, time=update.time - seconds) for update in ring.updates]
        ring.closed_at -= seconds
        if ring.idle_since is not None:
            ring.idle_since -= seconds


class RedisMachine(Machine):
    """Workers below one prefix, with so much memory each."""

    server: RedisServer
    limits: tuple[int, ...]

    def start(self) -> list[Worker]:
        url = f"{self.server.url}?prefix={secrets.token_hex(4)}"
        return [RedisWorker(url, limit, first=not place) for place, limit in enumerate(self.limits)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.start()
    server.kill()


@FAR
@WORKERS
def test_redis_is_as_the_model_says(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, ...], examples: int
) -> None:
    """One worker, and two that share a prefix; reading takes several pages, and a worker far behind starts anew."""
    monkeypatch.setattr(redis.connection, "socket", gevent.socket)
    monkeypatch.setattr(comet.brokers.redis, "PAGE", 3)
    monkeypatch.setattr(comet.brokers.redis, "SOON", 10 * PATIENCE)
    for name, few in {"CHANNELS": 2, "ROWS": 2, "MANY": 9}.items():
        monkeypatch.setattr(window, name, few)
    run(type("OfThisServer", (RedisMachine,), {"server": server, "limits": limits}), examples)


def test_what_a_reader_of_the_newest_skips_is_not_lost(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the worker has only the newest of what Redis keeps: no gap is told."""
    monkeypatch.setattr(redis.connection, "socket", gevent.socket)
    (worker,) = type("OfThisServer", (RedisMachine,), {"server": server, "limits": (LITTLE,)})().workers
    try:
        for name in ("d1", "d1", *("a" * 4), *("b" * 4)):
            worker.broker.publish([Update(name, b"x")])
        position = Position(("d1",), 0, worker.log.epoch, newest_only=True)
        assert worker.log.lacks(("d1",), 0)
        page = worker.broker.since(position, size=100, limit=10)
        assert ([entry.seq for entry in page.entries], page.gap) == ([2], None)
    finally:
        worker.stop()
