"""The broker in one SQLite file: all workers of a host share it, and it survives restarts and ``kill -9``.

Strategy: the file is the truth; each worker's log is a mirror of it. Publishing goes through one writer thread, which
commits what has gathered meanwhile together; nothing in the hub ever waits for a lock or a disk. Then every worker,
this one too, learns of the new entries in the same way: it *looks*, in SEQ order over all channels. A datagram says
that there is something to see; a look four times a second is what counts.
"""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import gevent
from gevent.event import AsyncResult, Event
from gevent.threadpool import ThreadPool

from ...breath import breathe
from ...core.errors import BrokerAway, CometError
from ...core.log import Entry, Log, Page, Position
from ...core.rules import Rule, Rules
from .. import Deliver, Lease, Receipt
from . import leases
from .bell import Bell
from .file import File, connect, explain, head_of, inode
from .store import COLUMNS, Batch, Options, Store, to_entry


log = logging.getLogger("comet")

T = TypeVar("T")

#: Updates that are committed together at the most: the lock is held for a few milliseconds.
GROUP = 100

#: Seconds that a publisher waits before it is told that the broker is away.
ANSWER = 2.0

#: Seconds between two looks when no bell rings, and between two tidyings.
LOOK = 0.25
TIDY = 5.0

#: Rows that are read without a breath.
ROWS = 100

MAYBE = "the update may have been accepted; with the same Idempotency-Key it is safe to repeat it."


