"""The trigger mysql-binlog, on a real MariaDB."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from operator import itemgetter
from typing import Any
from uuid import uuid4

import gevent
import pytest

from comet.brokers import Receipt
from comet.core.errors import Alarm, LeaseLost, SettingsError, SourceFailed, TooLarge
from comet.core.update import Update
from comet.triggers.mysql import backlog, binlog
from comet.triggers.mysql.binlog import Binlog
from comet.triggers.mysql.database import Database
from comet.triggers.mysql.mapping import as_row
from tests.mariadb import MariaDB
from tests.timing import PATIENCE
from tests.triggers.columns import COLUMNS, create, insert
from tests.triggers.watching import Published, ended, wait
from tests.triggers.writers import writers


pytestmark = pytest.mark.usefixtures("cooperative")

Row = dict[str, Any]


class Log(Published):
    """What was published, and the batches in which it was: their sizes, and whether they had a checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[int, bool]] = []

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        self.batches.append((len(updates), checkpoint is not None))
        return super().__call__(updates, checkpoint)

    @property
    def told(self) -> list[tuple[str | None, Row | None, Row | None]]:
        """Event, row and what it was before."""
        said = [json.loads(update.data) for update in self]
        return [(update.event, each.get("row"), each.get("before")) for update, each in zip(self, said, strict=True)]

    @property
    def notices(self) -> list[tuple[str, str]]:
        """Reason and statement of each ``resync``."""
        said = [json.loads(update.data) for update in self if update.event == "resync"]
        return [(each["reason"], each.get("statement", "")) for each in said]


class Run:
    """A trigger that runs until the end of the test."""

    def __init__(self, trigger: Binlog, log: Log) -> None:
        self.trigger = trigger
        self.log = log
        self.greenlet = gevent.spawn(trigger.run, log)

    def stop(self) -> None:
        self.trigger.stop()
        ended(self.greenlet)

    @property
    def dumps(self) -> bool:
        """Whether the server sends us its log."""
        with closing(Database(self.trigger.address)) as server:
            sql = "SELECT 1 FROM information_schema.processlist WHERE command = 'Binlog Dump'"
            return bool(server.rows(sql))


Follow = Callable[..., Run]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def follow(mariadb: MariaDB, schema: str, log: Log) -> Iterator[Follow]:
    """Follow the table ``orders``: from now on, or from where ``log`` has a checkpoint."""
    runs: list[Run] = []

    def follow(table: str = "orders", log: Log = log, options: str = "") -> Run:
        trigger = Binlog(f"n{schema}", url=mariadb.url(schema) + options, channel="a", table=f"{schema}.{table}")
        runs.append(Run(trigger, log))
        wait(lambda: log.checkpoints or runs[-1].greenlet.ready())
        assert not runs[-1].greenlet.ready(), runs[-1].greenlet.exception
        return runs[-1]

    mariadb.execute("CREATE TABLE orders (id INT PRIMARY KEY AUTO_INCREMENT, n INT)", database=schema)
    yield follow
    for each in runs:
        each.trigger.stop()
    gevent.killall([each.greenlet for each in runs])


@pytest.fixture
def sql(mariadb: MariaDB, schema: str) -> Callable[..., object]:
    """Run statements in one session."""
    return lambda *statements: mariadb.execute(*statements, database=schema)


Sql = Callable[..., Any]


# What is published.


def test_what_happens_to_a_row(follow: Follow, sql: Sql, log: Log) -> None:
    """It is published with what it was before; not what had happened before the first start, nor other tables."""
    sql("INSERT INTO orders VALUES (1, 1)", "CREATE TABLE other LIKE orders")
    follow()
    sql("INSERT INTO orders VALUES (2, NULL)", "INSERT INTO other VALUES (1, 1)", "TRUNCATE other")
    sql("UPDATE orders SET n = 3 WHERE id = 2", "UPDATE orders SET n = 3 WHERE id = 2", "DELETE FROM orders")
    wait(lambda: len(log) >= 4)
    assert log.told == [
        ("inserted", {"id": 2, "n": None}, None),
        ("updated", {"id": 2, "n": 3}, {"id": 2, "n": None}),
        ("deleted", None, {"id": 1, "n": 1}),
        ("deleted", None, {"id": 2, "n": 3}),
    ]
    assert {(update.channel, update.type) for update in log} == {("a", "application/json")}


