"""Changes: when each channel was published to last."""

from __future__ import annotations

from comet.core.changes import REMEMBERED
from tests.core.logs import EPOCH, Filled


def test_each_channel_is_told_once_with_its_newest_update() -> None:
    """In the order of the log, and only what changed at that time or later."""
    filled = Filled()
    for channel in "abca":
        filled.publish(channel)
        filled.now += 10
    changes = filled.log.changes
    assert changes.since(0) == [("b", 2), ("c", 3), ("a", 4)]
    assert changes.since(1020) == [("c", 3), ("a", 4)]
    assert changes.since(1020.5) == [("a", 4)]
    assert changes.since(1031) == []


def test_a_change_outlives_the_update() -> None:
    """Whether it was dropped for its age, for lack of memory, or with the record of its channel."""
    filled = Filled(history_seconds=1, limit=1)
    filled.publish("a")
    filled.publish("b")
    filled.wait(300)
    assert filled.log.rings == {}
    assert filled.log.changes.since(1000) == [("a", 1), ("b", 2)]


def test_a_change_is_forgotten_in_the_end() -> None:
    """After the longest time that anybody asks about."""
    filled = Filled()
    filled.publish("a")
    filled.wait(REMEMBERED - 1)
    filled.publish("b")
    filled.wait(2)
    assert filled.log.changes.since(0) == [("b", 2)]
    filled.wait(REMEMBERED)
    assert filled.log.changes.since(0) == []


def test_a_deleted_channel_has_not_changed() -> None:
    """There is nothing to fetch, until it is published to again."""
    filled = Filled()
    filled.publish("a")
    filled.delete("a")
    assert filled.log.changes.since(0) == []
    filled.publish("a")
    assert filled.log.changes.since(0) == [("a", 3)]


def test_a_log_that_begins_anew_knows_of_no_changes() -> None:
    """Nor of the time."""
    filled = Filled()
    filled.publish("a")
    filled.wait(1)
    assert (filled.log.changes.since(0), filled.log.changes.now) == ([("a", 1)], 1001)
    filled.log.restart(EPOCH[::-1])
    assert (filled.log.changes.since(0), filled.log.changes.now) == ([], 0)


def test_nobody_is_told_of_a_channel_of_comets_own() -> None:
    """Its name can't be asked for."""
    filled = Filled()
    filled.publish("comet.x")
    filled.publish("a")
    assert filled.log.changes.since(0) == [("a", 2)]
