"""What other programs publish on a broker's Redis."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import gevent.socket
import pytest
import redis.connection

from comet.brokers import Listens
from comet.brokers.redis import RedisBroker
from comet.core.errors import BrokerAway
from comet.core.update import Update
from tests.brokers.redis_server import RedisServer
from tests.brokers.redis_workers import wait


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.start()
    server.kill()


class Listener:
    """A broker that listens, and what it has heard."""

    def __init__(self, server: RedisServer, *prefixes: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.broker = RedisBroker(server.url)
        self.greenlet = gevent.spawn(self._listen, prefixes)
        wait(lambda: server.command("pubsub", "numpat").strip() != "0")

    def _listen(self, prefixes: tuple[str, ...]) -> str:
        try:
            self.broker.listen(prefixes, lambda name, message: self.heard.append((name, message)))
        except BrokerAway as error:
            return str(error)
        return ""


@pytest.fixture(autouse=True)
def cooperative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.connection, "socket", gevent.socket)


def test_each_message_is_heard_once(server: RedisServer) -> None:
    """Although prefixes overlap; those of other channels are not heard, and the log's own neither."""
    listener = Listener(server, "s", "sse", "s", "comet", "a*[b]?")
    listener.broker.publish([Update("sse", b"ours")])
    for name in ("sse", "other", "s", "a*[b]?c", "axbyc", "S", "bytes"):
        server.command("publish", name, name.upper())
    server.command("publish", "s", "end")
    wait(lambda: ("s", b"end") in listener.heard)
    assert [name for name, _ in listener.heard] == ["sse", "s", "a*[b]?c", "s"]
    assert listener.heard[0] == ("sse", b"SSE")
    listener.greenlet.kill()
    wait(lambda: server.command("pubsub", "numpat").strip() == "0")


def test_a_silent_connection_is_kept_and_a_lost_one_is_told(server: RedisServer) -> None:
    """Whoever listens must know that messages may be missed."""
    listener = Listener(server, "sse")
    assert isinstance(listener.broker, Listens)
    gevent.sleep(2.5)  # it is asked whether it is alive after a second of silence
    server.command("publish", "sse", "1")
    wait(lambda: listener.heard == [("sse", b"1")])
    server.command("client", "kill", "type", "pubsub")
    assert "can't be reached" in listener.greenlet.get(timeout=10)


def test_a_redis_that_does_not_answer_is_told(server: RedisServer) -> None:
    """It is not waited for without an end."""
    listener = Listener(server, "sse")
    server.freeze()
    try:
        assert "does not answer" in listener.greenlet.get(timeout=10)
    finally:
        server.thaw()