def test_every_type_gives_the_json_that_a_query_gives(follow: Follow, sql: Sql, log: Log) -> None:
    """A channel does not change its shape when its source is another."""
    sql(create("types"))
    follow("types")
    sql(*(insert("types", number) for number in range(3)), "DELETE FROM types")
    wait(lambda: len(log) >= 6)
    for number in range(3):
        expected = {"id": number, **{name: column[2 + number] for name, column in COLUMNS.items()}}
        assert log.told[number] == ("inserted", expected, None)
        assert log.told[3 + number] == ("deleted", None, expected)


ODD = {
    "VARCHAR(20) CHARACTER SET utf16": ("'日本\U0001f40d'", "''"),
    "CHAR(5) CHARACTER SET ucs2": ("'é'", "''"),
    "TEXT CHARACTER SET cp1251": ("'Привет'",),
    "ENUM('ä','b''c') CHARACTER SET latin1": ("'ä'", "'b''c'"),
    "SET('ä','b') CHARACTER SET latin1": ("'ä,b'", "''"),
    "TIME(1)": ("'-00:00:00.3'", "'01:02:03.4'"),
    "TIME(3)": ("'-00:00:59.250'", "'-12:59:59.999'"),
    "TIME(6)": ("'-00:00:00.000001'", "'-01:02:03.123456'", "'838:59:59.999999'"),
    "DECIMAL(30,30)": ("-0.123456789012345678901234567890", "0"),
    "DECIMAL(5,0)": ("-99999", "0"),
    "MEDIUMINT UNSIGNED": ("16777215",),
    "MEDIUMINT": ("-8388608",),
    "FLOAT": ("1e-10", "3.4e38", "123456.7", "-1234567"),
    "DATETIME(2)": ("'2026-01-02 03:04:05.12'",),
    "TIMESTAMP": ("'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"),
    "BINARY(8)": ("'ab'", "x'00ff'", "''"),
    "UUID": ("'ffffffff-ffff-ffff-ff00-000000000000'",),
    "LONGTEXT": ("REPEAT('é', 40000)",),
    "INT INVISIBLE": ("1",),
}


def test_odd_values_too(follow: Follow, sql: Sql, log: Log, schema: str) -> None:
    """What the library reads otherwise than the server writes it is put right."""
    columns = [f"c{number} {type} {'' if 'TIMESTAMP' not in type else 'NULL'}" for number, type in enumerate(ODD)]
    sql(f"CREATE TABLE odd (id INT PRIMARY KEY AUTO_INCREMENT, {', '.join(columns)})")
    run = follow("odd")
    rows = [(number, literal) for number, literals in enumerate(ODD.values()) for literal in literals]
    sql(*(f"INSERT INTO odd (c{number}) VALUES ({literal})" for number, literal in rows))
    wait(lambda: len(log) == len(rows) or run.greenlet.ready())
    names = ", ".join(["id", *(f"c{number}" for number in range(len(ODD)))])
    with closing(Database(run.trigger.address)) as server:
        columns_, values = server.read(f"SELECT {names} FROM {schema}.odd ORDER BY id", 1000)
    kinds = [kind for _, kind in columns_]
    expected = [as_row([name for name, _ in columns_], kinds, each) for each in values]
    assert [row for _, row, _ in log.told] == expected


# Transactions.


def test_a_transaction_is_published_together(follow: Follow, mariadb: MariaDB, schema: str, log: Log) -> None:
    """When it is committed, in one batch with its checkpoint; one that is rolled back is not."""
    follow()
    with mariadb.connect(schema, autocommit=False) as one, mariadb.connect(schema, autocommit=False) as other:
        first, second = one.cursor(), other.cursor()
        first.execute("INSERT INTO orders VALUES (1, 1)")
        second.execute("INSERT INTO orders VALUES (2, 2)")
        other.commit()
        first.execute("SAVEPOINT s")
        first.execute("INSERT INTO orders VALUES (3, 3)")
        first.execute("ROLLBACK TO s")
        first.execute("INSERT INTO orders VALUES (4, 4)")
        second.execute("INSERT INTO orders VALUES (5, 5)")
        other.rollback()
        wait(lambda: len(log) == 1)
        one.commit()
        wait(lambda: len(log) == 3)
    assert [row["id"] for _, row, _ in log.told if row] == [2, 1, 4]
    assert [batch for batch in log.batches if batch[0]] == [(1, True), (2, True)]
    lineage = json.loads(log.checkpoints[0])["lineage"]
    assert [update.key and update.key.split(":")[1:] for update in log] == [[str(n), lineage] for n in (0, 0, 1)]


