"""Outbox: publishes the rows of a table, each once, and marks them as done.

Programs insert what is to be published in the same transaction as what it tells of: both become true, or neither.

Strategy: rows are locked, published, marked and let go of in one transaction of the database; what others have locked
is passed over, so that no writer waits for another. The checkpoint names the rows of the last such transaction, in the
same breath as they are published. If then the worker or the database dies before the mark is kept, these are marked
later and not published again. No idempotency keys: a table that is emptied counts its ids from 1 again, and what bears
an id for the second time would be swallowed.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from gevent.event import Event

from ...core.errors import Alarm, BadRequest, CometError
from ...core.update import Update
from .. import NOBODYS_FAULT, Publish
from .address import Address
from .database import Database, quoted
from .failures import NO_TABLE


log = logging.getLogger("comet")

#: What ``done`` says of a row: it waits, is published, or can't be.
WAITS, DONE, REFUSED = 0, 1, 2

#: Rows of one transaction, at most.
TOGETHER = 100

#: Seconds between two looks while rows come.
QUICK = 0.004

#: Seconds of silence after which the checkpoint forgets rows whose mark is kept.
SETTLED = 1.0

#: Seconds after which the server gives up a worker that has frozen within a transaction, and frees its rows. Others
#: have the lease by then.
GIVES_UP = 8

COLUMNS = ("id", "channel", "event", "data", "done")

TABLE = (
    "CREATE TABLE {} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, channel VARCHAR(128) NOT NULL, "
    "event VARCHAR(128), data MEDIUMTEXT NOT NULL, done TINYINT NOT NULL DEFAULT 0, INDEX (done, id));"
)


@dataclass(frozen=True, slots=True)
class Row:
    id: int | str
    channel: Any
    event: Any
    data: Any
    type: Any = None

    def update(self, fallback: str | None) -> Update:
        """What it publishes. Raises BadRequest for what can't be published."""
        data = self.data if isinstance(self.data, (str, bytes)) else "" if self.data is None else str(self.data)
        return Update.of(_text(self.channel), data, type=_text(self.type) or fallback, event=_text(self.event) or None)