@dataclass(slots=True)
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
        self.log = Log("", rules=rules, limit=limit)
        self._file = File(path, synchronous=synchronous)
        self._store = Store(self._file, Options(rules, max_channels, idempotency_seconds))
        self._reader: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._version = -1
        self._fault = ""
        self._jobs: deque[_Job] = deque()
        self._work = Event()
        self._news = Event()
        self._bell = Bell(path, self._news.set)
        self._pool: ThreadPool | None = None
        self._greenlets: list[gevent.Greenlet] = []
        self._tidied_at = 0.0
        self._deliver: Deliver = lambda names: None
        self._me = secrets.token_hex(8)

    # Life.

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        # A thread of its own: gevent's pool is shared with name lookups, which would wait for our disk.
        self._pool = ThreadPool(1)
        self._pool.apply(self._file.open)
        self._look()
        self._bell.start()
        self._greenlets = [gevent.spawn(self._writer), gevent.spawn(self._looker)]

    def stop(self) -> None:
        self._bell.stop()
        gevent.killall(self._greenlets)
        if self._pool is not None:
            self._pool.apply(self._file.close)
            self._pool.kill()
            self._pool = None
        self._close_reader()

    def check(self) -> None:
        """Raise BrokerAway if the file can't be used now."""
        if self._fault:
            raise BrokerAway(self._fault)

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
            self._fault = str(error)
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
            self._fault = str(error)
            outcomes = [BrokerAway(f"{error} {MAYBE}")] * len(jobs)
        else:
            self._fault = ""
            self._bell.ring()
            self._try_to_look()  # who has published finds it here, as soon as it is told so
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

    # Looking.

    def catch_up(self) -> None:
        """Look now: another worker may be ahead."""
        self._look()

    def _looker(self) -> None:
        while True:
            self._news.wait(LOOK)
            self._news.clear()
            self._try_to_look()

    def _try_to_look(self) -> None:
        try:
            self._look()
        except sqlite3.Error as error:
            self._close_reader()
            self._report(explain(self.path, error))

    def _report(self, fault: str) -> None:
        if fault != self._fault:
            log.error("comet: %s", fault)
        self._fault = fault

    def _look(self) -> None:
        """Take over what is new in the file, in SEQ order, piece by piece."""
        while self._look_once():
            breathe()

    def _look_once(self) -> bool:
        """Take over up to ROWS entries; return whether there are more. No switch in between: others look too."""
        db = self._open_reader()
        if db is None:
            return False
        version = db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return False
        db.execute("BEGIN")
        try:
            epoch, floor, holes = db.execute("SELECT epoch, floor, holes FROM state").fetchone()
            if epoch != self.log.epoch:
                self._mirror(db, epoch)
            head = head_of(db)
            if head < self.log.head:
                return self._lost_its_tail()
            self.log.floor = max(self.log.floor, floor)
            self.log.holes = [(before, after) for before, after in json.loads(holes)]
            rows = db.execute(
                f"SELECT {COLUMNS} FROM entry WHERE seq > ? ORDER BY seq LIMIT ?", (self.log.head, ROWS)
            ).fetchall()
        finally:
            db.execute("COMMIT")
        entries = [to_entry(epoch, row) for row in rows]
        for entry in entries:
            self.log.append(entry)
        if len(rows) < ROWS:
            self.log.head = max(self.log.head, head)
            self._version = version
        if entries:
            self._deliver({entry.channel for entry in entries})
        return len(rows) == ROWS

    def _mirror(self, db: sqlite3.Connection, epoch: str) -> None:
        """Begin anew with the channels of the file; their entries follow by looking."""
        self.log.restart(epoch)
        for name, lost in db.execute("SELECT name, lost FROM channel").fetchall():
            self.log.adopt(name, lost)
        self._deliver(list(self.log.rings))

    def _lost_its_tail(self) -> bool:
        """The file is older than what was seen of it: another epoch, or its SEQs would come twice."""
        self._report(f"{self.path} is older than it was; a new epoch begins.")
        assert self._pool is not None
        gevent.spawn(self._pool.apply, self._store.begin_epoch, (self.log.epoch,))
        return False

    def _open_reader(self) -> sqlite3.Connection | None:
        found = inode(self.path)
        if self._reader is not None and found != self._inode:
            self._close_reader()
        if self._reader is None:
            if found == (0, 0):
                return None  # deleted; the next write makes a new one
            self._reader = connect(self.path)
            self._inode = found
            self._version = -1
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # Reading.

    def since(self, at: Position, *, size: int, limit: int) -> Page:
        if at.epoch != self.log.epoch or not self.log.lacks(at.names, at.seq):
            return self.log.read(at, size=size, limit=limit)
        try:
            return self._from_file(at, size, min(limit, ROWS))
        except sqlite3.Error as error:
            self._report(explain(self.path, error))
            return self.log.read(at, size=size, limit=limit)

    def _from_file(self, at: Position, size: int, limit: int) -> Page:
        """The page of a reader who is behind this worker's mirror: what it lacks, the file may still have."""
        db = self._open_reader()
        if db is None:
            return self.log.read(at, size=size, limit=limit)
        db.execute("BEGIN")
        try:
            scratch = Log(self.log.epoch, rules=_Untrimmed(self.log.rules))
            rows: list[tuple[Any, ...]] = []
            bound = head_of(db)
            scratch.floor, scratch.holes = self.log.floor, self.log.holes
            for name in at.names:
                found = self._rows(db, name, at, limit + 1)
                rows += found
                if len(found) > limit:
                    bound = min(bound, found[-1][0])  # beyond this, another channel may have something first
                row = db.execute("SELECT lost FROM channel WHERE name = ?", (name,)).fetchone()
                scratch.adopt(name, row[0] if row else scratch.floor)
        finally:
            db.execute("COMMIT")
        lost = {name: scratch.rings[name].lost for name in at.names}
        for row in sorted(row for row in rows if row[0] <= bound):
            scratch.append(to_entry(self.log.epoch, row))
        for name, seq in lost.items():
            scratch.rings[name].lost = seq
        scratch.head = max(scratch.head, bound)
        return scratch.read(at, size=size, limit=limit)

    def _rows(self, db: sqlite3.Connection, name: str, at: Position, count: int) -> list[tuple[Any, ...]]:
        newest = at.newest_only or self.log.rules[name].conflate
        sql = (
            f"SELECT {COLUMNS} FROM entry WHERE channel = ? AND seq > ? ORDER BY seq {'DESC' if newest else ''} LIMIT ?"
        )
        return db.execute(sql, (name, at.seq, 1 if newest else count)).fetchall()

    # Letting time pass.

    def tick(self, now: float, used: Container[str]) -> Iterator[None]:
        yield from self.log.tick(now, used)
        if time.monotonic() - self._tidied_at >= TIDY and self._pool is not None:
            self._tidied_at = time.monotonic()
            try:
                self._pool.apply(self._store.tidy)
            except CometError as error:
                self._report(str(error))
        yield


class _Untrimmed(Rules):
    """The rules of a page from the file: it has been trimmed there."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.names = rules.names

    def __getitem__(self, channel: str) -> Rule:
        return replace(self._rules[channel], history=1 << 60, history_bytes=1 << 60, history_seconds=1e18)