def test_what_is_rolled_back_although_the_log_has_it(
    follow: Follow, mariadb: MariaDB, schema: str, sql: Sql, log: Log
) -> None:
    """As when the transaction has written to a table without transactions: that can't be undone, and so all is there.
    If some of it is published already, subscribers are told to read the table anew.
    """
    sql("CREATE TABLE plain (id INT) ENGINE = MyISAM", "CREATE TABLE aria (id INT) ENGINE = Aria")
    follow()
    with mariadb.connect(schema, autocommit=False) as connection, connection.cursor() as cursor:
        for statement in (
            "INSERT INTO orders VALUES (1, 1)",
            "SAVEPOINT a",
            "INSERT INTO orders VALUES (2, 2)",
            "INSERT INTO plain VALUES (1)",
            "SAVEPOINT b",
            "INSERT INTO orders VALUES (3, 3)",
            "INSERT INTO aria VALUES (1)",
            "ROLLBACK TO SAVEPOINT b",
            "INSERT INTO orders VALUES (4, 4)",
            "ROLLBACK TO a",
            "INSERT INTO orders VALUES (5, 5)",
            "COMMIT",
            "INSERT INTO orders VALUES (6, 6)",
            "INSERT INTO plain VALUES (6)",
            "ROLLBACK",
            "INSERT INTO orders VALUES (7, 7)",
            "SAVEPOINT a",
            "INSERT INTO orders SELECT seq, 7 FROM seq_1001_to_1600",
            "INSERT INTO plain VALUES (7)",
            "ROLLBACK TO a",
            "INSERT INTO orders VALUES (8, 8)",
            "COMMIT",
            "SAVEPOINT a",
            "INSERT INTO orders SELECT seq, 7 FROM seq_2001_to_2600",
            "INSERT INTO plain VALUES (8)",
            "ROLLBACK TO a",
            "INSERT INTO orders VALUES (9, 9)",
            "COMMIT",
        ):
            cursor.execute(statement)
    wait(lambda: said(log)[-1:] == [9])
    assert [each for each in said(log) if not isinstance(each, int) or each < 10] == [
        *(1, 5, 7, ("statement", "ROLLBACK"), 8, ("statement", "ROLLBACK"), 9)
    ]
    keys = [update.key for update in log]
    assert len(set(keys)) == len(keys)


def test_a_large_transaction_goes_in_pieces(follow: Follow, sql: Sql, log: Log) -> None:
    """Only the last has a checkpoint: nobody can go on in the middle. Their keys count on."""
    follow()
    sql("INSERT INTO orders SELECT seq, seq FROM seq_1_to_1700")
    wait(lambda: len(log) == 1700)
    sizes = [batch for batch in log.batches if batch[0]]
    assert len(sizes) >= 4 and max(size for size, _ in sizes) <= backlog.TOGETHER
    assert [with_place for _, with_place in sizes] == [False] * (len(sizes) - 1) + [True]
    assert [row and row["id"] for _, row, _ in log.told] == list(range(1, 1701))
    assert [int(update.key.split(":")[1]) for update in log if update.key] == list(range(1700))


def test_a_row_that_is_larger_than_an_update(follow: Follow, sql: Sql, caplog: pytest.LogCaptureFixture) -> None:
    """Its place has a notice; the others of its transaction are published, and nothing stands still."""

    class Strict(Log):
        def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
            for update in updates:
                if len(update.data) > 1000:
                    raise TooLarge(f"{len(update.data)} bytes; an update has at most 1000 (COMET_MAX_UPDATE).")
            return super().__call__(updates, checkpoint)

    log = Strict()
    sql("ALTER TABLE orders ADD t TEXT")
    follow(log=log)
    sql("INSERT INTO orders VALUES (1, 1, 'a'), (2, 2, REPEAT('b', 2000)), (3, 3, REPEAT('c', 3000)), (4, 4, 'd')")
    wait(lambda: len(log) == 4)
    assert [update.event for update in log] == ["inserted", "resync", "resync", "inserted"]
    assert log.notices == [("size", "")] * 2
    assert caplog.text.count("an update has at most 1000") == 2


