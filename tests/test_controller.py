"""The controller with real greenlets: ask, wait, ask again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import gevent
import pytest

from comet.brokers.memory import MemoryBroker
from comet.cohorts import Subscription
from comet.controller import Controller
from comet.core.errors import Full, Stopping
from comet.core.log import Entry
from comet.core.update import Closed, Update
from comet.core.wire import SSE, Poll
from tests.timing import PATIENCE


@pytest.fixture
def controller() -> Iterator[Controller]:
    controller = Controller(MemoryBroker(), heartbeat=0.2, max_streams=60)
    controller.start()
    yield controller
    controller.stop()


def subscription(controller: Controller, *names: str, since: str | None = None) -> Subscription:
    return Subscription(controller.log.begin(names, since, 0).position, SSE(names))


def publish(controller: Controller, *channels: str) -> None:
    controller.update([Update(channel, f"{channel}{n}".encode()) for n, channel in enumerate(channels)])


def collect(controller: Controller, into: list[Entry], *names: str) -> gevent.Greenlet:
    def run() -> None:
        for page in controller.pages(subscription(controller, *names)):
            into.extend(page.entries)

    greenlet = gevent.spawn(run)
    gevent.sleep(0)
    return greenlet


def texts(entries: list[Entry]) -> list[str]:
    return [entry.data.decode() if isinstance(entry, Update) else f"closed {entry.channel}" for entry in entries]


def wait(state: object) -> None:
    with gevent.Timeout(5 * PATIENCE):
        while not state():  # type: ignore[operator]
            gevent.sleep(0.001)


def test_a_waiting_greenlet_is_woken_by_what_is_published(controller: Controller) -> None:
    """Publishing wakes whoever waits on the channel."""
    got: list[Entry] = []
    reader = collect(controller, got, "a")
    publish(controller, "a")
    wait(lambda: texts(got) == ["a0"])
    reader.kill()


def test_several_channels_come_in_seq_order(controller: Controller) -> None:
    """One cursor over all of them."""
    got: list[Entry] = []
    reader = collect(controller, got, "a", "b")
    publish(controller, "b", "c", "a", "b")
    wait(lambda: texts(got) == ["b0", "a2", "b3"])
    reader.kill()


def test_no_wake_up_is_lost_between_reading_and_waiting(controller: Controller) -> None:
    """Readers that are busy while something is published find it when they come back."""
    readers, gots = [], []
    for _ in range(50):
        got: list[Entry] = []
        gots.append(got)
        readers.append(collect(controller, got, "a"))
    for n in range(200):
        controller.update([Update("a", b"%d" % n)])
        if n % 7 == 0:
            gevent.sleep(0)
        if n % 50 == 0:
            gevent.sleep(0.001)
    wait(lambda: all(texts(got)[-1:] == ["199"] for got in gots))
    for got in gots:
        assert texts(got) == [str(n) for n in range(int(texts(got)[0]), 200)]
    gevent.killall(readers)


def test_a_deleted_channel_ends_its_readers(controller: Controller) -> None:
    """They get what came before, then the end."""
    got: list[Entry] = []
    reader = collect(controller, got, "a", "b")
    publish(controller, "a")
    wait(lambda: got)
    controller.update([Closed("a")])
    reader.join(5)
    assert reader.successful()
    assert texts(got) == ["a0", "closed a"]


def test_a_silent_stream_is_told_to_beat(controller: Controller) -> None:
    """The ticker wakes a cohort that has been silent, with the flag that says why."""
    stream = subscription(controller, "a")
    controller.add(stream)
    with gevent.Timeout(5 * PATIENCE):
        controller.wait(stream)
    assert stream.beating
    assert controller.frame(stream, stream.wire) is None  # type: ignore[arg-type]
    controller.remove(stream)


def test_streams_at_the_same_place_share_one_frame(controller: Controller) -> None:
    """The bytes are made once."""
    streams = [subscription(controller, "a") for _ in range(3)]
    publish(controller, "a")
    frames = [controller.frame(stream, stream.wire) for stream in streams]  # type: ignore[arg-type]
    assert frames[0] is frames[1] is frames[2]
    publish(controller, "a")
    assert (
        controller.frame(subscription(controller, "a", since=str(controller.log.cursor(0))), SSE(("a",))) not in frames
    )


def test_the_cap_of_streams_is_kept(controller: Controller) -> None:
    """One more is refused, and may come when one has left."""
    streams = [subscription(controller, "a") for _ in range(61)]
    for stream in streams[:60]:
        controller.add(stream)
    with pytest.raises(Full, match="COMET_MAX_STREAMS"):
        controller.add(streams[60])
    controller.remove(streams[0])
    controller.add(streams[60])


def test_removing_is_harmless_for_one_that_has_gone(controller: Controller) -> None:
    """Whatever way a stream ends, it is removed once; nothing of it is left."""
    stream = subscription(controller, "never", "published")
    controller.remove(stream)
    controller.add(stream)
    assert controller.subscribed["never"] == 1
    controller.remove(stream)
    controller.remove(stream)
    assert "never" not in controller.subscribed
    assert controller.log.rings == {}


def test_the_drain_ends_every_stream_and_takes_no_more(controller: Controller) -> None:
    """Streams are woken to say goodbye; a poll at once."""
    got: list[Entry] = []
    reader = collect(controller, got, "a")
    poll = Subscription(controller.log.begin(("a",), None, 0).position, Poll(("a",)))
    controller.add(poll)
    drain = gevent.spawn(controller.drain, 0.05)
    wait(lambda: poll.leaving)
    controller.remove(poll)
    drain.join(5)
    reader.join(5)
    assert reader.successful()
    with pytest.raises(Stopping):
        controller.add(subscription(controller, "a"))
    assert 3000 <= controller.goodbye_retry() <= 7100


class Clock:
    """Time that passes only where it is slept, and where the machine stands still for a while."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.standstill = (math.inf, 0.0)
        self.slept: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        at, lasts = self.standstill
        if self.now >= at:
            self.now, self.standstill = self.now + lasts, (math.inf, 0.0)
        self.slept()


