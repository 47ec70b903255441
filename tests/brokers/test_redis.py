"""The Redis broker against a real redis-server: several workers on one log, and everything that can happen to it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import gevent
import gevent.socket
import pytest
import redis.connection

from comet.brokers import Broker
from comet.brokers.memory import MemoryBroker
from comet.brokers.redis import RedisBroker
from comet.brokers.redis.link import CALLS, Link, Standing
from comet.brokers.redis.publisher import LARGEST
from comet.controller import Controller
from comet.core.errors import BrokerAway, CometError, NotFound, SettingsError, TooLarge, TooManyChannels
from comet.core.log import Entry, Log, Position
from comet.core.rules import Rule, Rules
from comet.core.update import Closed, Update
from tests.brokers.contract import LeasesContract
from tests.brokers.redis_server import RedisServer
from tests.brokers.redis_workers import Make, Reader, broker, publish, publish_works, sockets_may_be_dropped, wait
from tests.timing import PATIENCE, Stopwatch


JUMP = 1 << 20


@pytest.fixture(autouse=True)
def greenlets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sockets of redis-py are gevent's, as they are in gunicorn's worker, which patches everything."""
    monkeypatch.setattr(redis.connection, "socket", gevent.socket)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server.start()
    server.kill()


@pytest.fixture
def make(server: RedisServer) -> Iterator[Make]:
    """Workers on the same Redis."""
    made: list[Controller] = []

    def worker(url: str = "", **options: object) -> Controller:
        controller = Controller(RedisBroker(url or server.url, **options))  # type: ignore[arg-type]
        controller.start()
        made.append(controller)
        return controller

    yield worker
    with sockets_may_be_dropped():
        for controller in made:
            controller.stop()
        made.clear()


def epoch_of(cursor: str) -> str:
    return cursor.split("-")[0]


def seq_of(cursor: str) -> int:
    return int(cursor.split("-")[1])


# Several workers.


def test_what_one_worker_publishes_the_other_delivers(make: Make) -> None:
    """In SEQ order over all channels, the own updates too."""
    one, two = make(), make()
    readers = [Reader(one, "a", "b"), Reader(two, "a", "b")]
    for n in range(20):
        publish((one, two)[n % 2], str(n), channel="ab"[n % 2])
    wait(lambda: all(len(reader.texts) == 20 for reader in readers))
    assert [reader.texts for reader in readers] == [[str(n) for n in range(20)]] * 2


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
    assert not readers[0].gaps
    assert sorted(acknowledged) == sorted(readers[0].texts)


def test_many_who_ask_at_once_share_a_few_connections(make: Make, server: RedisServer) -> None:
    workers = make(), make()
    greenlets = [gevent.spawn(broker(worker).checkpoint, "clock") for worker in workers for _ in range(100)]
    gevent.joinall(greenlets, raise_error=True)
    clients = [line for line in server.command("client", "list").splitlines() if "cmd=client" not in line]
    assert len(clients) <= len(workers) * (CALLS + 1), clients


def test_who_has_published_finds_it_at_once(make: Make) -> None:
    """What the answer to a publisher says is in this worker's log when it comes."""
    one, two = make(), make()
    for n in range(50):
        for worker in (one, two):
            assert seq_of(publish(worker, str(n))) <= worker.log.head


def test_events_types_and_bytes_come_out_as_they_went_in(make: Make) -> None:
    """Live, from history, and paged from Redis."""
    one, two = make(), make(limit=1)
    updates = [
        Update("a", bytes(range(256)), "application/octet-stream"),
        Update("a", b"", 'text/plain;\tcharset="utf-8"', "an event: ünïcode"),
        Update("a", b"1\n2 3\r\n", "text/plain", key="a key"),
        Update("b", b"x" * 200_000, "image/png"),
    ]
    start = publish(one, "start")
    wait(lambda: two.log.head == 1)
    readers = [Reader(one, "a", "b"), Reader(two, "a", "b")]
    one.update(updates)
    late = make()
    readers += [Reader(late, "a", "b", since=start), Reader(two, "a", "b", since=start)]
    wait(lambda: all(len(reader.told) == len(updates) for reader in readers))
    for reader in readers:
        got = [(each.channel, each.data, each.type, each.event) for each in reader.told if isinstance(each, Update)]
        assert got == [(update.channel, update.data, update.type, update.event) for update in updates]


