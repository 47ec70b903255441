"""The log against a simple model: a list of all that was ever published, and for each channel what is kept of it.

Publishers, deletions, time, the memory limit and readers come in any order. Each reader pages with a small size, is
cut, and comes back with its last cursor. The law is that of the contract: what it received and what it was told to be
lost are together all that was published after its cursor, and have nothing in common; in order, and nothing twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from comet.core.log import Page, Position
from comet.core.ring import OVERHEAD, REMEMBERED
from comet.core.rules import Rule
from comet.core.update import Closed, Update
from tests.core.exploring import explore, uncounted
from tests.core.logs import Filled


LIMITS = {"history": 4, "history_bytes": 50, "history_seconds": 40.0, "replay": 2}
DECLARED = {"c": Rule(**LIMITS, conflate=True), "d*": Rule(**{**LIMITS, "history": 2, "history_seconds": 100.0})}
CHANNELS = ["a", "b", "c", "d1", "d2"]
JUMP = 10
MEMORY = 9 * (OVERHEAD + 15)

channels = st.sampled_from(CHANNELS)
several = st.lists(channels, min_size=1, max_size=4, unique=True).map(tuple)


@dataclass
class Reader:
    """A client, and what it knows. ``told`` is what it knows of losses ahead, in this answer."""

    names: tuple[str, ...]
    newest_only: bool
    position: Position
    cursor: str
    start: int
    received: list[int] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    skipped: set[int] = field(default_factory=set)
    told: dict[str, int] = field(default_factory=dict)

    def forget(self) -> None:
        """All that it has had was of another epoch."""
        self.start = 0
        self.received.clear()
        for told in (self.lost, self.ended, self.skipped, self.told):
            told.clear()


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.filled = Filled(limit=MEMORY, declared=DECLARED, **LIMITS)
        self.log = self.filled.log
        self.published: dict[str, list[int]] = {name: [] for name in CHANNELS}
        self.kept: dict[str, list[Update]] = {name: [] for name in CHANNELS}
        self.ends: dict[str, list[int]] = {name: [] for name in CHANNELS}
        self.told_ends: dict[str, Closed] = {}
        self.records: dict[str, int] = {}  # the floor when the channel's record began
        self.floor = 0
        self.holes: list[int] = []
        self.epochs = 0
        self.readers: list[Reader] = []

    # What happens to the log.

    @rule(name=channels, size=st.integers(0, 30), times=st.integers(1, 4))
    def publish(self, name: str, size: int, times: int) -> None:
        for _ in range(times):
            self.records.setdefault(name, self.floor)
            update = self.filled.publish(name, bytes(size))
            self.published[name].append(update.seq)
            self.told_ends.pop(name, None)
            kept, limits = self.kept[name], self.log.rules[name]
            kept.append(update)
            while len(kept) > limits.history or (len(kept) > 1 and sum(len(u.data) for u in kept) > 50):
                kept.pop(0)
            self.expire(name)
            if self.weight() > MEMORY:
                while self.weight() > MEMORY * 0.9:
                    oldest = min((kept for kept in self.kept.values() if kept), key=lambda kept: kept[0].seq)
                    oldest.pop(0)

    @rule(name=channels)
    def delete(self, name: str) -> None:
        if self.log.exists(name):
            self.records.setdefault(name, self.floor)
            closed = self.filled.delete(name)
            self.ends[name].append(closed.seq)
            self.told_ends[name] = closed
            self.kept[name].clear()

    @rule(seconds=st.sampled_from([1, 5, 45, 65]))
    def wait(self, seconds: int) -> None:
        used = {name for reader in self.readers for name in reader.names}
        self.filled.wait(seconds, used)
        for name in CHANNELS:
            self.expire(name)
            if name in self.told_ends and self.filled.now - self.told_ends[name].time >= REMEMBERED:
                del self.told_ends[name]
        for name in set(self.records) - set(self.log.rings):
            assert not self.kept[name] and name not in self.told_ends and name not in used
            self.forget(name)

    def expire(self, name: str) -> None:
        oldest = self.filled.now - self.log.rules[name].history_seconds
        self.kept[name][:] = [update for update in self.kept[name] if update.time >= oldest]

    def forget(self, name: str) -> None:
        self.floor = max([self.floor, self.records.pop(name), *self.published[name][-1:], *self.ends[name][-1:]])

    @rule()
    def jump(self) -> None:
        """The host has been restarted: some of the newest may be lost, so a part of the numbers is left out."""
        before = self.log.head
        self.log.head += JUMP
        self.log.holes.append((before, self.log.head))
        self.holes += range(before + 1, self.log.head)

    @rule()
    def restart(self) -> None:
        """The broker has lost everything: its log begins anew."""
        self.epochs += 1
        self.log.restart(f"epoch{self.epochs:03}")
        for lists in (self.published, self.kept, self.ends):
            for name in CHANNELS:
                lists[name] = []
        self.told_ends.clear()
        self.holes.clear()
        self.records = dict.fromkeys(self.log.rings, 0)
        self.floor = 0
        for reader in self.readers:
            reader.forget()

    def weight(self) -> int:
        return sum(OVERHEAD + len(u.data) for kept in self.kept.values() for u in kept)

    @invariant()
    def the_log_keeps_what_the_model_keeps(self) -> None:
        assert {name: list(ring) for name, ring in self.log.rings.items()} == {
            name: self.kept[name] for name in self.records
        }
        assert (self.log.floor, self.log.weight) == (self.floor, self.weight())

    # What readers do.

    @rule(names=several, back=st.integers(0, 12), newest_only=st.booleans())
    def resume(self, names: tuple[str, ...], back: int, newest_only: bool) -> None:
        """Somebody comes with a cursor, made by whatever channels."""
        start = max(0, self.log.head - back)
        self.add(names, f"{self.log.epoch}-{start}", 0 if start in self.holes else start, newest_only)

    @rule(
        names=several,
        newest_only=st.booleans(),
        ahead=st.integers(1, 3),
        since=st.sampled_from(["-", "e0000000-3", ""]),
    )
    def resume_with_nonsense(self, names: tuple[str, ...], newest_only: bool, ahead: int, since: str) -> None:
        """A cursor that is garbage, of another epoch, or from the future: all that is kept is new to it."""
        self.add(names, since or f"{self.log.epoch}-{self.log.head + ahead}", 0, newest_only)

    @rule(names=several, back=st.integers(0, 12))
    def look(self, names: tuple[str, ...], back: int) -> None:
        """Somebody reads without subscribing: there is no record of the channels for its sake."""
        start = max(0, self.log.head - back)
        self.read_on(Reader(names, False, Position(names, start, self.log.epoch), f"{self.log.epoch}-{start}", start))

    @rule(names=several, last=st.sampled_from([None, 0, 1, 3]), newest_only=st.booleans())
    def begin(self, names: tuple[str, ...], last: int | None, newest_only: bool) -> None:
        """Somebody comes without a cursor, and is given what is recent."""
        start = self.log.begin(names, None, last, newest_only=newest_only)
        recent = []
        for name in names:
            count = 2 if last is None else last
            if newest_only or self.log.rules[name].conflate:
                count = min(count, 1)
            recent += self.kept[name][-count:] if count else []
        assert list(start.entries) == sorted(recent, key=lambda u: u.seq)
        assert start.cursor.seq == (start.entries[0].seq - 1 if start.entries else self.log.head)
        self.take_in(Reader(names, newest_only, start.position, str(start.cursor), self.log.head))

    def add(self, names: tuple[str, ...], since: str, start: int, newest_only: bool) -> None:
        began = self.log.begin(names, since, None, newest_only=newest_only)
        self.take_in(Reader(names, newest_only, began.position, str(began.cursor), start))

    def take_in(self, reader: Reader) -> None:
        self.readers.append(reader)
        for name in reader.names:
            self.log.open(name)
            self.records.setdefault(name, self.floor)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), size=st.integers(0, 60), limit=st.integers(1, 4), pages=st.integers(1, 3))
    def read(self, data: st.DataObject, size: int, limit: int, pages: int) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        for _ in range(pages):
            self.page(reader, size, limit)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def reconnect(self, data: st.DataObject) -> None:
        """Its connection breaks, and it comes back with the last id that it has seen."""
        reader = data.draw(st.sampled_from(self.readers))
        if reader.received:
            self.come_back(reader)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """It reads to the end, and goes."""
        reader = data.draw(st.sampled_from(self.readers))
        self.read_on(reader)
        self.readers.remove(reader)
        for name in reader.names:
            if not any(name in other.names for other in self.readers):
                self.log.release(name)
                if not self.published[name] and not self.ends[name]:
                    self.forget(name)
                elif name not in self.log.rings:
                    assert self.lost(name) == self.records[name] >= max(self.published[name] + self.ends[name])
                    self.forget(name)

    def teardown(self) -> None:
        for reader in self.readers:
            self.read_on(reader)

    # The law.

    def lost(self, name: str) -> int:
        """SEQ of the newest that can't be supplied of a channel."""
        kept = {update.seq for update in self.kept[name]}
        gone = [seq for seq in self.published[name] if seq not in kept]
        return max([self.records.get(name, self.floor), *gone[-1:], *self.ends[name][-1:]])

    def missed(self, reader: Reader) -> dict[str, int]:
        """The channels of which a reader has missed something, and up to where."""
        missed = {}
        for name in reader.names:
            lost, end = self.lost(name), self.told_ends.get(name)
            seq = reader.position.seq if reader.position.epoch == self.log.epoch else 0
            is_told_the_end = end is not None and seq < end.seq
            has_the_newest = self.log.rules[name].conflate and self.kept[name]
            if seq < lost and not is_told_the_end and not has_the_newest:
                missed[name] = lost
        return missed

    def page(self, reader: Reader, size: int, limit: int) -> Page:
        position = reader.position
        missed = self.missed(reader)
        tells = position.doubt is not None or position.epoch != self.log.epoch
        tells |= any(seq > reader.told.get(name, 0) for name, seq in missed.items())
        page = self.log.read(position, size=size, limit=limit)
        before = position.seq if position.epoch == self.log.epoch else 0
        assert (page.gap is not None) == tells
        if page.gap:
            firsts = [entry.id for entry in page.entries if isinstance(entry, Update)]
            assert page.gap.first == (firsts[0] if firsts else None)
            assert page.gap.since == (position.doubt[0] if position.doubt else f"{position.epoch}-{position.seq}")
            reader.lost |= self.not_kept(reader, after=before)
        for entry in page.entries:
            assert entry.seq > before
            before = entry.seq
            self.take(reader, entry)
        sizes = [len(entry.data) for entry in page.entries if isinstance(entry, Update)]
        assert len(sizes) <= limit and (len(sizes) == 1 or sum(sizes) <= size)
        reader.position.move(page.epoch, page.seq, page.told)
        reader.told = missed if page.more else {}
        if page.ended:
            assert page.seq == page.entries[-1].seq
            self.come_back(reader)
        elif not page.more:
            assert page.seq == self.log.head
            self.has_all(reader)
        return page

    def not_kept(self, reader: Reader, after: int) -> set[int]:
        found: set[int] = set()
        for name in reader.names:
            if not (self.log.rules[name].conflate and self.kept[name]):
                kept = {update.seq for update in self.kept[name]}
                found |= {seq for seq in self.published[name] if seq > after and seq not in kept}
        return found

    def take(self, reader: Reader, entry: Update | Closed) -> None:
        name = entry.channel
        assert name in reader.names
        older = {seq for seq in self.published[name] if reader.start < seq < entry.seq} - set(reader.received)
        if isinstance(entry, Closed):
            assert entry == self.told_ends[name]
            reader.ended |= older
            reader.cursor = entry.id
            return
        assert entry in self.kept[name]
        assert not reader.received or entry.seq > reader.received[-1]
        reader.received.append(entry.seq)
        reader.cursor = entry.id
        if reader.newest_only or self.log.rules[name].conflate:
            reader.skipped |= older

    def come_back(self, reader: Reader) -> None:
        reader.position = self.log.begin(reader.names, reader.cursor, None, newest_only=reader.newest_only).position
        assert reader.position.doubt is None
        reader.told = {}

    def read_on(self, reader: Reader) -> None:
        while self.page(reader, 40, 3).more or reader.position.seq < self.log.head:
            pass

    def has_all(self, reader: Reader) -> None:
        everything = {seq for name in reader.names for seq in self.published[name] if seq > reader.start}
        received = set(reader.received)
        assert len(received) == len(reader.received)
        assert received | reader.lost | reader.ended | reader.skipped == everything
        assert not received & (reader.lost | reader.ended | reader.skipped)


@uncounted
def test_every_reader_receives_or_is_told_everything() -> None:
    """Received ∪ told gap = all that was published after the cursor; received ∩ told gap = ∅; a gap is never silent."""
    run_state_machine_as_test(Model, settings=explore(300, stateful_step_count=40))
