"""Store: the log in one SQLite file, its transactions and nothing else. It runs in a thread of its own.

WAL has one writer at a time, and AUTOINCREMENT takes the number inside the write transaction: so commit order is SEQ
order, and no reader ever sees N + 1 before N. SQLite's own waiting for locks polls with growing pauses (tails of half a
second), so writers queue on a lock file instead, which is polled every millisecond and for a limited time.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gevent import monkey

from ...core.errors import BrokerAway, CometError, NotFound, SettingsError, TooManyChannels
from ...core.log import REMEMBERED, Entry
from ...core.rules import Rules
from ...core.update import Closed, Update
from .. import Lease, Receipt
from . import leases


T = TypeVar("T")

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS state (
    one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, epoch TEXT NOT NULL, boot TEXT NOT NULL,
    floor INTEGER NOT NULL, holes TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS channel (
    name TEXT PRIMARY KEY, last INTEGER NOT NULL, lost INTEGER NOT NULL, count INTEGER NOT NULL,
    bytes INTEGER NOT NULL, closed INTEGER NOT NULL, touched REAL NOT NULL) WITHOUT ROWID;
-- An entry without a type is the end of its channel. AUTOINCREMENT: a SEQ is never given out twice.
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, channel TEXT NOT NULL, prev INTEGER NOT NULL, event TEXT, type TEXT,
    data BLOB NOT NULL, time REAL NOT NULL);
CREATE INDEX IF NOT EXISTS entry_by_channel ON entry (channel, seq);
CREATE TABLE IF NOT EXISTS known_key (
    channel TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL,
    PRIMARY KEY (channel, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS known_key_by_time ON known_key (time);
"""

#: After a restart of the host the tail of the log may be gone: SEQ jumps this far, so that no number comes twice.
JUMP = 1 << 20

#: Seconds that a writer waits for its turn. With the work after it, it stays below the two seconds of a publisher.
PATIENCE = 1.5

#: Rows that are tidied in one transaction: more would hold the lock for too long.
TIDIED = 200

# The real one: the thread must sleep, not the hub.
_native_sleep = monkey.get_original("time", "sleep")

COLUMNS = "seq, channel, prev, event, type, data, time"


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
    """What a store is told. ``synchronous``: NORMAL survives every crash of a process, FULL also a loss of power."""

    path: Path
    rules: Rules
    max_channels: int = 10_000
    idempotency_seconds: float = 3600.0
    synchronous: str = "NORMAL"
    new_epoch: Callable[[], str] = lambda: ""
    clock: Callable[[], float] = time.time


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def to_entry(epoch: str, row: tuple[Any, ...]) -> Entry:
    seq, channel, prev, event, media_type, data, when = row
    if media_type is None:
        return Closed(channel, when, epoch, seq)
    return Update(channel, data, media_type, event, None, when, epoch, seq, prev)