def test_a_cursor_that_another_worker_gave_out_is_good_here(make: Make) -> None:
    """A worker that has not heard of it yet looks before it calls a cursor one from the future."""
    one, two = make(), make()
    gevent.killall(broker(two)._greenlets)
    cursor = publish(one, "1")
    assert two.log.head == 0
    start = two.begin(("a",), cursor, None)
    assert start.position.doubt is None
    assert two.log.head == 1


def test_a_cursor_that_can_not_be_judged_is_no_gap(make: Make, server: RedisServer) -> None:
    """Without Redis a worker can't know what another has delivered: it says so, to all who ask meanwhile."""
    one, two = make(), make()
    first = publish(one, "1")
    wait(lambda: two.log.head == 1)
    gevent.killall(broker(two)._greenlets)
    cursor = publish(one, "2")
    server.kill()

    def come(since: str) -> object:
        try:
            return two.begin(("a",), since, None).position.doubt
        except BrokerAway as error:
            return str(error)

    together = [gevent.spawn(come, cursor) for _ in range(3)]
    gevent.joinall(together)
    assert all("can't be reached" in greenlet.value for greenlet in together)
    assert come(first) is None
    assert come("garbage") == ("garbage", "unknown")
    server.start()
    assert come(cursor) is None


def test_a_deleted_channel_ends_the_readers_of_all_workers(make: Make) -> None:
    """In SEQ order, after what came before; the next update begins the channel anew."""
    one, two = make(), make()
    reader = Reader(two, "a")
    cursor = publish(one, "1")
    wait(lambda: reader.texts == ["1"])
    one.update([Closed("a")])
    wait(lambda: reader.closed)
    late = Reader(make(), "a", since=cursor)
    wait(lambda: late.closed)
    assert not late.told
    publish(one, "2")
    wait(lambda: two.log.head == one.log.head)
    assert Reader(two, "a", last=9).texts == Reader(make(), "a", last=9).texts == ["2"]
    gone = Reader(make(limit=1), "a", since=cursor)
    wait(lambda: gone.told)
    assert gone.gaps[0].reason == "trimmed"
    with pytest.raises(NotFound, match="no channel nothing"):
        one.update([Closed("nothing")])


def test_channels_are_counted_over_all_workers(make: Make) -> None:
    """A batch that would make one too many is refused whole; known names go on."""
    one, two = make(max_channels=2), make(max_channels=2)
    publish(one, "1", channel="a")
    with pytest.raises(TooManyChannels, match="2 channels exist already"):
        two.update([Update("b", b"2"), Update("c", b"2")])
    publish(two, "3", channel="b")
    with pytest.raises(TooManyChannels):
        publish(one, "4", channel="c")
    publish(one, "5", channel="b")
    assert one.log.head == 3


def test_a_key_is_known_to_all_workers_and_outlives_the_history(make: Make) -> None:
    """The first id comes again, nothing is published, whatever has been trimmed."""
    rules = Rules(Rule(history=2))
    one, two = make(rules=rules), make(rules=rules)
    first = one.update([Update("a", b"1", key="k")])[0]
    publish(one, "2", "3", "4")
    again = two.update([Update("a", b"1", key="k"), Update("a", b"5", key="l"), Update("a", b"5", key="l")])
    assert [receipt.duplicate for receipt in again] == [True, False, True]
    assert again[0].id == first.id
    assert again[1].id == again[2].id
    assert one.update([Update("b", b"1", key="k")])[0].duplicate is False
    assert one.log.rings["a"].last == 5


class TestLeases(LeasesContract):
    @pytest.fixture
    def pair(self, make: Make) -> tuple[Broker, Broker]:
        return broker(make()), broker(make())


def test_batches_are_one_call(make: Make) -> None:
    """A large one too, and one that is too large is refused."""
    one, two = make(rules=Rules(Rule(history=20_000))), make(rules=Rules(Rule(history=20_000)))
    reader = Reader(two, "a")
    one.update([Update("a", str(n).encode()) for n in range(3000)])
    wait(lambda: len(reader.texts) == 3000)
    assert reader.texts == list(map(str, range(3000)))
    with pytest.raises(TooLarge, match=f"at most {LARGEST}"):
        one.update([Update("a", b"")] * (LARGEST + 1))
    assert one.update([]) == []


