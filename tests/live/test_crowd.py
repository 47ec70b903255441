"""The crowd: 2,000 streams of all wires while three greenlets publish as fast as they can.

Nothing is lost silently: where the numbers of a channel jump, the gap was told at that place, and what is missing lies
in it. Afterwards all have come to the head, and when they have left nothing of them is left.
"""

from __future__ import annotations

import os
import random
import resource
import select
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.live.clients import Crowd, Subscriber, crowd
from tests.live.readers import EVERY, LASTING, TELLING, Item, Missed, Seen, seq_of
from tests.live.server import Server
from tests.timing import PATIENCE, until


pytestmark = [pytest.mark.delivers, pytest.mark.alone]


STREAMS = 2000
SLOW = 30
VISITORS = 200
#: Seconds for which is published to the first crowd, and to the second.
SECONDS = (8, 3)
#: COMET_MEMORY: history and encodings.
MEMORY = 64 << 20
#: What a stream may take of the worker's memory, in bytes. The kernel's buffers are not in this.
A_STREAM = 32 << 10
#: What a worker may keep for encodings, a quarter of its memory, and for the odds and ends of the allocator, in bytes.
KEPT = MEMORY // 4 + (8 << 20)


@dataclass(slots=True)
class Run:
    """What a piece of a stream brings of one channel: its first and last number. ``gap``: the first that was told
    since the run before; ``jumps``: whether a number is missing inside."""

    channel: str
    first: int
    last: int
    first_id: str
    gap: Missed | None
    jumps: bool = False


@dataclass(slots=True, frozen=True)
class Look:
    """What is in a piece: its runs, its gaps, and how many of these each channel has passed."""

    runs: list[Run]
    gaps: list[Missed]
    passed: dict[str, int]

    @classmethod
    def at(cls, items: Iterable[Item]) -> Look:
        look = cls([], [], {})
        current: dict[str, Run] = {}
        told: Missed | None = None
        for item in items:
            if isinstance(item, Missed):
                look.gaps.append(told := item)
                current = {}
                continue
            assert isinstance(item, Seen), item
            if told is not None:
                assert told.first in (item.id, None)
                told = None
            channel, text, _ = item.data.split(" ")
            number = int(text)
            assert item.channel in ("", channel)
            run = current.get(channel)
            if run is None:
                before = look.passed.get(channel, 0)
                gap = look.gaps[before] if len(look.gaps) > before else None
                run = current[channel] = Run(channel, number, number, item.id, gap)
                look.runs.append(run)
                look.passed[channel] = len(look.gaps)
            else:
                assert number > run.last, "out of order"
                run.jumps |= number != run.last + 1
                run.last = number
        return look


class Looks:
    """Most streams are given the same pieces: each is looked at once."""

    def __init__(self) -> None:
        self._made: OrderedDict[int, tuple[Iterable[Item], Look]] = OrderedDict()

    def at(self, items: Iterable[Item]) -> Look:
        made = self._made.get(id(items))
        if made is None or made[0] is not items:
            made = self._made[id(items)] = (items, Look.at(items))
            if len(self._made) > 500:
                self._made.popitem(last=False)
        return made[1]


@dataclass(slots=True, frozen=True)
class Jump:
    """A client went from one number of a channel to another, and had been told a gap."""

    channel: str
    last: int
    first: int
    first_id: str
    gap: Missed

    def check(self, given: list[int]) -> None:
        """All that is missing lies in the gap, and nothing that was had."""
        assert given[self.last] <= seq_of(self.gap.since) < given[self.last + 1], self
        assert given[self.first] == seq_of(self.first_id), self


