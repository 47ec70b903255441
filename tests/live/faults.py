"""A storm over real servers: publishers publish, subscribers come and go, and one fault follows the other.

Strategy: the updates are published in shares, one for each fault, which strikes while its share is being published.
Everything random is drawn from one seed. The oracle is what the publishers were told was accepted; each subscriber is
held against it at the end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count

import requests

from comet.brokers import Receipt
from comet.core.cursor import Cursor
from comet.core.log import Gap
from comet.core.update import Update
from tests.brokers.oracle import Oracle
from tests.brokers.redis_server import RedisServer
from tests.live.cable import Cable
from tests.live.clients import Crowd, Subscriber, crowd
from tests.live.publishers import in_background
from tests.live.readers import TELLING, Item, Missed, Seen
from tests.live.server import Server
from tests.timing import PATIENCE, until


WORKERS = 4
PUBLISHERS = 3
CHANNELS = ("a", "b", "c", "d", "short")

#: The rules of the channels: one of them keeps so little that who is away misses something.
RULES = """
[channels.short]
history = 20
"""

#: Seconds after which something that should come about has not.
PATIENT = 60 * PATIENCE


@dataclass(frozen=True)
class Size:
    """How large a storm is. ``share``: seconds in which the updates of one fault are published, if nothing happens."""

    subscribers: int
    updates: int
    share: float


FULL = Size(subscribers=400, updates=10_000, share=2.5)
SMALL = Size(subscribers=100, updates=2_000, share=1.5)


class Publisher:
    """Publishes over HTTP what is due, alone or in batches, and repeats each, with its keys, until it is accepted."""

    def __init__(self, storm: Storm, name: int) -> None:
        self.storm = storm
        self.name = name
        self.dice = random.Random(f"{storm.seed} publisher {name}")
        self.numbers = count()
        self.due = self.done = 0
        self.pause = 0.0
        self.session = requests.Session()

    def publish(self) -> None:
        """Publish something, if anything is due."""
        size = min(self.due - self.done, self.dice.choice((1, 1, 5, 10, 20)))
        if not size:
            time.sleep(0.01)
            return
        updates = [self._update(self.dice.choice(CHANNELS)) for _ in range(size)]
        self.storm.accepted(updates, self._accepted(updates))
        self.done += size
        time.sleep(self.dice.uniform(0, 2) * self.pause * size)

    def _update(self, channel: str) -> Update:
        filling = self.dice.choice(("", "", "", "-" * 500))
        return Update(channel, f"{self.name}-{next(self.numbers)}{filling}".encode())

    def _accepted(self, updates: Sequence[Update]) -> list[Cursor]:
        """Publish these until they are accepted; return their places."""
        deadline = time.monotonic() + PATIENT
        while True:
            assert self.storm.server.runs, "the server has ended"
            assert time.monotonic() < deadline, f"not accepted within {PATIENT} s"
            try:
                answer = self._post_one(updates[0]) if len(updates) == 1 else self._post(updates)
                if answer.status_code in (200, 201):
                    return self._places(answer, len(updates))
                assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
            except requests.RequestException:
                self.session.close()
            self.storm.oracle.maybe |= {update.data for update in updates}
            time.sleep(self.dice.uniform(0, 0.1))

    def _post_one(self, update: Update) -> requests.Response:
        headers = {**self.storm.server.auth, "Content-Type": "text/plain", "Idempotency-Key": _key(update)}
        url = f"{self.storm.server.url}/channels/{update.channel}"
        return self.session.post(url, update.data, headers=headers, timeout=2.5)

    def _post(self, updates: Sequence[Update]) -> requests.Response:
        headers = {**self.storm.server.auth, "Content-Type": "application/x-ndjson"}
        lines = [{"channel": each.channel, "data": each.data.decode(), "key": _key(each)} for each in updates]
        body = "\n".join(map(json.dumps, lines))
        return self.session.post(f"{self.storm.server.url}/channels", body, headers=headers, timeout=2.5)

    def _places(self, answer: requests.Response, size: int) -> list[Cursor]:
        says = answer.json()
        ids = (says["id"], says["id"]) if "id" in says else (says["first"], says["last"])
        first, last = (Cursor.parse(id) for id in ids)
        assert first and last and last == replace(first, seq=first.seq + size - 1), f"a batch is one: {says}"
        return [replace(first, seq=first.seq + n) for n in range(size)]


def _key(update: Update) -> str:
    return update.data.decode().rstrip("-")


class Faithful:
    """A client that comes back with its last cursor, on any wire that has one, whenever its connection ends.

    ``restless``: it also leaves of itself, now and then.
    """

    def __init__(self, storm: Storm, people: Crowd, begin: str, restless: bool) -> None:
        self.storm = storm
        self.people = people
        self.dice = random.Random(storm.random.random())
        self.restless = restless
        self.channels = tuple(self.dice.sample(CHANNELS, self.dice.choice((1, 1, 2, 3))))
        self.begin = self.cursor = begin
        self.told: list[Item] = []
        self.visits: list[str] = []
        self.comes_at = self.leaves_at = 0.0
        self.stream: Subscriber | None = None

    def look_after(self, now: float) -> None:
        """Come back, go away, or neither."""
        stream = self.stream
        if stream is None:
            if now >= self.comes_at:
                self._come(now)
        elif stream.over or (stream.response.complete and not stream.answered):
            self._go(now, self.dice.uniform(0, 0.5) if stream.response.status == 200 else 0.5)
        elif self.restless and now >= self.leaves_at:
            self._go(now, self.dice.choice((0, 0, 1)))

    def _come(self, now: float) -> None:
        wire = self.dice.choice(TELLING)
        parameters = {"callback": "callback"} if wire == "jsonp" else {}
        try:
            stream = Subscriber(self.storm.server, wire, *self.channels, since=self.cursor, **parameters)
        except OSError:
            self.comes_at = now + 0.1  # nobody listens just now
            return
        stream.take = self.told.extend
        self.stream = self.people.add(stream)
        self.leaves_at = now + self.dice.expovariate(1 / 5)

    def _go(self, now: float, pause: float) -> None:
        stream, self.stream = self.stream, None
        assert stream is not None
        if not stream.over:
            self.people.drop(stream)
            stream.leave(reset=self.dice.random() < 0.5)
        assert stream.response.status in (0, 200, 503), f"{stream.response.status}: {stream.refusal!r}"
        self.visits.append(f"{stream.wire} {self.cursor} {stream.response.status} {len(self.told)}")
        self.cursor = stream.cursor or self.cursor
        self.comes_at = now + pause

    def has_seen(self, ends: dict[str, str]) -> bool:
        """Whether it has come to the end of each of its channels."""
        last = {item.id for item in self.told[-50:] if isinstance(item, Seen)}
        return all(ends[name] in last for name in self.channels)

    def check(self) -> None:
        told = [_told(item, self.channels[0]) for item in self.told]
        try:
            self.storm.oracle.check(self.channels, told)
        except AssertionError:
            print(self.channels, self.stream and self.stream.wire, *self.visits, sep="\n")
            print(*[item.id if isinstance(item, Update) else item for item in told], sep="\n")
            raise


@lru_cache(100_000)
def _told(item: Item, channel: str) -> Update | Gap:
    """As the oracle knows it. A plain SSE stream of one channel does not name it."""
    if isinstance(item, Missed):
        return Gap(item.since, item.first, item.reason)
    assert isinstance(item, Seen)
    place = Cursor.parse(item.id)
    assert place is not None
    return Update(item.channel or channel, item.data.encode(), epoch=place.epoch, seq=place.seq)


class Storm:
    """A server, its people, and what happens to it. ``redis`` and ``cable``: what its workers' broker stands on."""

    def __init__(self, server: Server, seed: int, size: Size) -> None:
        self.server = server
        self.seed = seed
        self.size = size
        self.random = random.Random(seed)
        self.oracle = Oracle()
        self.begun = time.monotonic()
        self.publishers = [Publisher(self, name) for name in range(PUBLISHERS)]
        self._one = threading.Lock()

    def accepted(self, updates: Sequence[Update], places: Sequence[Cursor]) -> None:
        receipts = [Receipt(place.epoch, place.seq, 0, 0.0) for place in places]
        with self._one:
            self.oracle.accepted(updates, receipts)

    @property
    def done(self) -> int:
        """How many updates have been accepted."""
        return sum(publisher.done for publisher in self.publishers)

    def blow(self, faults: Sequence[Fault]) -> None:
        """Let all this happen; then hold each subscriber against the oracle."""
        begin = self.server.publish("begin", "")["id"]
        with crowd() as people, ThreadPoolExecutor(1) as beside:
            clients = [Faithful(self, people, begin, restless=n % 2 == 0) for n in range(self.size.subscribers)]

            def wait(state: Callable[[], object], what: str) -> None:
                deadline = time.monotonic() + PATIENT
                while not state():
                    now = time.monotonic()
                    assert now < deadline, f"not within {PATIENT} s: {what}"
                    people.turn()
                    for client in clients:
                        client.look_after(now)

            with in_background(*[publisher.publish for publisher in self.publishers]) as stop:
                for n, fault in enumerate(faults):
                    share = self.size.updates * (n + 1) // len(faults) - self.due
                    strikes = self.due + share * self.random.uniform(0.1, 0.5)
                    self.allow(share)
                    wait(lambda strikes=strikes: self.done >= strikes, f"publishing before {fault.__name__}")
                    self._say(fault.__name__)
                    happening = beside.submit(fault, self)
                    wait(happening.done, fault.__name__)
                    happening.result()
                    self._say(f"{fault.__name__} is over")
                    wait(lambda: self.done == self.due, f"publishing after {fault.__name__}")
                stop()
            ends = self._end()
            self._say("the end")
            wait(lambda: all(client.has_seen(ends) for client in clients), "everybody at the end")
            self._say("everybody is there")
        assert len(self.oracle.acknowledged) == self.size.updates + len(CHANNELS)
        for client in clients:
            client.check()

    def _say(self, what: str) -> None:
        """Seen when the test fails."""
        print(f"{time.monotonic() - self.begun:5.1f} s, {self.done} updates: {what}", flush=True)

    @property
    def due(self) -> int:
        return sum(publisher.due for publisher in self.publishers)

    def allow(self, share: int) -> None:
        for n, publisher in enumerate(self.publishers):
            publisher.due += share * (n + 1) // PUBLISHERS - share * n // PUBLISHERS
            publisher.pause = self.size.share * PUBLISHERS / share

    def _end(self) -> dict[str, str]:
        """Publish one more update to each channel; return their ids."""
        ends = {}
        for name in CHANNELS:
            update = Update(name, b"end of " + name.encode())
            places = self.publishers[0]._accepted([update])
            self.accepted([update], places)
            ends[name] = str(places[0])
        return ends

    def some_worker(self) -> int:
        return self.random.choice(sorted(self.server.workers()))

    def until_replaced(self, gone: Iterable[int]) -> None:
        until(
            lambda: len(self.server.workers()) == WORKERS and not set(gone) & set(self.server.workers()),
            seconds=30,
            what=f"{WORKERS} workers, none of {gone}",
        )


