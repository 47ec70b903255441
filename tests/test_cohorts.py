"""Cohorts: who waits together, and who is woken."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from comet.cohorts import COHORT, Cohorts, Subscription
from comet.core.log import Log, Position
from comet.core.update import Update
from comet.core.wire import SSE, Multipart, Text
from comet.frames import Frame
from comet.peers import chunked
from tests.timing import PATIENCE


def waiting(cohorts: Cohorts, *names: str, wire: type = SSE) -> Subscription:
    for name in names:
        cohorts.log.open(name)
    subscription = Subscription(Position(names, cohorts.log.head, cohorts.log.epoch), wire(names))
    cohorts.join(subscription)
    return subscription


def publish(log: Log, channel: str) -> None:
    log.append(Update(channel, b"x").placed(epoch=log.epoch, seq=log.head + 1, prev=0, time=1.0))


def make() -> Cohorts:
    return Cohorts(Log("epoch1"), heartbeat=10.0)


def test_those_who_share_channels_bytes_and_place_stand_together() -> None:
    """The same signature, state and cursor is the same cohort."""
    cohorts = make()
    first, second = waiting(cohorts, "a"), waiting(cohorts, "a")
    assert first.cohort is second.cohort


def test_another_wire_or_channel_or_state_is_another_cohort() -> None:
    """Whatever makes other bytes keeps apart."""
    cohorts = make()
    subscriptions = [waiting(cohorts, "a"), waiting(cohorts, "b"), waiting(cohorts, "a", "b")]
    subscriptions += [waiting(cohorts, "a", wire=Text), waiting(cohorts, "a", wire=Multipart)]
    other = Subscription(Position(("a",), 0, cohorts.log.epoch), Multipart(("a",)))
    other.state = ("image/png", None)
    cohorts.join(other)
    assert len({id(each.cohort) for each in [*subscriptions, other]}) == 6


def test_updates_of_other_channels_do_not_part_a_cohort() -> None:
    """Who joins later at a higher head, with nothing new on its channels, stands with those who were there."""
    cohorts = make()
    first = waiting(cohorts, "a")
    publish(cohorts.log, "b")
    assert waiting(cohorts, "a").cohort is first.cohort
    publish(cohorts.log, "a")
    assert waiting(cohorts, "a").cohort is not first.cohort


def test_who_is_ahead_of_this_log_does_not_stand_with_those_who_are_at_its_head() -> None:
    """A broker may have given a reader more than this worker has yet: it would be given that again."""
    cohorts = make()
    publish(cohorts.log, "a")
    at_the_head = waiting(cohorts, "a")
    ahead = Subscription(Position(("a",), 3, cohorts.log.epoch), SSE(("a",)))
    cohorts.join(ahead)
    assert ahead.cohort is not at_the_head.cohort
    assert ahead.position.seq == 3
    publish(cohorts.log, "a")
    later = waiting(cohorts, "a")
    assert later.cohort is not ahead.cohort


def test_nobody_stands_with_a_cohort_that_was_written_a_part_only() -> None:
    """It is behind still, and is found so; who is at the head would be given again what it lacks."""
    cohorts = make()
    peer: Any = SimpleNamespace(framing=chunked, send=len)
    cohorts.log.open("a")
    first, newcomer = (Subscription(Position(("a",), seq, cohorts.log.epoch), SSE(("a",)), peer) for seq in (0, 2))
    cohort = cohorts.join(first)
    assert cohort is not None
    publish(cohorts.log, "a")
    publish(cohorts.log, "a")
    cohorts.write(cohort, b"x", Frame(b"x", cohort.state, cohorts.log.epoch, 1, (), more=True, ended=False))
    cohorts.join(newcomer)
    assert newcomer.cohort is not cohort
    assert (first.position.seq, newcomer.position.seq) == (1, 2)
    assert cohorts.behind(["a"]) == [cohort]


def test_a_cohort_takes_no_more_than_its_size() -> None:
    """The next one begins another, and each is found when its channel has news."""
    cohorts = make()
    for _ in range(COHORT + 1):
        waiting(cohorts, "a")
    publish(cohorts.log, "a")
    assert sorted(len(cohort.members) for cohort in cohorts.behind(["a"])) == [1, COHORT]


def test_only_those_who_lack_the_newest_entry_are_behind() -> None:
    """A cohort that gathered after the publishing is left in peace."""
    cohorts = make()
    old = waiting(cohorts, "a")
    publish(cohorts.log, "a")
    waiting(cohorts, "a")
    assert cohorts.behind(["a", "never"]) == [old.cohort]


def test_waking_sets_the_event_and_dissolves_the_cohort() -> None:
    """The members gather again by themselves."""
    cohorts = make()
    one = waiting(cohorts, "a", "b")
    publish(cohorts.log, "b")
    (cohort,) = cohorts.behind(["b"])
    cohorts.wake(cohort)
    assert cohort.event.is_set()
    assert not one.beating
    assert cohorts.behind(["a", "b"]) == []
    cohorts.wake(cohort)  # harmless


def test_a_silent_cohort_is_due_before_the_heartbeat_is_over() -> None:
    """Heartbeats are spread over the last fifth of the time."""
    cohorts = make()
    one = waiting(cohorts, "a")
    assert one.cohort is not None
    begun = one.cohort.due - 10.0
    assert cohorts.due(begun + 7.9) == []
    assert cohorts.due(begun + 10.1) == [one.cohort]
    cohorts.wake(one.cohort, beat=True)
    assert one.beating


def test_who_leaves_last_takes_the_cohort_along() -> None:
    """Nothing is left of a cohort without members, nor of a name that nobody waits for."""
    cohorts = make()
    first, second = waiting(cohorts, "a"), waiting(cohorts, "a")
    cohorts.leave(first)
    cohorts.leave(first)
    publish(cohorts.log, "a")
    assert len(cohorts.behind(["a"])) == 1
    cohorts.leave(second)
    assert cohorts.behind(["a"]) == []
    assert (cohorts._all, cohorts._with_room, cohorts._by_channel) == (set(), {}, {})


def wait_until(state: Callable[[], bool]) -> None:
    with gevent.Timeout(5 * PATIENCE):
        while not state():
            gevent.sleep(0.001)


def greenlets(cohorts: Cohorts, count: int, woken: list[int]) -> list[Subscription]:
    """So many subscribers that wait, each in its greenlet, and put their number into ``woken``."""
    cohorts.log.open("a")
    subscriptions = [Subscription(Position(("a",), 0, cohorts.log.epoch), SSE(("a",))) for _ in range(count)]

    def wait(number: int, subscription: Subscription) -> None:
        cohorts.wait(subscription)
        woken.append(number)

    for number, subscription in enumerate(subscriptions):
        gevent.spawn(wait, number, subscription)
    gevent.sleep(0)
    return subscriptions


def test_all_are_woken_in_the_order_in_which_they_came() -> None:
    """One Event wakes the cohort; nobody of it stands anywhere then."""
    cohorts, woken = make(), []
    first, *others = greenlets(cohorts, 20, woken)
    assert first.cohort is not None
    cohorts.wake(first.cohort)
    wait_until(lambda: woken == list(range(20)))
    assert {subscription.cohort for subscription in (first, *others)} == {None}


def test_one_is_woken_alone() -> None:
    """The others of its cohort sleep on, and are woken later. Not waiting, it is not woken."""
    cohorts, woken = make(), []
    first, second, third = greenlets(cohorts, 3, woken)
    cohorts.wake_one(second)
    cohorts.wake_one(second)
    wait_until(lambda: woken == [1])
    cohorts.wake_one(second)
    assert (second.cohort, first.cohort is third.cohort) == (None, True)
    assert first.cohort is not None
    cohorts.wake(first.cohort)
    wait_until(lambda: woken == [1, 0, 2])


def test_one_that_is_woken_alone_and_with_all_is_woken_once() -> None:
    """Whichever comes first: a second switch would hit its greenlet in the middle of something else."""
    for alone_first in (True, False):
        cohorts, woken = make(), []
        first, second = greenlets(cohorts, 2, woken)
        assert first.cohort is not None
        if alone_first:
            cohorts.wake_one(second)
        cohorts.wake(first.cohort)
        if not alone_first:
            cohorts.wake_one(second)
        wait_until(lambda woken=woken: len(woken) == 2)
        gevent.sleep(0.001)
        assert sorted(woken) == [0, 1]


@pytest.mark.parametrize("part", [Cohorts.wake_one, Cohorts._part])
def test_who_has_left_is_not_disturbed_when_the_others_are_woken(
    part: Callable[[Cohorts, Subscription], None],
) -> None:
    """Its greenlet waits for something else by then, and a switch from its old cohort would end its stream."""
    cohorts, woken = make(), []
    (other,) = greenlets(cohorts, 1, woken)
    one, something_else, busy = waiting(cohorts, "a"), Event(), []
    cohorts.leave(one)

    def live() -> None:
        cohorts.wait(one)
        busy.append(True)
        something_else.wait()

    life = gevent.spawn(live)
    gevent.sleep(0)
    assert one.cohort is other.cohort is not None
    part(cohorts, one)
    wait_until(lambda: bool(busy))
    cohorts.wake(other.cohort)
    wait_until(lambda: woken == [0])
    assert not life.dead
    something_else.set()
    life.get(timeout=5 * PATIENCE)


def test_who_waits_too_long_leaves() -> None:
    """After the time is over a subscriber stands nowhere, and can be woken by nobody."""
    cohorts = make()
    cohorts.log.open("a")
    one = Subscription(Position(("a",), 0, cohorts.log.epoch), SSE(("a",)))
    cohorts.wait(one, 0.001)
    assert one.cohort is None
    assert (cohorts._all, cohorts._with_room, cohorts._by_channel) == (set(), {}, {})


def test_who_lacks_something_does_not_wait() -> None:
    """What came while it was busy is asked for first: on its channels, or of another epoch."""
    cohorts = make()
    cohorts.log.open("a")
    one = Subscription(Position(("a",), 0, cohorts.log.epoch), SSE(("a",)))
    publish(cohorts.log, "a")
    with gevent.Timeout(5 * PATIENCE):
        cohorts.wait(one)
        one.position.move(cohorts.log.epoch, cohorts.log.head)
        cohorts.log.restart("epoch2")
        cohorts.wait(one)
    assert one.cohort is None
    assert cohorts.due(1e18) == []


@pytest.mark.parametrize("flag", ["gone", "leaving", "expiring"])
def test_who_is_told_to_end_while_it_writes_does_not_wait(flag: str) -> None:
    """It stood in no cohort then, so nobody could wake it: the flag is all there is."""
    cohorts = make()
    cohorts.log.open("a")
    one = Subscription(Position(("a",), 0, cohorts.log.epoch), SSE(("a",)))
    setattr(one, flag, True)
    cohorts.wake_one(one)
    with gevent.Timeout(5 * PATIENCE):
        cohorts.wait(one)
    assert one.cohort is None
