"""The seam of the triggers: what each of them holds, the pace they share, and the supervisor."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from comet.brokers import Hear, Receipt
from comet.core.update import Update
from comet.triggers import Publish, Trigger, beats
from comet.triggers.command import Command
from comet.triggers.flask_sse import FlaskSse
from comet.triggers.supervisor import Supervisor
from comet.triggers.timer import Timer
from tests.timing import PATIENCE
from tests.triggers.watching import Published, ended, wait


class TriggerContract:
    """What every trigger holds. ``make`` returns one that publishes soon and then, for ever, now and again."""

    def make(self) -> Trigger:
        raise NotImplementedError

    def test_it_publishes_until_it_is_stopped(self, published: Published) -> None:
        """``run`` publishes, and returns after ``stop``."""
        trigger = self.make()
        running = gevent.spawn(trigger.run, published)
        wait(lambda: len(published) >= 2)
        trigger.stop()
        ended(running)
        count = len(published)
        gevent.sleep(0.05)
        assert len(published) == count

    def test_it_runs_again_after_it_was_stopped(self, published: Published) -> None:
        """``stop`` is not for ever: a supervisor may start it once more."""
        trigger = self.make()
        for _ in range(2):
            before = len(published)
            running = gevent.spawn(trigger.run, published)
            wait(lambda before=before: len(published) > before)  # type: ignore[misc]
            trigger.stop()
            ended(running)

    def test_what_publish_raises_it_raises(self) -> None:
        """An update that was not accepted is not forgotten: the supervisor is told, and starts the trigger again."""

        def refuse(updates: Sequence[Update]) -> list[Receipt]:
            raise OSError("the broker is away")

        with pytest.raises(OSError, match="the broker is away"):
            gevent.spawn(self.make().run, refuse).get(timeout=10 * PATIENCE)

    def test_stop_before_it_runs_does_no_harm(self) -> None:
        """A trigger that waits for its next attempt is stopped too."""
        self.make().stop()


class TestTimer(TriggerContract):
    def make(self) -> Trigger:
        return Timer("test", every=0.005, call=time.monotonic, channel="a")


class TestCommand(TriggerContract):
    def make(self) -> Trigger:
        argv = [sys.executable, "-ISc", "import time; print(time.monotonic())"]
        return Command("test", argv=argv, channel="a", every=0.01)


class TestCommandOfLines(TriggerContract):
    def make(self) -> Trigger:
        script = "import time\nwhile True: print(time.monotonic(), flush=True); time.sleep(0.01)"
        return Command("test", argv=[sys.executable, "-ISc", script], channel="a", lines=True)


class TestFlaskSse(TriggerContract):
    def make(self) -> Trigger:
        def listen(prefixes: Sequence[str], hear: Hear) -> None:
            while True:
                hear("a", b'{"data": 1}')
                gevent.sleep(0.005)

        return FlaskSse(["a"], listen)


# The pace.


class Clock:
    """Time that passes only by working and by waiting; ``stopping`` after so many beats. Each wait is ``late``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, late: float) -> None:
        self.now = 1000.0
        self.late = late
        self.stopped = False
        monkeypatch.setattr("comet.triggers.time", SimpleNamespace(monotonic=lambda: self.now))

    def is_set(self) -> bool:
        return self.stopped

    def wait(self, timeout: float) -> None:
        assert timeout >= 0
        self.now += timeout + self.late


PACES = [
    ("work takes no time", 0.0, [0] * 4, [0, 1, 2, 3]),
    ("work takes half a beat", 0.0, [0.5] * 4, [0, 1, 2, 3]),
    ("timers ring late", 0.2, [0.5] * 4, [0, 1.2, 2.2, 3.2]),
    ("timers ring a moment early", -0.001, [0] * 4, [0, 0.999, 1.999, 2.999]),
    ("work misses beats", 0.0, [2.5, 0, 1.1, 0], [0, 3, 4, 6]),
    ("work always misses beats", 0.0, [2.5] * 4, [0, 3, 6, 9]),
]


@pytest.mark.parametrize(("late", "work", "expected"), [row[1:] for row in PACES], ids=[row[0] for row in PACES])
def test_beats_are_counted_from_the_start(
    monkeypatch: pytest.MonkeyPatch, late: float, work: list[float], expected: list[float]
) -> None:
    """The pace does not drift, and one beat is not two; those that slow work has missed are left out."""
    clock, times = Clock(monkeypatch, late), []
    for _ in beats(1.0, clock):  # type: ignore[arg-type]
        times.append(clock.now - 1000.0)
        clock.now += work.pop(0)
        clock.stopped = not work
    assert times == pytest.approx(expected)


def test_the_first_beat_is_at_once_and_stopping_ends_the_wait_for_the_next() -> None:
    """A pace of an hour keeps nobody waiting: neither for the first value nor for the end."""
    stopping = Event()
    pacing = gevent.spawn(lambda: sum(1 for _ in beats(3600.0, stopping)))
    gevent.sleep(0)
    stopping.set()
    assert pacing.get(timeout=10 * PATIENCE) == 1


# The supervisor.