@pytest.mark.parametrize("standstill", [(math.inf, 0.0), (1000.5, 1.0)], ids=["undisturbed", "late"])
def test_the_drain_ends_streams_evenly(monkeypatch: pytest.MonkeyPatch, standstill: tuple[float, float]) -> None:
    """Of N streams the Kth at K/N of the drain; who is late for that has its turn at once, and those after it in
    time."""
    controller, clock = Controller(MemoryBroker()), Clock()
    streams = [subscription(controller, "a") for _ in range(40)]
    for stream in streams:
        controller.add(stream)
    ended: dict[Subscription, float] = {}

    def look() -> None:
        ended.update({stream: clock.now for stream in streams if stream.leaving and stream not in ended})

    clock.standstill, clock.slept = standstill, look
    monkeypatch.setattr("comet.controller.time", clock)
    monkeypatch.setattr("comet.controller.gevent", clock)
    controller.drain(2.0)
    # Each is seen to have ended at the next sleep's end: one place later.
    expected = [1000 + 2.0 * place / 40 for place in range(1, 40)] + [1001.97]
    at, lasts = standstill
    expected = [max(time, at + lasts) if time >= at else time for time in expected]
    assert list(ended.values()) == pytest.approx(expected, abs=1e-6, rel=0)


def test_who_comes_while_others_are_ended_is_ended_with_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is reloaded has let it in before it closed its port. After that nobody is taken in."""
    controller, clock = Controller(MemoryBroker()), Clock()
    late = subscription(controller, "a")
    for _ in range(10):
        controller.add(subscription(controller, "a"))

    def come() -> None:
        if late not in controller.streams and not controller.refusing:
            controller.add(late)
            assert not late.leaving

    clock.slept = come
    monkeypatch.setattr("comet.controller.time", clock)
    monkeypatch.setattr("comet.controller.gevent", clock)
    controller.drain(1.0)
    assert late.leaving
    with pytest.raises(Stopping):
        controller.check_room()


def test_a_loop_that_fails_is_started_again(
    controller: Controller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The deliverer must not die of one fault."""
    broken = [True]
    behind = controller._cohorts.behind

    def fail_once(names: object) -> object:
        if broken and broken.pop():
            raise RuntimeError("once")
        return behind(names)  # type: ignore[arg-type]

    monkeypatch.setattr(controller._cohorts, "behind", fail_once)
    got: list[Entry] = []
    reader = collect(controller, got, "a")
    publish(controller, "a")
    wait(lambda: "is started again" in caplog.text)
    gevent.sleep(0.12)
    publish(controller, "a")
    wait(lambda: len(got) == 2)
    reader.kill()