class Client:
    """One of the crowd. It comes back when it has read ``most`` bytes, with its last cursor if its wire has one.

    It holds what it sees, over all its connections, against what it was told.
    """

    def __init__(
        self,
        people: Crowd,
        server: Server,
        looks: Looks,
        wire: str,
        channels: tuple[str, ...],
        chance: random.Random,
        most: int | None,
    ) -> None:
        self.people = people
        self.server = server
        self.looks = looks
        self.wire = wire
        self.chance = chance
        self.most = most
        self.channels = channels
        self.visits = 0
        self.last: dict[str, int] = {}
        self.untold: dict[str, Missed] = {}
        self.jumps: list[Jump] = []
        self.come(None)

    def come(self, cursor: str | None) -> None:
        if cursor is None or self.wire not in TELLING:
            self.last, self.untold = {}, {}
        self.visits += 1
        self.enough = self.chance.randrange(1, self.most) if self.most else None
        buffer = 4096 if self.channels == ("d",) else None  # who reads slowly does not have it in the kernel
        self.subscriber = Subscriber(self.server, self.wire, *self.channels, since=cursor, buffer=buffer)
        self.subscriber.take = self.take
        self.people.add(self.subscriber)

    def come_and_go(self) -> None:
        """If it has had enough, go without a word; come back at once."""
        if self.subscriber.over:
            # A page ends before it grows large; an idle connection is closed after seconds.
            assert self.most or self.wire in ("html", "poll", "jsonp"), f"{self.wire} ended"
        elif self.enough and self.subscriber.received >= self.enough:
            self.leave()
        else:
            return
        self.come(self.subscriber.cursor)

    def leave(self) -> None:
        if not self.subscriber.over:
            self.people.drop(self.subscriber)
            self.subscriber.leave(reset=self.chance.random() < 0.5)

    def take(self, items: Iterable[Item]) -> None:
        look = self.looks.at(items)
        for run in look.runs:
            gap = self.untold.pop(run.channel, None) or run.gap
            last = self.last.get(run.channel)
            if last is not None:
                assert run.first > last, (self.wire, last, run)
                if self.wire in TELLING and run.first != last + 1:
                    assert gap is not None, f"{self.wire}: {run.channel} goes from {last} to {run.first} silently"
                    self.jumps.append(Jump(run.channel, last, run.first, run.first_id, gap))
            assert self.wire not in TELLING or not run.jumps, (self.wire, run)
            self.last[run.channel] = run.last
        for channel in self.channels if look.gaps else ():
            for gap in look.gaps[look.passed.get(channel, 0) :]:
                self.untold.setdefault(channel, gap)

    def is_at(self, ends: dict[str, int]) -> bool:
        return all(self.last.get(channel) == ends[channel] for channel in self.channels)


def inside(server: Server) -> dict[str, int]:
    return dict(server.get("/inside", timeout=60 * PATIENCE).json())


def held(server: Server) -> dict[str, int]:
    return {name: count for name, count in inside(server).items() if name != "memory"}


