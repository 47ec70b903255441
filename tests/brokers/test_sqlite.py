"""The SQLite broker: several workers on one file, and everything that can happen to the file."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import gevent
import pytest

from comet.brokers import Broker, sqlite
from comet.brokers.sqlite import SqliteBroker, file
from comet.cohorts import Subscription
from comet.controller import Controller
from comet.core.errors import BrokerAway, SettingsError
from comet.core.log import Gap, Position
from comet.core.rules import Rule, Rules
from comet.core.update import Closed, Update
from tests.brokers.contract import LeasesContract
from tests.timing import PATIENCE, Stopwatch


Make = Callable[..., Controller]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def make(path: Path) -> Iterator[Make]:
    """Workers on the same file."""
    made: list[Controller] = []

    def worker(**options: object) -> Controller:
        controller = Controller(SqliteBroker(path, **options))  # type: ignore[arg-type]
        controller.start()
        made.append(controller)
        return controller

    yield worker
    for controller in made:
        controller.stop()


def wait(state: Callable[[], object], seconds: float = 10) -> None:
    with gevent.Timeout(seconds * PATIENCE):
        while not state():
            gevent.sleep(0.005)


class Reader:
    """Everything that a subscriber of a worker is told."""

    def __init__(self, controller: Controller, *names: str, since: str | None = None, last: int = 0) -> None:
        self.told: list[object] = []
        start = controller.begin(names, since, last)
        self.told += [entry.data.decode() for entry in start.entries]
        self.greenlet = gevent.spawn(self._run, controller, Subscription(start.position))
        gevent.sleep(0)

    def _run(self, controller: Controller, subscription: Subscription) -> None:
        for page in controller.pages(subscription):
            if page.gap:
                self.told.append(page.gap)
            self.told += ["closed" if isinstance(entry, Closed) else entry.data.decode() for entry in page.entries]

    @property
    def gaps(self) -> list[Gap]:
        return [each for each in self.told if isinstance(each, Gap)]

    @property
    def texts(self) -> list[object]:
        return [each for each in self.told if not isinstance(each, Gap)]


def broker(controller: Controller) -> SqliteBroker:
    assert isinstance(controller.broker, SqliteBroker)
    return controller.broker


def publish(controller: Controller, *texts: str, channel: str = "a") -> str:
    """Publish; return the last id."""
    return controller.update([Update(channel, text.encode()) for text in texts])[-1].id


def test_what_one_worker_publishes_the_other_delivers(make: Make) -> None:
    """In SEQ order over all channels, the own updates too."""
    one, two = make(), make()
    readers = [Reader(one, "a", "b"), Reader(two, "a", "b")]
    for n in range(20):
        publish((one, two)[n % 2], str(n), channel="ab"[n % 2])
    wait(lambda: all(len(reader.texts) == 20 for reader in readers))
    assert [reader.told for reader in readers] == [[str(n) for n in range(20)]] * 2


def test_many_publish_at_once_and_nothing_is_lost(make: Make) -> None:
    """Two workers, ten publishers each; every reader sees the same order, without a hole."""
    workers = [make(rules=Rules(Rule(history=10_000))) for _ in range(2)]
    readers = [Reader(worker, "a") for worker in workers]
    acknowledged: list[str] = []

    def publisher(worker: Controller, name: str) -> None:
        for n in range(50):
            publish(worker, f"{name}-{n}")
            acknowledged.append(f"{name}-{n}")

    gevent.joinall([gevent.spawn(publisher, workers[n % 2], str(n)) for n in range(20)], raise_error=True)
    wait(lambda: all(len(reader.texts) == 1000 for reader in readers))
    assert readers[0].told == readers[1].told
    assert sorted(acknowledged) == sorted(map(str, readers[0].told))


def test_a_restart_loses_nothing(make: Make) -> None:
    """The next process has the same epoch, the same history, and goes on with the next number."""
    one = make()
    cursor = publish(one, "1", "2", "3")
    one.stop()
    two = make()
    assert Reader(two, "a", last=2).told == ["2", "3"]
    epoch, seq = publish(two, "4").split("-")
    assert (epoch, int(seq)) == (cursor.split("-")[0], int(cursor.split("-")[1]) + 1)
    reader = Reader(two, "a", since=cursor)
    wait(lambda: reader.told == ["4"])


def test_a_killed_writer_leaves_nothing_behind(make: Make, path: Path) -> None:
    """A process that is killed within its transaction holds up nobody, and its half is not there."""
    one = make()
    publish(one, "1")
    half = (
        "import sqlite3, sys, time; db = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "db.execute('BEGIN IMMEDIATE'); "
        "db.execute(\"INSERT INTO entry (channel, prev, type, data, time) VALUES ('a', 1, 'a/b', x'00', 1)\"); "
        "print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", half, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    publish(one, "2")
    assert Reader(make(), "a", last=9).told == ["1", "2"]


@pytest.mark.alone
def test_a_frozen_writer_is_not_waited_for(make: Make, path: Path) -> None:
    """Publishing answers within two seconds, readers go on, and all is well when it moves again."""
    one = make()
    publish(one, "1")
    frozen = (
        "import fcntl, sys, time; f = open(sys.argv[1] + '.lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('in', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", frozen, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGSTOP)
        with Stopwatch() as watch, pytest.raises(BrokerAway, match="may have been accepted"):
            publish(one, "2")
        assert watch.seconds < 2.5 * PATIENCE
        assert Reader(one, "a", last=9).told == ["1"]
        with pytest.raises(BrokerAway):
            one.check_broker()
        process.kill()
    broker(one)._tidy()
    one.check_broker()  # nobody needs to publish for that
    publish(one, "3")


def test_who_gives_up_in_the_queue(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has not published: it may be published again, and must not be there twice."""
    monkeypatch.setattr(sqlite, "ANSWER", 0.1)
    one = make(rules=Rules(Rule(history=1000)))
    pool = broker(one)._pool
    assert pool is not None
    gate = threading.Event()
    busy = pool.spawn(gate.wait)
    first = gevent.spawn(publish, one, "under way")
    gevent.sleep(0.02)
    with pytest.raises(BrokerAway):
        publish(one, *["again"] * 100)
    with pytest.raises(BrokerAway):
        first.get()
    gate.set()
    busy.get()
    wait(lambda: one.newest("a"))
    monkeypatch.undo()
    publish(one, *["again"] * 100)
    assert Reader(one, "a", last=1000).told == ["under way", *["again"] * 100]


