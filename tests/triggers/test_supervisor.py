"""The supervisor: when triggers run and when they sleep, in which worker, and what is known of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from comet.brokers import Lease, Receipt, new_epoch
from comet.brokers.memory import MemoryBroker
from comet.brokers.sqlite import SqliteBroker
from comet.controller import Controller
from comet.core.errors import Alarm, BrokerAway, SourceFailed, Stopping
from comet.core.update import Closed, Update
from comet.triggers import Publish, Trigger
from comet.triggers.command import Command
from comet.triggers.file import File
from comet.triggers.supervisor import Supervisor, turns
from comet.triggers.supervisor.checkpoints import Checkpoints
from comet.triggers.supervisor.publishing import Noted
from comet.triggers.supervisor.state import State
from comet.triggers.timer import Timer
from comet.watching import Watch
from tests.triggers.watching import Published, wait


@pytest.fixture
def watch() -> Watch:
    """Of the channel ``a``; the test says whether it is watched."""
    return Watch()


@pytest.fixture
def supervisor(published: Published, watch: Watch) -> Iterator[Supervisor]:
    watches = {"a": watch}
    supervisor = Supervisor(
        published, watch=watches.__getitem__, first_pause=0.01, longest_pause=0.08, alarm_pause=0.05
    )
    yield supervisor
    supervisor.stop()


def counting() -> Callable[[], int]:
    numbers = iter(range(1_000_000))
    return lambda: next(numbers)


class Scripted:
    """A trigger that does what it is told to, with ``publish``."""

    name = "scripted"

    def __init__(self, *steps: Callable[[Publish], object]) -> None:
        self.steps = list(steps)
        self.runs = 0
        self.stopping = Event()

    def run(self, publish: Publish) -> None:
        self.stopping.clear()
        self.runs += 1
        (self.steps.pop(0) if len(self.steps) > 1 else self.steps[0])(publish)

    def stop(self) -> None:
        self.stopping.set()


# Sleeping.


def test_a_timer_that_nobody_watches_runs_not_once(supervisor: Supervisor, published: Published, watch: Watch) -> None:
    """The first one who watches has a fresh value at once, however long the pace is."""
    calls: list[int] = []
    supervisor.add(Timer("t", every=3600, call=lambda: calls.append(1) or "fresh", channel="a"))
    supervisor.start()
    wait(lambda: supervisor.states[0].phase == "asleep")
    gevent.sleep(0.05)
    assert (calls, published) == ([], [])
    watch.turn(True)
    wait(lambda: published.texts == ["fresh"])
    assert supervisor.states[0].phase == "running" and calls == [1]


def test_it_sleeps_again_when_nobody_watches_any_more(
    supervisor: Supervisor, published: Published, watch: Watch
) -> None:
    """And wakes again, with a fresh value although it has not changed."""
    calls: list[int] = []
    supervisor.add(Timer("t", every=0.005, call=lambda: calls.append(1) or "same", channel="a"))
    supervisor.start()
    for count in (1, 2):
        watch.turn(True)
        before = len(calls)
        wait(lambda before=before: len(calls) > before + 3)  # type: ignore[misc]
        watch.turn(False)
        wait(lambda: supervisor.states[0].phase == "asleep")
        before = len(calls)
        gevent.sleep(0.05)
        assert len(calls) == before
        assert published.texts == ["same"] * count


def test_a_command_sleeps_too(supervisor: Supervisor, published: Published, watch: Watch, tmp_path: Path) -> None:
    """A run that is under way when the last one leaves is ended."""
    script = f"echo x >> {tmp_path}/runs; echo said; sleep 0.01; test -e {tmp_path}/short || sleep 1000"
    supervisor.add(Command("c", argv=["sh", "-c", script], channel="a", every=0.01))
    supervisor.start()
    wait(lambda: supervisor.states[0].phase == "asleep")
    assert not (tmp_path / "runs").exists()
    watch.turn(True)
    wait((tmp_path / "runs").exists)
    watch.turn(False)
    wait(lambda: supervisor.states[0].phase == "asleep")
    assert published == []
    (tmp_path / "short").touch()
    watch.turn(True)
    wait(lambda: published.texts == ["said\n"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Timer("t", every=3600, call=lambda: "x", channel="a", always=True),
        lambda: Command("c", argv=["echo", "x"], channel="a", every=3600, always=True),
        lambda: Scripted(lambda publish: publish([Update("a", b"x")])),
    ],
    ids=["timer", "command", "one that can't read its source again"],
)
def test_what_must_not_sleep_runs_always(
    supervisor: Supervisor, published: Published, make: Callable[[], Scripted]
) -> None:
    """Because it was told to, or because its source tells everything once only."""
    supervisor.add(make())
    supervisor.start()
    wait(lambda: published.texts in (["x"], ["x\n"]))


def test_one_with_two_channels_wakes_for_either(published: Published) -> None:
    """Somebody who watches only the other one has it run as well."""
    watches = {"a": Watch(), "b": Watch()}
    supervisor = Supervisor(published, watch=watches.__getitem__)
    trigger = Timer("t", every=0.001, call=counting(), channel="a")
    trigger.other_channels = ["b"]  # type: ignore[attr-defined]
    supervisor.add(trigger)
    supervisor.start()
    wait(lambda: supervisor.states[0].phase == "asleep")
    watches["b"].turn(True)
    wait(lambda: published)
    watches["b"].turn(False)
    wait(lambda: supervisor.states[0].phase == "asleep")
    supervisor.stop()


def test_one_that_fails_while_nobody_watches_does_not_try_again(supervisor: Supervisor, watch: Watch) -> None:
    """Its source is left alone, too."""
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        watch.turn(False)
        raise ValueError("it broke")

    supervisor.add(Timer("t", every=0.001, call=broken, channel="a"))
    supervisor.start()
    watch.turn(True)
    wait(lambda: supervisor.states[0].phase == "asleep" and calls)
    gevent.sleep(0.05)
    assert calls == [1]
    assert supervisor.states[0].error == "ValueError: it broke"


def test_stopping_ends_the_sleep(supervisor: Supervisor) -> None:
    """A worker that stops does not wait for somebody to watch."""
    supervisor.add(Timer("t", every=0.001, call=counting(), channel="a"))
    supervisor.start()
    wait(lambda: supervisor.states[0].phase == "asleep")
    with gevent.Timeout(0.9):  # it is not killed
        supervisor.stop()
    assert supervisor.states[0].phase == "stopped"


def test_stopping_wakes_nobody(supervisor: Supervisor, published: Published) -> None:
    """A timer that sleeps does not run once more because the worker stops."""
    calls: list[int] = []
    supervisor.add(Timer("t", every=1, call=lambda: calls.append(1), channel="a"))
    supervisor.start()
    wait(lambda: supervisor.states[0].phase == "asleep")
    supervisor.stop()
    assert calls == []


def test_what_can_not_be_published_any_more_when_the_worker_stops(caplog: pytest.LogCaptureFixture) -> None:
    """Is no failure: nothing is started again."""

    def publish(updates: object) -> list[Receipt]:
        supervisor._terms.stopping.set()
        raise Stopping("this worker is stopping; try again.", retry_after=1)

    supervisor = Supervisor(publish)
    supervisor.add(Timer("t", every=1, call=lambda: "x", channel="a", always=True))
    supervisor.start()
    wait(lambda: supervisor.states[0].phase == "stopped" and supervisor.states[0].error)
    supervisor.stop()
    assert caplog.messages == []


# What tells how something is must be there for who comes now, changed or not.


def expire(broker: MemoryBroker) -> None:
    for _ in broker.tick(time.time() + 7200, {"a"}):
        pass


LOSSES = {
    "it is too old": expire,
    "the channel is deleted": lambda broker: broker.publish([Closed("a")]),
    "the log has begun anew": lambda broker: broker.log.restart(new_epoch()),
}

#: Who publishes what does not change.
UNCHANGED = {
    "timer": lambda: Timer("t", every=0.005, call=lambda: "same", channel="a", always=True),
    "command": lambda: Command("c", argv=["echo", "-n", "same"], channel="a", every=0.005, always=True),
}


@pytest.mark.parametrize("make", UNCHANGED.values(), ids=UNCHANGED)
@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_what_did_not_change_and_is_not_kept(
    make: Callable[[], Trigger], lose: Callable[[MemoryBroker], object]
) -> None:
    """It is published once more: else who comes while others watch would see nothing before the next change."""
    broker = MemoryBroker()
    controller = Controller(broker)
    supervisor = Supervisor(controller.update, keeps=controller.keeps)
    supervisor.add(make())
    supervisor.start()
    for _ in range(2):
        wait(lambda: controller.newest("a"))
        head = broker.log.head
        gevent.sleep(0.05)
        assert broker.log.head == head
        lose(broker)
    wait(lambda: controller.newest("a"))
    supervisor.stop()


def test_what_is_rendered_to_another_channel(published: Published) -> None:
    """That one counts."""
    controller = Controller(MemoryBroker())
    supervisor = Supervisor(controller.update, keeps=controller.keeps)
    supervisor.add(UNCHANGED["timer"](), lambda update: replace(update, channel="b"))
    supervisor.start()
    wait(lambda: controller.newest("b"))
    gevent.sleep(0.05)
    supervisor.stop()
    assert controller.log.head == 1


# Checkpoints.


def test_what_another_kind_has_remembered(tmp_path: Path, published: Published) -> None:
    """Under the same name, which somebody has given to another source: it begins as if nothing were."""
    log = tmp_path / "log"
    log.write_text("old\n")
    checkpoints = Checkpoints(tmp_path / "checkpoints.json")
    scripted = Scripted(lambda publish: publish([], '{"mysql-bin.000001": "4"}'))
    for trigger in (scripted, file(tmp_path / "other"), file(log)):
        supervisor = Supervisor(published, checkpoints=checkpoints)
        supervisor.add(trigger)
        supervisor.start()
        wait(lambda: supervisor.states[0].position)  # noqa: B023
        assert supervisor.states[0].reconnects == 0
        supervisor.stop()
    assert published == []
    supervisor.start()
    wait(lambda: supervisor.states[0].phase == "running")
    with log.open("a") as lines:
        lines.write("new\n")
    wait(lambda: published.texts == ["new"])
    supervisor.stop()


def file(path: Path) -> File:
    return File("scripted", path=str(path), channel="a")


def test_a_long_position_is_shown_in_part(supervisor: Supervisor) -> None:
    """That of a query has the digest of each row: nobody wants to read it. The trigger is given all of it."""
    found: list[str | None] = []

    def work(publish: Publish) -> None:
        publish([], "x" * 250_000)
        found.append(publish.checkpoint())

    supervisor._terms = replace(supervisor._terms, checkpoints=Remembers())
    supervisor.add(Scripted(work))
    supervisor.start()
    wait(lambda: found)
    assert found == ["x" * 250_000]
    assert supervisor.states[0].position == "x" * 200 + "…"


class Remembers(dict[str, str]):
    remember = dict.__setitem__

    def close(self) -> None:
        pass


# With several workers.


class Workers:
    """Two workers on one file. Each has a timer of the same name."""

    def __init__(self, path: Path, **options: object) -> None:
        self.watches = [Watch(), Watch()]
        self.brokers = [SqliteBroker(path), SqliteBroker(path)]
        self.supervisors: list[Supervisor] = []
        self.calls = [0, 0]
        self.broken = False
        for number, (broker, watch) in enumerate(zip(self.brokers, self.watches, strict=True)):
            broker.start(lambda names: None)
            supervisor = Supervisor(broker.publish, leases=broker, watch=lambda channel, watch=watch: watch)  # type: ignore[misc]
            supervisor.add(Timer("t", every=0.01, call=lambda number=number: self.call(number), channel="a", **options))  # type: ignore[misc, arg-type]
            supervisor.start()
            self.supervisors.append(supervisor)

    def call(self, number: int) -> int:
        self.calls[number] += 1
        if self.broken:
            raise Alarm("it is broken.")
        return sum(self.calls)

    def turn(self, begun: bool) -> None:
        for watch in self.watches:
            watch.turn(begun)

    @property
    def phases(self) -> list[str]:
        return sorted(supervisor.states[0].phase for supervisor in self.supervisors)

    @property
    def leaders(self) -> list[int]:
        return [number for number in (0, 1) if self.supervisors[number].states[0].leader]

    def stop(self) -> None:
        for supervisor, broker in zip(self.supervisors, self.brokers, strict=True):
            supervisor.stop()
            broker.stop()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Workers]]:
    made: list[Workers] = []

    def make(**options: object) -> Workers:
        made.append(Workers(tmp_path / "log.db", **options))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_of_two_workers_one_runs_it_while_it_is_watched(make: Callable[..., Workers]) -> None:
    """Both sleep otherwise, and neither holds the lease."""
    workers = make()
    for _ in range(2):
        wait(lambda: workers.phases == ["asleep", "asleep"])
        before = sum(workers.calls)
        workers.turn(True)
        wait(lambda before=before: sum(workers.calls) > before + 5)  # type: ignore[misc]
        wait(lambda: workers.phases == ["running", "waiting"])
        assert len(workers.leaders) == 1
        workers.turn(False)
    wait(lambda: workers.phases == ["asleep", "asleep"])
    assert workers.leaders == []
    lease = workers.brokers[0].lease("t", 1)
    assert lease is not None


def test_one_that_waits_for_its_turn_while_nobody_watches_goes_to_sleep(make: Callable[..., Workers]) -> None:
    """It does not take over from the one that has gone to sleep."""
    workers = make()
    workers.turn(True)
    wait(lambda: workers.phases == ["running", "waiting"])
    (leader,) = workers.leaders
    workers.turn(False)
    wait(lambda: workers.phases == ["asleep", "asleep"])
    assert workers.calls[1 - leader] == 0


def test_an_alarm_is_told_by_one_worker(make: Callable[..., Workers], caplog: pytest.LogCaptureFixture) -> None:
    """The other waits for its turn; when somebody watches anew, it is tried at once."""
    workers = make()
    workers.broken = True
    for count in (1, 2):
        workers.turn(True)
        wait(lambda count=count: workers.phases == ["alarm", "waiting"] and sum(workers.calls) == count)  # type: ignore[misc]
        gevent.sleep(0.05)
        workers.turn(False)
        wait(lambda: workers.phases == ["asleep", "asleep"])
    told = [record.getMessage() for record in caplog.records]
    assert len(told) in (1, 2) and set(told) == {"comet: the trigger t has stopped: it is broken."}  # each says it once


def test_of_two_workers_one_runs_what_ends_by_itself(tmp_path: Path) -> None:
    """Once, while that worker lives: the other waits for its turn, and does not run it once more."""
    brokers, supervisors, runs = [SqliteBroker(tmp_path / "log.db") for _ in range(2)], [], []
    for broker in brokers:
        broker.start(lambda names: None)
        supervisors.append(Supervisor(broker.publish, leases=broker))
        supervisors[-1].add(Scripted(lambda publish: runs.append(publish([Update("a", b"all there is")]))))
        supervisors[-1].start()
    (first, second) = (supervisor.states[0] for supervisor in supervisors)
    wait(lambda: sorted([first.phase, second.phase]) == ["ended", "waiting"])
    gevent.sleep(turns.RENEWS * 1.5)
    assert len(runs) == 1
    for supervisor, broker in zip(supervisors, brokers, strict=True):
        supervisor.stop()
        broker.stop()


class Away:
    """Leases that can't be had; ``publish`` neither."""

    def __init__(self) -> None:
        self.asked = 0

    def lease(self, name: str, seconds: float) -> Lease | None:
        self.asked += 1
        raise BrokerAway("the broker is away.")

    give_back = publish_under = checkpoint = lease