class Scripted:
    """A trigger that does one thing after the other; the last one again and again."""

    name = "scripted"

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)
        self.times: list[float] = []
        self.stopping = Event()

    def run(self, publish: Publish) -> None:
        self.stopping.clear()
        self.times.append(time.monotonic())
        (self.steps.pop(0) if len(self.steps) > 1 else self.steps[0])()

    def stop(self) -> None:
        self.stopping.set()


@pytest.fixture
def supervisor(published: Published) -> Iterator[Supervisor]:
    supervisor = Supervisor(published, first_pause=0.01, longest_pause=0.08)
    yield supervisor
    supervisor.stop()


def fail(error: BaseException | None = None) -> Callable[[], object]:
    def step() -> object:
        raise error or ValueError("it broke")

    return step


def test_what_is_added_runs_when_the_supervisor_starts(supervisor: Supervisor, published: Published) -> None:
    """And what is added later runs at once."""
    supervisor.add(Timer("early", every=3600, call=lambda: "early", channel="a"))
    gevent.sleep(0.01)
    assert published == []
    supervisor.start()
    supervisor.add(Timer("late", every=3600, call=lambda: "late", channel="a"))
    wait(lambda: sorted(published.texts) == ["early", "late"])


def pauses_told(caplog: pytest.LogCaptureFixture) -> list[object]:
    return [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]


def test_a_failing_trigger_is_started_again_with_pauses_that_double(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """Up to the longest pause; each pause is told in the log, and kept within a fifth."""
    trigger = Scripted(fail())
    supervisor.add(trigger)
    supervisor.start()
    wait(lambda: len(trigger.times) >= 7)
    assert pauses_told(caplog)[:6] == [0.01, 0.02, 0.04, 0.08, 0.08, 0.08]
    pauses = [after - before for before, after in zip(trigger.times, trigger.times[1:], strict=False)]
    for pause, least in zip(pauses, (0.008, 0.016, 0.032, 0.064, 0.064, 0.064), strict=False):
        assert pause >= least - 0.002, pauses


def test_a_failure_is_told_with_its_trace_and_the_pause(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks into the log finds which trigger failed, why, and when it is started again."""
    trigger = Scripted(fail(), lambda: None)
    supervisor.add(trigger)
    with caplog.at_level(logging.INFO, "comet"):
        supervisor.start()
        wait(lambda: "has ended" in caplog.text)
    assert "the trigger scripted failed; it is started again in about 0.0 s" in caplog.text
    assert "ValueError: it broke" in caplog.text


def test_a_trigger_that_had_been_well_begins_with_the_first_pause(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """Its old failures are forgiven once it ran for longer than the longest pause."""

    def well() -> object:
        gevent.sleep(0.1)
        raise ValueError("once more")

    trigger = Scripted(*[fail()] * 3, well, lambda: gevent.sleep(3600))
    supervisor.add(trigger)
    supervisor.start()
    wait(lambda: len(trigger.times) == 5)
    assert pauses_told(caplog) == [0.01, 0.02, 0.04, 0.01]


@pytest.mark.parametrize("error", [gevent.Timeout(1), SystemExit(1)], ids=["a timeout of gevent", "sys.exit"])
def test_errors_that_are_no_exceptions_do_not_end_it(supervisor: Supervisor, error: BaseException) -> None:
    """gevent's Timeout would end the trigger for good, SystemExit the whole worker."""
    trigger = Scripted(fail(error), lambda: None)
    supervisor.add(trigger)
    supervisor.start()
    wait(lambda: len(trigger.times) == 2)


def test_a_trigger_that_returns_is_not_started_again(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    """It has ended, and the log says so."""
    trigger = Scripted(lambda: None)
    supervisor.add(trigger)
    with caplog.at_level(logging.INFO, "comet"):
        supervisor.start()
        wait(lambda: "the trigger scripted has ended" in caplog.text)
    gevent.sleep(0.05)
    assert len(trigger.times) == 1


def test_stopping_ends_the_pause_of_a_failed_trigger(published: Published) -> None:
    """A worker does not wait half a minute for it."""
    supervisor = Supervisor(published, first_pause=3600, longest_pause=3600)
    trigger = Scripted(fail())
    supervisor.add(trigger)
    supervisor.start()
    wait(lambda: trigger.times)
    with gevent.Timeout(10 * PATIENCE):
        supervisor.stop()
    assert len(trigger.times) == 1


def test_a_trigger_that_does_not_heed_stop_is_killed(published: Published) -> None:
    """Its greenlet gets a moment, then a GreenletExit."""
    outcome: list[str] = []

    def deaf() -> object:
        try:
            gevent.sleep(3600)
        finally:
            outcome.append("killed")
        return None

    supervisor = Supervisor(published)
    trigger = Scripted(deaf)
    supervisor.add(trigger)
    supervisor.start()
    wait(lambda: trigger.times)
    with gevent.Timeout(10 * PATIENCE):
        supervisor.stop()
    assert outcome == ["killed"]


def test_the_supervisor_starts_again_after_a_stop(supervisor: Supervisor, published: Published) -> None:
    """In tests and shells a worker may live twice."""
    supervisor.add(Timer("t", every=3600, call=lambda: "again", channel="a", repeat=True))
    for count in (1, 2):
        supervisor.start()
        wait(lambda count=count: len(published) == count)  # type: ignore[misc]
        supervisor.stop()