def test_who_has_not_started_publishes_too(make: Make, server: RedisServer) -> None:
    """A program that only publishes needs no greenlets."""
    one = make()
    reader = Reader(one, "a")
    quiet = RedisBroker(server.url)
    quiet.publish([Update("a", b"1")])
    wait(lambda: reader.texts == ["1"])
    quiet.stop()


# History.


def test_a_new_worker_has_the_history(make: Make) -> None:
    """Of all channels, in SEQ order, more than is read at once."""
    rules = Rules(Rule(history=1000))
    one = make(rules=rules)
    start = publish(one, "start", channel="c0")
    texts = [str(n) for n in range(1000)]
    one.update([Update(f"c{n % 23}" if n % 2 else "long", text.encode()) for n, text in enumerate(texts)])
    two = make(rules=rules)
    names = ["long", *(f"c{n}" for n in range(15))]
    expected = [text for n, text in enumerate(texts) if not n % 2 or n % 23 < 15]
    reader = Reader(two, *names, since=start)
    wait(lambda: len(reader.texts) >= len(expected))
    assert reader.texts == expected
    assert not reader.gaps
    assert {name: list(ring) for name, ring in two.log.rings.items()} == {
        name: list(ring) for name, ring in one.log.rings.items()
    }


def test_history_beyond_the_window_comes_from_redis(make: Make) -> None:
    """A worker that may keep little in memory supplies what Redis still has, of several channels in order."""
    rules = Rules(Rule(history=1000))
    one = make(rules=rules)
    start = publish(one, "0", channel="b")
    for n in range(1, 301):
        publish(one, str(n), channel="ab"[n % 2])
    small = make(rules=rules, limit=20_000)
    assert small.log.rings["a"].lost > 0
    reader = Reader(small, "a", "b", since=start)
    wait(lambda: len(reader.told) >= 300)
    assert reader.texts == [str(n) for n in range(1, 301)]
    newest = small.begin(("a",), start, None, newest_only=True).position
    assert [entry.seq for entry in small.broker.since(newest, size=1000, limit=10).entries] == [301]


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


def test_what_redis_has_trimmed_is_a_gap(make: Make) -> None:
    """By count or by bytes: told, and exact."""
    for rule in (Rule(history=3), Rule(history_bytes=3)):
        one, two = make(rules=Rules(rule)), make(rules=Rules(rule), limit=1)
        start = publish(one, "0")
        publish(one, *map(str, range(1, 10)))
        for worker in (one, two, make(rules=Rules(rule)), make(rules=Rules(rule), limit=1)):
            reader = Reader(worker, "a", since=start)
            wait(lambda reader=reader: len(reader.told) == 4)
            assert (reader.gaps[0].reason, reader.gaps[0].first) == ("trimmed", f"{epoch_of(start)}-{one.log.head - 2}")
            assert reader.texts == ["7", "8", "9"]
        one.update([Closed("a")])


@pytest.mark.parametrize("seed", range(4))
def test_it_keeps_what_the_memory_broker_keeps(make: Make, seed: int) -> None:
    """The same entries, losses, refusals and duplicates; in Redis, and in the windows of old and new workers."""
    dice = random.Random(seed)
    rules = Rules(Rule(history=4, history_bytes=40), {"long": Rule(history=300, history_bytes=3000)})
    options = {"rules": rules, "max_channels": 5}
    model = Controller(MemoryBroker(**options))  # type: ignore[arg-type]
    workers = [make(**options), make(**options), make(**options, limit=1000)]
    for _ in range(150):
        batch: list[Entry] = [random_entry(dice) for _ in range(dice.choice((1, 1, 1, 3, 30)))]
        if dice.random() < 0.1:
            batch = [Closed(dice.choice("abcxy"))]
        expected, got = [outcome(worker, batch) for worker in (model, dice.choice(workers))]
        assert expected == got
    wait(lambda: len({worker.log.head for worker in (model, *workers)}) == 1)
    workers.append(make(**options))
    for worker in (workers[0], workers[1], workers[3]):
        assert contents(worker) == contents(model)
    for name in ("a", "b", "c", "long"):
        for seq in range(0, model.log.head, 7):
            at = [Position((name,), seq, worker.log.epoch) for worker in (model, *workers)]
            pages = [
                worker.broker.since(position, size=10**6, limit=1000)
                for worker, position in zip((model, *workers), at, strict=True)
            ]
            assert len({bool(page.gap) for page in pages}) == 1, (name, seq)
            first = [entry.seq for entry in pages[0].entries]
            assert all(first[: len(page.entries)] == [entry.seq for entry in page.entries] for page in pages)


