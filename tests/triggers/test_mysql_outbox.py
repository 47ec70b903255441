"""The trigger mysql-outbox, on a real MariaDB."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence

import gevent
import pytest
from gevent.event import Event

from comet.brokers import Receipt
from comet.core.errors import Alarm, LeaseLost, SettingsError, SourceFailed, TooLarge, TooManyChannels
from comet.core.update import Update
from comet.triggers.mysql import outbox
from comet.triggers.mysql.outbox import Outbox
from tests.mariadb import MariaDB
from tests.timing import PATIENCE
from tests.triggers.watching import Published, ended, wait
from tests.triggers.writers import OUTBOX, writers


pytestmark = pytest.mark.usefixtures("cooperative")


class Run:
    """A trigger that runs until the end of the test, and is stopped."""

    def __init__(self, trigger: Outbox, publish: object) -> None:
        self.trigger = trigger
        self.greenlet = gevent.spawn(trigger.run, publish)

    def stop(self) -> None:
        self.trigger.stop()
        ended(self.greenlet)


@pytest.fixture
def run(mariadb: MariaDB, schema: str) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def run(publish: object, **options: object) -> Run:
        runs.append(Run(Outbox("box", url=mariadb.url(schema), **{"table": "outbox", **options}), publish))
        return runs[-1]

    mariadb.execute(OUTBOX, database=schema)
    yield run
    for each in runs:
        each.trigger.stop()
    gevent.killall([each.greenlet for each in runs])


@pytest.fixture
def send(mariadb: MariaDB, schema: str) -> Callable[..., None]:
    def send(*rows: tuple[object, ...]) -> None:
        with mariadb.connect(schema, autocommit=False) as connection, connection.cursor() as cursor:
            cursor.executemany("INSERT INTO outbox (channel, event, data) VALUES (%s, %s, %s)", rows)
            connection.commit()

    return send


@pytest.fixture
def done(mariadb: MariaDB, schema: str) -> Callable[[], list[int]]:
    return lambda: [row[0] for row in mariadb.execute("SELECT done FROM outbox ORDER BY id", database=schema)]


Send = Callable[..., None]
Done = Callable[[], list[int]]
Start = Callable[..., Run]


def test_a_row_is_published_and_marked(run: Start, send: Send, done: Done, published: Published) -> None:
    """On the channel and with the event that it names, in the order of the ids; those before the start too."""
    send(("news", "first", "1"), ("other.news", None, "Zoë \U0001f40d"), ("news", "", ""))
    run(published)
    wait(lambda: done() == [1, 1, 1])
    assert [(each.channel, each.event, each.data.decode(), each.type) for each in published] == [
        ("news", "first", "1", "text/plain; charset=utf-8"),
        ("other.news", None, "Zoë \U0001f40d", "text/plain; charset=utf-8"),
        ("news", None, "", "text/plain; charset=utf-8"),
    ]
    send(("news", None, "2"))
    wait(lambda: published.texts[3:] == ["2"])


def test_the_media_type(run: Start, mariadb: MariaDB, schema: str, published: Published) -> None:
    """A column says it, else the trigger, else whether it is text or bytes."""
    mariadb.execute(
        "ALTER TABLE outbox ADD type VARCHAR(128), MODIFY data BLOB",
        "INSERT INTO outbox (channel, data, type) VALUES ('a', '{}', NULL), ('a', '<b>', 'text/html')",
        database=schema,
    )
    first = run(published, type="application/json")
    wait(lambda: len(published) == 2)
    first.stop()
    assert [each.type for each in published] == ["application/json", "text/html"]
    mariadb.execute("INSERT INTO outbox (channel, data) VALUES ('a', x'ff')", database=schema)
    run(published)
    wait(lambda: len(published) == 3)
    assert (published[2].type, published[2].data) == ("application/octet-stream", b"\xff")


def test_more_channels_than_there_may_be(run: Start, send: Send, done: Done, published: Published) -> None:
    """Is no fault of the row: it waits, and is published when there is room."""

    class Full(Published):
        full = True

        def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
            if self.full and any(update.channel == "new" for update in updates):
                raise TooManyChannels("10 channels exist already (COMET_MAX_CHANNELS).")
            return super().__call__(updates, checkpoint)

    full = Full()
    send(("a", None, "1"), ("new", None, "2"), ("a", None, "3"))
    with pytest.raises(TooManyChannels):
        run(full).greenlet.get(timeout=10 * PATIENCE)
    assert done() == [0, 0, 0]
    full.full = False
    run(full)
    wait(lambda: done() == [1, 1, 1])
    assert full.texts == ["1", "2", "3"]


def test_a_row_that_can_not_be_published(
    run: Start, send: Send, done: Done, published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    """It is marked with 2, the log says which and why, once, and the others go on. It may be mended and sent again."""

    class Strict(Published):
        def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
            for update in updates:
                if update.data == b"}":
                    raise SourceFailed("the template news.html, line 3: UndefinedError: 'x' is undefined.")
                if len(update.data) > 100:
                    raise TooLarge(f"{len(update.data)} bytes; an update has at most 100 (COMET_MAX_UPDATE).")
            return super().__call__(updates, checkpoint)

    strict = Strict()
    send(
        ("a", None, "1"),
        ("no channel", None, "x"),
        ("a", "comet.x", "x"),
        ("a", None, "x" * 101),
        ("a", None, "2"),
        ("a", None, "}"),
    )
    run(strict)
    wait(lambda: done() == [1, 2, 2, 2, 1, 2])
    assert strict.texts == ["1", "2"]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [text.partition(": ")[2].partition(" of `")[0] for text in told] == [
        "box can't publish the row 2",
        "box can't publish the row 3",
        "box can't publish the row 4",
        "box can't publish the row 6",
    ]
    assert "'no channel' is not a channel name" in told[0]
    assert told[2].endswith("101 bytes; an update has at most 100 (COMET_MAX_UPDATE).")


def test_eight_writers(mariadb: MariaDB, schema: str, published: Published, request: pytest.FixtureRequest) -> None:
    """Of overlapping transactions, some rolled back, each row that was committed is published once."""
    all_of_them = writers(mariadb, schema, sleep=gevent.sleep)
    start = Run(Outbox("box", url=mariadb.url(schema), table=f"{schema}.outbox"), published)
    request.addfinalizer(start.greenlet.kill)
    gevent.joinall([gevent.spawn(each.write, 625) for each in all_of_them], raise_error=True)
    told = [text for each in all_of_them for text in each.told]
    wait(lambda: len(published) >= len(told))
    start.stop()
    assert sorted(published.texts) == sorted(told)
    assert len(told) == 5000


def test_rows_that_somebody_has_locked_come_later(
    run: Start, send: Send, mariadb: MariaDB, schema: str, published: Published
) -> None:
    """The others do not wait for them, and no writer waits for us."""
    send(("a", None, "1"), ("a", None, "2"))
    with mariadb.connect(schema, autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM outbox WHERE id = 1 FOR UPDATE")
        run(published)
        wait(lambda: published.texts == ["2"])
        send(("a", None, "3"))
        wait(lambda: published.texts == ["2", "3"])
        other.rollback()
    wait(lambda: published.texts == ["2", "3", "1"])


def test_the_database_dies_before_the_mark_is_kept(
    run: Start, send: Send, done: Done, mariadb: MariaDB, published: Published
) -> None:
    """The row is not published again, in this worker or another; what came after it is."""

    def publish(updates: Sequence[Update], checkpoint: str | None = None) -> list[Receipt]:
        receipts = published(updates, checkpoint)
        mariadb.kill()
        return receipts

    publish.checkpoint, publish.lasts = published.checkpoint, True  # type: ignore[attr-defined]
    send(("a", None, "1"))
    first = run(publish)
    with pytest.raises(SourceFailed, match=r"has closed the connection\.$"):
        ended(first.greenlet)
    mariadb.start()
    assert done() == [0]
    run(published)
    wait(lambda: done() == [1])
    send(("a", None, "2"))
    wait(lambda: published.texts == ["1", "2"])


def test_a_worker_that_lost_its_lease_lets_go_of_the_rows(run: Start, send: Send, done: Done) -> None:
    """They are the next one's."""
    refused = Published()
    published = Published()

    def lost(updates: Sequence[Update], checkpoint: str | None = None) -> list[Receipt]:
        raise LeaseLost("another worker runs box now.")

    lost.checkpoint, lost.lasts = refused.checkpoint, True  # type: ignore[attr-defined]
    send(("a", None, "1"))
    with pytest.raises(LeaseLost):
        ended(run(lost).greenlet)
    run(published)
    wait(lambda: done() == [1])
    assert published.texts == ["1"]