class Outbox:
    """Publish each row of ``table`` to the channel, and with the event, that it names, in the order of their ids.

    A column ``type`` may name the media type of the data, else ``type`` does. A row that can't be published gets 2 for
    ``done``, and a line in the log; the others go on. While rows come it looks again at once, in silence after a tenth
    of it, and at least every ``every`` seconds.
    """

    def __init__(self, name: str, *, url: str, table: str, every: float = 0.05, type: str | None = None) -> None:
        self.name = name
        self.address = Address.parse(url)
        self.table = quoted(table)
        self.full_name = self.table if "." in self.table else f"`{self.address.database}`.{self.table}"
        self.source = f"{self.address} {self.full_name}"
        self.every = every
        self.type = type
        self._stopping = Event()
        self._columns = ""
        #: Rows that are published, but whose mark may not be kept; and those that the checkpoint names.
        self._published: frozenset[int | str] = frozenset()
        self._remembered: frozenset[int | str] = frozenset()

    def run(self, publish: Publish) -> None:
        self._stopping.clear()
        checkpoint = publish.checkpoint()
        if publish.lasts:  # else the log has what this very process has published, and nothing before
            self._published = frozenset(json.loads(checkpoint or "[]"))
        self._remembered = self._published
        grant = f"SELECT, UPDATE ON {self.full_name}"
        database = Database(self.address, grant=grant, remedies={NO_TABLE: TABLE.format(self.full_name)})
        try:
            self._prepare(database)
            self._watch(database, publish)
        finally:
            database.close()

    def stop(self) -> None:
        self._stopping.set()

    def _prepare(self, database: Database) -> None:
        names = [name.lower() for name in database.names(self.table)]
        if missing := [name for name in COLUMNS if name not in names]:
            raise Alarm(f"{self.full_name} has no column {missing[0]}; an outbox has {', '.join(COLUMNS)}.")
        self._columns = "id, channel, event, data" + (", type" if "type" in names else "")
        # What lies between the rows must not be locked: nothing could be inserted meanwhile.
        database.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        database.execute("SET wait_timeout = %s", [GIVES_UP + math.ceil(2 * self.every)])
        database.execute(f"UPDATE {self.table} SET done = done WHERE 1 = 0")  # whether we may

    def _watch(self, database: Database, publish: Publish) -> None:
        last = time.monotonic()
        while not self._stopping.is_set():
            if self._waits(database) and self._hand_over(database, publish):
                last = time.monotonic()
                continue
            silence = time.monotonic() - last
            if self._remembered and silence > SETTLED:
                self._settle(database, publish)
            self._stopping.wait(min(max(QUICK, silence / 10), self.every))

    def _waits(self, database: Database) -> bool:
        """Whether there are rows: without a lock, because mostly there are none."""
        return bool(database.rows(f"SELECT id FROM {self.table} WHERE done = {WAITS} LIMIT 1"))

    def _hand_over(self, database: Database, publish: Publish) -> bool:
        """One transaction: publish what waits, and mark it. Returns whether there was anything."""
        database.execute("START TRANSACTION")
        rows = self._take(database)
        ids = {row.id for row in rows}
        self._forget(database, self._published - ids)
        refused = self._publish(publish, [row for row in rows if row.id not in self._published])
        self._mark(database, DONE, ids - refused.keys())
        self._mark(database, REFUSED, refused)
        database.execute("COMMIT")
        self._published = self._published - ids
        for id, reason in refused.items():
            log.error("comet: %s can't publish the row %s of %s: %s", self.name, id, self.full_name, reason)
        return bool(rows)

    def _take(self, database: Database) -> list[Row]:
        """Rows that wait, locked for us. What others have locked comes later."""
        statement = (
            f"SELECT {self._columns} FROM {self.table} WHERE done = {WAITS} "
            f"ORDER BY id LIMIT {TOGETHER} FOR UPDATE SKIP LOCKED"
        )
        return [Row(*values) for values in database.read(statement, TOGETHER)[1]]

    def _mark(self, database: Database, done: int, ids: Collection[int | str]) -> None:
        if ids:
            database.execute(f"UPDATE {self.table} SET done = {done} WHERE id IN %s", [list(ids)])

    # Publishing.

    def _publish(self, publish: Publish, rows: Sequence[Row]) -> dict[int | str, Exception]:
        """Publish them, together if that is possible. Returns those that can't be, and why."""
        refused: dict[int | str, Exception] = {}
        updates: dict[int | str, Update] = {}
        for row in rows:
            try:
                updates[row.id] = row.update(self.type)
            except BadRequest as error:
                refused[row.id] = error
        if self._refusal(publish, updates):
            for id, update in updates.items():
                if reason := self._refusal(publish, {id: update}):
                    refused[id] = reason
        return refused

    def _refusal(self, publish: Publish, updates: dict[int | str, Update]) -> Exception | None:
        """Publish all or none of them. Returns why they can't be published, if that is their own fault."""
        try:
            self._publish_all(publish, updates)
        except NOBODYS_FAULT:
            raise
        except CometError as error:
            return error  # no channel's name, too large, or a template fails on one
        return None

    def _publish_all(self, publish: Publish, updates: dict[int | str, Update]) -> None:
        if updates:
            published = self._published | updates.keys()
            publish(list(updates.values()), json.dumps(list(published)))
            self._published = self._remembered = published

    # What an earlier worker has published and could not mark, or we, when the database had gone.

    def _settle(self, database: Database, publish: Publish) -> None:
        """Let the checkpoint forget the rows whose mark is kept: ids may come again."""
        self._forget(database, self._published)
        if self._published != self._remembered:
            publish([], json.dumps(list(self._published)))
            self._remembered = self._published

    def _forget(self, database: Database, ids: Collection[int | str]) -> None:
        """Forget those of the rows that are marked by now. A worker that has frozen may still hold one."""
        if ids:
            statement = f"SELECT id FROM {self.table} WHERE done = {WAITS} AND id IN %s"
            waiting = {row[0] for row in database.rows(statement, [list(ids)])}
            self._published = self._published - set(ids) | waiting


def _text(value: Any) -> str:
    return "" if value is None else value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