def random_entry(dice: random.Random) -> Update:
    key = f"key {dice.randrange(60)}" if dice.random() < 0.2 else None
    return Update(dice.choice(("a", "a", "b", "c", "long", "x", "y", "z")), b"x" * dice.choice((0, 3, 10, 50)), key=key)


def outcome(worker: Controller, batch: list[Entry]) -> object:
    try:
        return [(receipt.seq, receipt.duplicate) for receipt in worker.update(batch)]
    except CometError as error:
        return repr(error)


def contents(worker: Controller) -> object:
    rings = worker.log.rings.items()
    return {name: (ring.last, ring.lost, ring.closed, [(e.seq, e.data) for e in ring]) for name, ring in rings}


def without_keeper(controller: Controller) -> Controller:
    """A worker that tidies only when the test does."""
    broker(controller)._greenlets[2].kill()
    return controller


def make_due(server: RedisServer, name: str) -> None:
    server.command("zadd", "comet:due", "0", name)


def test_what_is_too_old_is_dropped_and_an_empty_channel_forgotten(make: Make, server: RedisServer) -> None:
    """What was lost stays known: whoever comes with an old cursor is told, by any worker."""
    rules = Rules(Rule(history_seconds=0.1), {"declared": Rule(history_seconds=0.1)})
    one, two = without_keeper(make(rules=rules)), without_keeper(make(rules=rules))
    start = publish(one, "0")
    publish(one, "1", channel="declared")
    cursor = publish(one, "2")
    wait(lambda: not any(len(worker.log.rings[name]) for worker in (one, two) for name in ("a", "declared")))
    for name in ("a", "declared"):
        make_due(server, name)
    broker(one)._tidy()
    assert server.command("xlen", "comet:log:a") == "0\n"
    assert server.command("hexists", "comet:meta", "@a") == "1\n"
    for name in ("a", "declared"):
        make_due(server, name)
    broker(one)._tidy()
    assert server.command("hkeys", "comet:meta").split() == ["epoch", "seq", "floor", "run", "holes", "@declared"]
    assert server.command("hget", "comet:meta", "floor") == f"{seq_of(cursor)}\n"
    assert server.command("zcard", "comet:due") == "0\n"
    for worker in (one, two, make(rules=rules)):
        late, good = Reader(worker, "a", since=start), Reader(worker, "a", since=cursor)
        wait(lambda late=late: late.told)
        assert [gap.reason for gap in late.gaps] == ["trimmed"]
        assert not good.told
    publish(one, "3")
    wait(lambda: good.told)
    assert good.texts == ["3"] and not good.gaps


def test_an_empty_channel_with_subscribers_is_not_forgotten(make: Make, server: RedisServer) -> None:
    """Whoever waits on it, at whichever worker, is told no gap when it wakes up."""
    rules = Rules(Rule(history_seconds=0.1))
    one, two = without_keeper(make(rules=rules)), without_keeper(make(rules=rules))
    publish(one, "1")
    reader = Reader(two, "a")
    wait(lambda: not len(two.log.rings["a"]), 5)
    make_due(server, "a")
    broker(one)._tidy()
    make_due(server, "a")
    broker(two)._tidy()
    broker(one)._tidy()
    assert server.command("hexists", "comet:meta", "@a") == "1\n"
    publish(one, "2")
    wait(lambda: reader.told)
    assert reader.texts == ["2"] and not reader.gaps


