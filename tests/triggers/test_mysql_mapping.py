"""Values of columns as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from comet.core.errors import SettingsError
from comet.triggers.mysql.address import Address
from comet.triggers.mysql.database import Database, quoted
from comet.triggers.mysql.mapping import as_json, as_row, kind_of, padded
from tests.mariadb import MariaDB
from tests.triggers.columns import COLUMNS, create, insert


@pytest.fixture
def database(mariadb: MariaDB, schema: str) -> Iterator[Database]:
    database = Database(Address.parse(mariadb.url(schema)))
    yield database
    database.close()


def test_every_type_of_column(database: Database) -> None:
    """What JSON a query's row becomes, for a value of each, an empty or zero one, and NULL."""
    database.execute(create("t"))
    for number in range(3):
        database.execute(insert("t", number))
    columns, rows = database.read("SELECT * FROM t ORDER BY id", 10)
    names, kinds = zip(*columns, strict=True)
    for number, row in enumerate(rows):
        values = as_row(names, kinds, row)
        assert json.loads(json.dumps(values)) == {
            "id": number,
            **{name: values[number] for name, (_, _, *values) in COLUMNS.items()},
        }


@pytest.mark.parametrize(
    ("kind", "of_a_query", "of_the_log", "json"),
    [
        ("float", 0.1, 0.10000000149011612, 0.1),
        ("float", 16777200.0, 16777216.0, 16777200.0),
        ("float", -3.40282e38, -3.4028234663852886e38, -3.40282e38),
        ("bit", b"\x00\n", "0000001010", 10),
        ("bit", b"\xff" * 8, "1" * 64, "18446744073709551615"),
        ("set", "y,x", {"x", "y"}, ["x", "y"]),
        ("set", "", set(), []),
        ("date", "0000-00-00", None, None),
        ("timestamp", "0000-00-00 00:00:00", None, None),
        ("year", 0, 1900, 0),
        ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", bytes.fromhex("a0eebc999c0b4ef8bb6d6bb9bd380a11"),
         "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("inet6", "2001:db8::", bytes.fromhex("20010db8"), "2001:db8::"),
        ("inet4", "192.0.2.0", b"\xc0\x00\x02", "192.0.2.0"),
    ],
)  # fmt: skip
def test_what_the_sources_give_differently_becomes_one(
    kind: str, of_a_query: object, of_the_log: object, json: object
) -> None:
    """A channel does not change its shape when the one takes the place of the other."""
    assert as_json(of_a_query, kind) == as_json(of_the_log, kind) == json


def test_kinds_by_the_numbers_of_both_sources() -> None:
    """A SET is a string with a flag in a result; dates have numbers of their own in the log."""
    assert [kind_of(code) for code in (4, 16, 248, 10, 12, 18, 7, 17, 13, 3, 253)] == [
        *"float bit set date date date timestamp timestamp year".split(),
        "",
        "",
    ]
    assert kind_of(254, 2048) == "set"


def test_bytes_of_a_fixed_length_get_their_zeros_back() -> None:
    """The log leaves them out."""
    assert (padded(b"\1", 3), padded(None, 3)) == (b"\1\0\0", None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://comet:p%40ss%2F@db.example:3307/shop", "mysql://db.example:3307/shop"),
        ("mysql://comet@localhost", "mysql://localhost:3306/"),
        ("mysql://comet:x@[::1]/shop?timeout=2.5&tls=unverified", "mysql://[::1]:3306/shop"),
        ("mysql://comet:x@localhost/shop?socket=%2Frun%2Fm.sock", "mysql:///run/m.sock/shop"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    """Nor does its representation have it."""
    address = Address.parse(url)
    assert str(address) == shown
    assert "p@ss" not in repr(address)


def test_what_a_connection_is_told() -> None:
    """What is written as %.. is meant; TLS, with one context for all, but on this machine; times in UTC."""
    options = Address.parse("mysql://c%C3%B6met:p%40%C3%9F@db.example/shop").options()
    assert (options["user"], options["password"], options["port"]) == ("cömet", "p@ß".encode(), 3306)
    assert options["autocommit"] is True and "+00:00" in options["init_command"]
    assert options["ssl"] is Address.parse("mysql://other:x@elsewhere.example").options()["ssl"]
    assert options["ssl"].check_hostname
    assert Address.parse("mysql://a@db/?tls=unverified").options()["ssl"].check_hostname is False
    for url in ("mysql://a@127.0.0.1", "mysql://a@[::1]", "mysql://a@localhost", "mysql://a@db?tls=off"):
        assert Address.parse(url).options()["ssl_disabled"] is True


@pytest.mark.parametrize(
    "url",
    [
        "postgres://a:secret@host/db",
        "mysql://:secret@host/db",
        "mysql://a:secret@/db",
        "mysql://a:sec#ret@host/db",
        "mysql://a:secret@host:many/db",
        "mysql://a:secret@host/db/more",
        "mysql://a:secret@host/db?tls=maybe",
        "mysql://a:secret@host/db?timeout=0",
        "mysql://a:secret@host/db?timeout=soon",
        "mysql://a:secret@host/db?charset=latin1",
    ],
)
def test_what_is_no_address(url: str) -> None:
    """One sentence that does not tell the password."""
    with pytest.raises(SettingsError) as caught:
        Address.parse(url)
    assert "sec" not in str(caught.value).replace("seconds", "")


def test_names_of_tables() -> None:
    """With their database or without; nothing else comes into a statement."""
    assert (quoted("orders"), quoted("shop.orders")) == ("`orders`", "`shop`.`orders`")
    for table in ("", "a.b.c", ".a", "a`b"):
        with pytest.raises(SettingsError):
            quoted(table)


def test_a_certificate_file_that_is_not_there() -> None:
    """It is named."""
    with pytest.raises(SettingsError, match=r"of /none\.pem can't be read"):
        Address.parse("mysql://a@db/?ca=/none.pem").options()
