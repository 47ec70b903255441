"""Log: what one process holds of all channels, and the one rule of gaps."""

from __future__ import annotations

import pytest

from comet.core.cursor import NOWHERE, Cursor
from comet.core.log import QUOTED, Gap, Log, Page, Position
from comet.core.ring import OVERHEAD
from comet.core.rules import Rule
from comet.core.update import Closed, Update
from tests.core.logs import EPOCH, Filled, placed


def gap(page: Page) -> tuple[str, str | None, str] | None:
    return page.gap and (page.gap.since, page.gap.first, page.gap.reason)


# Appending.


def test_entries_must_come_in_order() -> None:
    """One cursor over several channels is safe only so: an entry out of order is a mistake of the broker."""
    log = Log(EPOCH)
    log.append(placed("a", 5))
    for seq in (4, 5):
        with pytest.raises(AssertionError, match="order"):
            log.append(placed("b", seq))


def test_a_log_weighs_what_its_channels_weigh() -> None:
    """The weight follows publishing, trimming, ageing, deleting and forgetting."""
    filled = Filled(history=3, history_seconds=10)
    for size in range(5):
        filled.publish("a", bytes(size))
    filled.publish("b", bytes(7))
    assert filled.log.weight == 4 * OVERHEAD + 2 + 3 + 4 + 7
    filled.delete("a")
    assert filled.log.weight == OVERHEAD + 7
    filled.wait(200)
    assert (filled.log.weight, filled.log.rings) == (0, {})


