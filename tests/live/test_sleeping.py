"""Triggers of real workers sleep while nobody watches, in whichever worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.brokers.redis_server import RedisServer
from tests.live.server import Server
from tests.timing import until


WORKERS = 2


@pytest.fixture(params=["sqlite", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    redis = RedisServer(tmp_path)
    try:
        broker = redis.start().url if request.param == "redis" else f"sqlite:///{tmp_path}/log.db"
        with Server(app="tests.live.apps.sleeping:app", workers=WORKERS, broker=broker) as running:
            yield running
    finally:
        redis.kill()


def calls(server: Server, name: str) -> list[str]:
    """The process of each call."""
    file = Path(server.folder.name) / name
    return file.read_text().splitlines() if file.exists() else []


def test_a_tick_runs_only_while_it_is_watched(server: Server) -> None:
    """Not once before; at once for the first one, wherever that is; and a hundred watchers cost as much as one."""
    until(lambda: len(calls(server, "sleepless")) > 20, what="the tick that does not sleep")
    assert calls(server, "sleepy") == []
    streams = [server.get("/channels/sleepy/text?last=0", stream=True) for _ in range(100)]
    numbers = [_numbers(stream, 10) for stream in streams]
    assert numbers[0][0] == "1"
    for each in numbers:
        assert each == [str(n) for n in range(int(each[0]), int(each[0]) + 10)]
    assert len(set(calls(server, "sleepy"))) == 1
    for stream in streams:
        stream.close()


def test_who_only_asks_for_the_newest_has_it_fresh(server: Server) -> None:
    """Every worker may be asked."""
    until(lambda: len(calls(server, "sleepless")) > 5, what="the tick that does not sleep")
    answer = server.get("/channels/sleepy/latest")
    assert (answer.status_code, answer.text) == (200, "1")
    assert until(lambda: len(calls(server, "sleepy")) > 5)


def _numbers(stream: requests.Response, count: int) -> list[str]:
    lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
    return [next(lines) for _ in range(count)]
