"""The broker in one SQLite file: all workers of a host share it, and it survives restarts and ``kill -9``.

Strategy: the file is the truth; each worker's log is a mirror of it. Publishing goes through one writer thread, which
commits what has gathered meanwhile together; nothing in the hub ever waits for a lock or a disk. Then every worker,
this one too, learns of the new entries in the same way: it *looks*, in SEQ order over all channels. A datagram says
that there is something to see; a look four times a second is what counts.
"""

from __future__ import annotations

import logging
import random
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import gevent
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool

from ...core.errors import BrokerAway, CometError, SettingsError
from ...core.log import Entry, Log, Page, Position
from ...core.rules import Rules
from .. import Deliver, Lease, Receipt
from . import leases, watched
from .bell import ENTRIES, WATCHED, Bell
from .file import File, explain
from .mirror import Mirror, Outdated
from .store import Batch, Options, Store


log = logging.getLogger("comet")

T = TypeVar("T")

#: Updates that are committed together at the most: the lock is held for a few milliseconds.
GROUP = 100

#: Seconds that a publisher waits before it is told that the broker is away.
ANSWER = 2.0

#: Seconds between two looks when no bell rings, and between two tidyings.
LOOK = 0.25
TIDY = 5.0

#: The most transactions of one tidying.
SLICES = 100

MAYBE = "the update may have been accepted; with the same Idempotency-Key it is safe to repeat it."


@dataclass(slots=True, eq=False)
class _Job:
    batch: Batch
    result: AsyncResult = field(default_factory=AsyncResult)


