"""The trigger mysql-query, on a real MariaDB."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence

import gevent
import pytest

from comet.brokers import Receipt
from comet.core.errors import Alarm, SettingsError, SourceFailed, TooLarge
from comet.core.update import Update
from comet.triggers.mysql.query import Query
from tests.mariadb import MariaDB
from tests.triggers.columns import COLUMNS, create, insert
from tests.triggers.watching import Published, ended, wait
from tests.triggers.writers import follow, writers


pytestmark = pytest.mark.usefixtures("cooperative")

Start = Callable[..., "Run"]
Execute = Callable[..., Sequence[tuple[object, ...]]]


class Run:
    def __init__(self, trigger: Query, publish: object) -> None:
        self.trigger = trigger
        self.greenlet = gevent.spawn(trigger.run, publish)

    def stop(self) -> None:
        self.trigger.stop()
        ended(self.greenlet)


@pytest.fixture
def execute(mariadb: MariaDB, schema: str) -> Execute:
    execute = lambda *statements: mariadb.execute(*statements, database=schema)  # noqa: E731
    execute("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))")
    return execute


@pytest.fixture
def run(mariadb: MariaDB, schema: str, execute: Execute) -> Iterator[Start]:
    runs: list[Run] = []

    def run(publish: object, trigger: Query | None = None, **options: object) -> Run:
        options = {"key": "id", "channel": "t", "query": "SELECT * FROM t ORDER BY id", "every": 0.02, **options}
        runs.append(Run(trigger or Query("q", url=mariadb.url(schema), **options), publish))  # type: ignore[arg-type]
        return runs[-1]

    yield run
    for each in runs:
        each.trigger.stop()
    gevent.killall([each.greenlet for each in runs])


def told(updates: Sequence[Update]) -> list[tuple[str | None, str]]:
    return [(each.event, each.data.decode()) for each in updates]


def test_differences(run: Start, execute: Execute, published: Published) -> None:
    """First every row is added; then what is new, has changed, or is gone. A change to the same is none."""
    execute("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, NULL)")
    run(published)
    wait(lambda: len(published) == 3)
    assert told(published) == [
        ("added", '{"id":1,"v":"a"}'),
        ("added", '{"id":2,"v":"b"}'),
        ("added", '{"id":3,"v":null}'),
    ]
    execute("BEGIN", "UPDATE t SET v = v", "INSERT INTO t VALUES (0, 'Zoë')", "DELETE FROM t WHERE id = 2",
            "UPDATE t SET v = 'c' WHERE id = 3", "COMMIT")  # fmt: skip
    wait(lambda: len(published) == 6)
    assert told(published[3:]) == [
        ("removed", '{"id":2,"v":"b"}'),
        ("added", '{"id":0,"v":"Zoë"}'),
        ("changed", '{"id":3,"v":"c"}'),
    ]
    assert {each.channel for each in published} == {"t"}


def test_a_snapshot_that_is_not_kept(run: Start, execute: Execute, published: Published) -> None:
    """It is published again, although it did not change: else who comes now would see nothing."""
    execute("INSERT INTO t VALUES (1, 'a')")
    run(published, snapshot_channel="whole")
    wait(lambda: len(published) == 2)
    published.kept = False
    wait(lambda: len(published) > 3)
    published.kept = True
    assert {(each.channel, each.data) for each in published[2:]} == {("whole", b'[{"id":1,"v":"a"}]')}


def test_a_query_of_another_key(run: Start) -> None:
    """Or for another channel, under the same name: what was told of the one before is nothing to it."""
    queries = [{"key": "id"}, {"key": "v"}, {"key": "id", "channel": "b"}]
    sources = {Query("q", url="mysql://u@h/d", query="", **{"channel": "a", **each}).source for each in queries}
    assert len(sources) == 3


def test_looks_that_are_far_apart(run: Start, mariadb: MariaDB, schema: str, published: Published) -> None:
    """Between them there is no connection, which the server or a firewall would cut."""
    run(published, key=None, as_="snapshot", every=100)
    wait(lambda: published)
    sql = f"SELECT id FROM information_schema.processlist WHERE db = '{schema}'"
    wait(lambda: not mariadb.execute(sql))


def test_without_an_initial_look(run: Start, execute: Execute, published: Published) -> None:
    """What is there already is not told; what changes is."""
    execute("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    run(published, initial=False)
    wait(lambda: published.checkpoints)
    execute("UPDATE t SET v = 'c' WHERE id = 2")
    wait(lambda: len(published) == 1)
    assert told(published) == [("changed", '{"id":2,"v":"c"}')]


def test_the_whole(run: Start, execute: Execute, published: Published) -> None:
    """A list of the rows, whenever they have changed; also if there are none."""
    run(published, key=None, as_="snapshot")
    wait(lambda: published.texts == ["[]"])
    execute("INSERT INTO t VALUES (2, 'b'), (1, 'a')")
    wait(lambda: len(published) == 2)
    assert published.texts[1:] == ['[{"id":1,"v":"a"},{"id":2,"v":"b"}]']
    assert (published[1].type, published[1].event, published[1].channel) == ("application/json", None, "t")
    gevent.sleep(0.1)
    assert len(published) == 2


def test_both(run: Start, execute: Execute, published: Published) -> None:
    """Each on its channel."""
    execute("INSERT INTO t VALUES (1, 'a')")
    run(published, snapshot_channel="whole", event="orders")
    wait(lambda: len(published) == 2)
    execute("DELETE FROM t")
    wait(lambda: len(published) == 4)
    assert [(each.channel, each.event, each.data.decode()) for each in published] == [
        ("t", "added", '{"id":1,"v":"a"}'),
        ("whole", "orders", '[{"id":1,"v":"a"}]'),
        ("t", "removed", '{"id":1,"v":"a"}'),
        ("whole", "orders", "[]"),
    ]


def test_whoever_goes_on_tells_what_has_changed_since(run: Start, execute: Execute, published: Published) -> None:
    """After a sleep, and in another worker, which knows of a row that is gone its key alone. The whole is told anew."""
    execute("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    first = run(published)
    wait(lambda: len(published) == 3)
    first.stop()
    execute("DELETE FROM t WHERE id = 1", "UPDATE t SET v = 'x' WHERE id = 2")
    again = run(published, trigger=first.trigger)
    wait(lambda: len(published) == 5)
    again.stop()
    assert told(published[3:]) == [("removed", '{"id":1,"v":"a"}'), ("changed", '{"id":2,"v":"x"}')]
    execute("DELETE FROM t WHERE id = 2", "INSERT INTO t VALUES (1, 'a')")
    run(published, snapshot_channel="whole")
    wait(lambda: len(published) == 8)
    assert told(published[5:]) == [
        ("removed", '{"id":2}'),
        ("added", '{"id":1,"v":"a"}'),
        (None, '[{"id":1,"v":"a"},{"id":3,"v":"c"}]'),
    ]


def test_where_the_log_ends_with_the_process(run: Start, execute: Execute) -> None:
    """Its next one begins with every row: nobody was told anything of it yet."""

    class Passing(Published):
        lasts = False

    execute("INSERT INTO t VALUES (1, 'a')")
    published = Passing()
    first = run(published)
    wait(lambda: len(published) == 1)
    first.stop()
    again = run(published, trigger=first.trigger)
    execute("INSERT INTO t VALUES (2, 'b')")
    wait(lambda: len(published) == 2)
    again.stop()
    run(published)
    wait(lambda: len(published) == 4)
    assert [event for event, _ in told(published)] == ["added"] * 4


def test_many_rows(run: Start, execute: Execute, published: Published) -> None:
    """As many as there may be; they come in pieces, each with the checkpoint that follows from it."""
    execute("INSERT INTO t SELECT seq, 'x' FROM seq_1_to_10000")
    run(published)
    wait(lambda: len(published) == 10_000, seconds=60)
    assert len(follow(told(published))) == 10_000
    assert len(json.loads(published.checkpoints[0])) == 100
    execute("DELETE FROM t WHERE id > 1")
    wait(lambda: len(published) == 19_999, seconds=60)
    assert follow(told(published)) == {1: {"id": 1, "v": "x"}}


def test_eight_writers(mariadb: MariaDB, schema: str, run: Start, published: Published) -> None:
    """Whatever they insert, update, delete and roll back: who heeds the differences has the table's rows in the end."""
    all_of_them = writers(mariadb, schema, sleep=gevent.sleep)
    run(published, query="SELECT * FROM orders")
    gevent.joinall([gevent.spawn(each.write, 625) for each in all_of_them], raise_error=True)
    rows = {id: {"id": id, "owner": owner, "n": n} for id, owner, n in mariadb.execute("SELECT * FROM orders", database=schema)}  # fmt: skip  # noqa: E501
    wait(lambda: follow(told(published)) == rows, seconds=60)
    assert {each.event for each in published} == {"added", "changed", "removed"}