def test_a_row_that_an_earlier_worker_has_published_and_still_holds(
    run: Start, send: Send, done: Done, mariadb: MariaDB, schema: str
) -> None:
    """It has frozen between publishing and marking. However many rows come meanwhile, and workers, it is not published
    again when it is free."""
    published = Published()
    send(("a", None, "1"))
    published([Update("a", b"1")], "[1]")
    frozen = mariadb.connect(schema, autocommit=False)
    frozen.cursor().execute("SELECT * FROM outbox WHERE id = 1 FOR UPDATE")
    first = run(published)
    send(("a", None, "2"))
    wait(lambda: done() == [0, 1])
    first.stop()
    assert set(json.loads(published.checkpoint() or "")) >= {1}
    run(published)
    send(("a", None, "3"))
    wait(lambda: done() == [0, 1, 1])
    frozen.close()
    wait(lambda: done() == [1, 1, 1])
    assert published.texts == ["1", "2", "3"]


def test_rows_of_a_worker_that_has_frozen_for_good(
    run: Start, send: Send, done: Done, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server lets go of them soon, and the next worker publishes them; the frozen one can't mark them any more."""
    monkeypatch.setattr(outbox, "GIVES_UP", 1)
    holds, thaw = Event(), Event()

    def freeze(updates: Sequence[Update], checkpoint: str | None = None) -> list[Receipt]:
        holds.set()
        thaw.wait()
        return []

    freeze.checkpoint, freeze.lasts = published.checkpoint, True  # type: ignore[attr-defined]
    send(("a", None, "1"))
    frozen = run(freeze)
    wait(holds.is_set)
    run(published)
    send(("a", None, "2"))
    wait(lambda: published.texts == ["2", "1"])
    thaw.set()
    with pytest.raises(SourceFailed, match=r"has closed the connection\.$"):
        ended(frozen.greenlet)
    assert done() == [1, 1]


def test_ids_that_come_again(
    run: Start, send: Send, done: Done, mariadb: MariaDB, schema: str, published: Published
) -> None:
    """A table that was emptied counts from 1 again: its rows are new ones, before and after a restart."""
    first = run(published)
    for _ in range(2):
        send(("a", None, "same"))
        wait(lambda: done() == [1])
        mariadb.execute("TRUNCATE outbox", database=schema)
    wait(lambda: published.checkpoint() == "[]")
    first.stop()
    send(("a", None, "same"))
    run(published)
    wait(lambda: done() == [1])
    assert published.texts == ["same"] * 3


def test_where_the_log_ends_with_the_process(run: Start, send: Send, done: Done, published: Published) -> None:
    """What its checkpoint says of a row is of no log that is left: it is published again."""
    published([Update("a", b"1")], "[1]")
    published.lasts = False
    send(("a", None, "1"))
    run(published)
    wait(lambda: done() == [1])
    assert published.texts == ["1", "1"]


# What is wrong.


def sentence(mariadb: MariaDB, url: str, table: str = "outbox") -> str:
    """What the trigger says when it is started."""
    with pytest.raises(Alarm) as caught:
        Outbox("box", url=url, table=table).run(Published())
    return str(caught.value).replace(str(mariadb.port), "PORT")


@pytest.mark.usefixtures("run")
def test_what_no_retry_mends(mariadb: MariaDB, schema: str) -> None:
    """One sentence each, with the statement to type where one mends it; typed, it does."""
    user = f"u{schema}"
    mariadb.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'p@ss'")
    url = mariadb.url(schema, user, "p@ss")
    says = f"mysql://127.0.0.1:PORT/{schema} says"
    assert sentence(mariadb, mariadb.url(schema, user, "wrong")) == (
        f"mysql://127.0.0.1:PORT/{schema} does not let {user} in: Access denied for user "
        f"'{user}'@'127.0.0.1' (using password: YES). Is the URL right?"
    )
    assert sentence(mariadb, url) == (
        f"{says}: Access denied for user '{user}'@'%' to database '{schema}'. "
        f"Type: GRANT SELECT, UPDATE ON `{schema}`.`outbox` TO '{user}'@'%';"
    )
    mariadb.execute(f"GRANT SELECT ON {schema}.outbox TO {user}@'%'")
    text = sentence(mariadb, url)
    grant = f"GRANT SELECT, UPDATE ON `{schema}`.`outbox` TO '{user}'@'%';"
    assert text.startswith(f"{says}: UPDATE command denied to user '{user}'@'127.0.0.1' for table")
    assert text.endswith(f" Type: {grant}")
    mariadb.execute(grant)
    assert sentence(mariadb, mariadb.url("nothing")) == (
        "mysql://127.0.0.1:PORT/nothing says: Unknown database 'nothing'."
    )
    text = sentence(mariadb, mariadb.url(schema), "missing")
    assert text.startswith(f"{says}: Table '{schema}.missing' doesn't exist. Type: CREATE TABLE `{schema}`.`missing` (")
    mariadb.execute(text.partition("Type: ")[2], "ALTER TABLE missing DROP event", database=schema)
    assert sentence(mariadb, mariadb.url(schema), "missing") == (
        f"`{schema}`.`missing` has no column event; an outbox has id, channel, event, data, done."
    )
    greenlet = gevent.spawn(Outbox("box", url=url, table="outbox").run, Published())
    gevent.sleep(0.05)
    assert not greenlet.ready()
    greenlet.kill()


def test_a_server_that_is_frozen_gone_and_back(run: Start, send: Send, mariadb: MariaDB, schema: str) -> None:
    """One sentence each, and it works again."""
    published = Published()
    url = f"{mariadb.url(schema)}?timeout=0.3"
    failures: list[str] = []
    trigger = Outbox("box", url=url, table="outbox")

    def again_and_again() -> None:
        while True:
            try:
                trigger.run(published)
                return
            except SourceFailed as error:
                failures.append(str(error).partition("/t")[2].partition(" ")[2])
                gevent.sleep(0.02)

    greenlet = gevent.spawn(again_and_again)
    send(("a", None, "1"))
    wait(lambda: published.texts == ["1"])
    mariadb.freeze()
    wait(lambda: failures)
    mariadb.thaw()
    send(("a", None, "2"))
    wait(lambda: published.texts == ["1", "2"])
    assert set(failures) == {"does not answer."}
    mariadb.kill()
    wait(lambda: "can't be reached: Connection refused." in failures)
    mariadb.start()
    send(("a", None, "3"))
    wait(lambda: published.texts == ["1", "2", "3"])
    trigger.stop()
    ended(greenlet)


def test_a_table_that_is_none() -> None:
    """It stops the start."""
    with pytest.raises(SettingsError, match=r"table is 'a\.b\.c'; it must be"):
        Outbox("box", url="mysql://a@localhost/b", table="a.b.c")