class Store:
    """A connection that writes. All methods may block: call them in a thread."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.epoch = ""
        self._db: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._lock_path = options.path.with_name(options.path.name + ".lock")
        self._tidied_up_to = 0

    # Opening.

    def open(self) -> None:
        """Open the file, or make it. Raises SettingsError with a sentence where it can't be used."""
        path = self.options.path
        try:
            with self._turn():
                self._connect()
        except sqlite3.Error as error:
            self.close()
            raise SettingsError(f"COMET_BROKER: {explain(path, error)}") from error
        except OSError as error:
            raise SettingsError(f"COMET_BROKER: {path} can't be opened: {error.strerror}.") from error

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connect(self) -> None:
        self.close()
        db = self._db = connect(self.options.path)
        db.execute("PRAGMA busy_timeout = 5000")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {self.options.synchronous}")
        db.execute("PRAGMA journal_size_limit = 4194304")
        for row in db.execute("PRAGMA quick_check(1)").fetchall():
            if row[0] != "ok":
                raise sqlite3.DatabaseError(f"database disk image is malformed ({row[0]})")
        db.executescript(SCHEMA + leases.SCHEMA)
        db.execute("BEGIN IMMEDIATE")
        self._incarnate(db)
        db.execute("COMMIT")
        db.execute("PRAGMA busy_timeout = 1000")
        self._inode = inode(self.options.path)

    def _incarnate(self, db: sqlite3.Connection) -> None:
        row = db.execute("SELECT version, epoch, boot, holes FROM state").fetchone()
        boot = boot_id()
        if row is None:
            self.epoch = self.options.new_epoch()
            db.execute("INSERT INTO state VALUES (1, ?, ?, ?, 0, '[]')", (SCHEMA_VERSION, self.epoch, boot))
            return
        version, self.epoch, before, holes = row
        if version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"written by another version of comet (schema {version})")
        if before != boot:
            head = head_of(db)
            db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'entry'", (head + JUMP,))
            if db.execute("SELECT changes()").fetchone()[0] == 0:
                db.execute("INSERT INTO sqlite_sequence VALUES ('entry', ?)", (head + JUMP,))
            holes = json.dumps([*json.loads(holes), [head, head + JUMP]])
        # Written in any case: a file that can't be written to is refused now, not with the first update.
        db.execute("UPDATE state SET boot = ?, holes = ?", (boot, holes))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the lock that all writers of this file share. Raises BrokerAway when it takes too long."""
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise BrokerAway(
                            f"{self.options.path} is locked by another process that does not let go."
                        ) from None
                    _native_sleep(0.001)
            yield
        finally:
            os.close(descriptor)

    # Writing.

    def write(self, batches: Sequence[Batch]) -> list[list[Receipt] | CometError]:
        """Accept batches in one transaction. One that breaks a rule is refused alone. Raises BrokerAway."""
        try:
            with self._transaction() as db:
                now = self.options.clock()
                return [self._batch(db, batch, now) for batch in batches]
        except (sqlite3.Error, OSError) as error:
            raise BrokerAway(explain(self.options.path, error)) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._turn():
            if self._db is None or inode(self.options.path) != self._inode:
                # The file was deleted or replaced: what was open writes into nowhere.
                self._connect()
            db = self._db
            assert db is not None
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.rollback()

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
                new += entry.channel not in self.options.rules.names
                floor = db.execute("SELECT floor FROM state").fetchone()[0]
                row = (floor, floor, 0, 0, 0)
            records[entry.channel] = Record(*row)
        if new and db.execute("SELECT count(*) FROM channel").fetchone()[0] + new > self.options.max_channels:
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
                return Receipt(self.epoch, known[0], 0, known[1], duplicate=True)
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
        return Receipt(self.epoch, seq, prev, now)

    def _close(self, db: sqlite3.Connection, channel: str, record: Record, now: float) -> Receipt:
        db.execute("DELETE FROM entry WHERE channel = ?", (channel,))
        prev = record.last
        seq = self._insert(db, (channel, prev, None, None, b"", now))
        record.last = record.lost = record.closed = seq
        record.count = record.bytes = 0
        return Receipt(self.epoch, seq, prev, now)

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

    def begin_epoch(self, old: str) -> None:
        """Begin another epoch, if it is still the ``old`` one: a worker has seen entries that the file has not."""
        with self._transaction() as db:
            new = self.options.new_epoch()
            db.execute("UPDATE state SET epoch = ?, holes = '[]' WHERE epoch = ?", (new, old))
            self.epoch = db.execute("SELECT epoch FROM state").fetchone()[0]

    # Leases.

    def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Do some other work in a transaction of its own: ``work`` is given the connection and the time."""
        with self._transaction() as db:
            return work(db, self.options.clock(), *arguments)

    # Letting time pass.

    def tidy(self) -> None:
        """Forget what is too old: some rows of each kind. Called every few seconds, by every worker."""
        try:
            with self._transaction() as db:
                now = self.options.clock()
                self._expire(db, now)
                self._forget_channels(db, now)
                db.execute(
                    "DELETE FROM known_key WHERE (channel, key) IN "
                    "(SELECT channel, key FROM known_key WHERE time < ? ORDER BY time LIMIT ?)",
                    (now - self.options.idempotency_seconds, TIDIED),
                )
        except (sqlite3.Error, OSError) as error:
            raise BrokerAway(explain(self.options.path, error)) from error

    def _expire(self, db: sqlite3.Connection, now: float) -> None:
        # Oldest first, a slice each time: channels may keep theirs for different times.
        rows = db.execute(
            "SELECT seq, channel, type, time, length(data) FROM entry WHERE seq > ? ORDER BY seq LIMIT ?",
            (self._tidied_up_to, TIDIED),
        ).fetchall()
        for seq, channel, media_type, when, size in rows:
            keeps = REMEMBERED if media_type is None else self.options.rules[channel].history_seconds
            if when >= now - keeps:
                continue
            db.execute("DELETE FROM entry WHERE seq = ?", (seq,))
            if media_type is None:
                db.execute("UPDATE channel SET closed = 0, touched = ? WHERE name = ?", (now, channel))
            else:
                db.execute(
                    "UPDATE channel SET lost = max(lost, ?), count = count - 1, bytes = bytes - ?, touched = ? "
                    "WHERE name = ?",
                    (seq, size, now, channel),
                )
        self._tidied_up_to = rows[-1][0] if len(rows) == TIDIED else 0

    def _forget_channels(self, db: sqlite3.Connection, now: float) -> None:
        rows = db.execute(
            "SELECT name, last FROM channel WHERE count = 0 AND closed = 0 AND touched < ? LIMIT ?",
            (now - REMEMBERED, TIDIED),
        ).fetchall()
        for name, last in rows:
            if name not in self.options.rules.names:
                db.execute("UPDATE state SET floor = max(floor, ?)", (last,))
                db.execute("DELETE FROM channel WHERE name = ?", (name,))


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)


def inode(path: Path) -> tuple[int, int]:
    """Which file this is; (0, 0) if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def head_of(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entry'").fetchone()
    return int(row[0]) if row else 0


def explain(path: Path, error: Exception) -> str:
    """One sentence for what SQLite says."""
    code = getattr(error, "sqlite_errorname", "")
    sentences = {
        "SQLITE_FULL": f"the disk of {path} is full.",
        "SQLITE_READONLY": f"{path} can't be written to: it or its folder is read-only.",
        "SQLITE_CANTOPEN": f"{path} can't be opened: its folder is missing, or it is no file.",
        "SQLITE_NOTADB": f"{path} is not a SQLite database; it is left as it is.",
        "SQLITE_CORRUPT": f"{path} is damaged; move it away, and a new log begins.",
        "SQLITE_BUSY": f"{path} is locked by another process that does not let go.",
    }
    for name, sentence in sentences.items():
        if code.startswith(name):
            return sentence
    if "malformed" in str(error):
        return sentences["SQLITE_CORRUPT"]
    return f"{path}: {error}."
