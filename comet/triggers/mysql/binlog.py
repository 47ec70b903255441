"""Binlog: publishes every change of a table's rows, by transaction and in commit order, from the server's binary log.

Strategy: one greenlet reads the log and another publishes, each batch together with the place behind it; after whatever
end it goes on from the place that was remembered last. What the log does not tell, or no longer, is told as ``resync``:
who keeps a copy of the table has to read it anew.
"""

from __future__ import annotations

import hashlib
import logging
from contextlib import closing

import gevent

from ...core.errors import Alarm, SettingsError, SourceFailed, TooLarge
from .. import Publish
from .address import Address
from .backlog import Backlog, Piece
from .checks import check_server, check_table, is_its_own
from .database import Database, quoted
from .place import Place
from .rows import Rows
from .stream import Purged, Reader, Replaced, Stream
from .transactions import EVENTS, RESYNC, Transactions, resync


log = logging.getLogger("comet")

#: Seconds in which a worker that was replaced may be told to stop, before it says what is wrong.
GRACE = 10.0


class Binlog:
    """Publish to ``channel`` what happens to the rows of ``table`` (``db.table``) on the server at ``url``.

    Events ``inserted``, ``updated`` and ``deleted`` with ``{"row": …, "before": …}``; and ``resync``. The first time it
    begins with what happens from then on.
    """

    def __init__(self, name: str, *, url: str, channel: str, table: str) -> None:
        self.name = name
        self.address = Address.parse(url)
        self.channel = channel
        if quoted(table).count("`") != 4:
            raise SettingsError(f"table is {table!r}; it must be database.table.")
        database, _, of_it = table.partition(".")
        self.table = (database, of_it)
        self._backlog = Backlog()
        self._account = ""

    @property
    def server_id(self) -> int:
        """What the server knows us by: always the same, so that it throws out a worker that was replaced."""
        return 1 << 30 | int.from_bytes(hashlib.md5(self.name.encode()).digest()[:4], "big") >> 2

    def run(self, publish: Publish) -> None:
        backlog = self._backlog = Backlog()
        reader = gevent.spawn(self._read, publish.checkpoint(), backlog)
        try:
            while (piece := backlog.take()) is not None:
                self._publish(publish, piece)
        except Replaced:
            publish([])  # raises LeaseLost where it was another worker of ours
            if backlog.stops_within(GRACE):
                return  # it was the next worker, which a reload starts before it stops this one
            raise Alarm(
                f"another program reads the binary log of {self.address} as server {self.server_id}. "
                f"If it is another comet, give one of the two triggers another name than {self.name}."
            ) from None
        finally:
            reader.kill()

    def stop(self) -> None:
        self._backlog.stop()

    # Publishing.

    def _publish(self, publish: Publish, piece: Piece) -> None:
        checkpoint = str(piece.place) if piece.place else None
        while True:
            try:
                publish(piece.updates, checkpoint)
                return
            except TooLarge as error:
                self._leave_out_the_largest(piece, error)

    def _leave_out_the_largest(self, piece: Piece, error: TooLarge) -> None:
        """A row may be larger than an update: its place has a ``resync`` then, and the others are published."""
        index, update = max(enumerate(piece.updates), key=lambda item: len(item[1].data))
        if update.event == RESYNC:
            raise error
        log.warning("comet: %s leaves out a row of %s: %s", self.name, ".".join(self.table), error)
        piece.updates[index] = resync(self.channel, self.table, "size", key=update.key)

    # Reading, in a greenlet of its own.

    def _read(self, checkpoint: str | None, backlog: Backlog) -> None:
        try:
            self._follow(self._begin(checkpoint, backlog), backlog)
        except (Exception, gevent.Timeout) as error:
            backlog.fail(error)

    def _begin(self, checkpoint: str | None, backlog: Backlog) -> Place:
        """Check the server and return where to go on: where it ended the last time, or else from now."""
        with closing(Database(self.address)) as server:
            self._account = server.account
            now = check_server(server, self.table[0])
            check_table(server, *self.table)
            if checkpoint is None:
                backlog.add(Piece(place=now))
                return now
            place = Place.parse(checkpoint)
            if place is None or not is_its_own(server, place, now):
                log.error("comet: %s: the log of %s is another than the one before", self.name, self.address)
                return self._skip_to(now, "server", backlog)
            return place

    def _skip_to(self, now: Place, reason: str, backlog: Backlog) -> Place:
        backlog.add(Piece([resync(self.channel, self.table, reason)], now))
        return now

    def _follow(self, place: Place, backlog: Backlog) -> None:
        try:
            self._stream(place, backlog)
        except Purged as error:
            log.error("comet: %s can't read the log of %s any more from %s: %s", self.name, self.address, place, error)
            with closing(Database(self.address)) as server:
                now = self._skip_to(check_server(server, self.table[0]), "purged", backlog)
            try:
                self._stream(now, backlog)
            except Purged as again:
                raise SourceFailed(f"{self.address} does not let its log be read: {again}.") from again

    def _stream(self, place: Place, backlog: Backlog) -> None:
        transactions = Transactions(place, channel=self.channel, table=self.table, rows=Rows(self._declared))
        me = Reader(self.server_id, self._account)
        with closing(Stream(self.address, place, me, table=self.table, events=EVENTS)) as stream:
            for event in stream:
                for piece in transactions.feed(event):
                    if piece.updates:
                        backlog.add(piece)
                    elif piece.place:
                        backlog.passed(piece.place)

    def _declared(self) -> dict[str, str]:
        """How the columns are declared now. Without the table there is nothing to know."""
        with closing(Database(self.address)) as server:
            try:
                return check_table(server, *self.table)
            except Alarm:
                return {}
