"""Database: one connection to a server, for one greenlet. Its errors are comet's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import pymysql
from pymysql.cursors import SSCursor

from ...breath import breathe
from ...core.errors import Alarm, SettingsError
from .address import Address
from .failures import explain
from .mapping import Kind, kind_of


def quoted(table: str) -> str:
    """``table`` or ``database.table``, as a statement names it. Raises SettingsError for what is neither."""
    parts = table.split(".")
    if not 1 <= len(parts) <= 2 or not all(parts) or "`" in table or "\0" in table:
        raise SettingsError(f"table is {table!r}; it must be a table's name, or database.table.")
    return ".".join(f"`{part}`" for part in parts)


class Database:
    """Connects at once. Close it. ``grant`` and ``remedies``: see ``explain``.

    Every method raises Alarm or SourceFailed; then the connection is of no more use.
    """

    def __init__(
        self, address: Address, *, grant: str = "", remedies: Mapping[int, str] = MappingProxyType({})
    ) -> None:
        self.address = address
        self.grant = grant
        self.remedies = remedies
        self.account = ""
        self._connection: Any = None
        try:
            with self._explained():
                self._connection = pymysql.connect(**address.options())
            # Not as we call ourselves but as the server has it: whom to grant something.
            user, _, host = self.rows("SELECT CURRENT_USER()")[0][0].rpartition("@")
            self.account = f"'{user}'@'{host}'"
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None and self._connection.open:
            self._connection.close()

    def execute(self, statement: str, arguments: Sequence[object] | None = None) -> int:
        """Run a statement; return how many rows it has changed."""
        with self._explained(), self._connection.cursor() as cursor:
            return int(cursor.execute(statement, arguments))

    def rows(self, statement: str, arguments: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a result that is small."""
        with self._explained(), self._connection.cursor() as cursor:
            cursor.execute(statement, arguments)
            return list(cursor.fetchall())

    def names(self, table: str) -> list[str]:
        """The columns of a table."""
        with self._explained(), self._connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table} LIMIT 0")
            return [column[0] for column in cursor.description]

    def read(self, query: str, most: int) -> tuple[list[tuple[str, Kind]], list[tuple[Any, ...]]]:
        """The columns of a result with their kinds, and its rows, as they were at one moment.

        Others run meanwhile. Of more than ``most`` rows one more is given; then the connection is of no more use.
        """
        with self._explained(), self._connection.cursor(SSCursor) as cursor:
            cursor.execute(query)
            if cursor.description is None:
                return [], []
            result = cursor._result
            columns = [(field.name, kind_of(field.type_code, field.flags)) for field in result.fields]
            try:
                rows: list[tuple[Any, ...]] = []
                while len(rows) <= most and (row := cursor.fetchone()) is not None:
                    rows.append(row)
                    breathe()
                return columns, rows
            finally:
                result.unbuffered_active = False  # else what is left would be read now, without a breath

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except pymysql.Error as error:
            raise explain(
                error, self.address, grant=self.grant, account=self.account, remedies=self.remedies
            ) from error
        except RuntimeError as error:
            if "cryptography" not in str(error):
                raise
            raise Alarm(
                f"{self.address} wants the password as only the package cryptography tells it: pip install cryptography"
            ) from error
