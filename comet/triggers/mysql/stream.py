"""Stream: a server's binary log as events, from a place on.

Strategy: mysql-replication decodes, in the one way of using it that loses and doubles nothing: from an explicit place,
and never connecting again by itself. It reads through connections of ours: they let others run while there is much to
read, tell what the server's errors mean, and skip what is known already: the map of a table, which comes before each
change of it, takes longer to decode than the change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import gevent
import pymysql
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.constants import BINLOG

from ...breath import breathe
from ...core.errors import CometError, SourceFailed
from .address import Address
from .checks import RIGHTS
from .database import Database
from .failures import explain
from .place import Place
from .rows import Unreadable


#: The place is not in the server's log, or can't be read from there.
UNREADABLE = 1236

#: Somebody else reads with our server id.
REPLACED = 4052

#: What the library does not know: lost events, and compressed ones.
HIDING = {26, *range(165, 172)}

#: What it raises where it can't decode an event.
UNDECODED = (ValueError, LookupError, TypeError, AttributeError, NotImplementedError, struct.error)

#: Seconds that the server may take to end what we have left.
DISMISSAL = 2.0


class Purged(Exception):
    """The server has the log no more, or not from there on."""


class Replaced(Exception):
    """Somebody else reads with the same server id: the server has thrown us out."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: the number that a replica has, and the user as a GRANT names it."""

    server_id: int
    account: str


class Stream:
    """The log of the server at ``address`` from ``place`` on. Close it.

    Only row events of ``table``, (database, name), are decoded, and of the other events those of the classes
    ``events``.
    """

    def __init__(
        self,
        address: Address,
        place: Place,
        reader: Reader,
        *,
        table: tuple[str, str],
        events: tuple[type, ...],
    ) -> None:
        self.address = address
        self.reader = reader
        self._connections: list[Any] = []
        self._thread = 0
        self._begun = False
        self._hidden = 0
        self._maps: dict[bytes, bytes] = {}
        self._ours = True
        self._library = BinLogStreamReader(
            connection_settings=address.options(),
            server_id=reader.server_id,
            blocking=True,
            resume_stream=True,
            log_file=place.file,
            log_pos=place.pos,
            only_schemas=[table[0]],
            only_tables=[table[1]],
            only_events=list(events),
            slave_heartbeat=address.timeout / 4,
            is_mariadb=False,  # else it would ignore the place
            enable_logging=False,
            pymysql_wrapper=self._connect,
        )

    def __iter__(self) -> Iterator[Any]:
        """Wait for events, for ever; Unreadable stands for some. Raises SourceFailed, Alarm, Purged or Replaced."""
        while (event := self._next()) is not None:
            if self._hidden:
                yield Unreadable(f"there are events of the type {self._hidden}")
                self._hidden = 0
            yield event
        raise SourceFailed(f"{self.address} has ended its binary log.")

    def _next(self) -> Any:
        try:
            return self._library.fetchone()
        except pymysql.Error as error:
            raise self._meaning(error) from error
        except UNDECODED as error:
            if not self._begun:
                raise
            return Unreadable(f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Let go of the server. It would notice by itself, but not before it has something to say."""
        for connection in self._connections:
            if connection.open:
                connection.close()
        if self._thread and self._ours:
            gevent.spawn(self._dismiss, self._thread)

    def _dismiss(self, thread: int) -> None:
        with suppress(CometError), gevent.Timeout(DISMISSAL, False):
            server = Database(self.address)
            try:
                # Not by its number alone: a server that has been restarted gives that to somebody else.
                sql = "SELECT id FROM information_schema.processlist WHERE id = %s AND command = 'Binlog Dump'"
                if server.rows(sql, (thread,)):
                    server.execute(f"KILL {int(thread)}")
            finally:
                server.close()

    # Connections, as the library asks for them.

    def _connect(self, **options: Any) -> Any:
        options["database"] = options.pop("db", None)
        try:
            connection = pymysql.connect(**options)
        except pymysql.Error as error:
            raise explain(error, self.address) from error
        self._connections.append(connection)
        self._thread = self._thread or connection.thread_id()
        read = connection._read_packet

        def read_packet(*arguments: Any) -> Any:
            while True:
                breathe()
                try:
                    packet = read(*arguments)
                except pymysql.Error as error:
                    raise self._meaning(error) from error
                if not self._is_known(packet._data):
                    return packet

        connection._read_packet = read_packet
        return connection

    def _meaning(self, error: pymysql.Error) -> Exception:
        code, text = error.args[0] if error.args else 0, str(error)
        self._ours = False
        # MySQL says the second with the number of the first.
        if code == REPLACED or (code == UNREADABLE and "same server" in text):
            return Replaced()
        if code == UNREADABLE:
            return Purged(text)
        return explain(error, self.address, grant=RIGHTS, account=self.reader.account)

    def _is_known(self, data: bytes) -> bool:
        """Whether a packet is the map of a table as it came before. A number means one table until the log rotates,
        and each log begins with telling that it does.
        """
        if len(data) < 30 or data[0] != 0:
            return False
        if data[5] in HIDING:
            self._hidden = data[5]
        elif data[5] == BINLOG.ROTATE_EVENT:
            self._begun = True
            self._maps.clear()
            # Whether columns have names the log says, event by event, and not a look at a variable at the start.
            self._library._BinLogStreamReader__optional_meta_data = True
        elif data[5] == BINLOG.TABLE_MAP_EVENT:
            # Behind the header, which has the time, and before the checksum over it.
            number, body = data[20:26], data[26:-4]
            if self._maps.get(number) == body:
                return True
            self._maps[number] = body
        return False
