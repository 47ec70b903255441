"""Programs that write to a database at the same time: what they commit, and what they do not."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import pymysql

from tests.mariadb import MariaDB


WRITERS = 8
TABLE = "CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, owner INT, n INT, INDEX (owner))"
OUTBOX = (
    "CREATE TABLE outbox (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, channel VARCHAR(128) NOT NULL, "
    "event VARCHAR(128), data MEDIUMTEXT NOT NULL, done TINYINT NOT NULL DEFAULT 0, INDEX (done, id))"
)
AGAIN = {0, 1205, 1213, 2003, 2006, 2013}


class Writer:
    """Inserts, updates and deletes rows of its own in ``orders``, and tells of each in ``outbox``.

    Each transaction changes one to five rows; one of ten is rolled back, and what the server refuses is done again.
    ``told``: what was committed to the outbox; ``maybe``: of which the server did not say whether it was.
    """

    def __init__(self, server: MariaDB, schema: str, number: int, *, pause: float, sleep: Callable[[float], object]):
        self.server = server
        self.schema = schema
        self.number = number
        self.pause = pause
        self.sleep = sleep
        self.dice = random.Random(number)
        self.told: list[str] = []
        self.maybe: list[str] = []
        self._serial = 0

    def write(self, count: int) -> None:
        """Commit changes of so many rows."""
        connection: Any = None
        while len(self.told) + len(self.maybe) < count:
            try:
                connection = connection or self.server.connect(self.schema, autocommit=False)
                self._transaction(connection, min(self.dice.randint(1, 5), count - len(self.told) - len(self.maybe)))
            except pymysql.Error as error:
                if error.args[0] not in AGAIN:
                    raise
                if error.args[0] in (1205, 1213):
                    connection.rollback()
                else:
                    connection = None
                    self.sleep(0.05)
        if connection is not None:
            connection.close()

    def _transaction(self, connection: Any, size: int) -> None:
        told = []
        with connection.cursor() as cursor:
            for _ in range(size):
                told.append(self._change(cursor))
                self.sleep(self.dice.uniform(0, self.pause))
        if self.dice.random() < 0.1:
            connection.rollback()
            return
        try:
            connection.commit()
        except pymysql.Error:
            # Nobody knows whether it was; who reads the table afterwards does.
            self.maybe += told
            raise
        self.told += told

    def _change(self, cursor: Any) -> str:
        self._serial += 1
        text = f"{self.number}-{self._serial}"
        verb = self.dice.choice(("insert", "insert", "update", "delete"))
        if verb == "insert":
            cursor.execute("INSERT INTO orders (owner, n) VALUES (%s, %s)", (self.number, self._serial))
        else:
            cursor.execute("SELECT id FROM orders WHERE owner = %s ORDER BY RAND() LIMIT 1", (self.number,))
            row = cursor.fetchone() or (0,)
            if verb == "update":
                cursor.execute("UPDATE orders SET n = %s WHERE id = %s", (self._serial, row[0]))
            else:
                cursor.execute("DELETE FROM orders WHERE id = %s", row)
        cursor.execute("INSERT INTO outbox (channel, event, data) VALUES ('told', %s, %s)", (verb, text))
        return text


def follow(differences: Iterable[tuple[str | None, str]], key: str = "id") -> dict[object, object]:
    """What a subscriber has in the end who heeds each difference. No row is added twice, or gone before it came."""
    rows: dict[object, object] = {}
    for event, data in differences:
        row = json.loads(data)
        assert (row[key] in rows) == (event != "added"), (event, data)
        if event == "removed":
            del rows[row[key]]
        else:
            rows[row[key]] = row
    return rows


def writers(
    server: MariaDB, schema: str, *, pause: float = 0.002, sleep: Callable[[float], object] = time.sleep
) -> list[Writer]:
    """Make the tables, and eight who write to them."""
    server.execute(TABLE, OUTBOX, database=schema)
    return [Writer(server, schema, number, pause=pause, sleep=sleep) for number in range(WRITERS)]