class StormOverRedis(Storm):
    """With what else can happen there."""

    def __init__(self, server: Server, seed: int, size: Size, redis: RedisServer, cable: Cable) -> None:
        super().__init__(server, seed, size)
        self.redis = redis
        self.cable = cable


Fault = Callable[[Storm], None]
FaultOfRedis = Callable[[StormOverRedis], None]


# What happens to workers.


def kill(storm: Storm) -> None:
    worker = storm.some_worker()
    os.kill(worker, signal.SIGKILL)
    storm.until_replaced([worker])


def reload(storm: Storm) -> None:
    workers = storm.server.workers()
    storm.server.signal(signal.SIGHUP)
    storm.until_replaced(workers)


def freeze(storm: Storm) -> None:
    """A worker stands still for three seconds."""
    worker = storm.some_worker()
    os.kill(worker, signal.SIGSTOP)
    try:
        time.sleep(3)
    finally:
        os.kill(worker, signal.SIGCONT)


# What happens to Redis.


def restart(storm: StormOverRedis) -> None:
    storm.redis.restart()


def restart_empty(storm: StormOverRedis) -> None:
    storm.redis.restart_empty()


def restore(storm: StormOverRedis) -> None:
    """Redis goes back to where it was at least 50 updates ago."""
    copy = storm.redis.copy()
    then = storm.done
    until(lambda: storm.done >= then + 50, what="50 updates after the copy")
    storm.redis.restore(copy)


def cut(storm: StormOverRedis) -> None:
    """For three seconds nothing comes through between a worker and Redis."""
    storm.cable.cut(storm.some_worker())
    try:
        time.sleep(3)
    finally:
        storm.cable.mend()


def pull(storm: StormOverRedis) -> None:
    """For three seconds a worker has no connection to Redis."""
    storm.cable.pull(storm.some_worker())
    try:
        time.sleep(3)
    finally:
        storm.cable.mend()


def kill_live(storm: StormOverRedis) -> None:
    """The connections on which the workers hear what is new are killed."""
    storm.redis.command("client", "kill", "type", "pubsub")


OF_WORKERS: list[Fault] = [kill, reload, freeze]
OF_REDIS: list[FaultOfRedis] = [restart, restart_empty, restore, cut, pull, kill_live]