def is_well(controller: Controller) -> bool:
    try:
        controller.check_broker()
    except BrokerAway:
        return False
    return True


def test_a_file_that_can_be_read_again_is_well(make: Make, path: Path) -> None:
    """As soon as it was looked at; nobody needs to publish for that."""
    one = make()
    with closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE state RENAME TO away")
        wait(lambda: not is_well(one))
        db.execute("ALTER TABLE away RENAME TO state")
    wait(lambda: is_well(one))
    assert Reader(one, "a", last=1).told == []
    publish(one, "1")


def test_a_deleted_file_is_a_new_epoch(make: Make, path: Path) -> None:
    """Updates that vanished are told as a gap; the next ones come with other ids, to all workers."""
    one, two = make(), make()
    cursor = publish(one, "1")
    wait(lambda: two.log.head == one.log.head == 1)
    readers = [Reader(one, "a"), Reader(two, "a")]
    for each in path.parent.glob("log.db*"):
        if not each.name.endswith(".lock"):
            each.unlink()
    after = publish(one, "2")
    assert after.split("-")[0] != cursor.split("-")[0]
    for reader in readers:
        wait(lambda reader=reader: reader.texts == ["2"])
        assert [(gap.reason, gap.since) for gap in reader.gaps] == [("epoch", cursor)]
    late = Reader(two, "a", since=cursor)
    wait(lambda: late.told)
    assert [(gap.reason, gap.first) for gap in late.gaps] == [("epoch", after)]


