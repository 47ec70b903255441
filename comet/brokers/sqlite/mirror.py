"""Mirror: this worker's log, filled from the file in SEQ order over all channels, and the pages of readers behind it.

Strategy: the mirror is complete from where its channels' ``lost`` are up to its head, and whenever other greenlets may
run it is consistent: what is read at once is appended without a switch, and a log that begins anew is read aside. It is
read in the hub, for WAL readers wait for nobody; but in small pieces, and no transaction is left open.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from gevent.lock import BoundedSemaphore

from ...breath import breathe
from ...core.log import Entry, Log, Page, Position
from ...core.rules import Rule, Rules
from ...core.update import Closed, Update
from .. import Deliver
from .file import connect, head_of, inode


log = logging.getLogger("comet")

T = TypeVar("T")

#: Rows that are read without a breath.
ROWS = 100

_COLUMNS = "seq, channel, prev, event, type, data, time"


@dataclass(frozen=True, slots=True)
class _State:
    """What holds for the whole log in the file."""

    epoch: str
    head: int
    floor: int
    dropped: int
    holes: list[tuple[int, int]]


class Outdated(Exception):
    """The file is older than what was seen of it."""


class Mirror:
    """Keeps a log like the one in the file."""

    def __init__(self, path: Path, own: Log) -> None:
        self.path = path
        self.log = own
        self.deliver: Deliver = lambda names: None
        self._db: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._version = -1
        self._beginning = BoundedSemaphore()

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connection(self) -> sqlite3.Connection | None:
        found = inode(self.path)
        if found != self._inode:
            self.close()
        if self._db is None:
            if found == (0, 0):
                return None  # deleted; the next write makes a new one
            self._db = connect(self.path)
            self._inode = found
            self._version = -1
        return self._db

    # Looking.

    def look(self) -> None:
        """Take over what is new in the file, piece by piece. Raises Outdated, and what SQLite raises."""
        while self._look_once():
            breathe()

    def _look_once(self) -> bool:
        """Take over up to ROWS entries; return whether there may be more."""
        db = self._connection()
        if db is None:
            return False
        version = db.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return False
        with _snapshot(db) as state:
            if not self._has_missed(state):
                if self._follow(db, state):
                    return True
                self._version = version
                return False
        self._begin()
        return True

    def _has_missed(self, state: _State) -> bool:
        """Whether it is another log, or something was dropped from it that was never seen here."""
        return state.epoch != self.log.epoch or state.dropped > self.log.head

    def _follow(self, db: sqlite3.Connection, state: _State) -> bool:
        """Append what comes next, without a switch in between: others look too. Return whether there is more."""
        own = self.log
        if state.head < own.head:
            raise Outdated
        before, rows = own.head, _rows(db, "seq > ? ORDER BY seq", own.head)
        more = len(rows) == ROWS
        upto = rows[-1][0] if more else state.head
        own.floor, own.holes = max(own.floor, state.floor), state.holes
        for row in rows:
            own.append(_entry(state.epoch, row))
        names = {row[1] for row in rows}
        if upto - before > len(rows):
            names |= self._skip(db, before, upto)
        own.head = upto
        if names:
            self.deliver(names)
        return more

    def _skip(self, db: sqlite3.Connection, before: int, upto: int) -> set[str]:
        """Something between these was trimmed already: those who go on from here are told. Return its channels."""
        names = set()
        for name, lost in db.execute("SELECT name, lost FROM channel WHERE lost > ?", (before,)).fetchall():
            if self.log.skip(name, min(lost, upto)):
                names.add(name)
        return names

    def _begin(self) -> None:
        """Take over all that the file has, in one snapshot: aside, so that nobody reads half of it."""
        with self._beginning, closing(connect(self.path)) as db, _snapshot(db) as state:
            if not self._has_missed(state):
                return  # another greenlet has done it
            other = Log(state.epoch, rules=self.log.rules, limit=self.log.limit, mirror=True)
            other.floor, other.holes = state.floor, state.holes
            for name, lost in db.execute("SELECT name, lost FROM channel").fetchall():
                other.adopt(name, lost)
            while other.head < state.head:
                rows = _rows(db, "seq > ? ORDER BY seq", other.head)
                for row in rows:
                    other.append(_entry(state.epoch, row))
                if len(rows) < ROWS:
                    other.head = state.head
                breathe()
            if self.log.epoch not in ("", state.epoch):
                log.error("comet: %s: the log begins anew, with epoch %s.", self.path, state.epoch)
            for name in self.log.rings:
                other.open(name)
            vars(self.log).update(vars(other))
        self.deliver(list(self.log.rings))

    # Reading.

    def ask(self, work: Callable[..., T], *arguments: object, missing: T) -> T:
        """Do some other reading: ``work`` is given the connection. ``missing``: the answer where there is no file."""
        db = self._connection()
        return missing if db is None else work(db, *arguments)

    def read(self, at: Position, *, size: int, limit: int) -> Page:
        """The page of a reader who is behind the mirror: what that lacks, the file may still have."""
        own, db = self.log, self._connection()
        if db is not None:
            with _snapshot(db) as state:
                if state.epoch == own.epoch and state.head >= own.head:
                    return self._page(db, state, at, size, min(limit, ROWS))
        return own.read(at, size=size, limit=limit)

    def _page(self, db: sqlite3.Connection, state: _State, at: Position, size: int, limit: int) -> Page:
        upto = bound = self.log.head  # nobody is ahead of the log of its worker
        scratch = Log(state.epoch, rules=_Untrimmed(self.log.rules))
        rows: list[tuple[Any, ...]] = []
        lost: dict[str, int] = {}
        for name in at.names:
            found = self._channel(db, name, at, upto, limit + 1)
            rows += found
            if len(found) > limit:
                bound = min(bound, found[-1][0])  # beyond this, another channel may have something first
            row = db.execute("SELECT lost FROM channel WHERE name = ?", (name,)).fetchone()
            lost[name] = row[0] if row else state.floor
            scratch.adopt(name, lost[name])
        for row in sorted(row for row in rows if row[0] <= bound):
            scratch.append(_entry(state.epoch, row))
        for name in at.names:
            scratch.rings[name].lost = lost[name]  # what was left out above, this reader does not want
        scratch.head = bound
        page = scratch.read(at, size=size, limit=limit)
        return page if page.ended or bound == upto else page._replace(more=True)

    def _channel(self, db: sqlite3.Connection, name: str, at: Position, upto: int, count: int) -> list[tuple[Any, ...]]:
        newest = at.newest_only or self.log.rules[name].conflate
        where = f"channel = ? AND seq > ? AND seq <= ? ORDER BY seq {'DESC' if newest else ''}"
        return _rows(db, where, name, at.seq, upto, count=1 if newest else count)


class _Untrimmed(Rules):
    """The rules of a page from the file: it has been trimmed there."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.names = rules.names

    def __getitem__(self, channel: str) -> Rule:
        return replace(self._rules[channel], history=1 << 60, history_bytes=1 << 60, history_seconds=1e18)


@contextmanager
def _snapshot(db: sqlite3.Connection) -> Iterator[_State]:
    """Everything that is read within belongs together."""
    db.execute("BEGIN")
    try:
        epoch, floor, dropped, holes = db.execute("SELECT epoch, floor, dropped, holes FROM state").fetchone()
        yield _State(epoch, head_of(db), floor, dropped, [(before, after) for before, after in json.loads(holes)])
    finally:
        db.execute("COMMIT")


def _rows(db: sqlite3.Connection, where: str, *values: object, count: int = ROWS) -> list[tuple[Any, ...]]:
    return db.execute(f"SELECT {_COLUMNS} FROM entry WHERE {where} LIMIT ?", (*values, count)).fetchall()


def _entry(epoch: str, row: tuple[Any, ...]) -> Entry:
    seq, channel, prev, event, media_type, data, when = row
    if media_type is None:
        return Closed(channel, when, epoch, seq)
    return Update(channel, data, media_type, event, None, when, epoch, seq, prev)