def replay(told: Iterable[tuple[str | None, str]]) -> dict[int, Row]:
    """The table as a subscriber knows it, who is told each change once and in order: event and data."""
    known: dict[int, Row] = {}
    for event, data in told:
        row, before = itemgetter("row", "before")(json.loads(data))
        if event == "inserted":
            assert row["id"] not in known
        else:
            assert known.pop(before["id"]) == before
        if row:
            known[row["id"]] = row
    return known


def places(log: Log) -> list[tuple[int, int]]:
    """Of each update the number of its transaction, and its own in that."""
    keys = [(update.key or "").split(":") for update in log]
    return [(int(key[0].split("-")[2]), int(key[1])) for key in keys]


def test_eight_who_write_at_the_same_time(follow: Follow, mariadb: MariaDB, schema: str, sql: Sql, log: Log) -> None:
    """Every change that was committed is told, once, and in the order of the commits."""
    sql("DROP TABLE orders")
    programs = writers(mariadb, schema, pause=0.001, sleep=gevent.sleep)
    follow()
    gevent.joinall([gevent.spawn(each.write, 640) for each in programs], raise_error=True)
    truth = {id: {"id": id, "owner": owner, "n": n} for id, owner, n in sql("SELECT * FROM orders")}
    wait(lambda: replay((update.event, update.data.decode()) for update in log) == truth)
    changes = sql("SELECT event, COUNT(*) FROM outbox WHERE event = 'insert' GROUP BY event")[0][1]
    assert sum(event == "inserted" for event, _, _ in log.told) == changes
    assert places(log) == sorted(set(places(log)))
    assert sum(len(each.told) for each in programs) == 5120


# Going on.


def test_it_goes_on_where_it_ended(follow: Follow, mariadb: MariaDB, sql: Sql, log: Log) -> None:
    """Stopped, killed or with the server restarted: nothing is lost, nothing comes twice."""
    run = follow()
    for number in range(1, 4):
        sql(f"INSERT INTO orders (n) VALUES ({number}0)")
        wait(lambda number=number: len(log) == 2 * number - 1)  # type: ignore[misc]
        if number == 1:
            run.stop()
        elif number == 2:
            run.greenlet.kill()
        else:
            mariadb.restart()
            wait(run.greenlet.ready)
            assert isinstance(run.greenlet.exception, SourceFailed)
        sql(f"INSERT INTO orders (n) VALUES ({number}1)", "FLUSH BINARY LOGS")
        run = follow()
        wait(lambda number=number: len(log) == 2 * number)  # type: ignore[misc]
    assert [row and row["n"] for _, row, _ in log.told] == [10, 11, 20, 21, 30, 31]


def test_what_is_read_again_is_known_by_its_keys(follow: Follow, sql: Sql, log: Log) -> None:
    """Where a checkpoint was not remembered, as in the middle of a large transaction, nothing comes twice."""
    run = follow()
    sql("INSERT INTO orders SELECT seq, seq FROM seq_1_to_1200", "UPDATE orders SET n = 0 WHERE id = 7")
    wait(lambda: len(log) == 1201)
    run.stop()
    del log.checkpoints[1:]
    follow()
    wait(lambda: sum(size for size, _ in log.batches) == 2402)
    assert len(log) == 1201