def test_every_type_of_column(execute: Execute, run: Start, published: Published) -> None:
    """A row that stays as it is stays so in JSON."""
    execute(create("every"), *(insert("every", number) for number in range(3)))
    run(published, query="SELECT * FROM every")
    wait(lambda: len(published) == 3)
    gevent.sleep(0.1)
    assert len(published) == 3
    assert follow(told(published))[0] == {"id": 0, **{name: column[2] for name, column in COLUMNS.items()}}


def test_a_row_that_is_too_large(run: Start, execute: Execute, caplog: pytest.LogCaptureFixture) -> None:
    """It is left out, and the log says which, once; the others go on."""

    class Strict(Published):
        def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
            for update in updates:
                if len(update.data) > 30:
                    raise TooLarge(f"{len(update.data)} bytes; an update has at most 30 (COMET_MAX_UPDATE).")
            return super().__call__(updates, checkpoint)

    strict = Strict()
    execute("INSERT INTO t VALUES (1, 'a'), (2, 'abcdefghijklmnopqrst'), (3, 'c')")
    run(strict)
    wait(lambda: len(strict) == 2)
    execute("UPDATE t SET v = 'b' WHERE id = 2", "INSERT INTO t VALUES (4, 'abcdefghijklmnopqrst')")
    wait(lambda: len(strict) == 3 and len(caplog.records) == 2)
    execute("DELETE FROM t WHERE id > 3", "DELETE FROM t WHERE id = 1")
    wait(lambda: len(strict) == 4)
    assert told(strict)[1:] == [
        ("added", '{"id":3,"v":"c"}'),
        ("added", '{"id":2,"v":"b"}'),
        ("removed", '{"id":1,"v":"a"}'),
    ]
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == [
        f"comet: q leaves out the row {id}: 35 bytes; an update has at most 30 (COMET_MAX_UPDATE)." for id in (2, 4)
    ]
    whole = run(strict, key=None, as_="snapshot")
    with pytest.raises(Alarm, match=r"^the whole result is too large \(35 bytes; .*\.\) Let the query give less\.$"):
        ended(whole.greenlet)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"key": "no"}, "the query gives no column no, which is its key; it gives id, v."),
        ({"key": "v"}, "v can't be the key: it must be another in each row of the result, and never NULL."),
        ({"query": "SELECT NULL AS id"}, "id can't be the key: it must be another in each row of the result, and never "
         "NULL."),
        ({"query": "SELECT 1 AS id, 2 AS id"}, "the query gives two columns id: name one of them otherwise, with AS."),
        ({"query": "DO 1"}, "the query gives no rows; it must be a SELECT."),
        ({"query": "SELECT seq AS id FROM seq_1_to_1000000"}, "the query gives more than 10000 rows: let it give "
         "fewer, by WHERE or LIMIT."),
        ({"query": "SELECT * FROM missing"}, "SAYS: Table 'SCHEMA.missing' doesn't exist."),
        ({"query": "SELECT no FROM t"}, "SAYS: Unknown column 'no' in '"),
    ],
)  # fmt: skip
def test_a_query_that_can_not_be_one(
    run: Start, execute: Execute, mariadb: MariaDB, schema: str, options: dict[str, str], text: str
) -> None:
    """One sentence says why."""
    execute("INSERT INTO t VALUES (1, 'same'), (2, 'same')")
    with pytest.raises(Alarm) as caught:
        ended(run(Published(), **options).greenlet)
    says = f"mysql://127.0.0.1:{mariadb.port}/{schema} says"
    assert str(caught.value).startswith(text.replace("SAYS", says).replace("SCHEMA", schema))