def test_a_worker_that_slept_through_the_forgetting_tells_the_gap(make: Make, server: RedisServer) -> None:
    """A channel that it knows may have had updates that it never heard of."""
    rules = Rules(Rule(history_seconds=0.1))
    one, two = without_keeper(make(rules=rules)), make(rules=rules)
    start = publish(one, "0")
    wait(lambda: two.log.head == 1)
    gevent.killall(broker(two)._greenlets)
    publish(one, "1")
    gevent.sleep(0.15)
    for _ in range(2):
        make_due(server, "a")
        broker(one)._tidy()
    assert server.command("hexists", "comet:meta", "@a") == "0\n"
    two.broker.catch_up()  # type: ignore[attr-defined]
    reader = Reader(two, "a", since=start)
    wait(lambda: reader.told)
    assert [gap.reason for gap in reader.gaps] == ["trimmed"]


# What can happen.


@pytest.mark.alone
def test_redis_away_is_told_within_two_seconds_and_mended(make: Make, server: RedisServer) -> None:
    """Publishers are told that it may have been accepted, readers stay; when it is back nothing is missing."""
    one, two = make(), make()
    publish(one, "1")
    wait(lambda: two.log.head == 1)
    readers = [Reader(one, "a"), Reader(two, "a")]
    server.kill()
    refused = pytest.raises(BrokerAway, match=r"can't be reached.*may have been accepted.*Idempotency-Key")
    with Stopwatch() as watch, refused:
        publish(one, "2")
    assert watch.seconds < 2.2 * PATIENCE
    with pytest.raises(BrokerAway):
        one.check_broker()
    wait(lambda: broker(two)._link.fault)
    server.start()
    with Stopwatch() as watch:
        wait(lambda: publish_works(one, "3"))
        wait(lambda: all(reader.texts == ["3"] for reader in readers))
    assert watch.seconds < 5 * PATIENCE
    assert not any(reader.gaps for reader in readers)
    wait(lambda: not broker(two)._link.fault)
    two.check_broker()


@pytest.mark.alone
def test_a_frozen_redis_is_told_within_two_seconds_and_publishes_nothing_twice(make: Make, server: RedisServer) -> None:
    """What was tried meanwhile may come or not, but once and in order."""
    one, two = make(), make()
    readers = [Reader(one, "a"), Reader(two, "a")]
    publish(one, "1")
    server.freeze()
    frozen = time.monotonic()
    try:
        for text in ("2", "3"):
            with Stopwatch() as watch, pytest.raises(BrokerAway, match=r"does not answer.*may have been accepted"):
                publish(one, text)
            assert watch.seconds < 2.3 * PATIENCE
        gevent.sleep(max(0, frozen + 3 - time.monotonic()))
    finally:
        server.thaw()
    with Stopwatch() as watch:
        wait(lambda: publish_works(two, "4") and publish_works(one, "5"))
        wait(lambda: all(reader.texts[-1:] == ["5"] for reader in readers))
    assert watch.seconds < 5 * PATIENCE
    assert readers[0].told == readers[1].told
    texts = [text for text in readers[0].texts if text != "4"]
    assert texts in (["1", *maybe, "5"] for maybe in ([], ["2"], ["3"], ["2", "3"]))
    assert len(readers[0].texts) == len(set(readers[0].texts))


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(make: Make, server: RedisServer) -> None:
    """A call that is repeated publishes once."""
    one = make()
    publish(one, "1")
    server.freeze()
    thaw = gevent.spawn_later(1.0, server.thaw)
    publish(one, "2")
    thaw.join()
    publish(one, "3")
    assert [update.data for update in one.log.rings["a"]] == [b"1", b"2", b"3"]
    assert one.log.head == 3


def test_a_call_from_a_lost_connection_comes_too_late(make: Make, server: RedisServer) -> None:
    """What its publisher has given up does not appear behind what came after it."""
    one = make()
    link, number = Link(server.url, Log("")), 7
    entry = ("", "", "", 1, "a", "100 1000 3600 0", "", "text/plain\n")
    assert link.call("publish", "me", number, 10, 60, *entry, "first").says == "1 0"
    assert link.call("publish", "me", number, 10, 60, *entry, "first").says == "1 0"
    with pytest.raises(redis.ResponseError, match="LATE"):
        link.call("publish", "me", number - 1, 10, 60, *entry, "late")
    wait(lambda: [update.data for update in one.log.rings.get("a", [])] == [b"first"])
    link.close()