def test_an_older_copy_of_the_file_is_a_new_epoch(make: Make, path: Path) -> None:
    """A number that was given out is never given out again: who saw it is told the gap."""
    one = make()
    publish(one, "1")
    one.stop()
    shutil.copy(path, path.with_suffix(".copy"))
    one = make()
    publish(one, "2", "3")
    reader = Reader(one, "a")
    with sqlite3.connect(path.with_suffix(".copy")) as copy, sqlite3.connect(path) as db:
        copy.backup(db)
    copy.close()
    db.close()
    wait(lambda: reader.gaps)
    assert reader.gaps[0].reason == "epoch"
    publish(one, "4")
    wait(lambda: reader.texts[-1:] == ["4"])


def _copy_over(copy: Path, path: Path) -> None:
    shutil.copyfile(copy, path)


def _move_over(copy: Path, path: Path) -> None:
    copy.replace(path)


def _copy_anew(copy: Path, path: Path) -> None:
    path.unlink()
    shutil.copyfile(copy, path)


@pytest.mark.parametrize("put_back", [_copy_over, _move_over, _copy_anew])
def test_an_older_copy_that_was_put_back_while_nobody_ran_is_a_new_epoch(
    make: Make, path: Path, put_back: Callable[[Path, Path], None]
) -> None:
    """However it was put there: it is known how far the log was, so all are told, who had not seen the end too."""
    one = make()
    before = publish(one, "1")
    one.stop()
    copy = Path(shutil.copyfile(path, path.with_suffix(".copy")))
    one = make()
    lost = publish(one, "2", "3")
    one.stop()
    put_back(copy, path)
    two = make()
    after = publish(two, "4")
    assert after.split("-")[0] != lost.split("-")[0]
    for cursor in (before, lost):
        reader = Reader(two, "a", since=cursor)
        wait(lambda reader=reader: reader.texts == ["1", "4"])
        assert [(gap.since, gap.reason) for gap in reader.gaps] == [(cursor, "epoch")]


def test_a_file_that_came_from_elsewhere_goes_on_with_greater_numbers(make: Make, path: Path) -> None:
    """Nobody knows how far its log was: the numbers jump beyond all that it may have given out, and a cursor from
    there is told the gap; the others are good."""
    one = make()
    good = publish(one, "1")
    one.stop()
    copy = Path(shutil.copyfile(path, path.with_suffix(".copy")))
    one = make()
    lost = publish(one, "2", "3")
    one.stop()
    path.with_name("log.db.lock").unlink()
    copy.replace(path)
    before = time.time_ns() // 1000
    two = make()
    after = publish(two, "4")
    assert after.split("-")[0] == lost.split("-")[0]
    assert int(after.split("-")[1]) > max(before, file.JUMP)
    readers = [Reader(two, "a", since=cursor) for cursor in (good, lost)]
    wait(lambda: all("4" in reader.texts for reader in readers))
    assert readers[0].told == ["4"]
    assert [gap.reason for gap in readers[1].gaps] == ["future"]
    two.stop()
    assert int(publish(make(), "5").split("-")[1]) == int(after.split("-")[1]) + 1


def test_no_number_is_given_out_twice_before_anybody_has_looked(make: Make, path: Path) -> None:
    """Who writes first into an older copy notices; the receipts of all workers name the new epoch."""
    one, two = make(), make()
    publish(one, "1")
    with sqlite3.connect(path) as db, sqlite3.connect(path.with_suffix(".copy")) as copy:
        db.backup(copy)
    lost = publish(one, "2")
    for worker in (one, two):
        gevent.killall(broker(worker)._greenlets[1:])  # the writer goes on
    with copy, db:
        copy.backup(db)
    copy.close()
    db.close()
    receipts = [publish(worker, "3") for worker in (two, one, two)]
    epochs = {receipt.split("-")[0] for receipt in receipts}
    assert len(epochs) == 1 and lost.split("-")[0] not in epochs
    assert [u.id for u in two.log.rings["a"]][1:] == receipts
    assert {one.log.epoch, two.log.epoch} == epochs