def test_a_broker_that_is_away_is_told_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """However often a lease is asked for meanwhile."""
    monkeypatch.setattr(turns, "RENEWS", 0.01)
    away = Away()
    supervisor = Supervisor(lambda updates: [], leases=away)  # type: ignore[arg-type]
    supervisor.add(Timer("t", every=1, call=lambda: "x", channel="a", always=True))
    supervisor.start()
    wait(lambda: away.asked > 5)
    supervisor.stop()
    assert caplog.messages == ["comet: no lease for the trigger t: the broker is away."]


class Taken(Away):
    """A lease that another worker takes as soon as it is to be renewed, and that is free again then."""

    def lease(self, name: str, seconds: float) -> Lease | None:
        self.asked += 1
        return Lease(name, self.asked)

    give_back = publish_under = checkpoint = lambda self, *arguments: None


def test_a_worker_that_loses_its_turn_during_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for its turn at once, not when the pause of the alarm is over."""
    monkeypatch.setattr(turns, "RENEWS", 0.01)

    def alarm(publish: Publish) -> object:
        raise Alarm("it is broken.")

    trigger = Scripted(alarm)
    supervisor = Supervisor(lambda updates: [], leases=Taken())  # type: ignore[arg-type]
    supervisor.add(trigger)
    supervisor.start()
    wait(lambda: trigger.runs > 2)
    supervisor.stop()


# What is known of them.


def test_the_state_of_a_trigger_through_its_life(supervisor: Supervisor, published: Published) -> None:
    """Where it is, what it has published, and how long ago."""
    go_on, fail = Event(), Event()

    def work(publish: Publish) -> None:
        publish([Update("a", b"1", key="k"), Update("a", b"2")], "position 2")
        publish([Update("a", b"1", key="k")], "position 3")
        go_on.wait()
        raise ValueError("it\nbroke")

    def wait_to_fail(publish: Publish) -> None:
        fail.wait()
        raise OSError("again")

    supervisor.add(Scripted(work, wait_to_fail, lambda publish: None))
    (state,) = supervisor.states
    assert (state.name, state.phase, state.leader, state.position, state.age) == (
        "scripted",
        "stopped",
        False,
        None,
        None,
    )
    supervisor.start()
    wait(lambda: state.position == "position 3")
    assert (state.phase, state.leader, state.updates, state.duplicates) == ("running", True, 2, 1)
    assert state.age is not None and 0 <= state.age < 60
    go_on.set()
    wait(lambda: state.reconnects == 1 and state.phase == "running")
    assert state.error == "ValueError: it broke"
    fail.set()
    wait(lambda: state.phase == "ended")
    assert (state.leader, state.reconnects, state.error, state.position) == (False, 2, "OSError: again", "position 3")


def test_an_alarm_stops_a_trigger_with_one_sentence(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong and what to type, no trace; the same again is not told again, and something else is."""

    def alarm(text: str) -> Callable[[Publish], object]:
        def step(publish: Publish) -> object:
            raise Alarm(text, statement="GRANT SELECT ON shop.* TO comet;")

        return step

    wrong, more = alarm("comet may not read shop.orders."), alarm("shop.orders is no table.")
    trigger = Scripted(wrong, wrong, wrong, more, lambda publish: trigger.stopping.wait())
    supervisor.add(trigger)
    with caplog.at_level(logging.INFO, "comet"):
        supervisor.start()
        wait(lambda: trigger.runs == 1)
        (state,) = supervisor.states
        wait(lambda: state.phase == "alarm")
        wait(lambda: trigger.runs == 5 and state.phase == "running")
    assert [(record.levelname, record.getMessage(), record.exc_info) for record in caplog.records] == [
        (
            "ERROR",
            f"comet: the trigger scripted has stopped: {text} Type: GRANT SELECT ON shop.* TO comet;",
            None,
        )
        for text in ("comet may not read shop.orders.", "shop.orders is no table.")
    ]
    assert state.reconnects == 4


