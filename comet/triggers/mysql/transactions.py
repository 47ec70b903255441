"""Transactions: the events of the binary log, grouped into what is published together.

Strategy: updates gather until the event that ends their transaction; only there a checkpoint is taken, because nobody
can go on in the middle of one. A transaction too large for one batch goes in pieces, of which only the last has a
checkpoint: what is read again after a crash is known by its keys, which are places in the log.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pymysqlreplication.event import (
    ExecuteLoadQueryEvent,
    GtidEvent,
    MariadbGtidEvent,
    QueryEvent,
    RotateEvent,
    XAPrepareEvent,
    XidEvent,
)
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from ...core.update import Update
from .backlog import Piece
from .place import Place
from .rows import Rows, Unreadable
from .statements import touches, verb


log = logging.getLogger("comet")

#: The events that are asked for; all others are dropped before they are decoded.
EVENTS = (
    DeleteRowsEvent,
    ExecuteLoadQueryEvent,
    GtidEvent,
    MariadbGtidEvent,
    QueryEvent,
    RotateEvent,
    UpdateRowsEvent,
    WriteRowsEvent,
    XAPrepareEvent,
    XidEvent,
)

#: The event that says that the table must be read anew: something has happened to it that is not told.
RESYNC = "resync"

_SAVEPOINT = re.compile(r"SAVEPOINT\s+(.+)", re.IGNORECASE | re.DOTALL)
_BACK_TO = re.compile(r"ROLLBACK\s+TO\s+(?:SAVEPOINT\s+)?(.+)", re.IGNORECASE | re.DOTALL)

#: Of a MariadbGtidEvent: the next event is all there is, and no COMMIT follows.
STANDALONE = 1


def resync(channel: str, table: tuple[str, str], reason: str, statement: str = "", key: str | None = None) -> Update:
    """Tell that something is not told. ``statement``: the word that it began with; its data is nobody's business."""
    data = {"reason": reason, "table": ".".join(table), **({"statement": statement} if statement else {})}
    return Update.of(channel, data, event=RESYNC, key=key)


class Transactions:
    """Makes pieces of what happens to ``table``, (database, name), behind ``place``."""

    def __init__(self, place: Place, *, channel: str, table: tuple[str, str], rows: Rows) -> None:
        self.place = place
        self.channel = channel
        self.table = table
        self.rows = rows
        self._gtid = ""
        self._begun = False
        #: How many updates the transaction has had, and how many of them went in earlier pieces.
        self._index = self._gone = 0
        self._noticed: set[tuple[str, str]] = set()
        self._savepoints: dict[str, int] = {}
        self._piece = Piece()

    def feed(self, event: Any) -> Iterator[Piece]:
        """Take the next event, or Unreadable in the place of some; return what can be published now.

        A piece without updates has a place alone.
        """
        match event:
            case WriteRowsEvent() | UpdateRowsEvent() | DeleteRowsEvent():
                yield from self._rows(event)
            case MariadbGtidEvent():
                self._begin(event.gtid, begun=not event.flags & STANDALONE)
            case XidEvent():
                yield self._end(event)
            case QueryEvent():
                yield from self._query(event)
            case RotateEvent():
                self.place = replace(self.place, file=event.next_binlog, pos=event.position)
            case GtidEvent():
                self._begin(event.gtid, begun=False)  # MySQL's: a BEGIN follows, or not
            case XAPrepareEvent():
                yield from self._prepare(event)
            case ExecuteLoadQueryEvent():
                self._hidden("statement", "LOAD")
            case Unreadable():
                self._unreadable(event)

    # A transaction's life.

    def _begin(self, gtid: str, *, begun: bool) -> None:
        self._gtid, self._begun = gtid, begun
        self._index = self._gone = 0
        self._piece = Piece()
        self._noticed.clear()
        self._savepoints.clear()

    def _rows(self, event: Any) -> Iterator[Piece]:
        try:
            for name, data in self.rows.of(event):
                self._add(Update(self.channel, data, "application/json", name, self._key()))
                if self._piece.is_full:
                    piece, self._piece = self._piece, Piece()
                    self._gone += len(piece.updates)
                    yield piece
        except Unreadable as error:
            self._unreadable(error)

    def _query(self, event: QueryEvent) -> Iterator[Piece]:
        text = event.query.strip()
        word = text[:12].upper()
        if word == "BEGIN":
            self._begun = True
        elif word == "COMMIT":
            yield self._end(event)
        elif word == "ROLLBACK":
            self._take_back(0)
            yield self._end(event)
        elif found := _SAVEPOINT.match(text):
            self._savepoints[found[1]] = self._gone + len(self._piece.updates)
        elif found := _BACK_TO.match(text):
            self._take_back(self._savepoints.get(found[1], 0))
        else:
            schema = event.schema.decode(errors="replace")
            # What was prepared had come with the rows of its own transaction, which nobody keeps for so long.
            if word.startswith("XA COMMIT") or touches(text, schema, self.table):
                self._hidden("statement", verb(text))
                self.rows.forget()
            if not self._begun:
                yield self._end(event)

    def _take_back(self, count: int) -> None:
        """Keep so many updates. The log has what was rolled back where the transaction wrote to MyISAM or Aria, too."""
        kept, self._piece = self._piece.updates[: max(0, count - self._gone)], Piece()
        for update in kept:
            self._piece.add(update)
        if count < self._gone:
            self._hidden("statement", "ROLLBACK")  # some are published already

    def _prepare(self, event: XAPrepareEvent) -> Iterator[Piece]:
        if not event.one_phase:
            self._take_back(0)  # not yet, and perhaps never
        yield self._end(event)

    def _unreadable(self, error: Unreadable) -> None:
        if self._hidden("unreadable"):
            log.error("comet: the binary log has changes of %s that can't be read: %s", ".".join(self.table), error)

    def _hidden(self, reason: str, statement: str = "") -> bool:
        """Tell that something is hidden, once in a transaction. Returns whether it was told now."""
        if (reason, statement) in self._noticed:
            return False
        self._noticed.add((reason, statement))
        self._add(resync(self.channel, self.table, reason, statement, self._key()))
        return True

    def _add(self, update: Update) -> None:
        self._piece.add(update)
        self._index += 1

    def _key(self) -> str:
        """What the next update is known by: its place in the log, which has a GTID where the server gives one.

        The lineage tells two triggers apart that share a channel, where one transaction has rows for both.
        """
        transaction = self._gtid or f"{self.place.file}:{self.place.pos}"
        return f"{transaction}:{self._index}:{self.place.lineage}"

    def _end(self, event: Any) -> Piece:
        self.place = replace(self.place, pos=event.packet.log_pos, gtid=self._gtid)
        piece = self._piece
        piece.place = self.place
        self._begin("", begun=False)
        return piece
