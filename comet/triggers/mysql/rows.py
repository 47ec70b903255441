"""Rows: what a row event of the binary log says, as the JSON of updates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from pymysqlreplication.constants import FIELD_TYPE
from pymysqlreplication.constants.NONE_SOURCE import EMPTY_SET
from pymysqlreplication.row_event import UpdateRowsEvent, WriteRowsEvent

from ...breath import breathe
from .mapping import Kind, as_json, kind_of, padded


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

_MEMBER = re.compile(r"'((?:[^']|'')*)'")
_BINARY = re.compile(r"binary\((\d+)\)")

#: TIMESTAMP '0000-00-00 00:00:00' is the moment zero in the binary log, which no real one can be.
_ZERO = datetime(1970, 1, 1)

#: Where the library would take another encoding for a character set than the server.
_ENCODINGS = {"ucs2": "utf_16_be", "utf16": "utf_16_be", "utf16le": "utf_16_le", "utf32": "utf_32_be"}

#: Makes of a value what a query gives.
Mend = Callable[[Any], Any]


class Unreadable(Exception):
    """The log has changes in a form that can't be read: without all columns, or their names, or something is odd."""


class Rows:
    """Reads the row events of one table. ``declare`` says how its columns are declared now: {"id": "binary(16)"}."""

    def __init__(self, declare: Callable[[], Mapping[str, str]]) -> None:
        self._declare = declare
        self._declared: Mapping[str, str] | None = None
        self._columns: Any = None
        self._kinds: dict[str, tuple[Kind, Mend | None]] = {}

    def forget(self) -> None:
        """The columns may be others now."""
        self._declared = self._columns = None

    def of(self, event: Any) -> Iterator[tuple[str, bytes]]:
        """The name of each event and its data. Raises Unreadable."""
        self._look_at(event)
        while event.packet.read_bytes < event.event_size:
            try:
                said = self._next(event)
            except Exception as error:  # whatever it is: the same bytes would bring it again and again
                raise Unreadable(str(error)) from error
            yield said
            breathe()

    def _next(self, event: Any) -> tuple[str, bytes]:
        # As ``event.rows`` does; but there may be hundreds in an event, and others run meanwhile.
        row = event._fetch_one_row()
        match event:
            case WriteRowsEvent():
                return "inserted", _data(self._mapped(row), None)
            case UpdateRowsEvent():
                return "updated", _data(self._mapped(row, "after_"), self._mapped(row, "before_"))
            case _:
                return "deleted", _data(None, self._mapped(row))

    def _look_at(self, event: Any) -> None:
        """Know the columns. The same list comes with each event until the table's map is another."""
        whole = (1 << event.number_of_columns) - 1
        bitmaps = [event.columns_present_bitmap]
        if isinstance(event, UpdateRowsEvent):
            bitmaps.append(event.columns_present_bitmap2)
        if any(int.from_bytes(bitmap, "little") & whole != whole for bitmap in bitmaps):
            raise Unreadable("columns are missing")
        if event.columns is not self._columns:
            if not all(column.name for column in event.columns):
                raise Unreadable("columns have no names")
            if self._declared is None:
                self._declared = self._declare()
            for column in event.columns:
                _mend(column, self._declared.get(column.name, ""))
            self._kinds = {column.name: _kind(column, self._declared.get(column.name, "")) for column in event.columns}
            self._columns = event.columns

    def _mapped(self, row: dict[str, Any], which: str = "") -> dict[str, Any]:
        mapped: dict[str, Any] = {}
        empty = row[f"{which}none_sources"]
        for name, value in row[f"{which}values"].items():
            kind, mend = self._kinds[name]
            if value is None:
                mapped[name] = [] if empty[name] == EMPTY_SET else None
            else:
                mapped[name] = as_json(mend(value) if mend else value, kind)
        return mapped


def _data(row: dict[str, Any] | None, before: dict[str, Any] | None) -> bytes:
    return _encode({"row": row, "before": before}).encode()


def _mend(column: Any, declared: str) -> None:
    """Let the library decode text as the server has encoded it."""
    column.character_set_name = _ENCODINGS.get(column.character_set_name, column.character_set_name)
    values = [value.replace("''", "'") for value in _MEMBER.findall(declared)]
    # The names of ENUM and SET it takes for UTF-8, which they are not where their column is not.
    if column.type == FIELD_TYPE.ENUM and len(values) + 1 == len(column.enum_values):
        column.enum_values = ["", *values]
    elif column.type == FIELD_TYPE.SET and len(values) == len(column.set_values):
        column.set_values = values


def _kind(column: Any, declared: str) -> tuple[Kind, Mend | None]:
    """What a column is, and what makes of its values those that a query gives."""
    kind = kind_of(column.type)
    if declared in ("uuid", "inet6", "inet4"):
        return declared, _as_bytes
    if binary := _BINARY.fullmatch(declared):
        return kind, lambda value: padded(_as_bytes(value), int(binary[1]))
    if column.character_set_name == "binary":
        return kind, _as_bytes
    return kind, _MENDS.get(kind) or _MENDS.get(column.type)


def _as_bytes(value: Any) -> bytes:
    # What is empty the library has decoded by a character set that is none.
    return value or b""


def _moment(value: datetime) -> datetime | None:
    return None if value == _ZERO else value


def _duration(value: timedelta) -> timedelta:
    """The library reads the fraction of a negative TIME from the wrong side: of -1.3 it makes -1.7."""
    if value >= timedelta(0) or not value.microseconds:
        return value
    seconds, fraction = divmod(-value, timedelta(seconds=1))
    return -(timedelta(seconds=seconds + 1) - fraction)


_MENDS: dict[object, Mend] = {"timestamp": _moment, FIELD_TYPE.TIME2: _duration}