def test_beyond_the_memory_the_oldest_of_all_channels_goes_first() -> None:
    """The limit holds over all channels, and what goes is a gap."""
    filled = Filled(limit=10 * (OVERHEAD + 100))
    held = []
    for place in range(20):
        filled.publish("ab"[place % 2], bytes(100))
        held.append(filled.log.weight // (OVERHEAD + 100))
    # A little more goes than must: a full log is not tidied for each update.
    assert held == [1, 2, 3, 4, 5, 6, 7, 8, *[9, 10] * 6]
    page = filled.read("a", "b")
    assert gap(page) == (f"{EPOCH}-0", page.entries[0].id, "trimmed")
    assert filled.ids(page) == list(range(21 - len(page.entries), 21))
    assert len(page.entries) in (9, 10)


def test_a_log_too_small_for_one_update_keeps_nothing_and_says_so() -> None:
    """Even then nothing is lost silently."""
    filled = Filled(limit=10)
    filled.publish("a")
    assert gap(filled.read("a")) == (f"{EPOCH}-0", None, "trimmed")


def test_a_channel_exists_by_publishing_or_by_declaration() -> None:
    """A subscription alone makes no channel, and leaves nothing behind."""
    filled = Filled(declared={"declared": Rule(), "prefix*": Rule()})
    log = filled.log
    log.open("waited")
    filled.publish("published")
    assert {name: log.exists(name) for name in ("waited", "published", "declared", "prefix1")} == {
        "waited": False,
        "published": True,
        "declared": True,
        "prefix1": False,
    }
    assert log.published == 1
    log.release("waited")
    log.release("published")
    assert list(log.rings) == ["published"]


# Time.


def test_a_channel_without_history_and_subscribers_is_forgotten_after_a_minute() -> None:
    """Forgotten, it costs nothing; its last SEQ is in the floor, so that it is a gap even so."""
    filled = Filled(history_seconds=10)
    filled.publish("a")
    filled.publish("b")
    filled.wait(30)
    assert filled.log.exists("a")
    filled.publish("b")
    filled.wait(45)
    assert (filled.log.exists("a"), filled.log.floor, filled.log.published) == (False, 1, 1)
    assert gap(filled.read("a", seq=0)) == (f"{EPOCH}-0", None, "trimmed")
    assert filled.read("a", seq=1).gap is None


@pytest.mark.parametrize("why", ["subscribed", "declared"])
def test_a_channel_that_somebody_needs_is_not_forgotten(why: str) -> None:
    """Subscribers and a declaration hold an empty channel."""
    filled = Filled(history_seconds=10, declared={"declared": Rule(history_seconds=10)})
    filled.publish(why)
    filled.wait(300, used={"subscribed"})
    assert filled.log.exists(why) and not len(filled.log.rings[why])
    filled.wait(59)
    assert filled.log.exists(why)


def test_a_minute_without_subscribers_must_be_whole() -> None:
    """Who comes and goes begins it anew."""
    filled = Filled(history_seconds=10)
    filled.publish("a")
    for _ in range(10):
        filled.wait(50)
        filled.wait(1, used={"a"})
    assert filled.log.exists("a")


def test_a_deleted_channel_is_forgotten_after_a_minute() -> None:
    """Its end is told as such for 60 s; then it is nothing but a gap, and its record is free."""
    filled = Filled()
    filled.publish("a")
    filled.delete("a")
    filled.wait(59)
    assert isinstance(filled.read("a", seq=1).entries[0], Closed)
    filled.wait(3)
    assert (filled.log.rings, filled.log.floor) == ({}, 2)
    assert gap(filled.read("a", seq=1)) == (f"{EPOCH}-1", None, "trimmed")


def test_a_long_tick_lets_others_run() -> None:
    """It yields after each 200 channels, and copes with what they do meanwhile."""
    filled = Filled(history_seconds=10)
    for place in range(450):
        filled.publish(f"c{place}")
    filled.wait(11)
    filled.now += 60
    ticking = filled.log.tick(filled.now, ())
    next(ticking)
    filled.log.forget("c300")
    filled.log.forget("c301")
    filled.publish("c301")
    assert len(list(ticking)) == 1
    assert list(filled.log.rings) == ["c301"]


# Beginning.


def test_who_begins_without_a_cursor_gets_the_recent_updates_of_each_channel() -> None:
    """The rule's ``replay`` of each, in SEQ order over all; its cursor is the place before the first."""
    filled = Filled(replay=2, declared={"b": Rule(replay=1)})
    for channel in "aabba":
        filled.publish(channel)
    start = filled.log.begin(("a", "b"), None, None)
    assert [update.seq for update in start.entries] == [2, 4, 5]
    assert (start.cursor, start.position.seq) == (Cursor(EPOCH, 1), 5)
    assert filled.log.read(start.position) == Page(None, [], EPOCH, 5, False, False)


@pytest.mark.parametrize(("last", "seqs"), [(0, []), (1, [4, 5]), (2, [2, 3, 4, 5]), (9, [1, 2, 3, 4, 5])])
def test_the_number_of_recent_updates_can_be_asked_for(last: int, seqs: list[int]) -> None:
    """``last`` is for each channel; more than is kept is cut."""
    filled = Filled()
    for channel in "aabba":
        filled.publish(channel)
    start = filled.log.begin(("a", "b"), "", last)
    assert [update.seq for update in start.entries] == seqs
    assert start.cursor == Cursor(EPOCH, seqs[0] - 1 if seqs else 5)


def test_who_resumes_from_the_cursor_of_an_answer_gets_what_it_gave() -> None:
    """At least that: the cursor lies before the first update of the answer."""
    filled = Filled(replay=2)
    for channel in "abaab":
        filled.publish(channel)
    start = filled.log.begin(("a", "b"), None, None)
    again = filled.log.begin(("a", "b"), str(start.cursor), None)
    assert {update.seq for update in start.entries} <= set(filled.ids(filled.log.read(again.position)))


def test_conflating_begins_with_the_newest_alone() -> None:
    """A channel or a wire that conflates gets one update of each channel, or none where none is asked for."""
    filled = Filled(replay=5, declared={"b": Rule(replay=5, conflate=True)})
    for channel in "aabb":
        filled.publish(channel)

    def begin(last: int | None, *, newest_only: bool) -> list[int]:
        return [update.seq for update in filled.log.begin(("a", "b"), None, last, newest_only=newest_only).entries]

    assert begin(None, newest_only=False) == [1, 2, 4]
    assert begin(None, newest_only=True) == [2, 4]
    assert begin(0, newest_only=True) == []


def test_a_channel_that_does_not_exist_yet_simply_waits() -> None:
    """There is no gap and nothing to read, at the head of the log."""
    filled = Filled()
    filled.publish("other")
    start = filled.log.begin(("a",), None, None)
    assert (start.entries, start.cursor) == ([], Cursor(EPOCH, 1))
    assert not filled.log.read(start.position)


def test_a_good_cursor_is_taken_as_it_is() -> None:
    """The answer begins there and says so."""
    filled = Filled()
    for _ in range(3):
        filled.publish("a")
    start = filled.log.begin(("a",), f"{EPOCH}-1", 9)
    assert (start.entries, start.cursor, start.position) == ((), Cursor(EPOCH, 1), Position(("a",), 1, EPOCH))


@pytest.mark.parametrize(
    ("since", "reason", "cursor"),
    [
        ("otherepoch-1", "epoch", Cursor("otherepoch", 1)),
        (f"{EPOCH}-4", "future", NOWHERE),
        (f"{EPOCH}-{'9' * 18}", "future", NOWHERE),
        (f"{EPOCH}-{'9' * 19}", "unknown", NOWHERE),
        ("rubbish", "unknown", NOWHERE),
        ("x" * 4000, "unknown", NOWHERE),
        ("\ud800\0\n", "unknown", NOWHERE),
        (str(NOWHERE), "epoch", NOWHERE),
    ],
)
def test_a_cursor_that_makes_no_sense_is_a_gap(since: str, reason: str, cursor: Cursor) -> None:
    """It is quoted as sent, cut at 64 characters; then everything kept follows. Who resumes from the answer's own
    cursor before having read that is told again."""
    filled = Filled(history=2)
    for _ in range(3):
        filled.publish("a")
    start = filled.log.begin(("a",), since, None)
    assert start.cursor == cursor
    page = filled.log.read(start.position)
    assert page == Page(Gap(since[:QUOTED], f"{EPOCH}-2", reason), page.entries, EPOCH, 3, False, False)
    assert filled.ids(page) == [2, 3]
    start.position.move(page.epoch, page.seq, page.told)
    assert not filled.log.read(start.position)
    again = filled.log.begin(("a",), str(start.cursor), None)
    assert filled.log.read(again.position).gap is not None


def test_a_gap_with_nothing_kept_leads_to_the_head() -> None:
    """So a poll is told once, and waits with the head as its cursor the next time."""
    filled = Filled()
    filled.publish("other")
    start = filled.log.begin(("a",), "rubbish", None)
    page = filled.log.read(start.position)
    assert page and (gap(page), page.seq, page.entries) == (("rubbish", None, "unknown"), 1, [])
    again = filled.log.begin(("a",), str(filled.log.cursor(page.seq)), None)
    assert not filled.log.read(again.position)


# Reading.


def test_several_channels_are_read_in_the_order_of_all() -> None:
    """By SEQ, whatever the order of the names; each reader its own channels."""
    filled = Filled()
    for channel in "abcabc":
        filled.publish(channel)
    assert filled.ids(filled.read("c", "a")) == [1, 3, 4, 6]
    assert filled.ids(filled.read("c", "a", seq=3)) == [4, 6]
    assert filled.ids(filled.read("b")) == [2, 5]
    assert filled.read("b", seq=2).seq == 6


def test_a_page_ends_at_its_limit_and_goes_on_from_there() -> None:
    """``more`` says that it is not the last; the last one leads to the head."""
    filled = Filled()
    for _ in range(5):
        filled.publish("a")
    page = filled.read("a", limit=2)
    assert (filled.ids(page), page.seq, page.more) == ([1, 2], 2, True)
    page = filled.read("a", seq=2, limit=3)
    assert (filled.ids(page), page.seq, page.more) == ([3, 4, 5], 5, False)


def test_a_page_ends_at_its_size_but_has_one_update_at_least() -> None:
    """An update that is larger than a page is a page."""
    filled = Filled()
    for size in (10, 10, 50, 10):
        filled.publish("a", bytes(size))
    sizes, seq = [], 0
    while seq < 4:
        page = filled.read("a", seq=seq, size=20)
        sizes.append(len(page.entries))
        seq = page.seq
    assert sizes == [2, 1, 1]


def test_a_gap_is_told_once_however_many_pages_follow() -> None:
    """A reader of several channels is between what is lost of one and what is kept of another: told once for all."""
    filled = Filled(declared={"a": Rule(history=2)})
    for channel in "abababababa":
        filled.publish(channel)
    reader, told, received = filled.at("a", "b", seq=1), [], []
    while reader.seq < filled.log.head:
        page = filled.log.read(reader, limit=1)
        told += [gap(page)] if page.gap else []
        received += filled.ids(page)
        reader.move(page.epoch, page.seq, page.told)
    assert told == [(f"{EPOCH}-1", f"{EPOCH}-2", "trimmed")]
    assert received == [2, 4, 6, 8, 9, 10, 11]
    assert reader.told == ()


def test_what_is_lost_while_pages_are_read_is_told_too() -> None:
    """What was told is remembered by channel: a new loss on another one is a gap of its own, at its place."""
    filled = Filled(history=2)
    for channel in "aaabb":
        filled.publish(channel)
    reader = filled.at("a", "b", seq=0)
    page = filled.log.read(reader, limit=1)
    assert (gap(page), filled.ids(page)) == ((f"{EPOCH}-0", f"{EPOCH}-2", "trimmed"), [2])
    reader.move(page.epoch, page.seq, page.told)
    filled.publish("b")
    page = filled.log.read(reader, limit=1)
    assert (gap(page), filled.ids(page)) == ((f"{EPOCH}-2", f"{EPOCH}-3", "trimmed"), [3])


def test_a_reader_that_fell_behind_is_told_at_its_place() -> None:
    """The gap begins at its own cursor."""
    filled = Filled(history=2)
    reader = filled.at("a", seq=0)
    for _ in range(5):
        filled.publish("a")
    assert gap(filled.log.read(reader)) == (f"{EPOCH}-0", f"{EPOCH}-4", "trimmed")


def test_a_channel_that_was_emptied_is_a_gap() -> None:
    """Emptied by age, with nothing to follow; a reader that has had everything has none."""
    filled = Filled(history_seconds=10)
    filled.publish("a")
    filled.publish("a")
    filled.wait(20)
    assert gap(filled.read("a", seq=1)) == (f"{EPOCH}-1", None, "trimmed")
    assert not filled.read("a", seq=2)


def test_other_channels_losses_are_no_gap() -> None:
    """A reader has a gap on its own channels only."""
    filled = Filled(history=1)
    filled.publish("a")
    for _ in range(5):
        filled.publish("b")
    assert filled.read("a", seq=0).gap is None
    assert filled.read("a", "b", seq=0).gap is not None


def test_a_conflating_channel_gives_its_newest() -> None:
    """In its place among the others; and nothing to who has it."""
    filled = Filled(declared={"a": Rule(conflate=True, history=1)})
    for channel in "abab":
        filled.publish(channel)
    page = filled.read("a", "b")
    assert (page.gap, filled.ids(page)) == (None, [2, 3, 4])
    assert filled.ids(filled.read("a", seq=2)) == [3]
    assert filled.ids(filled.read("a", seq=3)) == []


def test_a_wire_that_conflates_gets_the_newest_of_each_channel() -> None:
    """``newest_only`` holds for all channels of the reader."""
    filled = Filled()
    for channel in "abab":
        filled.publish(channel)
    assert filled.ids(filled.log.read(filled.at("a", "b", newest_only=True))) == [3, 4]
    assert filled.ids(filled.log.read(filled.at("a", "b", seq=3, newest_only=True))) == [4]


def test_a_conflating_channel_that_was_emptied_is_a_gap() -> None:
    """There is nothing to show, and it is said."""
    filled = Filled(conflate=True, history_seconds=10)
    filled.publish("a")
    filled.wait(20)
    assert gap(filled.read("a")) == (f"{EPOCH}-0", None, "trimmed")


# Deleting.


def test_the_end_of_a_channel_comes_in_its_place_and_ends_the_answer() -> None:
    """What was published to other channels before it comes first, what comes after it waits for the next answer."""
    filled = Filled()
    for channel in "ab":
        filled.publish(channel)
    closed = filled.delete("a")
    filled.publish("b")
    page = filled.read("a", "b")
    assert (page.gap, page.entries[-1], filled.ids(page)) == (None, closed, [2, 3])
    assert (page.seq, page.more, page.ended) == (3, False, True)
    page = filled.read("a", "b", seq=3)
    assert (filled.ids(page), page.ended) == ([4], False)


def test_a_cursor_older_than_the_end_is_told_the_end_and_no_gap() -> None:
    """Although everything before it is gone. It counts for who comes back, too."""
    filled = Filled(history=1)
    for _ in range(3):
        filled.publish("a")
    filled.delete("a")
    start = filled.log.begin(("a",), f"{EPOCH}-1", None)
    page = filled.log.read(start.position)
    assert (page.gap, page.entries, page.ended) == (None, [Closed("a", filled.now, EPOCH, 4)], True)


def test_who_was_told_the_end_waits_for_a_new_channel_of_the_name() -> None:
    """An EventSource comes back by itself with the id of the end; so does who begins without a cursor."""
    filled = Filled()
    filled.publish("a")
    closed = filled.delete("a")
    for since in (closed.id, None):
        start = filled.log.begin(("a",), since, None)
        assert not start.entries and not filled.log.read(start.position)
    reader = start.position
    filled.publish("a")
    assert filled.ids(filled.log.read(reader)) == [3]


def test_a_minute_later_the_end_is_a_gap() -> None:
    """With or without a record."""
    filled = Filled()
    filled.publish("a")
    filled.delete("a")
    filled.wait(61, used={"a"})
    assert "a" in filled.log.rings
    assert gap(filled.read("a", seq=1)) == (f"{EPOCH}-1", None, "trimmed")
    assert not filled.read("a", seq=2)


def test_a_channel_made_anew_is_a_gap_for_who_was_not_told_its_end() -> None:
    """At once, and then the new channel's updates."""
    filled = Filled()
    filled.publish("a")
    filled.delete("a")
    filled.publish("a")
    page = filled.read("a", seq=1)
    assert (gap(page), filled.ids(page), page.ended) == ((f"{EPOCH}-1", f"{EPOCH}-3", "trimmed"), [3], False)
    assert filled.read("a", seq=2).gap is None


def test_a_declared_channel_can_end_before_it_began() -> None:
    """Its subscribers are told all the same."""
    filled = Filled(declared={"a": Rule()})
    filled.delete("a")
    assert filled.read("a").ended


# Forgetting.


def test_a_channel_without_a_record_has_lost_what_lies_below_the_floor() -> None:
    """It may have been any of those that were forgotten: told too often, never too seldom."""
    filled = Filled(history_seconds=10)
    for channel in "ab":
        filled.publish(channel)
    filled.wait(100)
    filled.publish("c")
    assert gap(filled.read("never", seq=1)) == (f"{EPOCH}-1", None, "trimmed")
    assert filled.read("never", seq=2).gap is None
    assert filled.log.last(("never",)) == 2
    assert filled.log.last(("never", "c")) == 3


def test_a_forgotten_channel_that_is_published_to_again_still_has_its_gap() -> None:
    """The floor is in its new record."""
    filled = Filled(history_seconds=10)
    filled.publish("a")
    filled.publish("a")
    filled.wait(100)
    filled.publish("a")
    page = filled.read("a", seq=1)
    assert (gap(page), filled.ids(page)) == ((f"{EPOCH}-1", f"{EPOCH}-3", "trimmed"), [3])


def test_a_record_that_was_opened_keeps_its_own_count() -> None:
    """What is forgotten of others later is no gap of a channel that has a record since."""
    filled = Filled(history_seconds=10)
    filled.publish("b")
    filled.log.open("a")
    filled.publish("b")
    filled.wait(100, used={"a"})
    filled.publish("c")
    assert (filled.log.floor, filled.read("a", seq=1).gap) == (2, None)


def test_an_update_is_all_that_a_page_counts_as_its_first() -> None:
    """A gap before an end alone has no first update."""
    filled = Filled(history=1, declared={"b": Rule(history=1)})
    for channel in "aab":
        filled.publish(channel)
    filled.delete("b")
    filled.wait(70, used="ab")
    filled.publish("a")
    filled.delete("a")
    page = filled.read("a", "b")
    assert (gap(page), page.ended) == ((f"{EPOCH}-0", None, "trimmed"), True)
    assert not any(isinstance(entry, Update) for entry in page.entries)


# A window on the log of a broker that others write to as well.


def test_a_channel_of_the_broker_is_known_before_it_is_read() -> None:
    """It exists, with nothing of it here: what it has lost is a gap, what comes next is read."""
    filled = Filled()
    filled.log.head = 9
    filled.log.adopt("a", 7)
    assert filled.log.exists("a") and filled.log.published == 1
    assert filled.log.lacks(("a",), 6) and not filled.log.lacks(("a",), 7)
    filled.publish("a")
    assert filled.ids(filled.read("a", seq=7)) == [10]


def test_an_entry_that_names_an_unknown_one_before_it_is_a_hole() -> None:
    """``prev`` is the alarm: what lies before the hole is dropped, and who stands there has a gap."""
    filled = Filled()
    filled.publish("a")
    filled.publish("a")
    filled.log.append(placed("a", 9, prev=5, time=filled.now))
    assert (filled.ids(filled.read("a", seq=5)), filled.read("a", seq=5).gap) == ([9], None)
    assert gap(filled.read("a", seq=2)) == (f"{EPOCH}-2", f"{EPOCH}-9", "trimmed")
    assert filled.log.weight == OVERHEAD + 1


def test_what_a_broker_has_dropped_before_it_came_here_is_skipped() -> None:
    """What has come here already stays."""
    filled = Filled()
    filled.publish("a")
    filled.publish("a")
    filled.publish("b")
    assert not filled.log.skip("a", 2)
    assert filled.ids(filled.read("a", seq=0)) == [1, 2]
    assert filled.log.skip("a", 3)
    assert gap(filled.read("a", seq=2)) == (f"{EPOCH}-2", None, "trimmed")
    assert filled.log.weight == OVERHEAD + 1


@pytest.mark.parametrize(("seq", "reason"), [(3, None), (4, "future"), (102, "future"), (103, None), (104, "future")])
def test_a_cursor_in_a_hole_of_the_numbers_is_one_from_the_future(seq: int, reason: str | None) -> None:
    """Its owner has seen updates that this log never had: it is told, and given what is kept."""
    filled = Filled()
    for _ in range(3):
        filled.publish("a")
    filled.log.holes.append((3, 103))
    filled.log.head = 103
    page = filled.log.read(filled.log.begin(("a",), f"{EPOCH}-{seq}", None).position)
    assert (page.gap and page.gap.reason) == reason
    assert filled.ids(page) == ([1, 2, 3] if reason else [])


def test_a_log_that_begins_anew_tells_all_its_readers() -> None:
    """Those that are reading and those that come back; their channels stay open. No number is taken for another's."""
    filled = Filled()
    for channel in "aab":
        filled.publish(channel)
    filled.log.holes.append((3, 9))
    reader = filled.at("a", "b", seq=3)
    assert not filled.log.has_news(reader)
    filled.log.restart("another0")
    assert (filled.log.head, filled.log.weight, filled.log.published, filled.log.holes) == (0, 0, 0, [])
    assert list(filled.log.rings) == ["a", "b"] and not filled.log.exists("a")
    assert filled.log.has_news(reader)
    filled.publish("b")
    page = filled.log.read(reader)
    assert (gap(page), filled.ids(page)) == ((f"{EPOCH}-3", "another0-1", "epoch"), [1])
    reader.move(page.epoch, page.seq, page.told)
    assert not filled.log.has_news(reader)
    again = filled.log.begin(("a",), f"{EPOCH}-3", None)
    assert gap(filled.log.read(again.position)) == (f"{EPOCH}-3", None, "epoch")


def test_a_cursor_that_made_no_sense_is_quoted_though_the_log_begins_anew() -> None:
    """The gap that a reader brought along is the one it is told."""
    filled = Filled()
    filled.publish("a")
    reader = filled.log.begin(("a",), "rubbish", None).position
    assert filled.log.has_news(reader)
    filled.log.restart("another0")
    assert gap(filled.log.read(reader)) == ("rubbish", None, "unknown")


def test_a_gap_beyond_the_end_of_a_page_is_told_once() -> None:
    """A page that a broker has cut short remembers what was told, also where it is the last for now."""
    filled = Filled(declared={"a": Rule(history=2)})
    for channel in "abaaab":
        filled.publish(channel)
    reader = filled.at("a", "b")
    filled.log.head = 2
    page = filled.log.read(Position(("b", "a"), 0, EPOCH), limit=1)
    assert page.gap and page.told == (0, 3)
    filled.log.head = 6
    reader = Position(("b", "a"), page.seq, EPOCH, told=page.told)
    assert (filled.log.read(reader).gap, filled.ids(filled.log.read(reader))) == (None, [4, 5, 6])
