"""ActiveMQ and real workers: whatever is killed, each message is in its channel, once and in order. And the example."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.activemq import ActiveMqServer, Stomp, numbered
from tests.brokers.redis_server import RedisServer
from tests.conftest import need
from tests.live.server import ROOT, Server, free_port
from tests.timing import PATIENCE, until


WORKERS = 2

EXAMPLE = ROOT / "examples" / "queue"

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

    def __init__(self, server: Server, activemq: ActiveMqServer, seed: int = 0) -> None:
        self.server = server
        self.activemq = activemq
        self.dice = random.Random(seed)
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

    def freeze_a_worker(self) -> None:
        """Until another one has followed it."""
        pid = self.dice.choice(self.server.workers())
        os.kill(pid, signal.SIGSTOP)
        time.sleep(12)
        os.kill(pid, signal.SIGCONT)

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
    """2,000 messages for each, while ActiveMQ and the workers are killed in turn, and one of them freezes."""
    storm = Storm(server, activemq, seed)
    storm.begin()
    for blow in (storm.kill_activemq, storm.kill_the_workers, storm.freeze_a_worker, storm.kill_the_workers) * 3:
        storm.send(200)
        time.sleep(storm.dice.uniform(0, 0.2))
        blow()
        # Sometimes all has come before the next blow, and sometimes nothing.
        if storm.dice.random() < 0.5:
            until(storm.read, seconds=60, what="the messages so far")
    storm.check()
    assert storm.sent > 2000


# The example.


def test_the_ticker_to_try(tmp_path: Path) -> None:
    """One command starts it all, and Ctrl-C ends it: the page is there, and prices come."""
    need("java", "activemq")
    config = tmp_path / "comet.toml"
    port, bind = free_port(), f"127.0.0.1:{free_port()}"
    config.write_text((EXAMPLE / "comet.toml").read_text().replace(":61671", f":{port}"))
    environ = {**os.environ, "COMET_CONFIG": str(config), "COMET_BIND": bind}
    with (tmp_path / "output").open("wb") as output:
        command = [sys.executable, str(EXAMPLE / "run.py")]
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output, start_new_session=True)
    try:
        prices = until(lambda: get(f"http://{bind}/channels/ticker/latest"), seconds=60, what="a price")
        page = get(f"http://{bind}/ticker")
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(60 * PATIENCE)
    text = (tmp_path / "output").read_text()
    assert (status, "Traceback" in text) == (0, False), text
    assert json.loads(prices).keys() == {"symbol", "price"}
    assert 'new EventSource("/channels/ticker/sse")' in page
    assert f"Open http://{bind}/ticker" in text
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def get(url: str) -> str:
    try:
        answer = requests.get(url, timeout=10)
    except requests.ConnectionError:
        return ""
    return answer.text if answer.status_code == 200 else ""
