"""Ring: one channel's bounded history."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comet.core.ring import OVERHEAD, Ring, weight
from comet.core.rules import Rule
from comet.core.update import Update
from tests.core.exploring import explore
from tests.core.logs import placed


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Bytes of memory that Python objects take, made since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def ring_of(*seqs: int, floor: int = 0, **rule: float) -> Ring:
    ring = Ring(Rule(**rule), floor)  # type: ignore[arg-type]
    for seq in seqs:
        ring.append(placed("a", seq, time=float(seq)))
    return ring


def kept(ring: Ring) -> list[int]:
    return [update.seq for update in ring]


def test_a_new_ring_counts_what_lies_below_the_floor_as_lost() -> None:
    """Without a record of its own a channel may have had anything up to the floor."""
    ring = ring_of(floor=7)
    assert (len(ring), ring.last, ring.lost, ring.newest) == (0, 7, 7, None)
    assert (ring.missed(6), ring.missed(7)) == (7, 0)


def test_more_than_the_count_pushes_out_the_oldest() -> None:
    """``history`` updates are kept; ``lost`` is the newest that is not."""
    ring = ring_of(2, 4, 6, 8, history=3)
    assert (kept(ring), ring.lost, ring.first, ring.last) == ([4, 6, 8], 2, 4, 8)
    assert (ring.missed(1), ring.missed(2), ring.missed(3)) == (2, 0, 0)


def test_more_than_the_bytes_pushes_out_the_oldest() -> None:
    """``history_bytes`` of data are kept."""
    ring = ring_of(history_bytes=10)
    for seq in (1, 2, 3):
        ring.append(placed("a", seq, b"12345"))
    assert (kept(ring), ring.size, ring.lost) == ([2, 3], 10, 1)


def test_the_newest_is_kept_however_large_it_is() -> None:
    """It has not been delivered yet: bytes never push out the newest."""
    ring = ring_of(1, 2, history_bytes=10)
    ring.append(placed("a", 3, b"x" * 100))
    assert (kept(ring), ring.lost) == ([3], 2)


def test_what_is_older_than_the_seconds_is_forgotten() -> None:
    """Age empties a ring, the newest too; what it was is still known."""
    ring = ring_of(10, 20, 30, history_seconds=15.0)
    assert kept(ring) == [20, 30]
    ring.expire(35.0)
    assert kept(ring) == [20, 30]
    ring.expire(100.0)
    assert (kept(ring), ring.lost, ring.last, ring.newest, ring.size, ring.weight) == ([], 30, 30, None, 0, 0)


def test_a_clock_that_goes_back_forgets_nothing() -> None:
    """Only what is too old goes."""
    ring = ring_of(10, 20, history_seconds=5.0)
    ring.append(placed("a", 21, time=1.0))
    ring.expire(0.0)
    assert kept(ring) == [20, 21]


def test_the_end_of_a_channel_forgets_everything() -> None:
    """Closed at 5: nothing is kept, and a reader before it is told the end instead of a gap."""
    ring = ring_of(1, 2)
    ring.close(5, 9.0)
    assert (kept(ring), ring.size, ring.weight) == ([], 0, 0)
    assert (ring.last, ring.lost, ring.closed, ring.closed_at) == (5, 5, 5, 9.0)
    assert (ring.missed(0), ring.missed(4), ring.missed(5)) == (0, 0, 0)


def test_a_channel_made_anew_has_lost_what_was_before() -> None:
    """Published again, it is not closed any more: who was not told has a gap."""
    ring = ring_of(1, 2)
    ring.close(5, 9.0)
    ring.append(placed("a", 8))
    assert (kept(ring), ring.closed) == ([8], 0)
    assert (ring.missed(4), ring.missed(5)) == (5, 0)


def test_what_never_came_here_is_lost_and_so_is_what_is_older() -> None:
    """A ring has no holes: who read over one would miss what belongs there, and not know it."""
    ring = ring_of(1, 2)
    ring.skip(5)
    assert (kept(ring), ring.size, ring.weight, ring.last, ring.lost) == ([], 0, 0, 5, 5)
    ring.close(6, 9.0)
    ring.skip(8)
    assert (ring.closed, ring.missed(7), ring.missed(8)) == (0, 8, 0)


def test_a_conflating_channel_misses_nothing_while_its_newest_is_kept() -> None:
    """Its readers want the newest only; emptied, it has a gap as any other."""
    ring = ring_of(1, 2, 3, history=1, conflate=True, history_seconds=10.0)
    assert ring.missed(0) == 0
    ring.expire(100.0)
    assert ring.missed(0) == 3


def test_the_newest_ones_come_oldest_first() -> None:
    """``recent`` gives so many, and no more than there are."""
    ring = ring_of(1, 2, 3, 4, history=3)
    recent = {count: [update.seq for update in ring.recent(count)] for count in (0, 1, 2, 3, 9)}
    assert recent == {0: [], 1: [4], 2: [3, 4], 3: [2, 3, 4], 9: [2, 3, 4]}
    assert ring.newest is ring.recent(1)[0]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), max_size=40),
    st.integers(1, 6),
    st.lists(st.integers(0, 90)),
)
@explore(300)
def test_a_reader_is_given_exactly_what_is_kept_and_newer(
    steps: list[tuple[int, int]], history: int, readers: list[int]
) -> None:
    """Against a plain list: appending with holes in SEQ, dropping now and then, reading from anywhere."""
    ring, model, seq, lost = Ring(Rule(history=history), 0), [], 0, 0
    for step, drops in steps:
        seq += step
        ring.append(placed("a", seq))
        model.append(seq)
        for _ in range(drops):
            if len(ring):
                ring.drop()
        while len(model) > len(ring):
            lost = model.pop(0)
    assert kept(ring) == model
    assert (ring.lost, ring.last) == (lost, seq)
    for reader in readers:
        assert [update.seq for update in ring.after(reader)] == [place for place in model if place > reader]


def test_what_is_trimmed_is_let_go_at_once(memory: Callable[[], int]) -> None:
    """A full ring takes no more memory whatever is published, although its list is cut only now and then."""
    ring = Ring(Rule(history=100), 0)
    for seq in range(1, 101):
        ring.append(placed("a", seq, bytes(1000)))
    full = memory()
    for seq in range(101, 301):
        ring.append(placed("a", seq, bytes(1000)))
        assert memory() < full + 5000


@pytest.mark.parametrize(
    "fields",
    [{}, {"event": "goal"}, {"event": "\U0001f600" * 128}, {"key": "k" * 128}],
    ids=["plain", "event", "long event", "key"],
)
def test_the_weight_of_an_update_is_what_it_takes(fields: dict[str, str], memory: Callable[[], int]) -> None:
    """Updates as HTTP publishing makes them, each with strings of its own, weigh what memory they take: measured."""
    ring = Ring(Rule(history=1_000_000, history_bytes=1 << 40), 0)

    def fresh(text: str) -> str:
        return text.encode().decode()

    def publish(seq: int) -> None:
        texts = {name: fresh(text) for name, text in fields.items()}
        update = Update(fresh("orders.eu"), bytes(100), fresh("text/plain; charset=utf-8"), **texts)
        ring.append(update.placed(epoch="k3f9tq00", seq=seq, prev=ring.last, time=seq / 7))

    publish(1)
    gc.collect()
    before, weighed = memory(), ring.weight
    for seq in range(1000, 3000):
        publish(seq)
    gc.collect()
    taken = (memory() - before) / 2000
    weighed = (ring.weight - weighed) / 2000
    assert 0.8 * weighed < taken <= weighed
    assert weight(placed("a", 1)) == OVERHEAD + 1
