"""The Redis broker does what every broker does."""

from __future__ import annotations

import secrets
import time
from collections.abc import Container, Iterator

import gevent.socket
import pytest
import redis.connection

from comet.brokers import Broker, Deliver
from comet.brokers.redis import RedisBroker
from tests.brokers.contract import BrokerContract, Make, WatchingContract
from tests.brokers.redis_server import RedisServer
from tests.brokers.redis_workers import make_older, sockets_may_be_dropped


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.start()
    server.kill()


class TestRedis(BrokerContract, WatchingContract):
    @pytest.fixture
    def make(self, server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
        """Brokers with a log each."""
        monkeypatch.setattr(redis.connection, "socket", gevent.socket)
        made: list[RedisBroker] = []

        def make(*, deliver: Deliver = lambda names: None, **options: object) -> RedisBroker:
            made.append(RedisBroker(f"{server.url}?prefix={secrets.token_hex(4)}", **options))  # type: ignore[arg-type]
            made[-1].start(deliver)
            made[-1]._greenlets.pop().kill()  # time passes when the test says so
            return made[-1]

        yield make
        with sockets_may_be_dropped():
            for each in made:
                each.stop()
            made.clear()

    def let_pass(self, broker: Broker, seconds: float, used: Container[str] = ()) -> None:
        assert isinstance(broker, RedisBroker)
        for begun in range(0, int(seconds), 20):
            make_older(broker, min(20, seconds - begun))
            for _ in broker.tick(time.time(), used):
                pass
            broker._tidy()
