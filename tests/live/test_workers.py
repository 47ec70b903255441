"""Several workers on one broker. That nothing is lost, whatever happens to them, is shown in ``test_faults.py``."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

from tests.brokers.redis_server import RedisServer
from tests.live.cable import ports
from tests.live.clients import Subscriber, crowd
from tests.live.server import Server
from tests.timing import until


WORKERS = 4
STREAMS = 400


@pytest.fixture(params=["sqlite", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """Four workers on one file, or on one Redis."""
    with ExitStack() as stack:
        if request.param == "redis":
            redis = RedisServer(tmp_path)
            stack.callback(redis.kill)
            broker = redis.start().url
        else:
            broker = f"sqlite:///{tmp_path}/log.db"
        running = stack.enter_context(Server(broker=broker, workers=WORKERS, drain_seconds=1))
        until(lambda: len(running.workers()) == WORKERS, what="four workers")
        yield running


def test_a_restart_of_the_server_loses_nothing(server: Server) -> None:
    """Whoever comes back with its cursor goes on as if nothing had been."""
    begin = server.publish("a", "1")["id"]
    server.publish("b", "2")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.spawn()
    until(lambda: _answers(server), seconds=20, what="the server again")
    server.publish("c", "3")
    cursor, texts = begin, []
    while len(texts) < 2:  # a worker may have the first of them a moment before the second
        answer = server.get("/channels/a,b,c/poll", params={"since": cursor}).json()
        cursor, texts = answer["cursor"], texts + [update["data"] for update in answer["updates"]]
        assert answer["gap"] is None
    assert texts == ["2", "3"]


def _answers(server: Server) -> bool:
    try:
        return server.get("/readyz").ok
    except requests.RequestException:
        return False


def test_each_worker_has_its_share_of_the_connections(server: Server) -> None:
    """The kernel spreads them, also when they come one by one: none has more than twice its share."""
    until(lambda: all(server.port in ports(worker) for worker in server.workers()), what="four workers that listen")
    with crowd() as people:
        streams = [people.add(Subscriber(server, "ndjson", "quiet")) for _ in range(STREAMS)]
        people.until(lambda: all(stream.opened for stream in streams), what="streams")
        shares = [ports(worker).count(server.port) - 1 for worker in server.workers()]
    assert sum(shares) >= STREAMS, shares
    assert max(shares) <= 2 * STREAMS / WORKERS, shares


def test_subscribers_of_all_workers_are_counted(server: Server) -> None:
    """Whichever worker answers says how many there are in all, also when one of them was killed."""

    def counted() -> set[int]:
        with suppress(requests.ConnectionError):  # it was the killed one's
            asked = [server.get("/channels/counted/info") for _ in range(10)]
            return {answer.json().get("subscribers", 0) for answer in asked}
        return set()

    server.publish("counted", "there")
    with crowd() as people:
        streams = [people.add(Subscriber(server, "ndjson", "counted")) for _ in range(20)]
        people.until(lambda: all(stream.opened for stream in streams), what="streams")
        until(lambda: counted() == {20}, what="all of them")
        # A worker looks once a second, and this one may not have been among those asked.
        until(lambda: server.publish("counted", "more")["subscribers"] == 20, what="all of them, for a publisher")
        killed = max(server.workers(), key=lambda worker: ports(worker).count(server.port))
        left = 20 - (ports(killed).count(server.port) - 1)
        os.kill(killed, signal.SIGKILL)
        until(lambda: counted() == {left}, what="those of the others")
    until(lambda: counted() == {0}, what="nobody")
