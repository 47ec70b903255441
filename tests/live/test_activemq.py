"""ActiveMQ and real workers: whatever is killed, each message is in its channel, once and in order."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.activemq import ActiveMqServer, Stomp, numbered
from tests.brokers.redis_server import RedisServer
from tests.live.server import Server
from tests.timing import until


WORKERS = 2

#: Channels, and where the messages for them are sent.
SOURCES = {
    "from-queue": "/queue/orders",
    "from-durable": "/topic/news",
    "from-virtual": "/topic/VirtualTopic.prices",
}

CONFIGURATION = """
[[triggers]]
name = "queue"
kind = "activemq"
channel = "from-queue"
url = "{url}"
destination = "/queue/orders"
prefetch = 20

[[triggers]]
name = "durable"
kind = "activemq"
channel = "from-durable"
url = "{url}"
destination = "/topic/news"
durable = "comet"
prefetch = 20

[[triggers]]
name = "virtual"
kind = "activemq"
channel = "from-virtual"
url = "{url}"
destination = "/queue/Consumer.comet.VirtualTopic.prices"
prefetch = 20
"""


@pytest.fixture
def activemq(tmp_path: Path) -> Iterator[ActiveMqServer]:
    folder = tmp_path / "activemq"
    folder.mkdir()
    server = ActiveMqServer(folder)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(params=["sqlite", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path, activemq: ActiveMqServer) -> Iterator[Server]:
    redis = RedisServer(tmp_path)
    (tmp_path / "comet.toml").write_text(CONFIGURATION.format(url=activemq.url))
    settings = {"config": tmp_path / "comet.toml", "history": 100_000, "history_bytes": 100_000_000, "drain_seconds": 1}
    try:
        broker = redis.start().url if request.param == "redis" else f"sqlite:///{tmp_path}/log.db"
        with Server(broker=broker, workers=WORKERS, **settings) as running:
            until(lambda: len(running.workers()) == WORKERS, what="all workers")
            yield running
    finally:
        redis.kill()


class Storm:
    """Sends to all sources, and kills. ``sent``: how many messages each source has accepted."""

    def __init__(self, server: Server, activemq: ActiveMqServer) -> None:
        self.server = server
        self.activemq = activemq
        self.sent = 0
        self.seen: dict[str, list[str]] = {channel: [] for channel in SOURCES}
        self.cursors = dict.fromkeys(SOURCES, server.publish("begin", "")["id"])

    def begin(self) -> None:
        """Wait for the subscriptions: until then topics keep nothing. What is sent meanwhile does not count."""
        until(self._is_heard, seconds=60, what="three subscriptions")
        self.sent = 0
        until(lambda: self.read() and all(seen[-1] == "last" for seen in self.seen.values()), what="the last of them")
        for seen in self.seen.values():
            seen.clear()

    def _is_heard(self) -> bool:
        with Stomp(self.activemq.port) as producer:
            for destination in SOURCES.values():
                producer.send(destination, b"first")
            self.read()
            if heard := all(self.seen.values()):
                for destination in SOURCES.values():
                    producer.send(destination, b"last")
        return heard

    def send(self, count: int) -> None:
        with Stomp(self.activemq.port) as producer:
            for destination in SOURCES.values():
                producer.send(destination, *numbered(count, begin=self.sent))
        self.sent += count

    def kill_activemq(self) -> None:
        self.activemq.kill()
        self.activemq.start()

    def kill_the_workers(self) -> None:
        for pid in self.server.workers():
            os.kill(pid, signal.SIGKILL)

    def read(self) -> bool:
        """Read on; whether every channel has as many as were sent."""
        for channel, seen in self.seen.items():
            parameters = {"since": self.cursors[channel], "limit": 1000, "timeout": 1}
            try:
                answer = self.server.get(f"/channels/{channel}/poll", params=parameters).json()
            except requests.ConnectionError:
                return False  # its worker was killed
            assert answer["gap"] is None
            seen += [update["data"] for update in answer["updates"]]
            self.cursors[channel] = answer["cursor"]
        return all(len(seen) >= self.sent for seen in self.seen.values())

    def check(self) -> None:
        """All that was sent is there once, in order."""
        until(self.read, seconds=60, what="every message")
        self.send(1)  # what comes twice has come before this
        until(self.read, seconds=30, what="the last message")
        everything = [str(number) for number in range(self.sent)]
        assert self.seen == dict.fromkeys(SOURCES, everything)


def test_nothing_is_lost_whatever_is_killed(server: Server, activemq: ActiveMqServer) -> None:
    """Of a queue, a durable topic and a virtual topic: each message once, in order, with sqlite and with redis."""
    storm = Storm(server, activemq)
    storm.begin()
    storm.send(200)
    storm.kill_activemq()
    storm.send(100)
    storm.kill_the_workers()
    storm.send(100)
    storm.check()


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_storms(server: Server, activemq: ActiveMqServer, seed: int) -> None:
    """2,000 messages for each, while ActiveMQ and the workers are killed in turn, ten times."""
    dice = random.Random(seed)
    storm = Storm(server, activemq)
    storm.begin()
    for turn in range(10):
        storm.send(200)
        time.sleep(dice.uniform(0, 0.2))
        (storm.kill_activemq, storm.kill_the_workers)[turn % 2]()
        # Sometimes all has come before the next blow, and sometimes nothing.
        if dice.random() < 0.5:
            until(storm.read, seconds=60, what="the messages so far")
    storm.check()
    assert storm.sent > 2000
