"""The broker in Redis: the workers of many hosts share one log.

Strategy: Redis is the truth, and changes only by the transactions of one script (``log.lua``). Each worker keeps a
window on it (``window.py``), publishes in calls of the script for all that has gathered (``publisher.py``), hears
frames of what all have published, and looks once a second, which is what counts. What is older than its window, a
reader is given from Redis, page by page.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from operator import attrgetter

import gevent
import redis
from gevent.lock import BoundedSemaphore

from ...core.cursor import NOWHERE
from ...core.errors import BrokerAway, SettingsError
from ...core.log import Entry, Log, Page, Position
from ...core.ring import REMEMBERED
from ...core.rules import Rules
from .. import Deliver, Hear, Lease, Receipt
from .link import Link, Standing, is_hopeless
from .listening import listen
from .publisher import Job, Publisher
from .window import Window


#: Seconds that a publisher waits for what it has published to be in this worker's log.
SOON = 0.25

#: Seconds between two looks, and between two tidyings; channels in one call of those, and the most calls.
LOOK = 1.0
TIDY = 5.0
SLICE = 50
SLICES = 100

#: Entries of each channel in one page that comes from Redis.
PAGE = 32

_seq = attrgetter("seq")


class RedisBroker:
    """The log below the prefix of a Redis URL. ``limit`` bounds this worker's window on it in bytes."""

    def __init__(
        self,
        url: str,
        *,
        rules: Rules | None = None,
        limit: int = 1 << 28,
        max_channels: int = 10_000,
        idempotency_seconds: float = 3600.0,
    ) -> None:
        # Until Redis is reached, cursors are worth nothing.
        self.log = Log(NOWHERE.epoch, rules=rules, limit=limit, mirror=True)
        self._link = Link(url, self.log)
        self.woken: Callable[[], None] = lambda: None
        self._window = Window(self._link, lambda: self.woken())
        self._publisher = Publisher(self._link, max_channels=max_channels, idempotency_seconds=idempotency_seconds)
        self._reading = BoundedSemaphore(4)
        self._used: Container[str] = ()
        self._greenlets: list[gevent.Greenlet] = []

    # Life.

    def start(self, deliver: Deliver) -> None:
        self._window.deliver = deliver
        connection = self._link.connection()
        try:
            if danger := self._link.danger():
                raise SettingsError(f"COMET_BROKER: {danger}")
            self._window.subscribe(connection)
        except redis.RedisError as error:
            connection.disconnect()
            if is_hopeless(error):
                raise SettingsError(f"COMET_BROKER: {self._link.explain(error)}") from error
            self._link.failed(error)  # it may come; then all is as if it had been there
        self._publisher.begin()
        self._greenlets = [
            gevent.spawn(self._publisher.run),
            gevent.spawn(self._window.listen, connection),
            gevent.spawn(self._keeper),
        ]

    def stop(self) -> None:
        gevent.killall(self._greenlets)
        self._link.close()

    def check(self) -> None:
        """Raise BrokerAway if nothing can be published now."""
        if self._link.fault:
            raise BrokerAway(self._link.fault)

    # Publishing.

    def publish(self, entries: Sequence[Entry]) -> list[Receipt]:
        return self._publish(Job(list(entries)))

    def publish_under(self, lease: Lease, entries: Sequence[Entry], checkpoint: str | None = None) -> list[Receipt]:
        return self._publish(Job(list(entries), lease, checkpoint))

    def _publish(self, job: Job) -> list[Receipt]:
        receipts = self._publisher.publish(job)
        if receipts and self._greenlets:
            # Who has published finds it here as soon as it is told so.
            newest = max(receipts, key=_seq)
            self._window.wait_for(newest.epoch, newest.seq, SOON)
        return receipts

    # Leases.

    def lease(self, name: str, seconds: float) -> Lease | None:
        fence = self._ask("lease", name, self._publisher.me, seconds)
        return Lease(name, int(fence)) if fence else None

    def give_back(self, lease: Lease) -> None:
        self._ask("give_back", lease.name, self._publisher.me, lease.fence)

    def checkpoint(self, name: str) -> str | None:
        text = self._ask("checkpoint", name)
        return text[1:] if text else None

    def _ask(self, verb: str, *arguments: object) -> str | None:
        try:
            return self._link.call(verb, *arguments).says
        except redis.RedisError as error:
            raise BrokerAway(self._link.explain(error)) from error

    # Watching.

    def watch(self, channels: Mapping[str, float]) -> None:
        self._ask("watch", *(argument for each in channels.items() for argument in each))

    def watched(self, channels: Collection[str]) -> set[str]:
        return set((self._ask("watched", *channels) or "").split())

    # Other programs.

    def listen(self, prefixes: Sequence[str], hear: Hear) -> None:
        listen(self._link, prefixes, hear)

    # Reading.

    def catch_up(self) -> None:
        """Look now: another worker may be ahead."""
        try:
            self._window.look()
        except redis.RedisError as error:
            self._link.failed(error)
            raise BrokerAway(self._link.explain(error)) from error

    def since(self, at: Position, *, size: int, limit: int) -> Page:
        if at.epoch == self.log.epoch and self.log.lacks(at.names, at.seq):
            with self._reading:
                try:
                    for _ in "12":
                        if not self._link.fault and (page := self._from_redis(at, size, limit)):
                            return page
                        self._window.look()  # it may be another run of the same log
                except redis.RedisError as error:
                    self._link.failed(error)
        return self.log.read(at, size=size, limit=limit)

    def _from_redis(self, at: Position, size: int, limit: int) -> Page | None:
        """The page of a reader who is behind this worker's window: what that lacks, Redis may still have."""
        upto, rules = self.log.head, self.log.rules
        newest = [name for name in at.names if at.newest_only or rules[name].conflate]
        piece = self._link.read(dict.fromkeys(at.names, at.seq), upto, PAGE, newest)
        if not piece.standing.reaches(Standing(at.epoch, self._link.run, upto)):
            return None
        scratch = Log(at.epoch, rules=rules)
        lost = {name: piece.records[name].lost if name in piece.records else piece.floor for name in at.names}
        for name, seq in lost.items():
            scratch.adopt(name, seq)
        # Beyond the last entry of a channel that has more, another channel may have something first.
        bound = min([upto, *(found[-1].seq for found in piece.entries.values() if len(found) == PAGE)])
        for entry in sorted((entry for found in piece.entries.values() for entry in found), key=_seq):
            if entry.seq <= bound:
                scratch.append(entry)
        for name in newest:
            scratch.rings[name].lost = lost[name]  # what was not read is skipped, not lost
        scratch.head, scratch.floor = bound, piece.floor
        page = scratch.read(at, size=size, limit=limit)
        return page if bound == upto else page._replace(more=True, told=scratch.missed(at.names, at.seq))

    # Letting time pass.

    def tick(self, now: float, used: Container[str]) -> Iterator[None]:
        self._used = used
        yield from self.log.tick(now + self._window.ahead, used)  # by the clock that has stamped them

    def _keeper(self) -> None:
        """Look once a second and tidy now and then, for ever."""
        tidied = 0.0
        while True:
            gevent.sleep(LOOK * random.uniform(0.8, 1.0))
            try:
                self._window.look()
                if time.monotonic() - tidied >= TIDY:
                    tidied = time.monotonic()
                    self._tidy()
            except Exception as error:
                self._link.failed(error)

    def _tidy(self) -> None:
        """Drop what is too old, and forget channels that nobody needs. Those that are subscribed to here are needed."""
        now = time.time() + self._window.ahead
        empty = [name for name, ring in self.log.rings.items() if not len(ring) and name in self._used]
        self._link.postpone(empty, now + REMEMBERED)
        for _ in range(SLICES):
            due = self._link.overdue(now, SLICE)
            self._link.call("tidy", *(argument for name in due for argument in (name, self._link.rule(name))))
            if len(due) < SLICE:
                return