def test_after_a_restart_of_the_host_numbers_jump(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tail of the log may be gone: a cursor in the hole is told the gap, older ones are good."""
    one = make()
    cursor = publish(one, "1")
    lost = f"{cursor.split('-')[0]}-{int(cursor.split('-')[1]) + 3}"
    one.stop()
    monkeypatch.setattr(file, "boot_id", lambda: "another")
    two = make()
    after = publish(two, "2")
    assert int(after.split("-")[1]) > file.JUMP
    good, bad = Reader(two, "a", since=cursor), Reader(two, "a", since=lost)
    wait(lambda: good.told and bad.told)
    assert good.told == ["2"]
    assert bad.gaps[0].reason == "future"
    assert bad.texts == ["1", "2"]


def test_numbers_jump_also_when_the_first_transaction_fails(
    make: Make, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is remembered by itself, before anything is written."""
    one = make()
    publish(one, "1")
    one.stop()
    monkeypatch.setattr(file, "boot_id", lambda: "another")
    opened = file.File(path)
    with pytest.raises(sqlite3.OperationalError), opened.transaction() as db:
        db.execute("DELETE FROM nothing")
    with opened.transaction() as db:
        assert file.head_of(db) > file.JUMP
    opened.close()


def test_workers_that_do_not_agree_on_what_the_file_is_work_together(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers may see another host or device: numbers jump when a file is opened, and then no more."""
    one = make()
    publish(one, "1")
    monkeypatch.setattr(file, "boot_id", lambda: "another")
    two = make()
    numbers = [int(publish(worker, "x").split("-")[1]) for worker in (one, two, one, two)]
    assert numbers == list(range(numbers[0], numbers[0] + 4))


def test_history_beyond_the_mirror_comes_from_the_file(make: Make) -> None:
    """A worker that may keep little in memory supplies what the file still has, of several channels in order."""
    rules = Rules(Rule(history=1000))
    one = make(rules=rules)
    start = publish(one, "0", channel="b")
    for n in range(1, 301):
        publish(one, str(n), channel="ab"[n % 2])
    small = make(rules=rules, limit=20_000)
    assert small.log.rings["a"].lost > 0
    reader = Reader(small, "a", "b", since=start)
    wait(lambda: len(reader.told) >= 300)
    assert reader.told == [str(n) for n in range(1, 301)]


def test_a_worker_with_little_memory_knows_what_has_changed(make: Make) -> None:
    """Also of what it has no room for when it begins."""
    one = make()
    for n in range(300):
        publish(one, "x", channel=f"c{n}")
    small = make(limit=20_000)
    expected = [(f"c{n}", n + 1) for n in range(300)]
    assert len([ring for ring in small.log.rings.values() if len(ring)]) < 100
    assert sorted(small.log.changes.since(0), key=lambda change: change[1]) == expected
    assert one.log.changes.since(0) == expected


def test_what_the_file_has_lost_is_a_gap(make: Make) -> None:
    """Trimmed in the file, trimmed for all: told, and exact."""
    one, two = make(rules=Rules(Rule(history=3))), make(rules=Rules(Rule(history=3)), limit=1)
    start = publish(one, "0")
    publish(one, *map(str, range(1, 10)))
    wait(lambda: two.log.head == one.log.head)
    for worker in (one, two):
        reader = Reader(worker, "a", since=start)
        wait(lambda reader=reader: len(reader.told) == 4)
        assert reader.gaps[0].reason == "trimmed"
        assert reader.texts == ["7", "8", "9"]


def test_a_cursor_that_another_worker_gave_out_is_good_here(make: Make) -> None:
    """A worker that has not looked yet looks before it calls a cursor one from the future."""
    one, two = make(), make()
    gevent.killall(two.broker._greenlets)  # type: ignore[attr-defined]
    cursor = publish(one, "1")
    assert two.log.head == 0
    start = two.begin(("a",), cursor, None)
    assert start.position.doubt is None
    assert two.log.head == 1


def freeze(controller: Controller) -> None:
    """Nothing of this worker runs any more, but its readers."""
    gevent.killall(broker(controller)._greenlets)


def let_pass(controller: Controller, seconds: int) -> None:
    """Let time pass for one worker and for the file."""
    store = broker(controller)._store
    begun = store.options.clock() - time.time()
    for step in range(10, seconds + 10, 10):
        passed = begun + step
        store.options = replace(store.options, clock=lambda passed=passed: time.time() + passed)
        for _ in broker(controller).tick(time.time() + passed, controller._subscribers):
            pass
        broker(controller)._tidy()


def test_a_worker_that_is_far_behind_tells_what_was_trimmed_before_it_came_there(make: Make) -> None:
    """It catches up piece by piece, and readers go along: each piece tells what the file lacks of it."""
    rules = Rules(Rule(history=1000), {"short": Rule(history=3)})
    one, two = make(rules=rules), make(rules=rules)
    cursor = publish(one, "0")
    wait(lambda: two.log.head == 1)
    freeze(two)
    publish(one, "lost", "lost", "lost", channel="short")
    publish(one, *map(str, range(150)))
    publish(one, "kept", "kept", "kept", channel="short")
    broker(two)._mirror._look_once()
    page = two.log.read(two.begin(("a", "short"), cursor, None).position)
    assert 1 < page.seq < one.log.head
    assert page.gap == Gap(cursor, page.entries[0].id, "trimmed")
    two.broker.catch_up()  # type: ignore[attr-defined]
    rest = two.log.read(two.begin(("a", "short"), f"{page.epoch}-{page.seq}", None).position)
    assert rest.gap is None
    texts = [entry.data.decode() for entry in (*page.entries, *rest.entries) if isinstance(entry, Update)]
    assert texts == [*map(str, range(150)), "kept", "kept", "kept"]


@pytest.mark.parametrize("others", [0, 250])
@pytest.mark.parametrize("fate", ["too old", "forgotten", "made anew"])
def test_a_worker_that_was_frozen_tells_what_it_has_missed(make: Make, fate: str, others: int) -> None:
    """Also when nothing is left of it: once, to those who wait and to those who come."""
    one, two = [make(rules=Rules(Rule(history=1000, history_seconds=30))) for _ in range(2)]
    cursor = publish(one, "1")
    wait(lambda: two.log.head == 1)
    reader = Reader(two, "a", "b")
    freeze(two)
    publish(one, "2", channel="a")
    publish(one, "2", channel="unheard.of")
    publish(one, "x", channel="c")
    let_pass(one, 40 if fate == "too old" else 120)
    if fate == "made anew":
        publish(one, "3")
    if others:
        publish(one, *map(str, range(others)), channel="b")
    broker(two).catch_up()
    if fate != "made anew":
        wait(lambda: reader.gaps)
        publish(one, "3")
        broker(two).catch_up()
    wait(lambda: len(reader.texts) == others + 1)
    assert [(gap.since, gap.reason) for gap in reader.gaps] == [(cursor, "trimmed")]
    assert isinstance(reader.told[0], Gap) and set(reader.texts) == {"3", *map(str, range(others))}
    for name, texts in (("a", ["3"]), ("unheard.of", [])):
        late = Reader(two, name, since=cursor)
        wait(lambda late=late: late.gaps)
        assert [gap.reason for gap in late.gaps] == ["trimmed"] and late.texts == texts


def test_a_worker_that_was_frozen_for_a_while_has_missed_nothing(make: Make) -> None:
    """What was dropped had been seen, and what was not seen is still there: no gap."""
    one, two = [make(rules=Rules(Rule(history_seconds=30))) for _ in range(2)]
    publish(one, "1")
    wait(lambda: two.log.head == 1)
    reader = Reader(two, "a", "b")
    freeze(two)
    let_pass(one, 120)
    publish(one, "2", channel="b")
    broker(two).catch_up()
    publish(one, "3")
    broker(two).catch_up()
    wait(lambda: len(reader.told) == 2)
    assert reader.told == ["2", "3"]


def test_a_quiet_channel_that_is_watched_is_not_forgotten(make: Make) -> None:
    """By no worker, though another has the subscriber: who comes back to it has missed nothing."""
    rules = Rules(Rule(history_seconds=30))
    one, two = make(rules=rules), make(rules=rules)
    cursor = publish(one, "1")
    publish(one, "2", channel="b")
    wait(lambda: two.log.head == 2)
    assert Reader(two, "a").told == []
    for _ in range(40):
        let_pass(one, 10)
        broker(two)._store.options = broker(one)._store.options
        let_pass(two, 10)
    assert not one.log.exists("b")
    assert Reader(make(rules=rules), "b", since=cursor).gaps
    back = make(rules=rules)
    assert not back.log.exists("b")
    start = back.begin(("a",), cursor, None)
    assert not back.broker.since(start.position, size=1000, limit=10)


def test_a_page_from_the_file_ends_where_the_log_of_the_worker_ends(make: Make) -> None:
    """However far the file is ahead, of all channels and of the newest alone: what comes then follows, once."""
    rules = Rules(Rule(history=1000), {"newest": Rule(conflate=True)})
    one, small = make(rules=rules), make(rules=rules, limit=20_000)
    start = publish(one, "0", "0", channel="newest")
    for n in range(300):
        publish(one, str(n), channel="ab"[n % 2])
    publish(one, "300", channel="newest")
    wait(lambda: small.log.head == one.log.head)
    freeze(small)
    publish(one, "later", channel="newest")
    for n in range(301, 600):
        publish(one, str(n), channel="ab"[n % 2])
    assert small.log.lacks(("a", "b"), 2) and small.log.head == 303
    position = small.begin(("a", "b"), start, None).position
    told: list[str] = []
    for _ in range(20):
        page = small.broker.since(position, size=10_000, limit=1000)
        position.move(page.epoch, page.seq, page.told)
        told += [entry.data.decode() for entry in page.entries if isinstance(entry, Update)]
        assert not page.gap and page.seq <= small.log.head
    assert told == [str(n) for n in range(300)] and position.seq == small.log.head
    newest = small.broker.since(Position(("a", "newest"), 2, small.log.epoch, True), size=10_000, limit=10)
    assert [entry.data.decode() for entry in newest.entries if isinstance(entry, Update)] == ["298", "300"]
    broker(small).catch_up()
    while page := small.broker.since(position, size=10_000, limit=1000):
        position.move(page.epoch, page.seq, page.told)
        told += [entry.data.decode() for entry in page.entries if isinstance(entry, Update)]
    assert told == [str(n) for n in range(300)] + [str(n) for n in range(301, 600)]


def test_a_page_from_the_file_has_nothing_of_another_epoch(make: Make) -> None:
    """A worker that has not looked yet does not give what is in the file now under the old ids."""
    rules = Rules(Rule(history=1000))
    one, small = make(rules=rules), make(rules=rules, limit=20_000)
    start = publish(one, "0")
    for n in range(300):
        publish(one, str(n))
    wait(lambda: small.log.head == one.log.head)
    freeze(small)
    broker(one)._begin_epoch()
    publish(one, "new")
    position = small.begin(("a",), start, None).position
    while page := small.broker.since(position, size=10_000, limit=1000):
        position.move(page.epoch, page.seq, page.told)
        assert all(entry in small.log.rings["a"] for entry in page.entries)


def test_a_log_that_begins_anew_is_never_seen_half(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever another greenlet runs, the old log is there or all of the new one."""
    rules = Rules(Rule(history=150))
    one, two = make(rules=rules), make(rules=rules)
    publish(one, *map(str, range(500)))
    publish(one, *map(str, range(100)), channel="b")
    wait(lambda: two.log.head == 600)
    freeze(two)
    reader = Reader(two, "a", "b")
    old = one.log.epoch
    broker(one)._begin_epoch()
    publish(one, "new")
    seen = []

    def breathe() -> None:
        seen.append((two.log.epoch, two.log.head, max(ring.last for ring in two.log.rings.values())))
        gevent.sleep(0)

    for module in ("", ".mirror"):
        monkeypatch.setattr(f"comet.brokers.sqlite{module}.breathe", breathe, raising=False)
    broker(two).catch_up()
    assert len(seen) > 1 and two.log.epoch != old
    assert set(seen) <= {(old, 600, 600), (two.log.epoch, 601, 601)}
    wait(lambda: reader.texts[-1:] == ["new"])
    assert [gap.reason for gap in reader.gaps] == ["epoch"]
    assert reader.texts == [*map(str, range(351, 500)), *map(str, range(100)), "new"]


def test_a_deleted_channel_ends_the_readers_of_all_workers(make: Make) -> None:
    """In SEQ order, after what came before; the next update begins the channel anew."""
    one, two = make(), make()
    reader = Reader(two, "a")
    publish(one, "1")
    wait(lambda: reader.told == ["1"])
    one.update([Closed("a")])
    wait(lambda: reader.told == ["1", "closed"])
    reader.greenlet.join(5)
    assert reader.greenlet.successful()
    publish(one, "2")
    wait(lambda: two.log.head == one.log.head)
    assert Reader(two, "a", last=9).told == ["2"]


class TestLeases(LeasesContract):
    @pytest.fixture
    def pair(self, make: Make) -> tuple[Broker, Broker]:
        return broker(make()), broker(make())


def test_a_full_disk_says_so_and_recovers(make: Make) -> None:
    """One sentence for the publisher; readers go on; with room again it works."""
    one = make()
    publish(one, "1")
    db = one.broker._store.file._db  # type: ignore[attr-defined]
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(BrokerAway, match=r"the disk of .* is full"):
        for _ in range(100):
            publish(one, "x" * 10_000)
    assert Reader(one, "a", last=1).told
    with pytest.raises(BrokerAway, match="full"):
        one.check_broker()
    db.execute("PRAGMA max_page_count = 1000000")
    publish(one, "2")
    one.check_broker()


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda path: path.write_bytes(b"garbage " * 1000), "is not a SQLite database"),
        (lambda path: path.mkdir(), "can't be opened"),
        (lambda path: _damage(path), "is damaged"),
    ],
    ids=["garbage", "folder", "damaged"],
)
def test_a_file_that_cannot_be_used_is_refused_at_the_start(
    make: Make, path: Path, prepare: Callable[[Path], object], sentence: str
) -> None:
    """With a sentence, and the file is left as it is."""
    prepare(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(SettingsError, match=sentence):
        make()
    assert before == (path.read_bytes() if path.is_file() else b"")


def _damage(path: Path) -> None:
    worker = Controller(SqliteBroker(path, rules=Rules(Rule(history=1000))))
    worker.start()
    worker.update([Update("a", b"x" * 3000) for _ in range(100)])
    worker.stop()
    data = bytearray(path.read_bytes())
    for place in range(8192, len(data) - 4096, 4096):
        data[place : place + 64] = b"\xff" * 64
    path.write_bytes(data)


def test_a_missing_folder_is_refused_at_the_start(tmp_path: Path) -> None:
    """It names the file."""
    broker = SqliteBroker(tmp_path / "none" / "log.db")
    with pytest.raises(SettingsError, match=r"log\.db can't be opened"):
        broker.start(lambda names: None)