def test_a_lost_connection_of_the_live_updates_loses_nothing(make: Make, server: RedisServer) -> None:
    """Killed again and again while others publish."""
    one, two = make(rules=Rules(Rule(history=10_000))), make(rules=Rules(Rule(history=10_000)))
    reader = Reader(two, "a")
    for n in range(300):
        publish(one, str(n))
        if n % 50 == 25:
            assert server.command("client", "kill", "type", "pubsub") == "2\n"
            wait(lambda: server.command("pubsub", "numsub", "comet:live:0") == "comet:live:0\n2\n")
    wait(lambda: len(reader.texts) == 300)
    assert reader.texts == list(map(str, range(300)))
    assert not reader.gaps


def test_frames_that_do_not_come_are_read_within_seconds(make: Make, server: RedisServer) -> None:
    """A connection that is open but deaf delays, and that is all."""
    one, two = make(), make()
    reader = Reader(two, "a")
    broker(two)._greenlets[1].kill()
    publish(one, "1")
    wait(lambda: reader.texts == ["1"], 3)


def test_a_restart_with_its_file_loses_nothing_and_numbers_jump(make: Make, server: RedisServer) -> None:
    """The tail of the log may be gone: a cursor in the hole is told the gap, older ones are good."""
    one, two = make(), make()
    cursor = publish(one, "1")
    wait(lambda: two.log.head == 1)
    readers = [Reader(one, "a"), Reader(two, "a")]
    server.restart()
    wait(lambda: publish_works(one, "2"), 5)
    wait(lambda: all(reader.texts == ["2"] for reader in readers), 5)
    assert not any(reader.gaps for reader in readers)
    after = f"{one.log.epoch}-{one.log.head}"
    assert epoch_of(after) == epoch_of(cursor)
    assert seq_of(after) > JUMP
    for worker in (one, make()):
        good, bad = Reader(worker, "a", since=cursor), Reader(worker, "a", since=f"{epoch_of(cursor)}-4")
        wait(lambda good=good, bad=bad: good.told and len(bad.told) == 3)
        assert good.texts == ["2"]
        assert bad.gaps[0].reason == "future"
        assert bad.texts == ["1", "2"]


def test_redis_that_comes_back_empty_is_a_new_epoch(make: Make, server: RedisServer) -> None:
    """Updates that vanished are told as a gap, once; the next ones come with other ids, to all workers."""
    one, two = make(), make()
    cursor = publish(one, "1")
    wait(lambda: two.log.head == 1)
    readers = [Reader(one, "a"), Reader(two, "a")]
    server.restart_empty()
    wait(lambda: publish_works(two, "2"), 5)
    for reader in readers:
        wait(lambda reader=reader: reader.texts == ["2"], 5)
        assert [(gap.reason, gap.since) for gap in reader.gaps] == [("epoch", cursor)]
    after = f"{one.log.epoch}-{one.log.head}"
    assert epoch_of(after) != epoch_of(cursor)
    late = Reader(two, "a", since=cursor)
    wait(lambda: late.texts == ["2"])
    assert [(gap.reason, gap.first) for gap in late.gaps] == [("epoch", after)]


def test_all_keys_dropped_is_a_new_epoch(make: Make, server: RedisServer) -> None:
    """FLUSHALL, while nobody notices a lost connection."""
    one, two = make(), make()
    cursor = publish(one, "1", "2", "3")
    reader = Reader(two, "a")
    server.command("flushall")
    publish(one, "4")
    wait(lambda: reader.texts == ["4"])
    assert [gap.reason for gap in reader.gaps] == ["epoch"]
    wait(lambda: one.log.epoch == two.log.epoch)
    assert two.log.epoch != epoch_of(cursor)


