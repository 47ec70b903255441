"""Watching: when a channel is watched, and how little is said of that."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping

import gevent
import pytest

from comet import watching
from comet.brokers.memory import MemoryBroker
from comet.core.errors import BrokerAway
from comet.watching import Watch, Watching, either
from tests.timing import until


class Counted(MemoryBroker):
    """A broker that counts what it is told and asked, and may be away."""

    told = asked = 0
    away = False

    def watch(self, channels: Mapping[str, float]) -> None:
        self.told += 1
        self._check()
        super().watch(channels)

    def watched(self, channels: Collection[str]) -> set[str]:
        self.asked += 1
        self._check()
        return super().watched(channels)

    def _check(self) -> None:
        if self.away:
            raise BrokerAway("it is away")


@pytest.fixture
def broker() -> Counted:
    return Counted()


@pytest.fixture
def worker(broker: Counted, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Watching]]:
    """Workers that share the broker, with their subscribers. Seconds are hundredths."""
    for name in ("LINGER", "RENEWS", "LOOK"):
        monkeypatch.setattr(watching, name, getattr(watching, name) / 100)
    made: list[Watching] = []

    def worker(subscribers: Collection[str] = ()) -> Watching:
        made.append(Watching(broker, subscribers))
        made[-1].start()
        return made[-1]

    yield worker
    for each in made:
        each.stop()


def wait(state: Callable[[], object]) -> None:
    until(state, sleep=gevent.sleep)


def test_the_times_are_those_of_the_contract() -> None:
    """Half a minute after the last use; and before the broker forgets, it is told again."""
    assert watching.LINGER == 30
    assert watching.LOOK < watching.RENEWS < watching.LINGER


def test_a_channel_is_watched_from_its_first_use_until_a_while_after_its_last(worker: Callable[..., Watching]) -> None:
    """At once for the first one; then it lingers."""
    one = worker()
    watch = one.watch("a")
    assert not watch.begun.is_set() and watch.over.is_set()
    assert one.touch("a")
    used = time.monotonic()
    assert watch.begun.is_set() and not watch.over.is_set()
    assert not one.touch("a")
    wait(watch.over.is_set)
    assert not watch.begun.is_set()
    assert time.monotonic() - used >= watching.LINGER - 0.01


def test_subscribers_keep_a_channel_watched(worker: Callable[..., Watching]) -> None:
    """Those who were there before anybody asked, too; a while after they have gone it is over."""
    subscribers = {"a"}
    watch = worker(subscribers).watch("a")
    assert watch.begun.is_set()
    gevent.sleep(watching.LINGER * 1.5)
    assert watch.begun.is_set()
    subscribers.clear()
    wait(watch.over.is_set)


def test_the_subscribers_of_another_worker_count(worker: Callable[..., Watching]) -> None:
    """As long as they are there, and a while after; its death too is the end."""
    subscribers: set[str] = set()
    other = worker(subscribers)
    other.watch("a")
    watch = worker().watch("a")
    gevent.sleep(watching.LOOK * 2)
    assert watch.over.is_set()
    subscribers.add("a")
    other.touch("a")
    wait(watch.begun.is_set)
    gevent.sleep(watching.LINGER * 1.5)
    assert watch.begun.is_set()
    other.stop()
    wait(watch.over.is_set)


def test_nothing_is_said_of_channels_that_nobody_asks_about(worker: Callable[..., Watching], broker: Counted) -> None:
    """However many are used."""
    one = worker({"b", "c"})
    for _ in range(1000):
        assert not one.touch("b")
    gevent.sleep(watching.LOOK * 3)
    assert (broker.told, broker.asked) == (0, 0)


def test_a_thousand_polls_cost_what_one_does(worker: Callable[..., Watching], broker: Counted) -> None:
    """The broker is told when it would forget, not at each."""
    one = worker()
    one.watch("a")
    begun = time.monotonic()
    for _ in range(200):
        one.touch("a")
        gevent.sleep(0.002)
    assert broker.told <= 2 + (time.monotonic() - begun) / (watching.LINGER - watching.RENEWS - watching.LOOK)


def test_while_the_broker_is_away_nothing_changes(worker: Callable[..., Watching], broker: Counted) -> None:
    """What was watched goes on, and who comes here wakes what it needs; when it is back, it is told."""
    one = worker()
    one.watch("b")
    other = worker()
    watch, fresh = other.watch("b"), other.watch("c")
    one.touch("b")
    wait(watch.begun.is_set)
    broker.away = True
    gevent.sleep(watching.LINGER * 1.5)
    assert watch.begun.is_set()
    assert other.touch("c") and fresh.begun.is_set()
    broker.away = False
    wait(watch.over.is_set)


def test_a_broker_that_has_forgotten_is_told_again(worker: Callable[..., Watching], broker: Counted) -> None:
    """It was restarted empty, say."""
    one = worker({"a"})
    one.watch("a")
    wait(lambda: broker._watched)
    broker._watched = {}
    wait(lambda: broker._watched)


def test_a_broker_that_can_not_tell_has_all_channels_watched() -> None:
    """No trigger sleeps then."""
    one = Watching(object(), ())  # type: ignore[arg-type]
    one.start()
    assert one.watch("a").begun.is_set()
    assert not one.touch("a")
    one.stop()


def test_one_of_several_channels_is_enough() -> None:
    """A watch of several has begun while one of them has; and a channel may be in more than one."""
    one, other, third = Watch(), Watch(begun=True), Watch()
    both, alone, more = either([one, other]), either([one]), either([one, third])
    assert both.begun.is_set() and alone is one and more.over.is_set()
    other.turn(False)
    assert both.over.is_set() and not both.begun.is_set()
    one.turn(True)
    assert both.begun.is_set() and more.begun.is_set()
