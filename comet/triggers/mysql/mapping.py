"""Mapping: values of columns as JSON, the same for a row that a query gave and for one from the binary log.

Strategy: the value's Python type decides, but for kinds of columns that PyMySQL and the binary log give differently,
or that their Python type does not tell apart. ``kind_of`` names the kind by the number of the column's type, which both
know. What the binary log does not tell is its reader's to know and to pass: a UUID or INET6 (bytes there) is of the
kind ``uuid``, ``inet6`` or ``inet4``, and BINARY(n) has lost the zeros at its end, as in ``padded``.

What comes out never loses a digit in JavaScript: integers beyond 2^53, and DECIMAL always, are strings.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any

from pymysql.constants import FIELD_TYPE, FLAG


#: JavaScript's numbers count up to here without leaving one out.
EXACT = 1 << 53

#: What a column is, where that matters; "" where the value says it.
Kind = str


def kind_of(type_code: int, flags: int = 0) -> Kind:
    """The kind of a column. ``flags`` are those of a query's result: there a SET looks like a string."""
    return "set" if flags & FLAG.SET else _KINDS.get(type_code, "")


def as_json(value: object, kind: Kind = "") -> Any:
    """What stands for the value in JSON: None, a bool, a number, a str, a list or a dict."""
    if value is None:
        return None
    if kind in _BY_KIND:
        value = _BY_KIND[kind](value)
    convert = _BY_TYPE.get(type(value))
    return convert(value) if convert else value


def as_row(names: Iterable[str], kinds: Iterable[Kind], values: Iterable[object]) -> dict[str, Any]:
    """A row as a JSON object: the columns in their order."""
    return {name: as_json(value, kind) for name, kind, value in zip(names, kinds, values, strict=True)}


def padded(value: bytes | None, length: int) -> bytes | None:
    """A value of BINARY(length) as a query gives it."""
    return None if value is None else value.ljust(length, b"\0")


# By the kind of the column: what the two sources give differently becomes one.


def _float(value: Any) -> float:
    # A query gives six digits of a FLOAT, the binary log all that four bytes have, and some more.
    return float(f"{value:.6g}")


def _bit(value: Any) -> int:
    return int(value, 2) if isinstance(value, str) else int.from_bytes(value, "big")


def _set(value: Any) -> list[str]:
    return sorted(value.split(",") if isinstance(value, str) and value else value or ())


def _date(value: Any) -> Any:
    # What is no date (0000-00-00, 2026-02-00) PyMySQL gives as text, the binary log not at all.
    return None if isinstance(value, str) else value


def _timestamp(value: Any) -> Any:
    """A TIMESTAMP is a moment. Both sources give it in UTC."""
    return None if isinstance(value, str) else f"{value.replace(tzinfo=None).isoformat()}Z"


def _year(value: Any) -> int:
    return 0 if value == 1900 else int(value)  # YEAR begins with 1901: the binary log's 0 is 1900


def _uuid(value: Any) -> str:
    return str(uuid.UUID(bytes=value.ljust(16, b"\0"))) if isinstance(value, bytes) else str(value)


def _inet6(value: Any) -> str:
    # Written by one hand: there is more than one way to leave out zeros.
    return inet_ntop(AF_INET6, value.ljust(16, b"\0") if isinstance(value, bytes) else inet_pton(AF_INET6, value))


def _inet4(value: Any) -> str:
    return inet_ntop(AF_INET, value.ljust(4, b"\0")) if isinstance(value, bytes) else str(value)


_BY_KIND: dict[Kind, Callable[[Any], Any]] = {
    "float": _float,
    "bit": _bit,
    "set": _set,
    "date": _date,
    "timestamp": _timestamp,
    "year": _year,
    "uuid": _uuid,
    "inet6": _inet6,
    "inet4": _inet4,
}

#: By the number of the column's type. The last ones are the binary log's own.
_KINDS: dict[int, Kind] = {
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.SET: "set",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.DATETIME: "date",
    FIELD_TYPE.TIMESTAMP: "timestamp",
    FIELD_TYPE.YEAR: "year",
    17: "timestamp",
    18: "date",
}


# By the type of the value.


def _integer(value: int) -> int | str:
    return value if -EXACT <= value <= EXACT else str(value)


def _seconds(value: timedelta) -> float | int:
    seconds = value.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _bytes(value: bytes) -> dict[str, str]:
    return {"$b64": base64.b64encode(value).decode()}


_BY_TYPE: dict[type, Callable[[Any], Any]] = {
    int: _integer,
    Decimal: lambda value: format(value, "f"),
    date: date.isoformat,
    datetime: datetime.isoformat,
    timedelta: _seconds,
    bytes: _bytes,
    bytearray: _bytes,
}
