"""What every broker does, whatever keeps its log. A broker's test module inherits the class and says how to make it."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence

import gevent
import pytest

from comet.brokers import Broker, Leases, Receipt, Watches
from comet.core.cursor import Cursor
from comet.core.errors import LeaseLost, NotFound, TooManyChannels
from comet.core.log import Entry, Gap, Position
from comet.core.ring import REMEMBERED
from comet.core.rules import REVOKED, Rule, Rules
from comet.core.update import BINARY, Closed, OwnUpdate, Update
from tests.timing import until


Make = Callable[..., Broker]


class BrokerContract:
    """Inherit it, and give it a fixture ``make``: a function that makes a broker, started, of keyword arguments."""

    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    def let_pass(self, broker: Broker, seconds: float, used: Container[str] = ()) -> None:
        """Let so much time pass for the broker, a few times a minute as it were."""
        begun = time.time()
        for step in range(0, int(seconds) + 10, 10):
            for _ in broker.tick(begun + min(step, seconds), used):  # type: ignore[attr-defined]
                pass

    # How it is used.

    def publish(self, broker: Broker, *texts: str, channel: str = "a", **more: str) -> list[Receipt]:
        return broker.publish([Update(channel, text.encode(), **more) for text in texts])

    def told(self, broker: Broker, *names: str, since: str | None, last: int | None = None) -> list[Entry | Gap]:
        """All that a reader is told from a cursor to the head, or to the end of one of its channels, in order."""
        start = broker.log.begin(names, since, last)
        told: list[Entry | Gap] = list(start.entries)
        position: Position = start.position
        while True:
            page = broker.since(position, size=1000, limit=7)
            told += [page.gap] if page.gap else []
            told += page.entries
            position.move(page.epoch, page.seq, page.told)
            if page.ended or (not page.more and position.seq >= broker.log.head):
                return told

    def texts(self, told: Sequence[Entry | Gap]) -> list[str]:
        """What was told, in short."""
        short = []
        for each in told:
            match each:
                case Gap():
                    short.append(f"gap {each.reason}")
                case Closed():
                    short.append(f"closed {each.channel}")
                case Update():
                    short.append(each.data.decode())
        return short

    # Places.

    def test_every_update_has_an_id_of_its_own(self, make: Make) -> None:
        """EPOCH-SEQ; SEQ is one counter over all channels, and grows."""
        broker = make()
        receipts = [receipt for channel in "aba" for receipt in self.publish(broker, "1", "2", channel=channel)]
        epoch = broker.log.epoch
        assert [receipt.id for receipt in receipts] == [f"{epoch}-{seq}" for seq in range(1, 7)]
        assert Cursor.parse(receipts[-1].id) == Cursor(epoch, 6)
        assert broker.log.head == 6

    def test_every_broker_has_another_epoch(self, make: Make) -> None:
        """A log that begins afresh is known by it: at least six characters."""
        epochs = {make().log.epoch for _ in range(3)}
        assert len(epochs) == 3 and min(map(len, epochs)) >= 6

    def test_every_update_names_the_one_before_it(self, make: Make) -> None:
        """``prev`` is the last SEQ of the same channel, kept or not, its end included."""
        broker = make(rules=Rules(Rule(history=1)))
        prevs = [self.publish(broker, "x", channel=channel)[0].prev for channel in "abaab"]
        assert prevs == [0, 0, 1, 3, 2]
        (closed,) = broker.publish([Closed("a")])
        assert closed.prev == 4
        assert self.publish(broker, "x")[0].prev == closed.seq

    def test_what_is_accepted_is_in_the_log_as_the_receipt_says(self, make: Make) -> None:
        """Who has published finds it at once; its time is about now."""
        broker, before = make(), time.time()
        receipts = self.publish(broker, "1", "2", "3", event="goal", type="text/html")
        found = self.told(broker, "a", since=f"{broker.log.epoch}-0")
        assert [(u.epoch, u.seq, u.prev, u.time) for u in found if isinstance(u, Update)] == [
            (receipt.epoch, receipt.seq, receipt.prev, receipt.time) for receipt in receipts
        ]
        assert all(before - 60 <= receipt.time <= time.time() + 60 for receipt in receipts)
        assert not any(receipt.duplicate for receipt in receipts)
        assert {(u.event, u.type) for u in found if isinstance(u, Update)} == {("goal", "text/html")}

    def test_delivering_follows_appending(self, make: Make) -> None:
        """Whoever is woken finds what it is woken for: the names that are delivered have something new in the log."""
        seen: dict[str, int] = {}
        broker = make(deliver=lambda names: seen.update({name: broker.log.last([name]) for name in names}))
        (a,) = self.publish(broker, "1", channel="a")
        until(lambda: seen.get("a") == a.seq)
        b, a = broker.publish([Update("b", b"1"), Update("a", b"2")])
        until(lambda: (seen.get("a"), seen.get("b")) == (a.seq, b.seq))

    # One cursor.

    def test_one_cursor_is_good_for_every_set_of_channels(self, make: Make) -> None:
        """Made on any channels, it resumes any others, in SEQ order over all of them."""
        broker = make()
        receipts = [self.publish(broker, str(n), channel="abc"[n % 3])[0] for n in range(1, 10)]
        for place, receipt in enumerate(receipts, 1):
            later = range(place + 1, 10)
            assert self.texts(self.told(broker, "c", "a", since=receipt.id)) == [str(n) for n in later if n % 3 != 1]
            assert self.texts(self.told(broker, "b", since=receipt.id)) == [str(n) for n in later if n % 3 == 1]
        assert self.told(broker, "a", "b", "c", since=receipts[-1].id) == []

    def test_without_a_cursor_the_recent_ones_come_first(self, make: Make) -> None:
        """So many of each channel, in SEQ order."""
        broker = make()
        for n in range(1, 10):
            self.publish(broker, str(n), channel="ab"[n % 2])
        assert self.texts(self.told(broker, "a", "b", since=None)) == ["8", "9"]
        assert self.texts(self.told(broker, "a", "b", since=None, last=2)) == ["6", "7", "8", "9"]

    # Gaps.

    def gap(self, broker: Broker, *names: str, since: str) -> Gap | None:
        """The one gap that is told, before all else, or None."""
        told = self.told(broker, *names, since=since)
        gaps = [each for each in told if isinstance(each, Gap)]
        assert gaps == [each for each in told[:1] if isinstance(each, Gap)]
        updates = [each for each in told if isinstance(each, Update)]
        assert not gaps or gaps[0].first == (updates[0].id if updates else None)
        return gaps[0] if gaps else None

    def exactly(self, broker: Broker, receipts: Sequence[Receipt], kept: int) -> None:
        """Of these updates of one channel the last ``kept`` are: a gap is told to who lacks one of the others only."""
        for place, receipt in enumerate(receipts, 1):
            gap = self.gap(broker, "a", since=receipt.id)
            if place < len(receipts) - kept:
                assert gap and (gap.since, gap.reason) == (receipt.id, "trimmed")
            else:
                assert gap is None
            told = self.told(broker, "a", since=receipt.id)
            assert len([each for each in told if isinstance(each, Update)]) == min(kept, len(receipts) - place)

    def test_what_is_trimmed_by_count_is_a_gap(self, make: Make) -> None:
        """``history`` updates are kept; exactly the cursors that lack one that is not are told so."""
        broker = make(rules=Rules(Rule(history=4)))
        self.exactly(broker, self.publish(broker, *map(str, range(10))), kept=4)

    def test_what_is_trimmed_by_bytes_is_a_gap(self, make: Make) -> None:
        """``history_bytes`` of data are kept, and the newest whatever its size."""
        broker = make(rules=Rules(Rule(history_bytes=100)))
        receipts = self.publish(broker, *["x" * 30] * 10)
        self.exactly(broker, receipts, kept=3)
        receipts += self.publish(broker, "x" * 1000)
        self.exactly(broker, receipts, kept=1)

    def test_what_is_trimmed_by_age_is_a_gap(self, make: Make) -> None:
        """``history_seconds`` it is kept, the newest too; who had it all has no gap."""
        broker = make(rules=Rules(Rule(history_seconds=30)))
        receipts = self.publish(broker, *map(str, range(5)))
        self.exactly(broker, receipts, kept=5)
        self.let_pass(broker, 40)
        self.exactly(broker, receipts, kept=0)

    def test_a_forgotten_channel_is_a_gap(self, make: Make) -> None:
        """A minute after it was emptied it costs nothing any more, and its last SEQ is known all the same."""
        broker = make(rules=Rules(Rule(history_seconds=30)))
        receipts = self.publish(broker, "1", "2")
        self.let_pass(broker, 30 + REMEMBERED + 30)
        assert not broker.log.exists("a")
        self.exactly(broker, receipts, kept=0)
        receipts += self.publish(broker, "3")
        self.exactly(broker, receipts, kept=1)
        assert receipts[-1].prev >= receipts[-2].seq

    def test_a_channel_with_subscribers_is_not_forgotten(self, make: Make) -> None:
        """However long nothing is published to it."""
        broker = make(rules=Rules(Rule(history_seconds=30)))
        self.publish(broker, "1")
        self.let_pass(broker, 500, used={"a"})
        assert broker.log.exists("a")

    def test_a_channel_that_was_never_published_to_has_no_gap(self, make: Make) -> None:
        """Whatever happened to others."""
        broker = make(rules=Rules(Rule(history=1)))
        first, *_ = self.publish(broker, *map(str, range(10)), channel="b")
        assert self.told(broker, "a", since=first.id) == []
        assert self.texts(self.told(broker, "a", "b", since=first.id)) == ["gap trimmed", "9"]

    def test_a_gap_of_several_channels_is_told_once(self, make: Make) -> None:
        """For all of them, however many pages it takes to read what is kept."""
        broker = make(rules=Rules(Rule(), {"a": Rule(history=2)}))
        for n in range(40):
            self.publish(broker, str(n), channel="ab"[n % 2])
        told = self.told(broker, "a", "b", since=f"{broker.log.epoch}-0")
        kept = [str(n) for n in range(40) if n % 2 or n >= 36]
        assert self.texts(told) == ["gap trimmed", *kept]

    @pytest.mark.parametrize(
        ("since", "reason"),
        [
            ("0therep0-3", "epoch"),
            ("{epoch}-6", "future"),
            ("{epoch}-999999999999999999", "future"),
            ("{epoch}-1000000000000000000", "unknown"),
            ("{epoch}--1", "unknown"),
            ("rubbish", "unknown"),
            ("x" * 4000, "unknown"),
            ("9" * 4400, "unknown"),
        ],
        ids=lambda text: text[:20],
    )
    def test_a_cursor_that_makes_no_sense_is_a_gap(self, make: Make, since: str, reason: str) -> None:
        """It is quoted, cut at 64 characters; then all that is kept follows."""
        broker = make()
        self.publish(broker, *"12345")
        since = since.format(epoch=broker.log.epoch)
        gap = self.gap(broker, "a", since=since)
        assert gap == Gap(since[:64], f"{broker.log.epoch}-1", reason)
        assert self.texts(self.told(broker, "a", since=since))[1:] == list("12345")

    # Deleting.

    def test_the_end_of_a_channel_comes_in_its_place(self, make: Make) -> None:
        """It takes a SEQ of its own; after it the answer ends, and who comes back with its id reads on."""
        broker = make()
        first, *_ = self.publish(broker, "1", "2", channel="b")
        self.publish(broker, "a1")
        (closed,) = broker.publish([Closed("a")])
        self.publish(broker, "3", channel="b")
        told = self.told(broker, "a", "b", since=first.id)
        assert self.texts(told) == ["2", "closed a"]
        assert told[-1].id == closed.id == f"{broker.log.epoch}-{first.seq + 3}"  # type: ignore[union-attr]
        assert self.texts(self.told(broker, "a", "b", since=closed.id)) == ["3"]

    def test_a_deletion_is_told_and_is_no_gap(self, make: Make) -> None:
        """To every cursor that is older, though nothing before it is kept; a new reader simply waits."""
        broker = make(rules=Rules(Rule(history=2)))
        receipts = self.publish(broker, *"12345")
        (closed,) = broker.publish([Closed("a")])
        for receipt in receipts:
            assert self.texts(self.told(broker, "a", since=receipt.id)) == ["closed a"]
        assert self.told(broker, "a", since=closed.id) == []
        assert self.told(broker, "a", since=None) == []

    def test_a_minute_after_it_a_deletion_is_a_gap(self, make: Make) -> None:
        """Who has been told of it has none."""
        broker = make()
        (receipt,) = self.publish(broker, "1")
        (closed,) = broker.publish([Closed("a")])
        self.let_pass(broker, REMEMBERED + 1)
        assert self.texts(self.told(broker, "a", since=receipt.id)) == ["gap trimmed"]
        assert self.told(broker, "a", since=closed.id) == []

    def test_a_channel_made_anew_is_a_gap_at_once(self, make: Make) -> None:
        """For who was not told of its end; the others read on."""
        broker = make()
        (receipt,) = self.publish(broker, "1")
        (closed,) = broker.publish([Closed("a")])
        self.publish(broker, "2")
        assert self.texts(self.told(broker, "a", since=receipt.id)) == ["gap trimmed", "2"]
        assert self.texts(self.told(broker, "a", since=closed.id)) == ["2"]

    def test_an_unknown_channel_can_not_be_deleted(self, make: Make) -> None:
        """Never published nor declared; a declared one can."""
        broker = make(rules=Rules(Rule(), {"declared": Rule()}))
        broker.log.open("waited.for")
        for name in ("unknown", "waited.for"):
            with pytest.raises(NotFound, match=name):
                broker.publish([Closed(name)])
        assert broker.log.head == 0
        broker.publish([Closed("declared")])
        assert self.texts(self.told(broker, "declared", since=f"{broker.log.epoch}-0")) == ["closed declared"]

    # Keys.

    def test_a_key_is_accepted_once_for_each_channel(self, make: Make) -> None:
        """Again, it publishes nothing and gets the first place; on another channel it is another key."""
        broker = make()
        (first,) = self.publish(broker, "1", key="k")
        (again,) = self.publish(broker, "other data", key="k")
        assert again.duplicate and (again.id, again.prev, again.time) == (first.id, first.prev, first.time)
        (other,) = self.publish(broker, "2", channel="b", key="k")
        assert not other.duplicate and other.seq == 2
        assert self.texts(self.told(broker, "a", since=f"{broker.log.epoch}-0")) == ["1"]

    def test_a_key_outlives_what_it_was_for(self, make: Make) -> None:
        """The update may be trimmed, too old, or deleted with its channel; the channel may be forgotten."""
        broker = make(rules=Rules(Rule(history=1, history_seconds=30)))
        (first,) = self.publish(broker, "1", key="k")
        self.publish(broker, "2")
        assert self.publish(broker, "1", key="k")[0].id == first.id
        broker.publish([Closed("a")])
        assert self.publish(broker, "1", key="k")[0].id == first.id
        self.publish(broker, "3")
        self.let_pass(broker, 200)
        assert not broker.log.exists("a")
        assert self.publish(broker, "1", key="k")[0].duplicate
        assert not broker.log.exists("a")

    def test_a_key_is_forgotten_after_its_time(self, make: Make) -> None:
        """``idempotency_seconds`` it is remembered."""
        broker = make(idempotency_seconds=100)
        self.publish(broker, "1", key="k")
        self.let_pass(broker, 90)
        assert self.publish(broker, "1", key="k")[0].duplicate
        self.let_pass(broker, 110)
        assert not self.publish(broker, "1", key="k")[0].duplicate

    def test_a_key_may_come_twice_in_a_batch(self, make: Make) -> None:
        """The second is the duplicate of the first."""
        broker = make()
        one, two, three = self.publish(broker, "1", "2", "3", key="k")
        assert (two.id, three.id, one.duplicate, two.duplicate, three.duplicate) == (one.id, one.id, False, True, True)
        assert broker.log.head == 1

    # Batches.

    def test_a_batch_is_in_order_and_without_others_between(self, make: Make) -> None:
        """Its places follow one another."""
        broker = make()
        receipts = broker.publish([Update("ab"[n % 2], str(n).encode()) for n in range(250)])
        assert [receipt.seq for receipt in receipts] == list(range(1, 251))
        told = self.told(broker, "a", "b", since=f"{broker.log.epoch}-50")
        assert self.texts(told) == [str(n) for n in range(50, 250)]

    def test_a_batch_with_too_many_channels_is_refused_whole(self, make: Make) -> None:
        """Nothing of it is published, and no key is remembered."""
        broker = make(max_channels=3)
        self.publish(broker, "1")
        batch = [Update("a", b"2", key="k"), *(Update(f"new{n}", b"x") for n in range(3))]
        with pytest.raises(TooManyChannels, match="COMET_MAX_CHANNELS"):
            broker.publish(batch)
        assert broker.log.head == 1 and not broker.log.exists("new0")
        assert not any(receipt.duplicate for receipt in broker.publish(batch[:3]))

    def test_channels_of_comets_own_count_for_nobody(self, make: Make) -> None:
        """They find room, and take none."""
        broker = make(max_channels=2)
        for _ in "12":
            broker.publish([OwnUpdate(REVOKED, b"1"), OwnUpdate("comet.x", b"1"), OwnUpdate("comet.y", b"1")])
        self.publish(broker, "1", channel="Comet.a")
        self.publish(broker, "1", channel="comet")
        with pytest.raises(TooManyChannels):
            self.publish(broker, "1", channel="b")
        broker.publish([OwnUpdate("comet.z", b"1")])

    def test_a_batch_with_an_unknown_deletion_is_refused_whole(self, make: Make) -> None:
        """Nothing of it is published."""
        broker = make()
        with pytest.raises(NotFound):
            broker.publish([Update("a", b"1"), Closed("unknown")])
        assert broker.log.head == 0

    # Sizes.

    def test_any_bytes_come_out_as_they_went_in(self, make: Make) -> None:
        """Binary, large, empty; with all that an update has."""
        broker = make(rules=Rules(Rule(history_bytes=1 << 30)))
        updates = [
            Update("a", bytes(range(256)) * 4, BINARY, "é\u200b漢😀" * 8, "k" * 128),
            Update("a", b""),
            Update("a", b"\0"),
            Update("a", b"\r\n\r\n--comet\xff\xfe", 'x/y; z="\'; DROP TABLE entry; --"', "'; DROP TABLE entry; --"),
            Update("A~:@-_." + "z" * 121, b"\xf0\x9f" * 131_072),
        ]
        broker.publish(updates)
        told = self.told(broker, "a", updates[-1].channel, since=f"{broker.log.epoch}-0")
        assert [(u.channel, u.data, u.type, u.event) for u in told if isinstance(u, Update)] == [
            (u.channel, u.data, u.type, u.event) for u in updates
        ]

    def test_a_small_page_still_has_one_large_update(self, make: Make) -> None:
        """Whoever asks for little gets on all the same."""
        broker = make()
        self.publish(broker, "x" * 100_000, "y")
        page = broker.since(Position(("a",), 0, broker.log.epoch), size=1, limit=1)
        assert (len(page.entries), page.more, page.seq) == (1, True, 1)

    def test_ten_thousand_channels(self, make: Make) -> None:
        """So many exist together. A new name beyond them is refused, the old ones go on, a forgotten one makes room."""
        broker = make(rules=Rules(Rule(history_seconds=30)), max_channels=10_000)
        names = [f"c{n}" for n in range(10_000)]
        for start in range(0, 10_000, 1000):
            broker.publish([Update(name, name.encode()) for name in names[start : start + 1000]])
        assert broker.log.published == 10_000
        with pytest.raises(TooManyChannels):
            self.publish(broker, "x", channel="one.more")
        self.publish(broker, "again", channel="c5000")
        told = self.told(broker, "c0", "c5000", "c9999", since=f"{broker.log.epoch}-0")
        assert self.texts(told) == ["c0", "c5000", "c9999", "again"]
        self.let_pass(broker, 200, used=set(names[:9999]))
        assert self.publish(broker, "x", channel="one.more")
        assert broker.log.published == 10_000


class LeasesContract:
    """What a broker does whose workers share triggers. Give it a fixture ``pair``: two brokers of one log, started."""

    @pytest.fixture
    def pair(self) -> tuple[Broker, Broker]:
        raise NotImplementedError

    def test_one_worker_at_a_time_has_a_lease(self, pair: tuple[Broker, Broker]) -> None:
        """Another takes over when it is given back or has run out; who comes late publishes nothing."""
        one, two = pair
        assert isinstance(one, Leases)
        assert isinstance(two, Leases)
        lease = one.lease("t", 60)
        assert lease and one.lease("t", 60) == lease
        assert two.lease("t", 60) is None
        assert two.checkpoint("t") is None
        one.publish_under(lease, [Update("a", b"1")], "after\n1")
        assert two.checkpoint("t") == "after\n1"
        assert one.publish_under(lease, [], "after\n2") == []
        assert two.checkpoint("t") == "after\n2"
        one.give_back(lease)
        other = two.lease("t", 0.01)
        assert other and other.fence > lease.fence
        with pytest.raises(LeaseLost, match="another worker runs t now"):
            one.publish_under(lease, [Update("a", b"2")], "after 3")
        assert two.checkpoint("t") == "after\n2"
        until(lambda: one.lease("t", 60), sleep=gevent.sleep)
        assert [update.data for update in one.log.rings["a"]] == [b"1"]


class WatchingContract:
    """What a broker does that knows which channels are watched."""

    def test_a_channel_is_watched_for_as_long_as_was_told(self, make: Make) -> None:
        """The others are not."""
        broker = make()
        assert isinstance(broker, Watches)
        assert broker.watched(["a", "b"]) == set()
        broker.watch({"a": 0.3, "b": 60})
        assert broker.watched(["a", "b", "c"]) == {"a", "b"}
        until(lambda: broker.watched(["a", "b", "c"]) == {"b"})
        assert broker.watched([]) == set()

    def test_what_one_has_told_another_does_not_shorten(self, make: Make) -> None:
        """It counts to the last moment that anybody has named."""
        broker = make()
        assert isinstance(broker, Watches)
        broker.watch({"a": 60})
        broker.watch({"a": 0.01, "b": 0.01})
        until(lambda: broker.watched(["a", "b"]) == {"a"})

    def test_the_first_one_to_watch_wakes(self, make: Make) -> None:
        """Whoever waits for a channel asks again then; the next ones wake nobody."""
        broker = make()
        assert isinstance(broker, Watches)
        woken: list[int] = []
        broker.woken = lambda: woken.append(1)
        broker.watch({"a": 60, "b": 0.1})
        until(lambda: woken == [1], sleep=gevent.sleep)
        broker.watch({"a": 60})
        gevent.sleep(0.2)
        assert woken == [1]
        broker.watch({"b": 60})
        until(lambda: woken == [1, 1], sleep=gevent.sleep)

    def test_nothing_is_published_by_watching(self, make: Make) -> None:
        """It takes no place in the log."""
        broker = make()
        assert isinstance(broker, Watches)
        broker.watch({"a": 60})
        assert broker.log.head == 0 and not broker.log.exists("a")
