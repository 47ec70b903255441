"""Several workers on one broker: whatever happens to a worker, every subscriber has every update, once and in order."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import requests

from tests.live.clients import Crowd, Subscriber, crowd
from tests.live.publishers import in_background
from tests.live.readers import Missed, Seen
from tests.live.server import Server
from tests.timing import until


pytestmark = pytest.mark.delivers


WORKERS = 4
STREAMS = 200
CHANNELS = ("a", "b", "c")
RESUMING = ("sse", "envelope", "ndjson", "poll")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Four workers on one file, whose history is longer than the test."""
    settings = {"history": 1_000_000, "history_bytes": 100_000_000, "drain_seconds": 1}
    with Server(broker=f"sqlite:///{tmp_path}/log.db", workers=WORKERS, **settings) as running:
        until(lambda: len(running.workers()) == WORKERS, what="four workers")
        yield running


class Publisher:
    """Publishes until it is told that the broker has it. A repetition has the same keys, so nothing comes twice."""

    def __init__(self, server: Server, name: str) -> None:
        self.server = server
        self.name = name
        self.numbers = count()
        self.acknowledged: set[str] = set()

    def publish(self) -> None:
        datas = [f"{self.name}-{next(self.numbers)}" for _ in range(10)]
        lines = [json.dumps({"channel": random.choice(CHANNELS), "data": data, "key": data}) for data in datas]
        headers = {**self.server.auth, "Content-Type": "application/x-ndjson"}
        while True:
            try:
                answer = requests.post(f"{self.server.url}/channels", "\n".join(lines), headers=headers, timeout=20)
                if answer.status_code == 201:
                    break
                assert answer.status_code == 503, answer.text
            except requests.RequestException:
                pass
            time.sleep(0.05)
        self.acknowledged.update(datas)
        time.sleep(0.01)


class Faithful:
    """A client that comes back, on any wire, with its last cursor, whenever its connection ends."""

    def __init__(self, server: Server, people: Crowd, cursor: str, chance: random.Random) -> None:
        self.server = server
        self.people = people
        self.begin = cursor
        self.cursor = cursor
        self.chance = chance
        self.got: list[tuple[str, str]] = []
        self.gaps: list[Missed] = []
        self.stream = self._come()

    def _come(self) -> Subscriber:
        stream = Subscriber(self.server, self.chance.choice(RESUMING), *CHANNELS, since=self.cursor)
        stream.take = self._take
        return self.people.add(stream)

    def _take(self, items: object) -> None:
        for item in items:  # type: ignore[attr-defined]
            if isinstance(item, Missed):
                self.gaps.append(item)
            elif isinstance(item, Seen):
                self.got.append((item.id, item.data))

    def look_after(self) -> None:
        if self.stream.over:
            self.cursor = self.stream.cursor or self.cursor
            try:
                self.stream = self._come()
            except OSError:
                pass  # nobody listens just now


def everything(server: Server, since: str) -> list[tuple[str, str]]:
    """What the broker has, read page by page."""
    found: list[tuple[str, str]] = []
    while True:
        path = f"/channels/{','.join(CHANNELS)}/poll"
        answer = server.get(path, params={"since": since, "limit": 1000, "timeout": 1}).json()
        assert answer["gap"] is None
        found += [(update["id"], update["data"]) for update in answer["updates"]]
        if not answer["updates"]:
            return found
        since = answer["cursor"]


def some_worker(server: Server) -> int:
    return random.choice(until(server.workers))


def kill(server: Server, during: Callable[[float], None]) -> None:
    os.kill(some_worker(server), signal.SIGKILL)
    during(1)


def reload(server: Server, during: Callable[[float], None]) -> None:
    server.signal(signal.SIGHUP)
    during(3)


def freeze(server: Server, during: Callable[[float], None]) -> None:
    worker = some_worker(server)
    os.kill(worker, signal.SIGSTOP)
    try:
        during(3)
    finally:
        os.kill(worker, signal.SIGCONT)
    during(0.5)


def test_nothing_is_lost_and_nothing_comes_twice_whatever_happens_to_a_worker(server: Server) -> None:
    """Four workers, three publishers, 200 subscribers of three channels on wires at random, while one worker is
    killed, all are replaced, and one is frozen for three seconds: each subscriber has all, in the order of the ids."""
    seed = int(os.environ.get("COMET_TEST_SEED") or random.randrange(1 << 32))
    print(f"COMET_TEST_SEED={seed}")
    chance = random.Random(seed)
    begin = server.publish("a", "begin")["id"]
    publishers = [Publisher(server, str(number)) for number in range(3)]
    with crowd() as people, in_background(*[publisher.publish for publisher in publishers]) as stop:
        clients = [Faithful(server, people, begin, chance) for _ in range(STREAMS)]

        def go_on(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                people.turn()
                for client in clients:
                    client.look_after()

        go_on(1)
        for happens in (kill, reload, freeze):
            happens(server, go_on)
        stop()
        published = everything(server, begin)
        deadline = time.monotonic() + 60
        while any(len(client.got) < len(published) for client in clients):
            assert time.monotonic() < deadline, [len(client.got) for client in clients]
            go_on(0.1)
        for client in clients:
            assert not client.gaps
            assert client.got == published
    acknowledged = set().union(*[publisher.acknowledged for publisher in publishers])
    assert acknowledged <= {data for _, data in published}
    assert len(published) == len({data for _, data in published})


def test_a_restart_of_the_server_loses_nothing(server: Server) -> None:
    """Whoever comes back with its cursor goes on as if nothing had been."""
    begin = server.publish("a", "1")["id"]
    server.publish("b", "2")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.spawn()
    until(lambda: _answers(server), what="the server again")
    server.publish("c", "3")
    assert [data for _, data in everything(server, begin)] == ["2", "3"]


def _answers(server: Server) -> bool:
    try:
        return server.get("/readyz").ok
    except requests.RequestException:
        return False


def test_each_worker_has_its_share_of_the_connections(server: Server) -> None:
    """The kernel spreads them, also when they come one by one."""
    with crowd() as people:
        streams = [people.add(Subscriber(server, "ndjson", "quiet")) for _ in range(100)]
        people.until(lambda: all(stream.opened for stream in streams))
        shares = [sum("socket:" in link for link in _links(worker)) for worker in server.workers()]
    assert min(shares) >= 10, shares


def _links(pid: int) -> list[str]:
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(each.readlink()))
        except OSError:
            pass
    return found