def memory_of(process: int) -> int:
    """Bytes that it takes now."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_a_little(slow: list[Client]) -> None:
    """A few bytes for each that has some, but not all the time."""
    poll = select.poll()
    of_fd = {client.subscriber.fileno(): client for client in slow if not client.subscriber.over}
    for fd in of_fd:
        poll.register(fd, select.POLLIN)
    for fd, _ in poll.poll(0):
        of_fd[fd].subscriber.receive(500)


def allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 6000:
        pytest.skip(f"needs 6,000 open files, {most} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def a_server() -> Server:
    # No heartbeat wakes a stream that was not woken by an update.
    return Server(app="tests.live.inside:app", memory=MEMORY, heartbeat=600, write_timeout=60)


class Scene:
    """The server, and the crowd before it."""

    def __init__(self, server: Server, people: Crowd, chance: random.Random) -> None:
        self.server = server
        (self.worker,) = server.workers()
        self.people = people
        looks = Looks()

        def client(wire: str, channels: tuple[str, ...] = (), most: int | None = None) -> Client:
            people.turn(0)  # who has been answered asks again before its connection is too old
            if not channels:
                several = wire != "multipart" and chance.random() < 0.3
                channels = ("a", "b", "c") if several else (chance.choice("abc"),)
            return Client(people, server, looks, wire, channels, chance, most)

        self.slow = [client(LASTING[place % len(LASTING)], ("d",)) for place in range(SLOW)]
        for each in self.slow:
            people.drop(each.subscriber)
        self.clients = [client(EVERY[place % len(EVERY)]) for place in range(STREAMS)]
        self.visitors = [client(chance.choice(EVERY), most=50_000) for _ in range(VISITORS)]
        self.most_memory = 0

    def turn(self) -> None:
        self.people.turn()
        for client in (*self.clients, *self.visitors):
            client.come_and_go()

    @property
    def everybody(self) -> list[Client]:
        return [*self.clients, *self.slow, *self.visitors]

    def listen(self, seconds: float) -> dict[str, list[int]]:
        """Let the publishers go for so long, and until the slow are behind; return all places that they were given."""
        deadline = time.monotonic() + 30 * PATIENCE
        while held(self.server)["streams"] != len(self.everybody):
            assert time.monotonic() < deadline, held(self.server)
            self.turn()
        url = f"{self.server.url}/inside/publishers"
        requests.post(url, timeout=10 * PATIENCE)
        begun, stuck = time.monotonic(), 0
        while stuck < SLOW / 2:
            assert time.monotonic() < begun + 40 * PATIENCE, f"only {stuck} of the slow are behind"
            then = time.monotonic() + seconds
            while time.monotonic() < then:
                self.turn()
                read_a_little(self.slow)
                self.most_memory = max(self.most_memory, memory_of(self.worker))
            stuck, seconds = held(self.server)["writers"], 1.0
        return dict(requests.delete(url, timeout=60 * PATIENCE).json())

    def catch_up(self, ends: dict[str, int]) -> None:
        """Read until all but the visitors have the last update of each of their channels."""
        for client in self.visitors:
            client.leave()
        for client in self.slow:
            self.people.add(client.subscriber)
        behind = [*self.clients, *self.slow]
        deadline = time.monotonic() + 30 * PATIENCE
        while behind:
            assert time.monotonic() < deadline, [(client.wire, client.last, ends) for client in behind[:5]]
            self.people.turn()
            for client in behind:
                client.come_and_go()
            behind = [client for client in behind if not client.is_at(ends)]

    def leave(self) -> None:
        for client in (*self.clients, *self.slow):
            client.leave()


@pytest.fixture
def chance() -> random.Random:
    """To repeat a run that failed, set COMET_TEST_SEED to what it printed."""
    seed = int(os.environ.get("COMET_TEST_SEED") or random.randrange(1 << 32))
    print(f"COMET_TEST_SEED={seed}")
    return random.Random(seed)


def test_two_thousand_streams_lose_nothing_silently(chance: random.Random) -> None:
    """All wires, 30 slow readers, 200 that come and go, three publishers at full speed; and all of them once more.

    The worker's memory stays below what it may keep and what the streams may take, and a second crowd adds nothing
    to that.
    """
    allow_many_files()
    with a_server() as server, crowd() as people:
        server.publish("warm.up", "")
        before, memory_before = held(server), memory_of(server.workers()[0])
        memory = []
        for seconds in SECONDS:
            scene = Scene(server, people, chance)
            given = scene.listen(seconds)
            scene.catch_up({channel: len(places) - 1 for channel, places in given.items()})
            jumps = [jump for client in scene.everybody for jump in client.jumps]
            for jump in jumps:
                jump.check(given[jump.channel])
            assert jumps, "the publishers were to outrun them"
            assert sum(client.visits for client in scene.visitors) > VISITORS
            scene.leave()
            until(lambda: held(server) == before, seconds=30, what=f"nothing left of them; there was {before}")
            assert scene.most_memory - memory_before < KEPT + A_STREAM * len(scene.everybody)
            memory.append(memory_of(scene.worker))
        assert memory[1] - memory[0] < KEPT