class SqliteBroker:
    """The log in the file ``path``. ``limit`` bounds this process's mirror in bytes; the file keeps what is older."""

    def __init__(
        self,
        path: Path,
        *,
        rules: Rules | None = None,
        limit: int = 1 << 28,
        max_channels: int = 10_000,
        idempotency_seconds: float = 3600.0,
        synchronous: str = "NORMAL",
    ) -> None:
        rules = rules or Rules()
        self.path = path
        self.log = Log("", rules=rules, limit=limit, mirror=True)
        self._mirror = Mirror(path, self.log)
        self._file = File(path, synchronous=synchronous)
        self._store = Store(self._file, Options(rules, max_channels, idempotency_seconds))
        #: What does not work now, and why.
        self._faults: dict[str, str] = {}
        self._jobs: deque[_Job] = deque()
        self._work = Event()
        self._news = Event()
        self._bell = Bell(path, self._hear)
        self._pool: ThreadPool | None = None
        self._greenlets: list[gevent.Greenlet] = []
        self._used: Container[str] = ()
        self._me = secrets.token_hex(8)
        self.woken: Callable[[], None] = lambda: None

    # Life.

    def start(self, deliver: Deliver) -> None:
        self._mirror.deliver = deliver
        # A thread of its own: gevent's pool is shared with name lookups, which would wait for our disk.
        self._pool = ThreadPool(1)
        if wrong := self._pool.apply(self._open):
            raise wrong
        self._mirror.look()
        self._bell.start()
        self._greenlets = [gevent.spawn(self._writer), gevent.spawn(self._looker), gevent.spawn(self._keeper)]

    def _open(self) -> SettingsError | None:
        # What is raised in a thread of a pool, gevent prints with its trace, whoever takes care of it.
        try:
            self._file.open()
        except SettingsError as error:
            return error
        return None

    def stop(self) -> None:
        self._bell.stop()
        gevent.killall(self._greenlets)
        if self._pool is not None:
            self._pool.apply(self._file.close)
            self._pool.kill()
            self._pool = None
        self._mirror.close()

    def check(self) -> None:
        """Raise BrokerAway if the file can't be used now."""
        for fault in self._faults.values():
            raise BrokerAway(fault)

    def _fails(self, what: str, fault: str) -> None:
        if fault != self._faults.get(what):
            log.error("comet: %s", fault)
        self._faults[what] = fault

    def _works(self, what: str) -> None:
        self._faults.pop(what, None)

    # Publishing.

    def publish(self, entries: Sequence[Entry]) -> list[Receipt]:
        return self._publish(Batch(list(entries)))

    def publish_under(self, lease: Lease, entries: Sequence[Entry], checkpoint: str | None = None) -> list[Receipt]:
        return self._publish(Batch(list(entries), lease, checkpoint))

    def _publish(self, batch: Batch) -> list[Receipt]:
        job = _Job(batch)
        self._jobs.append(job)
        self._work.set()
        try:
            with gevent.Timeout(ANSWER, BrokerAway(f"{self.path} does not answer within {ANSWER:g} s; {MAYBE}")):
                outcome: list[Receipt] | CometError = job.result.get()
        except BrokerAway as error:
            if job in self._jobs:
                self._jobs.remove(job)  # else it would be written after who has given it up has repeated it
            self._fails("writing", str(error))
            raise
        if isinstance(outcome, CometError):
            raise outcome
        return outcome

    def _writer(self) -> None:
        """Commit what has gathered, group after group, for ever."""
        while True:
            self._work.wait()
            self._work.clear()
            while self._jobs:
                self._commit(self._gather())

    def _gather(self) -> list[_Job]:
        jobs = [self._jobs.popleft()]
        size = len(jobs[0].batch.entries)
        while self._jobs and size + len(self._jobs[0].batch.entries) <= GROUP:
            jobs.append(self._jobs.popleft())
            size += len(jobs[-1].batch.entries)
        return jobs

    def _commit(self, jobs: list[_Job]) -> None:
        assert self._pool is not None
        try:
            outcomes = self._pool.apply(self._store.write, ([job.batch for job in jobs],))
        except CometError as error:
            self._fails("writing", str(error))
            outcomes = [BrokerAway(f"{error} {MAYBE}")] * len(jobs)
        else:
            self._works("writing")
            self._bell.ring(ENTRIES)
            self._look()  # who has published finds it here, as soon as it is told so
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.result.set(outcome)

    # Leases.

    def lease(self, name: str, seconds: float) -> Lease | None:
        return self._under_lock(leases.take, name, self._me, seconds)

    def give_back(self, lease: Lease) -> None:
        self._under_lock(leases.give_back, lease)

    def checkpoint(self, name: str) -> str | None:
        return self._under_lock(leases.checkpoint, name)

    def _under_lock(self, work: Callable[..., T], *arguments: object) -> T:
        if self._pool is None:
            raise BrokerAway(f"{self.path} is closed.")
        try:
            result: T = self._pool.apply(self._store.run, (work, *arguments))
        except (sqlite3.Error, OSError) as error:
            raise BrokerAway(explain(self.path, error)) from error
        return result

    # Watching.

    def watch(self, channels: Mapping[str, float]) -> None:
        if self._under_lock(watched.watch, channels):
            self._bell.ring(WATCHED)
            self.woken()

    def watched(self, channels: Collection[str]) -> set[str]:
        try:
            return self._mirror.ask(watched.find, self._store.options.clock(), channels, missing=set())
        except sqlite3.Error as error:
            raise BrokerAway(explain(self.path, error)) from error

    # Looking and reading.

    def _hear(self, what: bytes) -> None:
        if what == WATCHED:
            self.woken()
        else:
            self._news.set()

    def catch_up(self) -> None:
        """Look now: another worker may be ahead."""
        self._look()

    def since(self, at: Position, *, size: int, limit: int) -> Page:
        if at.epoch == self.log.epoch and self.log.lacks(at.names, at.seq):
            try:
                page = self._mirror.read(at, size=size, limit=limit)
                self._works("reading")
                return page
            except sqlite3.Error as error:
                self._fails("reading", explain(self.path, error))
        return self.log.read(at, size=size, limit=limit)

    def _looker(self) -> None:
        while True:
            self._news.wait(LOOK)
            self._news.clear()
            self._look()

    def _look(self) -> None:
        try:
            self._mirror.look()
            self._works("looking")
        except Outdated:
            self._begin_epoch()
        except sqlite3.Error as error:
            self._mirror.close()
            self._fails("looking", explain(self.path, error))

    def _begin_epoch(self) -> None:
        """The file is older than what was seen of it: another epoch, or its SEQs would come twice."""
        try:
            self._under_lock(self._store.begin_epoch, self.log.epoch)
            self._news.set()
        except CometError as error:
            self._fails("writing", str(error))

    # Letting time pass.

    def tick(self, now: float, used: Container[str]) -> Iterator[None]:
        self._used = used
        yield from self.log.tick(now, used)

    def _keeper(self) -> None:
        while True:
            gevent.sleep(TIDY * random.uniform(0.8, 1.0))
            self._tidy()

    def _tidy(self) -> None:
        """Drop what is too old, and forget channels that nobody needs. Those that are subscribed to here are needed."""
        assert self._pool is not None
        try:
            for _ in range(SLICES):
                if not self._pool.apply(self._store.tidy, (self._used,)):
                    break
            self._works("writing")
        except CometError as error:
            self._fails("writing", str(error))