def test_a_statement_that_is_none(run: Start) -> None:
    """The server says where."""
    with pytest.raises(Alarm, match=r"You have an error in your SQL syntax; .* near 'SELEKT 1' at line 1"):
        ended(run(Published(), query="SELEKT 1").greenlet)


def test_a_missing_right(mariadb: MariaDB, schema: str, execute: Execute) -> None:
    """The sentence has the statement that gives it; typed, it does."""
    user = f"u{schema}"
    mariadb.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'pw'")
    mariadb.execute(f"CREATE TABLE {schema}.more (id INT)", f"GRANT SELECT ON {schema}.more TO {user}@'%'")
    trigger = Query("q", url=mariadb.url(schema, user, "pw"), query="SELECT id FROM t", key="id", channel="t")
    with pytest.raises(Alarm) as caught:
        trigger.run(Published())
    assert str(caught.value).endswith(f"Type: GRANT SELECT ON `{schema}`.`t` TO '{user}'@'%';")
    mariadb.execute(caught.value.statement)
    greenlet = gevent.spawn(trigger.run, Published())
    gevent.sleep(0.05)
    trigger.stop()
    ended(greenlet)


def test_a_server_that_dies(run: Start, execute: Execute, mariadb: MariaDB, published: Published) -> None:
    """It is told, and whoever goes on tells what has changed meanwhile."""
    execute("INSERT INTO t VALUES (1, 'a')")
    first = run(published)
    wait(lambda: len(published) == 1)
    mariadb.kill()
    with pytest.raises(SourceFailed, match=r"has closed the connection\.$"):
        ended(first.greenlet)
    with pytest.raises(SourceFailed, match=r"can't be reached: Connection refused\.$"):
        ended(run(published).greenlet)
    mariadb.start()
    execute("INSERT INTO t VALUES (2, 'b')")
    run(published)
    wait(lambda: told(published[1:]) == [("added", '{"id":2,"v":"b"}')])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "needs either key"),
        ({"key": "id", "as_": "snapshot"}, "needs either key"),
        ({"as_": "rows"}, "as is 'rows'; it may be \"snapshot\""),
        ({"as_": "snapshot", "snapshot_channel": "s"}, "goes beside key"),
        ({"key": "id", "snapshot_channel": "t"}, "is another channel"),
        ({"key": "id", "event": "e"}, "event is that of the whole result"),
    ],
)
def test_settings_that_do_not_go_together(options: dict[str, str], text: str) -> None:
    """They stop the start with one sentence."""
    with pytest.raises(SettingsError, match=text):
        Query("q", url="mysql://a@localhost/b", query="SELECT 1", channel="t", **options)  # type: ignore[arg-type]
