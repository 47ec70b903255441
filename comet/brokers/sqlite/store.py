"""Store: the transactions of the log in its file, and nothing else. They run in a thread of their own.

WAL has one writer at a time, and AUTOINCREMENT takes the number inside the write transaction: so commit order is SEQ
order, and no reader ever sees N + 1 before N.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ...core.errors import BrokerAway, CometError, NotFound, TooManyChannels
from ...core.log import Entry
from ...core.ring import REMEMBERED
from ...core.rules import Rules
from ...core.update import Closed, is_own
from .. import Lease, Receipt
from . import leases
from .file import File, explain


T = TypeVar("T")

#: Rows that are tidied in one transaction: more would hold the lock for too long.
TIDIED = 200

#: Channels that are kept from being forgotten in one transaction.
TOUCHED = 1000


@dataclass(slots=True)
class Record:
    """A channel's row, while a transaction works on it."""

    last: int
    lost: int
    count: int
    bytes: int
    closed: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that are accepted together. Under a lease: only while it holds, and with the checkpoint."""

    entries: Sequence[Entry]
    lease: Lease | None = None
    checkpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a store is told."""

    rules: Rules
    max_channels: int = 10_000
    idempotency_seconds: float = 3600.0
    clock: Callable[[], float] = time.time


class Store:
    """The log in a file. All methods may block: call them in a thread."""

    def __init__(self, file: File, options: Options) -> None:
        self.file = file
        self.options = options
        self._tidied_up_to = 0

    # Writing.

    def write(self, batches: Sequence[Batch]) -> list[list[Receipt] | CometError]:
        """Accept batches in one transaction. One that breaks a rule is refused alone. Raises BrokerAway."""
        try:
            with self.file.transaction() as db:
                now = self.options.clock()
                return [self._batch(db, batch, now) for batch in batches]
        except (sqlite3.Error, OSError) as error:
            raise BrokerAway(explain(self.file.path, error)) from error

    def _batch(self, db: sqlite3.Connection, batch: Batch, now: float) -> list[Receipt] | CometError:
        records: dict[str, Record] = {}
        try:
            if batch.lease:
                leases.check(db, batch.lease)
            self._check(db, batch.entries, records)
        except CometError as error:
            return error
        receipts = [self._accept(db, entry, records[entry.channel], now) for entry in batch.entries]
        if batch.lease and batch.checkpoint is not None:
            leases.remember(db, batch.lease, batch.checkpoint)
        db.executemany(
            "INSERT INTO channel VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET last = excluded.last, "
            "lost = excluded.lost, count = excluded.count, bytes = excluded.bytes, closed = excluded.closed, "
            "touched = excluded.touched",
            [(name, r.last, r.lost, r.count, r.bytes, r.closed, now) for name, r in records.items()],
        )
        return receipts

    def _check(self, db: sqlite3.Connection, batch: Sequence[Entry], records: dict[str, Record]) -> None:
        new = 0
        for entry in batch:
            if entry.channel in records:
                continue
            row = db.execute(
                "SELECT last, lost, count, bytes, closed FROM channel WHERE name = ?", (entry.channel,)
            ).fetchone()
            if row is None:
                if isinstance(entry, Closed) and entry.channel not in self.options.rules.names:
                    raise NotFound(f"there is no channel {entry.channel}.")
                new += entry.channel not in self.options.rules.names and not is_own(entry.channel)
                floor = db.execute("SELECT floor FROM state").fetchone()[0]
                row = (floor, floor, 0, 0, 0)
            records[entry.channel] = Record(*row)
        # comet's own count for nobody.
        sql = "SELECT count(*) FROM channel WHERE name NOT GLOB 'comet.*'"
        if new and db.execute(sql).fetchone()[0] + new > self.options.max_channels:
            raise TooManyChannels(
                f"{self.options.max_channels} channels exist already (COMET_MAX_CHANNELS); "
                "one without history and subscribers is forgotten after 60 seconds."
            )

    def _accept(self, db: sqlite3.Connection, entry: Entry, record: Record, now: float) -> Receipt:
        if isinstance(entry, Closed):
            return self._close(db, entry.channel, record, now)
        if entry.key is not None:
            known = db.execute(
                "SELECT seq, time FROM known_key WHERE channel = ? AND key = ?", (entry.channel, entry.key)
            ).fetchone()
            if known:
                return Receipt(self.file.epoch, known[0], 0, known[1], duplicate=True)
        if record.closed:
            db.execute("DELETE FROM entry WHERE seq = ?", (record.closed,))
            record.closed = 0
        prev = record.last
        row = (entry.channel, prev, entry.event, entry.type, entry.data, now)
        seq = self._insert(db, row)
        record.last = seq
        record.count += 1
        record.bytes += len(entry.data)
        self._trim(db, entry.channel, record)
        if entry.key is not None:
            db.execute("INSERT INTO known_key VALUES (?, ?, ?, ?)", (entry.channel, entry.key, seq, now))
        return Receipt(self.file.epoch, seq, prev, now)

    def _close(self, db: sqlite3.Connection, channel: str, record: Record, now: float) -> Receipt:
        db.execute("DELETE FROM entry WHERE channel = ?", (channel,))
        prev = record.last
        seq = self._insert(db, (channel, prev, None, None, b"", now))
        record.last = record.lost = record.closed = seq
        record.count = record.bytes = 0
        return Receipt(self.file.epoch, seq, prev, now)

    def _insert(self, db: sqlite3.Connection, row: tuple[object, ...]) -> int:
        sql = "INSERT INTO entry (channel, prev, event, type, data, time) VALUES (?, ?, ?, ?, ?, ?)"
        return int(db.execute(sql, row).lastrowid or 0)

    def _trim(self, db: sqlite3.Connection, channel: str, record: Record) -> None:
        rule = self.options.rules[channel]
        # The newest always stays: it has not been delivered yet.
        while record.count > 1 and (record.count > rule.history or record.bytes > rule.history_bytes):
            seq, size = db.execute(
                "SELECT seq, length(data) FROM entry WHERE channel = ? ORDER BY seq LIMIT 1", (channel,)
            ).fetchone()
            db.execute("DELETE FROM entry WHERE seq = ?", (seq,))
            record.lost = seq
            record.count -= 1
            record.bytes -= size

    # Other work.

    def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Do some other work in a transaction of its own: ``work`` is given the connection and the time."""
        with self.file.transaction() as db:
            return work(db, self.options.clock(), *arguments)

    def begin_epoch(self, db: sqlite3.Connection, now: float, old: str) -> None:
        """Begin another epoch, if it is still the ``old`` one: a worker has seen entries that the file has not."""
        if self.file.epoch == old:
            self.file.begin_epoch(db)

    # Letting time pass.

    def tidy(self, used: Container[str]) -> bool:
        """Forget what is too old, some rows of each kind; return whether there may be more.

        ``used`` are the channels with subscribers in this worker; every worker says so again before they are forgotten.
        """
        try:
            with self.file.transaction() as db:
                # Written in any case: whether the file can be written to is found out here.
                db.execute("UPDATE state SET version = version")
                now = self.options.clock()
                done = self._expire(db, now) + self._forget_channels(db, now, used) + self._forget_keys(db, now)
                return done > 0
        except (sqlite3.Error, OSError) as error:
            raise BrokerAway(explain(self.file.path, error)) from error

    def _expire(self, db: sqlite3.Connection, now: float) -> int:
        """Drop what is too old: the oldest first, and where those are kept for longer, a piece further on each time."""
        dropped = self._drop(db, now, self._slice(db, 0))
        if not dropped:
            rows = self._slice(db, self._tidied_up_to)
            self._tidied_up_to = rows[-1][0] if len(rows) == TIDIED else 0
            dropped = self._drop(db, now, rows)
        return dropped

    def _slice(self, db: sqlite3.Connection, after: int) -> list[tuple[Any, ...]]:
        sql = "SELECT seq, channel, type, time, length(data) FROM entry WHERE seq > ? ORDER BY seq LIMIT ?"
        return db.execute(sql, (after, TIDIED)).fetchall()

    def _drop(self, db: sqlite3.Connection, now: float, rows: Sequence[tuple[Any, ...]]) -> int:
        dropped = []
        for seq, channel, media_type, when, size in rows:
            keeps = REMEMBERED if media_type is None else self.options.rules[channel].history_seconds
            if when >= now - keeps:
                continue
            dropped.append(seq)
            db.execute("DELETE FROM entry WHERE seq = ?", (seq,))
            if media_type is None:
                db.execute("UPDATE channel SET closed = 0, touched = ? WHERE name = ?", (now, channel))
            else:
                db.execute(
                    "UPDATE channel SET lost = max(lost, ?), count = count - 1, bytes = bytes - ?, touched = ? "
                    "WHERE name = ?",
                    (seq, size, now, channel),
                )
        if dropped:
            db.execute("UPDATE state SET dropped = max(dropped, ?)", (dropped[-1],))
        return len(dropped)

    def _forget_channels(self, db: sqlite3.Connection, now: float, used: Container[str]) -> int:
        """Forget those that nobody has needed for a minute, and touch those that are needed here in time."""
        rows = db.execute(
            "SELECT name, last, touched FROM channel WHERE count = 0 AND closed = 0 AND touched < ?",
            (now - REMEMBERED / 2,),
        ).fetchall()
        needed = [name for name, _, _ in rows if name in used][:TOUCHED]
        db.executemany("UPDATE channel SET touched = ? WHERE name = ?", [(now, name) for name in needed])
        kept = self.options.rules.names
        forgotten = [
            (name, last)
            for name, last, touched in rows
            if touched < now - REMEMBERED and name not in used and name not in kept
        ][:TIDIED]
        if forgotten:
            db.execute("UPDATE state SET floor = max(floor, ?)", (max(last for _, last in forgotten),))
            db.executemany("DELETE FROM channel WHERE name = ?", [(name,) for name, _ in forgotten])
        return len(needed) + len(forgotten)

    def _forget_keys(self, db: sqlite3.Connection, now: float) -> int:
        return db.execute(
            "DELETE FROM known_key WHERE (channel, key) IN "
            "(SELECT channel, key FROM known_key WHERE time < ? ORDER BY time LIMIT ?)",
            (now - self.options.idempotency_seconds, TIDIED),
        ).rowcount