def test_a_place_without_changes_is_remembered_too(
    follow: Follow, sql: Sql, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seldom: while other tables change, the log behind it may be purged."""
    monkeypatch.setattr(backlog, "SELDOM", 0.05)
    follow()
    sql("CREATE TABLE other (id INT)", "INSERT INTO other VALUES (1)")
    wait(lambda: len(log.checkpoints) > 1)
    assert len(log) == 0


def test_others_run_while_much_is_read(follow: Follow, sql: Sql, log: Log) -> None:
    """Also where nothing of it is for us."""
    run = follow()
    run.stop()
    sql(
        "CREATE TABLE other LIKE orders",
        "BEGIN NOT ATOMIC FOR i IN 1..5000 DO INSERT INTO other VALUES (i, i); END FOR; END",
        "INSERT INTO orders VALUES (1, 1)",
    )
    turns = 0
    follow()
    while 1 not in said(log):  # a notice of the other table's making may come before all of it
        gevent.sleep(0.001)
        turns += 1
    assert turns > 5


# What is not told.


def said(log: Log) -> list[object]:
    """Of a notice its reason and statement, of a row its id."""
    notices = iter(log.notices)
    return [next(notices) if event == "resync" else row and row["id"] for event, row, _ in log.told]


def test_a_log_that_was_purged(
    follow: Follow, sql: Sql, log: Log, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Subscribers are told that there is a gap, and it goes on from now; it does not try again and again."""
    follow().stop()
    sql("INSERT INTO orders VALUES (1, 1)", "FLUSH BINARY LOGS")

    def purged() -> bool:
        # Not while the server still sends one of them to somebody.
        newest = sql("SHOW MASTER STATUS")[0][0]
        return [row[0] for row in sql(f"PURGE BINARY LOGS TO '{newest}'", "SHOW BINARY LOGS")] == [newest]

    wait(purged)
    run = follow()
    wait(lambda: log)
    sql("INSERT INTO orders VALUES (2, 2)")
    wait(lambda: len(log) == 2)
    assert said(log) == [("purged", ""), 2]
    assert log.texts[0] == f'{{"reason":"purged","table":"{schema}.orders"}}'
    assert "Could not find first log file name" in caplog.text
    run.stop()
    sql("INSERT INTO orders VALUES (3, 3)")
    follow()
    wait(lambda: len(log) == 3)
    assert (said(log)[2], len(caplog.records)) == (3, 1)


OTHERS = [{"server": "7"}, {"gtid": "0-9-1"}, {"file": "other.000001"}, {"pos": 1 << 30}, {"pos": 5}]


@pytest.mark.parametrize("fields", OTHERS, ids=str)
def test_a_place_in_the_log_of_another_server(follow: Follow, sql: Sql, log: Log, fields: dict[str, object]) -> None:
    """Files and places have the same names on each. What lies between is a gap."""
    run = follow()
    sql("INSERT INTO orders VALUES (1, 1)")
    wait(lambda: log)
    run.stop()
    log.checkpoints.append(json.dumps({**json.loads(log.checkpoints[-1]), **fields}))
    follow()
    wait(lambda: len(log) == 2)
    sql("INSERT INTO orders VALUES (2, 2)")
    wait(lambda: len(log) == 3)
    assert said(log) == [1, ("purged" if {"file", "pos"} & fields.keys() else "server", ""), 2]


def test_a_log_that_was_reset(follow: Follow, sql: Sql, log: Log) -> None:
    """Its transactions have ids again that were there before: they are other updates."""
    sql("RESET MASTER")
    run = follow()
    sql("INSERT INTO orders VALUES (1, 1)", "INSERT INTO orders VALUES (2, 2)")
    wait(lambda: len(log) == 2)
    run.stop()
    sql("RESET MASTER")
    follow()
    wait(lambda: len(log) == 3)
    sql("INSERT INTO orders VALUES (3, 3)", "INSERT INTO orders VALUES (4, 4)")
    wait(lambda: len(log) == 5)
    assert said(log)[:2] + said(log)[3:] == [1, 2, 3, 4]
    assert said(log)[2] in (("server", ""), ("purged", ""))
    keys = [(update.key or "").split(":")[0] for update in log]
    assert keys[:2] == keys[3:] == ["0-1-1", "0-1-2"]


def test_a_checkpoint_of_something_else(follow: Follow, sql: Sql, log: Log) -> None:
    """The trigger had been another; subscribers do not know what they have missed."""
    log.checkpoints.append("7")
    follow()
    wait(lambda: log)
    assert said(log) == [("server", "")]


HIDDEN = [
    ("TRUNCATE orders", ("statement", "TRUNCATE")),
    ("ALTER TABLE orders ADD t INT", ("statement", "ALTER")),
    ("DROP TABLE orders", ("statement", "DROP")),
    ("CREATE OR REPLACE TABLE orders (id INT PRIMARY KEY)", ("statement", "CREATE")),
    ("RENAME TABLE orders TO gone", ("statement", "RENAME")),
    ("SET binlog_format = 'STATEMENT'; INSERT INTO orders VALUES (1, 1)", ("statement", "INSERT")),
    ("SET binlog_format = 'STATEMENT'; UPDATE /* all */ `orders` SET n = 2", ("statement", "UPDATE")),
    ("SET binlog_row_image = 'MINIMAL'; UPDATE orders SET n = 2 WHERE id = 1000", ("unreadable", "")),
    ("XA START 'x'; INSERT INTO orders VALUES (1, 1); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'", ("statement", "XA")),
    ("SET GLOBAL binlog_row_metadata = 'NO_LOG'; INSERT INTO orders VALUES (1, 1)", ("unreadable", "")),
    # Compressed, an event does not say of which table it is.
    (
        "SET GLOBAL log_bin_compress = 1; CREATE TABLE b (t TEXT); INSERT INTO b VALUES (REPEAT('b', 1000))",
        ("unreadable", ""),
    ),
]


@pytest.mark.parametrize(("statements", "notice"), HIDDEN, ids=[row[0][:40] for row in HIDDEN])
def test_what_the_log_hides(follow: Follow, sql: Sql, log: Log, statements: str, notice: tuple[str, str]) -> None:
    """Subscribers are told to read the table anew. What comes afterwards is told as ever."""
    sql("INSERT INTO orders VALUES (1000, 1)")
    follow()
    try:
        sql(*statements.split("; "))
        wait(lambda: log)
    finally:
        sql("SET GLOBAL binlog_row_metadata = 'FULL'", "SET GLOBAL log_bin_compress = 0")
    if not sql("SHOW TABLES LIKE 'orders'"):
        sql("CREATE TABLE orders (id INT PRIMARY KEY)")
    sql("FLUSH TABLES", "INSERT INTO orders (id) VALUES (2000)")
    wait(lambda: said(log)[-1] == 2000)
    assert said(log)[0] == notice
    assert all(each in (notice, ("statement", "CREATE"), 2000) for each in said(log))


NOT_HIDDEN = [
    "TRUNCATE other",
    "ALTER TABLE other ADD more INT",
    "ANALYZE TABLE orders",
    "CREATE INDEX i ON orders (n)",
    "CREATE VIEW v AS SELECT * FROM orders",
    "CREATE TRIGGER t AFTER INSERT ON orders FOR EACH ROW SET @x = 1",
    "CREATE TEMPORARY TABLE orders (id INT); INSERT INTO orders VALUES (1); DROP TABLE orders",
    "SET binlog_format = 'STATEMENT'; INSERT INTO other VALUES (1, 1, 'orders')",
    "XA START 'y'; INSERT INTO orders VALUES (1, 1); XA END 'y'; XA PREPARE 'y'; XA ROLLBACK 'y'",
]


@pytest.mark.parametrize("statements", NOT_HIDDEN, ids=[row[:40] for row in NOT_HIDDEN])
def test_what_leaves_the_rows_alone(follow: Follow, sql: Sql, log: Log, statements: str) -> None:
    """It is no reason to read the table anew."""
    sql("CREATE TABLE other (id INT, n INT, t VARCHAR(10))")
    follow()
    sql(*statements.split("; "))
    sql("INSERT INTO orders (id) VALUES (2000)")
    wait(lambda: log)
    assert said(log) == [2000]


def test_columns_that_change(follow: Follow, sql: Sql, log: Log) -> None:
    """Each row has the names and types of its time."""
    follow()
    sql("INSERT INTO orders VALUES (1, 1)", "ALTER TABLE orders ADD u UUID, CHANGE n m BINARY(2)")
    sql("INSERT INTO orders VALUES (2, 'a', '00000000-0000-0000-0000-000000000000')")
    wait(lambda: len(log) == 3)
    rows = [json.loads(log.texts[index])["row"] for index in (0, 2)]
    assert rows[0] == {"id": 1, "n": 1}
    assert rows[1] == {"id": 2, "m": {"$b64": "YQA="}, "u": "00000000-0000-0000-0000-000000000000"}


# The start.


def sentence(trigger: Binlog) -> str:
    """What the start is refused with."""
    with pytest.raises(Alarm) as alarm:
        gevent.spawn(trigger.run, Published()).get(timeout=10 * PATIENCE)
    return str(alarm.value).replace(f":{trigger.address.port}/", ":PORT/")


SAYS = "mysql://127.0.0.1:PORT/"
VARIABLES = [
    ("binlog_format", "MIXED", "writes statements to its binary log, not rows", "ROW"),
    ("binlog_row_image", "MINIMAL", "writes only parts of a row to its binary log", "FULL"),
    ("binlog_row_metadata", "NO_LOG", "writes no names of columns to its binary log", "FULL"),
    ("log_bin_compress", "ON", "compresses its binary log, which can't be read", "OFF"),
]


@pytest.mark.parametrize(("name", "wrong", "says", "right"), VARIABLES, ids=[row[0] for row in VARIABLES])
def test_a_server_that_must_be_told(
    mariadb: MariaDB, schema: str, sql: Sql, name: str, wrong: str, says: str, right: str
) -> None:
    """The sentence ends with the statement to type, and with that it works."""
    sql("CREATE TABLE orders (id INT)", f"SET GLOBAL {name} = '{wrong}'")
    trigger = Binlog("n", url=mariadb.url(schema), channel="a", table=f"{schema}.orders")
    statement = f"SET GLOBAL {name} = '{right}';"
    try:
        assert sentence(trigger) == f"{SAYS}{schema} {says}. Type: {statement}"
    finally:
        sql(statement)
    begins(trigger)


def begins(trigger: Binlog) -> None:
    """It runs, and is stopped."""
    log = Log()
    run = Run(trigger, log)
    wait(lambda: (log.checkpoints and run.dumps) or run.greenlet.ready())
    run.stop()
    assert log.checkpoints


@pytest.fixture
def user(sql: Sql) -> Iterator[str]:
    name = f"u{uuid4().hex[:8]}"
    sql("CREATE TABLE orders (id INT)", f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY 'secret'")
    yield name
    sql(f"DROP USER {name}@'127.0.0.1'")


def test_a_user_who_may_not(mariadb: MariaDB, schema: str, sql: Sql, user: str) -> None:
    """One sentence for each right that is missing, with the GRANT to type; with those it works."""
    url = mariadb.url("", user=user, password="secret")
    grant = f"GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO '{user}'@'127.0.0.1';"
    trigger = Binlog("n", url=url, channel="a", table=f"{schema}.orders")
    assert sentence(trigger) == (
        f"{SAYS} says: Access denied; you need (at least one of) the SUPER, BINLOG MONITOR privilege(s) for this "
        f"operation. Type: {grant}"
    )
    sql(f"GRANT BINLOG MONITOR ON *.* TO {user}@'127.0.0.1'")
    text = sentence(trigger)
    select = text.partition("Type: ")[2]
    assert text.startswith(f"{SAYS} says: SELECT command denied to user '{user}'@'127.0.0.1' for table")
    assert select == f"GRANT SELECT ON `{schema}`.`orders` TO '{user}'@'127.0.0.1';"
    sql(select)
    # Whether one may read the log is known only when one does.
    assert sentence(trigger) == (
        f"{SAYS} says: Access denied; you need (at least one of) the REPLICATION SLAVE privilege(s) for this "
        f"operation. Type: {grant}"
    )
    sql(grant)
    begins(trigger)


def test_a_wrong_password(mariadb: MariaDB, schema: str, user: str) -> None:
    """It is not in the sentence."""
    trigger = Binlog("n", url=mariadb.url("", user=user, password="guess"), channel="a", table=f"{schema}.orders")
    assert sentence(trigger) == (
        f"{SAYS} does not let {user} in: Access denied for user '{user}'@'127.0.0.1' (using password: YES). "
        "Is the URL right?"
    )


def test_a_table_that_is_not_there(mariadb: MariaDB, schema: str) -> None:
    """Whether the name is wrong or its form."""
    trigger = Binlog("n", url=mariadb.url(schema), channel="a", table=f"{schema}.missing")
    assert sentence(trigger) == f"{SAYS}{schema} says: Table '{schema}.missing' doesn't exist."
    trigger = Binlog("n", url=mariadb.url(schema), channel="a", table="missing.orders")
    assert sentence(trigger) == f"{SAYS}{schema} says: Table 'missing.orders' doesn't exist."
    for wrong in ("orders", "a.b.c", ".orders", "a.", "a.b`c"):
        with pytest.raises(SettingsError, match=r"table is '.*'; it must be "):
            Binlog("n", url=mariadb.url(schema), channel="a", table=wrong)


def test_a_server_that_must_be_started_otherwise() -> None:
    """Without a binary log, or with one that leaves the database out; or that knows names in lower case only."""
    server = MariaDB(log_bin=None, lower_case_table_names="1")
    try:
        server.start().execute("CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT)")
        trigger = Binlog("n", url=server.url("shop"), channel="a", table="shop.orders")
        assert sentence(trigger) == (
            f"{SAYS}shop writes no binary log. Put log_bin under [mariadbd] in its configuration, and start it again."
        )
        server.stop()
        server.options.update(log_bin="binlog", binlog_ignore_db="shop")
        server.start()
        assert sentence(trigger) == (
            f"{SAYS}shop leaves shop out of its binary log (binlog_do_db, binlog_ignore_db in its configuration)."
        )
        server.stop()
        server.options.update(binlog_ignore_db=None)
        server.start()
        trigger = Binlog("n", url=server.url("shop"), channel="a", table="shop.Orders")
        assert sentence(trigger) == f"{SAYS}shop writes all names in lower case: table must be shop.orders."
    finally:
        server.close()


# The end.


def test_stopping_ends_it_at_once_on_both_sides(follow: Follow) -> None:
    """While it waits for the server; and the server does not go on sending."""
    run = follow()
    wait(lambda: run.dumps)
    run.trigger.stop()
    with gevent.Timeout(5 * PATIENCE):
        ended(run.greenlet)
    wait(lambda: not run.dumps)


def test_stopping_while_the_server_does_not_answer(follow: Follow, mariadb: MariaDB) -> None:
    """It does not wait for that."""
    run = follow()
    mariadb.freeze()
    run.trigger.stop()
    with gevent.Timeout(5 * PATIENCE):
        ended(run.greenlet)
    again = Run(run.trigger, run.log)
    gevent.sleep(0.05)
    with gevent.Timeout(5 * PATIENCE):
        again.stop()


def test_a_server_that_freezes(follow: Follow, mariadb: MariaDB, sql: Sql, log: Log) -> None:
    """It is noticed, though nothing is closed; one that has only nothing to say is left alone."""
    seconds = 1.5 * PATIENCE
    run = follow(options=f"?timeout={seconds}")
    gevent.sleep(1.5 * seconds)
    assert not run.greenlet.ready()
    mariadb.freeze()
    with pytest.raises(SourceFailed, match=r"does not answer\.$"):
        ended(run.greenlet)
    mariadb.thaw()
    sql("INSERT INTO orders VALUES (1, 1)")
    follow()
    wait(lambda: log)


def test_another_who_reads_by_the_same_name(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reader is the newer one: this one stops, and says what is to be done."""
    monkeypatch.setattr(binlog, "GRACE", 0.05)
    first, second = follow(), follow(log=Log())
    with pytest.raises(
        Alarm, match=r"another program reads the binary log of .* as server \d+\. If it is another comet"
    ):
        ended(first.greenlet)
    gevent.sleep(0.1)
    assert not second.greenlet.ready()


def test_the_next_worker_after_a_reload(follow: Follow) -> None:
    """It begins before this one is told to stop: that is nothing to write home about."""
    first, second = follow(), follow(log=Log())
    wait(lambda: second.dumps)
    gevent.sleep(0.1)
    first.stop()
    assert not second.greenlet.ready()


def test_a_worker_whose_turn_is_over(follow: Follow) -> None:
    """It is thrown out by the one that follows, and lets go without a word."""

    class Lost(Log):
        def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
            if self.checkpoints:
                raise LeaseLost("another worker runs it now.")
            return super().__call__(updates, checkpoint)

    first = follow(log=Lost())
    follow()
    with pytest.raises(LeaseLost):
        ended(first.greenlet)


def test_the_server_id_is_the_same_everywhere() -> None:
    """And far from those that people give to servers."""
    ids = [Binlog(name, url="mysql://a@localhost/b", channel="a", table="b.c").server_id for name in ("x", "x", "y")]
    assert ids[0] == ids[1] != ids[2]
    assert all(1 << 30 <= id < 1 << 31 for id in ids)