def test_an_alarm_that_comes_again_after_all_was_well(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    """Is told again: somebody had mended it."""

    def alarm(publish: Publish) -> object:
        raise Alarm("shop.orders is no table.")

    def alarm_later(publish: Publish) -> object:
        gevent.sleep(0.1)  # longer than the longest pause
        return alarm(publish)

    trigger = Scripted(alarm, alarm, alarm_later, lambda publish: trigger.stopping.wait())
    supervisor.add(trigger)
    supervisor.start()
    wait(lambda: trigger.runs == 4)
    assert caplog.messages == ["comet: the trigger scripted has stopped: shop.orders is no table."] * 2


def test_an_alarm_leaves_the_others_alone(supervisor: Supervisor, published: Published) -> None:
    """They go on."""

    def alarm(publish: Publish) -> object:
        raise Alarm("something is missing.")

    supervisor.add(Scripted(alarm))
    supervisor.add(Timer("t", every=0.005, call=counting(), channel="a", always=True))
    supervisor.start()
    wait(lambda: len(published) > 10)
    assert str(Alarm("something is missing.")) == "something is missing."


def test_of_our_own_errors_the_log_has_the_sentence_alone(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """They say what there is to say: a trace would only hide it."""

    def fail(publish: Publish) -> object:
        raise SourceFailed("MariaDB at 127.0.0.1:3306 can't be reached.")

    supervisor.add(Scripted(fail))
    supervisor.start()
    wait(lambda: supervisor.states[0].reconnects > 1)
    assert {(record.getMessage().partition(" s: ")[2], record.exc_info) for record in caplog.records} == {
        ("MariaDB at 127.0.0.1:3306 can't be reached.", None)
    }


def test_others_run_while_much_is_rendered(published: Published) -> None:
    """A batch may have hundreds of updates, each with a template."""
    turns: list[int] = []

    def slowly(update: Update) -> Update:
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass
        return update

    def beside() -> None:
        while True:
            turns.append(1)
            gevent.sleep(0.0001)

    running = gevent.spawn(beside)
    noted = Noted(published, State("t"), source="T", keeps=lambda channel, receipt: True, render=slowly)  # type: ignore[arg-type]
    noted([Update("a", b"%d" % number) for number in range(30)])
    running.kill()
    assert len(published) == 30 and len(turns) > 5
