"""A storm over Redis: whatever happens, each subscriber is told everything that was acknowledged, or its loss."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import gevent.socket
import pytest
import redis.connection
from gevent import get_hub

from comet.brokers.redis import RedisBroker
from comet.controller import Controller
from comet.core.errors import BrokerAway
from comet.core.log import Gap
from comet.core.rules import Rule, Rules
from comet.core.update import Update
from tests.brokers.oracle import Oracle
from tests.brokers.redis_server import RedisServer
from tests.brokers.redis_workers import Reader, publish_works, sockets_may_be_dropped, wait


CHANNELS = ("a", "b", "c", "short")
RULES = Rules(Rule(history=100_000), {"short": Rule(history=5)})


class Storm:
    """Three workers, one of them with little memory, three publishers, readers that stay and readers that wander."""

    def __init__(self, server: RedisServer, seed: int) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.oracle = Oracle()
        limits = (1 << 28, 1 << 28, 30_000)
        self.workers = [Controller(RedisBroker(server.url, rules=RULES, limit=limit)) for limit in limits]
        for worker in self.workers:
            worker.start()
        self.copy: Path | None = None
        self.blowing = True
        self.sets = [tuple(self.random.sample(CHANNELS, k)) for k in (1, 1, 2, 3, 4, 2, 3)]
        self.told: list[list[Update | Gap]] = [[] for _ in self.sets]
        self.busy = [gevent.spawn(self.publisher, n) for n in range(3)]
        self.busy += [gevent.spawn(self.reader, n) for n in range(len(self.sets))]

    def publisher(self, name: int) -> None:
        dice = random.Random(self.random.random())
        count = 0
        while self.blowing:
            updates = [
                Update(dice.choice(CHANNELS), f"{name}-{count + n}".encode()) for n in range(dice.choice((1, 1, 5)))
            ]
            count += len(updates)
            try:
                self.oracle.accepted(updates, dice.choice(self.workers).update(updates))
            except BrokerAway:
                self.oracle.maybe |= {update.data for update in updates}
            gevent.sleep(dice.expovariate(200))

    def reader(self, n: int) -> None:
        """The first three stay where they are; the others leave, and come back with their cursor, at any worker."""
        dice = random.Random(self.random.random())
        cursor: str | None = None
        while True:
            try:
                reader = Reader(dice.choice(self.workers), *self.sets[n], since=cursor)
            except BrokerAway:
                gevent.sleep(0.1)  # this worker can't know what the cursor is
                continue
            reader.told, mine = self.told[n], reader.told
            reader.told += mine
            gevent.sleep(1e6 if n < 3 or not self.blowing else dice.uniform(0.05, 0.5))
            cursor = reader.leave()

    # Faults. They block: in a thread, so that the workers go on.

    def restart(self) -> None:
        self.server.restart()

    def restart_empty(self) -> None:
        self.server.restart_empty()

    def keep_a_copy(self) -> None:
        if self.copy is None:
            self.copy = self.server.copy()

    def restore(self) -> None:
        if self.copy is not None:
            self.server.restore(self.copy)

    def kill_live(self) -> None:
        self.server.command("client", "kill", "type", "pubsub")

    def kill_all(self) -> None:
        self.server.command("client", "kill", "type", "normal")

    def freeze(self) -> None:
        self.server.freeze()
        time.sleep(self.random.choice((0.3, 1.0, 2.5)))
        self.server.thaw()

    def forget_scripts(self) -> None:
        self.server.command("script", "flush")

    def away(self) -> None:
        self.server.kill()
        time.sleep(1)
        self.server.start()

    def blow(self, faults: int) -> None:
        every: list[Callable[[], None]] = [
            self.restart,
            self.restart_empty,
            self.restore,
            self.kill_live,
            self.kill_all,
            self.freeze,
            self.forget_scripts,
            self.away,
        ]
        self.random.shuffle(every)
        for fault in [self.keep_a_copy, *every, *self.random.choices(every, k=faults)][: faults + 1]:
            gevent.sleep(self.random.uniform(0.1, 0.6))
            get_hub().threadpool.apply(fault)

    def settle(self) -> None:
        """Everybody must come to the end of what was acknowledged."""
        self.blowing = False
        gevent.joinall(self.busy[:3])
        for n, worker in enumerate(self.workers):
            wait(lambda worker=worker, n=n: publish_works(worker, f"end-{n}"), 5)
        self.oracle.maybe |= {f"end-{n}".encode() for n in range(3)}
        heads = {(worker.log.epoch, worker.log.head) for worker in self.workers}
        wait(lambda: len({(worker.log.epoch, worker.log.head) for worker in self.workers}) == 1, 5)
        assert heads
        for names, told in zip(self.sets, self.told, strict=True):
            try:
                wait(lambda names=names, told=told: self.oracle.is_complete(names, told), 5)
            except gevent.Timeout:
                self.oracle.check(names, told)

    def stop(self) -> None:
        gevent.killall(self.busy)
        for worker in self.workers:
            worker.stop()


def weather(folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, faults: int) -> None:
    monkeypatch.setattr(redis.connection, "socket", gevent.socket)
    server = RedisServer(folder).start()
    with sockets_may_be_dropped():
        storm = Storm(server, seed)
        try:
            storm.blow(faults)
            storm.settle()
            assert len(storm.oracle.acknowledged) > 50
        finally:
            storm.stop()
            server.kill()
            del storm


def test_whatever_happens_all_is_told_or_its_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each fault once, with publishers and readers at three workers."""
    weather(tmp_path, monkeypatch, seed=1, faults=8)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_twenty_storms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """The same, longer, in any order."""
    weather(tmp_path, monkeypatch, seed=seed, faults=20)
