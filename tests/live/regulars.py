"""Regulars: clients on all wires who come back whenever their stream ends, as it asks them to, and authors who publish
until they are told that it is accepted.

Strategy: each update says of which channel it is and its number there, 1, 2, 3, …; an author gives the next number only
when the one before is accepted. So a client holds all that it is told against its last number: of thousands none keeps
more than that. Which id a number has, the author is told, and the client, too: both must say the same.
"""

from __future__ import annotations

import heapq
import json
import random
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from types import TracebackType

import requests

from tests.live.clients import Subscriber
from tests.live.readers import EVERY, LASTING, SSE, TELLING, Item, Missed
from tests.live.server import Server
from tests.live.test_crowd import Looks
from tests.timing import PATIENCE


#: Seconds after which something that should come about has not.
PATIENT = 60 * PATIENCE

#: Seconds until somebody comes back whose wire can't ask for it, or who was cut.
PAUSE = (0.5, 4.0)

#: What those come by who can go on where they were. Each poll is a request: they are fewer.
OFTEN = ("sse", "envelope", "ndjson", "iframe") * 4 + ("poll", "jsonp")
assert set(OFTEN) == set(TELLING)


class Oracle:
    """What authors were told, and clients. ``ends``: the last number of each channel."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self._ids: dict[tuple[str, int], str] = {}
        self._one = threading.Lock()

    def say(self, channel: str, number: int, id: str) -> None:
        """This update has this id. Fails if it had another."""
        with self._one:
            before = self._ids.setdefault((channel, number), id)
        assert before == id, f"{channel} {number} is {id} and {before}"


class Author:
    """Publishes to channels that nobody else publishes to, one or some together. Each is repeated, with its idempotency
    key, until it is accepted. ``pause``: seconds after each update."""

    def __init__(self, server: Server, oracle: Oracle, channels: Sequence[str], pause: float = 0.0) -> None:
        self.server = server
        self.oracle = oracle
        self.channels = channels
        self.pause = pause
        self.dice = random.Random(channels[0])
        self.published = self.repeated = 0
        self._session = requests.Session()

    def publish(self) -> None:
        together = self.dice.choice((1, 1, 2, 5, 10))
        names = [self.dice.choice(self.channels) for _ in range(together)]
        updates = []
        for name in names:
            self.oracle.ends[name] += 1
            updates.append((name, self.oracle.ends[name]))
        epoch, _, first = self._accepted(updates).rpartition("-")
        for place, (name, number) in enumerate(updates):
            self.oracle.say(name, number, f"{epoch}-{int(first) + place}")
        self.published += together
        time.sleep(self.pause * together * self.dice.uniform(0, 2))

    def close(self) -> None:
        self._session.close()

    def _accepted(self, updates: Sequence[tuple[str, int]]) -> str:
        """Publish these until they are accepted; return the first id."""
        deadline = time.monotonic() + PATIENT
        post = self._post_one if len(updates) == 1 else self._post_all
        while True:
            assert time.monotonic() < deadline, f"not accepted within {PATIENT} s"
            try:
                answer = post(updates)
                if answer.status_code in (200, 201):
                    return self._first(answer, len(updates))
                assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
            except requests.RequestException:
                self._session.close()
            self.repeated += 1
            time.sleep(self.dice.uniform(0, 0.1))

    # Of one type, both ways: a multipart stream shows one.

    def _post_one(self, updates: Sequence[tuple[str, int]]) -> requests.Response:
        ((channel, number),) = updates
        headers = {**self.server.auth, "Content-Type": "text/plain; charset=utf-8", "Idempotency-Key": f"{number}"}
        return self._session.post(
            f"{self.server.url}/channels/{channel}", data(channel, number), headers=headers, timeout=5
        )

    def _post_all(self, updates: Sequence[tuple[str, int]]) -> requests.Response:
        lines = [{"channel": channel, "data": data(channel, number), "key": f"{number}"} for channel, number in updates]
        headers = {**self.server.auth, "Content-Type": "application/x-ndjson"}
        return self._session.post(
            f"{self.server.url}/channels", "\n".join(map(json.dumps, lines)), headers=headers, timeout=5
        )

    @staticmethod
    def _first(answer: requests.Response, together: int) -> str:
        says = answer.json()
        first, last = (says["id"], says["id"]) if "id" in says else (says["first"], says["last"])
        assert int(last.rpartition("-")[2]) == int(first.rpartition("-")[2]) + together - 1, f"a batch is one: {says}"
        return str(first)


def data(channel: str, number: int) -> str:
    return f"{channel} {number} {'-' * 60}"


class Regular:
    """A client. One whose wire has cursors has everything from the beginning to the end, over all its visits, whatever
    its wire is each time; each other one has what comes while it is there, in order.

    ``restless``: seconds that it stays in the mean; None: until it is sent away.
    """

    __slots__ = ("channels", "cursor", "last", "moves", "restless", "stream", "throng", "told", "wire")

    def __init__(self, throng: Throng, wire: str, channels: Sequence[str], restless: float | None) -> None:
        self.throng = throng
        self.wire = wire
        self.channels = channels
        self.restless = restless
        self.cursor: str | None = throng.begin if wire in TELLING else None
        self.last: dict[str, int] = dict.fromkeys(channels, 0) if self.cursor else {}
        #: Channels for which a gap was told, and nothing yet that follows it.
        self.told: set[str] = set()
        self.moves = 0
        self.stream: Subscriber | None = None

    def come(self) -> None:
        self.moves += 1
        if self.wire in TELLING:
            self.wire = self.throng.dice.choice(OFTEN)
        else:
            self.last = {}
        parameters = {"callback": "callback"} if self.wire == "jsonp" else {}
        try:
            stream = Subscriber(self.throng.server, self.wire, *self.channels, since=self.cursor, **parameters)
        except OSError:
            self.throng.wait(self, self.throng.dice.uniform(*PAUSE))  # nobody listens just now
            return
        stream.take = self.take
        self.stream = stream
        self.throng.add(self, stream)
        if self.restless:
            self.throng.wait(self, self.throng.dice.expovariate(1 / self.restless))

    def due(self) -> None:
        """Its time has come to come, or to go."""
        if self.stream is None:
            self.come()
        elif not self.throng.settled:
            self.leave(reset=self.throng.dice.random() < 0.5)
            self.throng.wait(self, self.throng.dice.uniform(0, 2))

    def receive(self) -> None:
        stream = self.stream
        assert stream is not None
        stream.receive()
        if not stream.over and stream.answered:
            try:
                stream.ask()
            except OSError:
                stream.over = True  # it has gone meanwhile
        if stream.over or (stream.response.complete and not stream.answered):
            pause = self._sent_away(stream)
            self.leave()
            self.throng.wait(self, pause)

    def _sent_away(self, stream: Subscriber) -> float:
        """Seconds until it comes back."""
        status, throng = stream.response.status, self.throng
        assert status in (0, 200, 503), f"{status}: {stream.refusal!r}"
        if status == 503:
            throng.refused += 1
            return float(stream.response.headers["retry-after"]) * throng.dice.uniform(1, 1.5)
        if status == 200 and stream.wire in ("poll", "jsonp"):
            return throng.dice.uniform(0, 0.5)
        if not stream.response.complete:
            throng.cut += 1
        if isinstance(stream.reader, SSE) and stream.reader.retry is not None:
            if stream.reader._opening.startswith(b"retry:"):
                throng.refused += 1
            elif stream.response.complete:
                throng.goodbyes.append(stream.reader.retry)
            return stream.reader.retry / 1000
        return throng.dice.uniform(*PAUSE)

    def leave(self, *, reset: bool = False) -> None:
        """Go, with the cursor that it has."""
        stream, self.stream = self.stream, None
        self.moves += 1
        if stream is not None:
            self.throng.drop(stream)
            stream.leave(reset=reset)
            if self.wire in TELLING:
                self.cursor = stream.cursor

    def take(self, items: Iterable[Item]) -> None:
        look = self.throng.looks.at(items)
        if look.gaps:
            self.told = set(self.channels)
            self.throng.gaps += [(self.wire, gap) for gap in look.gaps]
        for run in look.runs:
            name = run.channel
            last = self.last.get(name)
            assert name in self.channels, (self.wire, name)
            assert last is None or run.first > last, (self.wire, f"after {last}", run)
            if name in self.throng.exact and self.wire not in ("html", "multipart"):
                assert not run.jumps, (self.wire, run)
                if last is not None and run.first != last + 1:
                    assert name in self.told, f"{self.wire}: {name} goes from {last} to {run.first} silently"
                    self.throng.jumps += 1
            self.told.discard(name)
            self.last[name] = run.last
            if run.first_id and name in self.throng.exact and self.wire != "html":
                self.throng.oracle.say(name, run.first, run.first_id)

    def is_at(self, ends: dict[str, int]) -> bool:
        return all(self.last.get(name, 0) == ends[name] for name in self.channels if name in ends)


class Throng:
    """Many regulars, read in one thread.

    ``exact``: the channels of which nothing may be missing; of the others only the order is known. ``begin``: a cursor
    before all of it. ``goodbyes``: what event streams were told with their ends, in milliseconds; ``gaps`` were told;
    ``jumps``: numbers that are missing after one was told; ``refused``, ``cut``: how often somebody was.
    """

    def __init__(self, server: Server, oracle: Oracle, exact: Iterable[str], begin: str, dice: random.Random) -> None:
        self.server = server
        self.oracle = oracle
        self.exact = frozenset(exact)
        self.begin = begin
        self.dice = dice
        self.looks = Looks()
        self.regulars: list[Regular] = []
        self.settled = False
        self.goodbyes: list[int] = []
        self.gaps: list[tuple[str, Missed]] = []
        self.jumps = self.refused = self.cut = 0
        self._epoll = select.epoll()
        self._by_fd: dict[int, Regular] = {}
        self._due: list[tuple[float, int, Regular, int]] = []
        self._order = count()

    def __enter__(self) -> Throng:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for regular in self.regulars:
            regular.leave()
        self._epoll.close()

    def invite(self, many: int, channels: Sequence[str], *, restless: float, within: float) -> None:
        """So many more come, within so many seconds; every second one is restless."""
        for place in range(many):
            wire = EVERY[place % len(EVERY)]
            several = 1 if wire == "multipart" else self.dice.choice((1, 1, 2, 3))
            names = tuple(self.dice.sample(channels, several))
            regular = Regular(self, wire, names, restless if place // len(EVERY) % 2 else None)
            self.regulars.append(regular)
            self.wait(regular, within * place / many)

    # For the regulars.

    def add(self, regular: Regular, stream: Subscriber) -> None:
        stream.sock.setblocking(True)
        self._by_fd[stream.fileno()] = regular
        self._epoll.register(stream.fileno(), select.EPOLLIN)

    def drop(self, stream: Subscriber) -> None:
        del self._by_fd[stream.fileno()]
        self._epoll.unregister(stream.fileno())

    def wait(self, regular: Regular, seconds: float) -> None:
        """Its time comes then, if it has neither come nor gone by that time."""
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), regular, regular.moves))

    # For the test.

    @property
    def there(self) -> int:
        """How many are served: who asks by polls may be waiting for the first answer."""
        streams = [regular.stream for regular in self._by_fd.values()]
        return sum(stream is not None and (stream.opened or stream.wire not in LASTING) for stream in streams)

    @property
    def complete(self) -> bool:
        """Everybody is there, or has been."""
        return all(regular.moves for regular in self.regulars)

    def turn(self, timeout: float = 0.02) -> None:
        """Read once for everybody who has something; let come and go whose time it is."""
        for fd, _ in self._epoll.poll(timeout):
            self._by_fd[fd].receive()
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, regular, moves = heapq.heappop(self._due)
            if moves == regular.moves:
                regular.due()

    def until(self, state: Callable[[], object], *, seconds: float = PATIENT, what: str = "") -> None:
        """Read until the state holds, which is asked for ten times a second; fail if it does not within ``seconds``."""
        deadline = time.monotonic() + seconds
        while not state():
            now = time.monotonic()
            assert now < deadline, f"not within {seconds} s: {what}"
            while time.monotonic() < now + 0.1:
                self.turn()

    def settle(self, ends: dict[str, int], *, away: bool = True) -> None:
        """Nobody leaves by itself any more; read until everybody is at these ends, or, without who is ``away``."""
        self.settled = True

        def behind() -> list[Regular]:
            return [each for each in self.regulars if not each.is_at(ends) and (away or each.stream)]

        try:
            self.until(lambda: not behind())
        except AssertionError:
            print(
                ends,
                *[(each.wire, each.last, each.cursor, each.stream is not None) for each in behind()[:10]],
                sep="\n",
            )
            raise

    def leave(self) -> None:
        for regular in self.regulars:
            regular.leave()
        self._due.clear()