@pytest.mark.parametrize("empty", [False, True], ids=["older", "empty"])
def test_a_log_that_is_replaced_while_it_is_read(make: Make, server: RedisServer, empty: bool) -> None:
    """What the other one lacks is not taken for something that never was: nobody is given a cursor beyond it."""
    one, two = make(), make()
    cursor = publish(one, "1")
    copy = server.copy()
    wait(lambda: two.log.head == one.log.head)
    gevent.killall(broker(two)._greenlets)  # it hears nothing, and looks when it is told to
    publish(one, "2", "3")
    link = broker(two)._link
    newer = link.newer

    def replaced(seq: int) -> tuple[Standing, list[str]]:
        link.newer = newer  # type: ignore[method-assign]
        if empty:
            server.restart_empty()
        else:
            server.restore(copy)
        return newer(seq)

    link.newer = replaced  # type: ignore[method-assign]
    with suppress(redis.ConnectionError):
        broker(two)._window.look()
    assert link.newer == newer
    assert (two.log.epoch, two.log.head) == (epoch_of(cursor), 1)
    reader = Reader(two, "a", since=cursor)

    def is_told() -> bool:
        with suppress(redis.ConnectionError):
            broker(two)._window.look()
        return bool(reader.gaps)

    wait(is_told)
    assert [gap.reason for gap in reader.gaps] == ["epoch"]


@pytest.mark.parametrize("first", ["who has seen more", "who has seen less"])
def test_an_older_copy_is_a_new_epoch(make: Make, server: RedisServer, first: str) -> None:
    """50 updates back: whoever has seen them is told, and no number comes twice, whoever publishes first."""
    one = make()
    publish(one, *map(str, range(10)))
    copy = server.copy()
    less = make()
    gevent.killall(broker(less)._greenlets)
    cursor = publish(one, *map(str, range(10, 60)))
    reader = Reader(one, "a")
    server.restore(copy)
    if first == "who has seen less":
        assert less.log.head == 10
        broker(less)._publisher.me = ""  # as who has not started: it publishes, and hears nothing
        publish(less, "60")
        wait(lambda: reader.gaps, 5)
    wait(lambda: publish_works(one, "61"), 5)
    wait(lambda: reader.texts[-1:] == ["61"], 5)
    assert [(gap.reason, gap.since) for gap in reader.gaps] == [("epoch", cursor)]
    assert reader.texts[:10] == list(map(str, range(10)))
    ids = [each.id for each in reader.told if isinstance(each, Update)]
    assert {epoch_of(each) for each in ids} == {one.log.epoch} != {epoch_of(cursor)}
    late = Reader(make(), "a", since=cursor)
    wait(lambda: late.texts[-1:] == ["61"])
    assert [gap.reason for gap in late.gaps] == ["epoch"]


@pytest.mark.parametrize("remembered", [True, False], ids=["by a worker", "by nobody"])
def test_a_backup_of_an_earlier_log_never_gives_out_a_number_again(
    make: Make, server: RedisServer, remembered: bool
) -> None:
    """Redis came back empty, and then its backup is put in: whoever has seen what that lacks is told."""
    one = make()
    kept = publish(one, *map(str, range(10)))
    copy = server.copy()
    lost = publish(one, *map(str, range(10, 60)))
    server.restart()
    wait(lambda: publish_works(one, "60"), 5)
    jumped = f"{one.log.epoch}-{one.log.head}"
    server.restart_empty()
    wait(lambda: publish_works(one, "61"), 5)
    if not remembered:
        one.stop()
    server.restore(copy)
    if remembered:
        wait(lambda: Reader(one, "a", last=100).texts == list(map(str, range(10))), 5)
        reasons = {kept: "epoch", lost: "epoch", jumped: "epoch"}
    else:
        one = make()
        reasons = {kept: "", lost: "future", jumped: "future"}
    assert seq_of(publish(one, *(["x"] * 60))) != seq_of(jumped)
    for cursor, reason in reasons.items():
        reader = Reader(one, "a", since=cursor)
        wait(lambda reader=reader: reader.texts[-1:] == ["x"])
        assert [gap.reason for gap in reader.gaps] == ([reason] if reason else [])


def test_scripts_that_redis_has_forgotten_are_sent_again(make: Make, server: RedisServer) -> None:
    """SCRIPT FLUSH costs nothing."""
    one = make()
    publish(one, "1")
    server.command("script", "flush")
    publish(one, "2")
    assert one.log.head == 2


