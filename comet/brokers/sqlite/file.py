"""File: the SQLite file of a log: whose turn it is to write to it, and whether it is what it was.

Strategy: SQLite's own waiting for locks polls with growing pauses (tails of half a second), so writers queue on a lock
file instead, which is polled every millisecond and for a limited time. The lock file also says how far the log was
when it was last written to, and each transaction begins by looking at it: so an older copy that was put back, however
it was done, is known before a number is given out again.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gevent import monkey

from ...core.errors import BrokerAway, SettingsError
from .. import new_epoch
from . import leases, watched


SCHEMA_VERSION = 2
SCHEMA = """
-- dropped: the newest entry that was dropped because of its age.
CREATE TABLE IF NOT EXISTS state (
    one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, epoch TEXT NOT NULL, incarnation TEXT NOT NULL,
    floor INTEGER NOT NULL, dropped INTEGER NOT NULL, holes TEXT NOT NULL);
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

#: So far SEQ jumps, at the least, where the tail of the log may be gone.
JUMP = 1 << 20

#: Seconds that a writer waits for its turn. With the work after it, it stays below the two seconds of a publisher.
PATIENCE = 1.5

# The real one: the thread must sleep, not the hub.
_native_sleep = monkey.get_original("time", "sleep")


class File:
    """A connection that writes. All methods may block: call them in a thread.

    ``synchronous``: NORMAL survives every crash of a process, FULL also a loss of power.
    """

    def __init__(self, path: Path, *, synchronous: str = "NORMAL") -> None:
        self.path = path
        self.synchronous = synchronous
        #: As it was when the last transaction began.
        self.epoch = ""
        self._db: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._incarnation = ""
        self._lock_path = path.with_name(path.name + ".lock")

    # Opening.

    def open(self) -> None:
        """Open the file, or make it. Raises SettingsError with a sentence where it can't be used."""
        try:
            with self.transaction() as db:
                # A file that can't be written to is refused now, not with the first update.
                db.execute("UPDATE state SET version = version")
        except sqlite3.Error as error:
            self.close()
            raise SettingsError(f"COMET_BROKER: {explain(self.path, error)}") from error
        except OSError as error:
            raise SettingsError(f"COMET_BROKER: {self.path} can't be opened: {error.strerror}.") from error

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connect(self, lock: int) -> sqlite3.Connection:
        self.close()
        db = self._db = connect(self.path)
        db.execute("PRAGMA busy_timeout = 5000")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {self.synchronous}")
        db.execute("PRAGMA journal_size_limit = 4194304")
        for row in db.execute("PRAGMA quick_check(1)").fetchall():
            if row[0] != "ok":
                raise sqlite3.DatabaseError(f"database disk image is malformed ({row[0]})")
        found = inode(self.path)
        self._incarnation = " ".join(map(str, (boot_id(), *found)))
        with _committed(db):  # all at once: others look at the file meanwhile
            self._create(db, lock)
            self._recognize(db, lock, anew=True)
        _write_mark(lock, self.epoch, head_of(db))
        db.execute("PRAGMA busy_timeout = 1000")
        self._inode = found  # only now: what failed half-way is tried again
        return db

    def _create(self, db: sqlite3.Connection, lock: int) -> None:
        """Make what is missing."""
        for statement in (SCHEMA + leases.SCHEMA + watched.SCHEMA).split(";"):
            db.execute(statement)
        row = db.execute("SELECT version FROM state").fetchone()
        if row is None:
            epoch = new_epoch()
            state = (SCHEMA_VERSION, epoch, self._incarnation)
            db.execute("INSERT INTO state VALUES (1, ?, ?, ?, 0, 0, '[]')", state)
            _write_mark(lock, epoch, 0)
        elif row[0] != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"written by another version of comet (schema {row[0]})")

    # Writing.

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes. Raises BrokerAway when others do not let go, and what SQLite raises."""
        with self._turn() as lock:
            db = self._db
            if db is None or inode(self.path) != self._inode:
                # The file was deleted or replaced: what was open writes into nowhere.
                db = self._connect(lock)
            with _committed(db):
                self._recognize(db, lock)
                yield db
            _write_mark(lock, self.epoch, head_of(db))

    @contextmanager
    def _turn(self) -> Iterator[int]:
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
                        raise BrokerAway(f"{self.path} is locked by another process that does not let go.") from None
                    _native_sleep(0.001)
            yield descriptor
        finally:
            os.close(descriptor)

    # Recognizing.

    def _recognize(self, db: sqlite3.Connection, lock: int, *, anew: bool = False) -> None:
        """See to it that no number is given out twice. ``anew``: the file was opened just now."""
        self.epoch, incarnation = db.execute("SELECT epoch, incarnation FROM state").fetchone()
        seen_epoch, seen = _read_mark(lock)
        if self.epoch == seen_epoch and head_of(db) < seen:
            self.begin_epoch(db)
        elif self.epoch != seen_epoch or (anew and incarnation != self._incarnation):
            self._jump(db)

    def begin_epoch(self, db: sqlite3.Connection) -> None:
        """Begin another epoch: entries that were in the log are not there any more."""
        self.epoch = new_epoch()
        db.execute("UPDATE state SET epoch = ?, incarnation = ?, holes = '[]'", (self.epoch, self._incarnation))

    def _jump(self, db: sqlite3.Connection) -> None:
        """Leave numbers out, and remember which: the tail of the log may be gone, and nobody knows its length.

        To the microseconds of now: no number comes twice, whichever of the log's older copies this is.
        """
        head = head_of(db)
        after = max(head + JUMP, time.time_ns() // 1000)
        if not db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'entry'", (after,)).rowcount:
            db.execute("INSERT INTO sqlite_sequence VALUES ('entry', ?)", (after,))
        (holes,) = db.execute("SELECT holes FROM state").fetchone()
        holes = json.dumps([*json.loads(holes), [head, after]])
        db.execute("UPDATE state SET incarnation = ?, holes = ?", (self._incarnation, holes))


@contextmanager
def _committed(db: sqlite3.Connection) -> Iterator[None]:
    """What is done within is done as a whole, or not at all."""
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.rollback()


def _read_mark(lock: int) -> tuple[str, int]:
    """Epoch and head after the last transaction; nothing where nobody knows them."""
    epoch, _, head = os.pread(lock, 100, 0).decode("latin-1").strip().partition(" ")
    return (epoch, int(head)) if head.isdecimal() else ("", 0)


def _write_mark(lock: int, epoch: str, head: int) -> None:
    os.pwrite(lock, f"{epoch} {head:020d}\n".encode(), 0)  # always of the same length


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)


def inode(path: Path) -> tuple[int, int]:
    """Which file this is; (0, 0) if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


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
