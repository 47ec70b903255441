"""A column of every type, and what JSON its values become."""

from __future__ import annotations

from typing import Any


#: Name: type, literals, and the JSON of: a value, an empty or extreme one, NULL.
COLUMNS: dict[str, Any] = {
    "tiny": ("TINYINT", ("-128", "0"), -128, 0, None),
    "flag": ("BOOL", ("TRUE", "FALSE"), 1, 0, None),
    "number": ("INT UNSIGNED ZEROFILL", ("7", "4294967295"), 7, 4294967295, None),
    "large": ("BIGINT", ("9007199254740992", "-9007199254740993"), 9007199254740992, "-9007199254740993", None),
    "huge": ("BIGINT UNSIGNED", ("18446744073709551615", "0"), "18446744073709551615", 0, None),
    "amount": ("DECIMAL(20,10)", ("1.50", "0.0000000001"), "1.5000000000", "0.0000000001", None),
    "single": ("FLOAT", ("0.1", "16777216"), 0.1, 16777200, None),
    "precise": ("DOUBLE", ("0.1", "-1.7976931348623157e308"), 0.1, -1.7976931348623157e308, None),
    "bits": ("BIT(10)", ("b'0000001010'", "b'0'"), 10, 0, None),
    "mask": ("BIT(64)", ("18446744073709551615", "1"), "18446744073709551615", 1, None),
    "day": ("DATE", ("'2026-11-23'", "'0000-00-00'"), "2026-11-23", None, None),
    "partly": ("DATE", ("'2026-11-00'", "'1000-01-01'"), None, "1000-01-01", None),
    "at": ("DATETIME", ("'2026-11-23 13:00:00'", "'0000-00-00'"), "2026-11-23T13:00:00", None, None),
    "exactly": (
        "DATETIME(6)",
        ("'2026-11-23 13:00:00.000001'", "'9999-12-31 23:59:59.999999'"),
        "2026-11-23T13:00:00.000001",
        "9999-12-31T23:59:59.999999",
        None,
    ),
    "moment": ("TIMESTAMP(3) NULL", ("'2026-11-23 13:00:00.5'", "0"), "2026-11-23T13:00:00.500000Z", None, None),
    "span": ("TIME", ("'-838:59:59'", "'00:00:00'"), -3020399, 0, None),
    "short": ("TIME(6)", ("'01:00:00.25'", "'-00:00:00.5'"), 3600.25, -0.5, None),
    "year": ("YEAR", ("2026", "0000"), 2026, 0, None),
    "code": ("CHAR(5)", ("'ab '", "''"), "ab", "", None),
    "name": ("VARCHAR(50)", ("'Zoë \U0001f40d'", "''"), "Zoë \U0001f40d", "", None),
    "old": ("VARCHAR(50) CHARACTER SET latin1", ("'Zoë'", "''"), "Zoë", "", None),
    "essay": ("TEXT", ("'<b>&</b>\\nmore'", "''"), "<b>&</b>\nmore", "", None),
    "raw": ("VARBINARY(10)", ("x'00ff'", "''"), {"$b64": "AP8="}, {"$b64": ""}, None),
    "fixed": ("BINARY(4)", ("x'01020000'", "x'00000000'"), {"$b64": "AQIAAA=="}, {"$b64": "AAAAAA=="}, None),
    "blob_": ("BLOB", ("x'fffe'", "''"), {"$b64": "//4="}, {"$b64": ""}, None),
    "kind": ("ENUM('small','large')", ("'large'", "'small'"), "large", "small", None),
    "tags": ("SET('y','x','z')", ("'x,y'", "''"), ["x", "y"], [], None),
    "document": ("JSON", ("'{\"a\": [1, null]}'", "'0'"), '{"a": [1, null]}', "0", None),
    "who": (
        "UUID",
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"),
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "00000000-0000-0000-0000-000000000000",
        None,
    ),
    "where6": ("INET6", ("'2001:db8::1'", "'::'"), "2001:db8::1", "::", None),
    "mapped": ("INET6", ("'::ffff:192.0.2.1'", "'2001:db8::'"), "::ffff:192.0.2.1", "2001:db8::", None),
    "where4": ("INET4", ("'192.0.2.1'", "'0.0.0.0'"), "192.0.2.1", "0.0.0.0", None),
    "place": (
        "POINT",
        ("POINT(1, 2)", "POINT(0, 0)"),
        {"$b64": "AAAAAAEBAAAAAAAAAAAA8D8AAAAAAAAAQA=="},
        {"$b64": "AAAAAAEBAAAAAAAAAAAAAAAAAAAAAAAAAA=="},
        None,
    ),
}


def create(table: str) -> str:
    columns = ", ".join(f"`{name}` {column[0]}" for name, column in COLUMNS.items())
    return f"CREATE TABLE {table} (id INT PRIMARY KEY, {columns})"


def insert(table: str, number: int) -> str:
    """The row ``number``: 0 has values, 1 what is empty or extreme, 2 NULL. Zero dates are let in."""
    literals = ", ".join((*column[1], "NULL")[number] for column in COLUMNS.values())
    return f"SET STATEMENT sql_mode='' FOR INSERT INTO {table} VALUES ({number}, {literals})"