def test_strange_frames_do_no_harm(make: Make, server: RedisServer) -> None:
    """Somebody else publishes on our channel."""
    one, two = make(), make()
    reader = Reader(two, "a")
    for message in ("", "garbage", f"{one.log.epoch} 5 9 1.0\n", f"{one.log.epoch} 0 1 x\n1 0 a"):
        server.command("publish", "comet:live:0", message)
        publish(one, message)
    wait(lambda: len(reader.texts) == 4)
    assert not reader.gaps


def test_a_full_memory_is_told_and_mended(make: Make, server: RedisServer) -> None:
    """One sentence for the publisher; readers go on; with room again it works."""
    one = make()
    publish(one, "1")
    server.command("config", "set", "maxmemory", "1mb")
    with pytest.raises(BrokerAway, match="maxmemory"):
        for _ in range(100):
            publish(one, "x" * 10_000)
    head = one.log.head
    assert Reader(one, "a", last=1).told
    gevent.sleep(LOOKS)
    with pytest.raises(BrokerAway, match="maxmemory"):
        one.check_broker()
    server.command("config", "set", "maxmemory", "0")
    wait(lambda: not broker(one)._link.fault, 5)
    assert seq_of(publish(one, "2")) == head + 1


#: Seconds within which every worker has looked.
LOOKS = 1.1


# The start.


def test_a_redis_that_comes_later_is_waited_for(make: Make, server: RedisServer) -> None:
    """The worker starts, says what is wrong, and serves when Redis is there."""
    server.kill()
    one = make()
    with pytest.raises(BrokerAway, match="can't be reached"):
        one.check_broker()
    reader = Reader(one, "a")
    server.start()
    wait(lambda: publish_works(one, "1"), 5)
    wait(lambda: reader.texts == ["1"])
    one.check_broker()


def test_a_redis_that_may_drop_the_log_is_refused(make: Make, server: RedisServer) -> None:
    """The sentence says what to set."""
    server.command("config", "set", "maxmemory-policy", "allkeys-lru")
    with pytest.raises(SettingsError, match=r"maxmemory-policy is allkeys-lru.*noeviction"):
        make()


def test_a_redis_that_does_not_tell_how_it_drops_is_warned_about(
    make: Make, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A user that may not ask for the configuration is enough."""
    server.command("acl", "setuser", "push", "on", ">secret", "~comet:*", "&comet:*", "+@all", "-@admin")
    with caplog.at_level(logging.WARNING):
        one = make(server.url.replace("//", "//push:secret@"))
    assert "maxmemory-policy is unknown" in caplog.text
    publish(one, "1")


def test_passwords_databases_and_prefixes_keep_logs_apart(make: Make, server: RedisServer) -> None:
    """Each has a log of its own, and hears nothing of the others."""
    server.command("config", "set", "requirepass", "p@ss word")
    server.options["requirepass"] = "p@ss word"
    base = server.url.replace("//", "//:p%40ss%20word@")
    workers = [make(base + more) for more in ("", "/1", "?prefix=other", "/1?prefix=other")]
    readers = [Reader(worker, "a") for worker in workers]
    for n, worker in enumerate(workers):
        publish(worker, str(n))
    wait(lambda: all(reader.told for reader in readers))
    gevent.sleep(LOOKS)
    assert [reader.texts for reader in readers] == [["0"], ["1"], ["2"], ["3"]]
    assert not any(reader.gaps for reader in readers)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda url: url.replace("//", "//:wrong-secret@"), "can't be reached|says"),
        (lambda url: url + "/99", "DB index is out of range"),
        (lambda url: url + "/name", "'name' is no database"),
        (lambda url: url + "?nonsense=1", "nonsense"),
        (lambda url: "redis://127.0.0.1:port", "[Pp]ort"),
        (lambda url: "redis://[::1", "IPv6"),
    ],
    ids=["password", "database", "name", "option", "port", "host"],
)
def test_a_url_that_can_not_work_is_refused_at_the_start(
    make: Make, server: RedisServer, change: Callable[[str], str], sentence: str
) -> None:
    """With a sentence, and without the password."""
    server.command("config", "set", "requirepass", "right-secret" if "wrong" in change("//") else "")
    with pytest.raises(SettingsError, match=sentence) as caught:
        make(change(server.url))
    assert "secret" not in str(caught.value)
