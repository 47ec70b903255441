"""Gaps: what can no longer be supplied is told, at once and exactly, on every wire that tells.

Exactly: what a subscriber had before, what it gets, and what lies between ``since`` and ``first`` of the gap are
together all that was acknowledged, and nothing is in two of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from urllib.parse import quote

import pytest
import requests

from tests.live.clients import Subscriber
from tests.live.publishers import Publisher
from tests.live.readers import LASTING, TELLING, Ended, Missed, Seen, seq_of
from tests.live.server import Server
from tests.timing import until


pytestmark = pytest.mark.delivers


RULES = """
[channels."count.*"]
history = 5
[channels."bytes.*"]
history_bytes = 1000
[channels."age.*"]
history_seconds = 1
[channels."brief.*"]
history_seconds = 1
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that forgets fast: what takes it a minute takes it half a second here."""
    rules = tmp_path_factory.mktemp("rules") / "comet.toml"
    rules.write_text(RULES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_REMEMBERED", "0.5")
        with Server(app="tests.live.inside:app", config=rules, heartbeat=1, memory=1 << 20) as running:
            yield running


class Story:
    """What was published to one channel, and what a reader that was cut holds of it."""

    def __init__(self, server: Server, channel: str) -> None:
        self.server = server
        self.channel = channel
        self.publisher = Publisher(server)
        self.cursor = ""
        self.had: list[Seen] = []

    @property
    def published(self) -> list[Seen]:
        return [update for update in self.publisher.acknowledged if update.channel == self.channel]

    def publish(self, count: int, *, size: int = 10, channel: str | None = None) -> None:
        name = channel or self.channel
        self.publisher.publish((name, f"{place} ".ljust(size, "-")) for place in range(count))

    def read_here(self) -> None:
        """A reader has had everything until now, and leaves."""
        self.had = self.published
        self.cursor = self.had[-1].id

    @property
    def info(self) -> dict[str, object]:
        return dict(self.server.get(f"/channels/{self.channel}/info").json())

    def until_kept(self, count: int) -> None:
        until(lambda: self.info.get("stored") == count, what=f"{count} of {self.channel} kept")


def check_exact(had: Sequence[Seen], published: Sequence[Seen], items: Sequence[object]) -> None:
    """Hold what came of one channel against what was acknowledged. The ids must be of one epoch."""
    every = {update.seq for update in published}
    received = [update.seq for update in had]
    missing: set[int] = set()
    gap: Missed | None = None
    for item in items:
        if isinstance(item, Missed):
            assert gap is None, "a gap after a gap"
            gap = item
        elif isinstance(item, Seen):
            if gap is not None:
                assert gap.first in (item.id, None)
                missing |= {seq for seq in every if seq_of(gap.since) < seq < item.seq}
                gap = None
            received.append(item.seq)
    if gap is not None:
        assert gap.first is None
        missing |= {seq for seq in every if seq > seq_of(gap.since)}
    assert received == sorted(set(received)), "in order, and once"
    assert not missing & set(received)
    assert missing | set(received) == every


# The ways.


def by_count(story: Story) -> None:
    """Trimmed by COMET_HISTORY."""
    story.publish(4)
    story.read_here()
    story.publish(9)


def by_bytes(story: Story) -> None:
    """Trimmed by COMET_HISTORY_BYTES."""
    story.publish(3, size=100)
    story.read_here()
    story.publish(9, size=300)


def by_age(story: Story) -> None:
    """Trimmed by COMET_HISTORY_SECONDS; something newer is there."""
    story.publish(3)
    story.read_here()
    story.publish(3)
    story.until_kept(0)
    story.publish(1)


def by_age_alone(story: Story) -> None:
    """Emptied by COMET_HISTORY_SECONDS; nothing came after."""
    story.publish(3)
    story.read_here()
    story.publish(3)
    story.until_kept(0)


def by_memory(story: Story) -> None:
    """Trimmed by COMET_MEMORY, which another channel has used up."""
    story.publish(3)
    story.read_here()
    story.publish(5)
    for _ in range(10):
        story.publish(10, size=10_000, channel="the.other")
    story.until_kept(0)
    story.publish(2)


def by_forgetting(story: Story) -> None:
    """Emptied by age, and then the channel forgotten."""
    by_age_alone(story)
    until(lambda: "status" in story.info, what=f"{story.channel} forgotten")


def by_forgetting_and_beginning_anew(story: Story) -> None:
    """Forgotten, and published to again."""
    by_forgetting(story)
    story.publish(2)


def by_deleting(story: Story) -> None:
    """Deleted, and made anew at once."""
    story.publish(3)
    story.read_here()
    story.publish(3)
    delete(story)
    story.publish(2)


def by_deleting_long_ago(story: Story) -> None:
    """Deleted, so long ago that the end is no longer told as one."""
    story.publish(3)
    story.read_here()
    story.publish(3)
    delete(story)
    until(lambda: "status" in story.info, what=f"{story.channel} forgotten")


def delete(story: Story) -> None:
    answer = requests.delete(f"{story.server.url}/channels/{story.channel}", headers=story.server.auth, timeout=10)
    assert answer.status_code == 204


WAYS: dict[str, Callable[[Story], None]] = {
    "count.c": by_count,
    "bytes.b": by_bytes,
    "age.a": by_age,
    "age.alone": by_age_alone,
    "memory.m": by_memory,
    "brief.f": by_forgetting,
    "brief.n": by_forgetting_and_beginning_anew,
    "deleted.d": by_deleting,
    "deleted.l": by_deleting_long_ago,
}


@pytest.mark.parametrize("channel", WAYS, ids=lambda channel: WAYS[channel].__name__)
def test_what_is_no_longer_kept_is_told_exactly(server: Server, channel: str) -> None:
    """A reader that comes back with its last cursor is told the gap in the first answer, whatever made it, and then
    gets all that is kept and what comes."""
    story = Story(server, channel)
    WAYS[channel](story)
    with ExitStack() as stack:
        subscribers = [stack.enter_context(Subscriber(server, wire, channel, since=story.cursor)) for wire in TELLING]
        for subscriber in subscribers:
            subscriber.until(lambda it: is_told(it, story.published[-1]))
            assert (subscriber.response.status, subscriber.response.headers["comet-cursor"]) == (200, story.cursor)
            (gap,) = subscriber.missed
            assert (gap.since, gap.reason) == (story.cursor, "trimmed"), subscriber.wire
            check_exact(story.had, story.published, subscriber.items)
        for subscriber in subscribers:
            if subscriber.answered:
                subscriber.ask()
        # Some channels keep what comes for a second only: everybody is to be there.
        until(lambda: server.get("/inside").json()["streams"] == len(subscribers), what="all of them")
        story.publish(1)
        for subscriber in subscribers:
            subscriber.until(lambda it: it.seen and it.seen[-1].id == story.published[-1].id)
            check_exact(story.had, story.published, subscriber.items)


def is_told(subscriber: Subscriber, last: Seen) -> bool:
    """Whether it has the gap, and what is kept behind that; which may be too old by now."""
    gone = bool(subscriber.missed) and subscriber.missed[0].first is None
    return gone or bool(subscriber.missed and subscriber.seen and subscriber.seen[-1].id == last.id)


def test_the_end_of_a_channel_is_told_as_such_and_no_gap(restarted: tuple[Server, list[Seen], list[Seen]]) -> None:
    """Whoever comes back within a minute after a deletion is told of that, and the response ends."""
    server, _, _ = restarted
    story = Story(server, "deleted.now")
    story.publish(3)
    story.read_here()
    story.publish(3)
    with Subscriber(server, "ndjson", "deleted.now").open() as live:
        delete(story)
        assert live.finish().items[-1] == Ended("deleted.now")
    for wire in TELLING:
        with Subscriber(server, wire, "deleted.now", since=story.cursor) as subscriber:
            subscriber.until(lambda it: it.response.complete)
            assert subscriber.items == [Ended("deleted.now")], wire


def test_a_gap_of_several_channels_is_told_for_those_that_have_one(server: Server) -> None:
    """Of a channel that keeps all, nothing is missing; of one that does not, only what lies in the gap."""
    publisher = Publisher(server)
    channels = ("count.one", "several", "count.two")
    (begin,) = publisher.publish([("several", "begin")])
    for number in range(20):
        publisher.publish((channel, f"{channel} {number}") for channel in channels)
    kept = {"count.one": 5, "several": 20, "count.two": 5}
    for wire in TELLING:
        with Subscriber(server, wire, *channels, since=begin.id) as subscriber:
            subscriber.until(lambda it: len(it.seen) == sum(kept.values()))
            gap, *rest = subscriber.items
            assert gap == Missed(begin.id, subscriber.seen[0].id, "trimmed")
            assert len(rest) == len(subscriber.seen)
            assert [update.data for update in subscriber.seen] == [
                update.data for update in publisher.acknowledged[1:] if is_kept(update, kept)
            ]


def is_kept(update: Seen, kept: dict[str, int]) -> bool:
    return int(update.data.split()[1]) >= 20 - kept[update.channel]


@pytest.fixture(scope="module")
def restarted() -> Iterator[tuple[Server, list[Seen], list[Seen]]]:
    """A server whose worker was killed, and what was published before and after that."""
    with Server(replay=0) as server:
        before, after = Publisher(server), Publisher(server)
        before.publish(("epoch", f"before {number}") for number in range(5))
        (pid,) = server.workers()
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in server.workers() and server.is_up(), seconds=20, what="a new worker")
        after.publish(("epoch", f"after {number}") for number in range(3))
        yield server, before.acknowledged, after.acknowledged


@pytest.mark.parametrize("wire", TELLING)
def test_a_cursor_of_another_epoch_is_told_as_a_gap(
    restarted: tuple[Server, list[Seen], list[Seen]], wire: str
) -> None:
    """Who was there before the log began anew is told so, and gets all that the new log keeps."""
    server, before, after = restarted
    for old in before:
        with Subscriber(server, wire, "epoch", since=old.id) as subscriber:
            subscriber.until(lambda it: len(it.seen) == len(after))
            assert subscriber.items[0] == Missed(old.id, after[0].id, "epoch")
            assert [seen.id for seen in subscriber.seen] == [update.id for update in after]
            assert len(subscriber.items) == 1 + len(after)
            # With it the gap is told again: who was cut before reading this answer has not been told.
            assert subscriber.response.headers["comet-cursor"] == old.id


@pytest.mark.parametrize("wire", TELLING)
def test_a_cursor_from_the_future_is_told_as_a_gap_for_ever(
    restarted: tuple[Server, list[Seen], list[Seen]], wire: str
) -> None:
    """The cursor that comes back with it is not that of the future, which would pass for a good one one day."""
    server, _, _ = restarted
    channel = f"future.{wire}"
    publisher = Publisher(server)
    (kept,) = publisher.publish([(channel, "kept")])
    epoch, _, _ = kept.id.rpartition("-")
    future = f"{epoch}-{kept.seq + 3}"
    with Subscriber(server, wire, channel, since=future) as subscriber:
        subscriber.until(lambda it: it.seen)
        assert subscriber.items[0] == Missed(future, kept.id, "future")
        again = subscriber.response.headers["comet-cursor"]
    publisher.publish((channel, f"{number}") for number in range(5))
    with Subscriber(server, wire, channel, since=again) as subscriber:
        subscriber.until(lambda it: len(it.seen) == 6)
        assert subscriber.missed and subscriber.missed[0].reason != "future"
    with Subscriber(server, wire, channel, since=f"{epoch}-999999999999999999") as subscriber:
        subscriber.until(lambda it: it.missed)
        assert subscriber.missed[0].reason == "future"


#: EPOCH stands for the server's.
GARBAGE = (
    *(
        "nonsense",
        "0",
        "-1",
        "-",
        "EPOCH",
        "EPOCH-",
        "-EPOCH-1",
        "EPOCH--1",
        "EPOCH-01",
        "EPOCH-+1",
        "EPOCH-1.0",
        "EPOCH-1_0",
    ),
    *(
        "EPOCH-0x1",
        "EPOCH-1e3",
        "epoch-1-1",
        "EPOCH-1 1",
        "EPOCH-nan",
        "nan",
        "null",
        "None",
        "undefined",
        "*",
        "$",
        "+",
    ),
    *("0-0", "18446744073709551615-18446744073709551615", "EPOCH-18446744073709551616", "EPOCH-9999999999999999999"),
    *("../../etc/passwd", "' OR 1=1 --", "0,13,[9]]", '{"id":1}', "<script>alert(1)</script>", "</script><!--", "a\tb"),
    *("earliest", "#1", "%s%n", "x" * 4000, "," * 256, "EPOCH-" + "9" * 4400, "9" * 4400, "-" * 3000),
)
IN_QUERY = (
    "EPOCH-1%0A",
    "%00",
    "EPOCH-%D9%A1",
    "EPOCH-%EF%BC%91",
    "%ff%fe",
    "%ED%A0%80",
    "%E2%80%A8",
    "%",
    "%zz",
    "%F0%9F%98%80",
)
IN_HEADER = ("\xff\xfe\x80", "EPOCH-1\xa0", "\xc3\xa4", "x" * 7000, "EPOCH-" + "1" * 7000, "\xe2\x80\xa8" * 300)


@pytest.mark.parametrize("wire", TELLING)
def test_garbage_as_a_cursor_is_a_gap_and_never_an_error(server: Server, wire: str) -> None:
    """Whatever stands where a cursor belongs, in the query or in the header: 200, the gap, and all that is kept."""
    publisher = Publisher(server)
    kept = publisher.publish((f"garbage.{wire}", f"{number}") for number in range(3))
    epoch, _, _ = kept[0].id.rpartition("-")
    queries = [*(quote(text, safe="") for text in GARBAGE), *IN_QUERY]
    for place, texts in (("query", queries), ("header", [*GARBAGE, *IN_HEADER])):
        for text in texts:
            sent = text.replace("EPOCH", epoch)
            with Subscriber(server, wire, f"garbage.{wire}", since=sent, in_header=place == "header") as subscriber:
                subscriber.until(lambda it: len(it.seen) == len(kept))
                assert subscriber.response.status == 200, (place, sent)
                gap, *rest = subscriber.items
                assert isinstance(gap, Missed) and gap.reason == "unknown" and gap.first == kept[0].id, (place, sent)
                assert rest == subscriber.seen and [seen.id for seen in rest] == [update.id for update in kept]
                assert 1 <= len(gap.since) <= 64
                if place == "header" and sent.isascii():
                    assert gap.since == sent[:64]


@pytest.mark.parametrize("wire", [wire for wire in LASTING if wire in TELLING])
def test_a_live_stream_that_fell_behind_is_told_at_that_place(server: Server, wire: str) -> None:
    """A reader slower than its publisher is told in the stream what it lost, exactly; one that keeps up has it all."""
    channel = f"live.{wire}"
    publisher = Publisher(server)
    with (
        Subscriber(server, wire, channel, buffer=4096, last=0).open() as slow,
        Subscriber(server, wire, channel, last=0).open() as fast,
    ):
        for number in range(80):
            publisher.publish((channel, f"{number}-{place} ".ljust(600, "-")) for place in range(50))
            fast.until(lambda it: it.seen and it.seen[-1].id == publisher.acknowledged[-1].id)
        slow.until(lambda it: it.seen and it.seen[-1].id == publisher.acknowledged[-1].id)
        assert slow.missed, "it was to fall behind"
        assert {gap.reason for gap in slow.missed} == {"trimmed"}
        check_exact([], publisher.acknowledged, slow.items)
        assert [seen.id for seen in fast.items] == [update.id for update in publisher.acknowledged]
