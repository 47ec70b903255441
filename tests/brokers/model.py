"""One model of what a broker keeps, and a state machine that holds any broker to it, through its four verbs.

The model is a list of all that was ever accepted. What is surely kept of it must be supplied; what is not may be, and
whoever does not get it is told so. Between the two stand the seconds in which something becomes too old, and workers
that have not heard yet what others have published. So the same model is good for a broker of one process, which is
exact, and for workers that share a file or a server.

The law is that of the contract: received and told as lost are together all that was published after the cursor, and
have nothing in common; in SEQ order over all channels, nothing twice, and no gap without a loss.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import gevent
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from comet.brokers import Broker, CatchesUp, Receipt
from comet.cohorts import Subscription
from comet.controller import Controller
from comet.core.errors import NotFound
from comet.core.log import Entry, Page, Position
from comet.core.ring import OVERHEAD, REMEMBERED
from comet.core.rules import Rule, Rules
from comet.core.update import Closed, Update


CHANNELS = ("a", "b", "c", "d1", "d2")
LIMITS = {"history": 4, "history_bytes": 50, "history_seconds": 95.0, "replay": 2}
RULES = Rules(Rule(**LIMITS), {"c": Rule(**LIMITS, conflate=True), "d*": Rule(**{**LIMITS, "history": 2})})
KEY_SECONDS = 300.0

#: The memory of a worker. One that has little must be supplied by its broker with what it lacks.
LITTLE = 6 * (OVERHEAD + 15)
PLENTY = 1 << 28

#: Seconds that pass at once. No sum of them lies near the limits, so that it does not matter how fast the test runs.
STEP = 20
WAITS = (20, 100, 180)
SURELY_KEPT = 85.0
SURELY_TOLD = 45.0
SURELY_KNOWN = 280.0

channels = st.sampled_from(CHANNELS)
several = st.lists(channels, min_size=1, max_size=4, unique=True).map(tuple)
workers = st.integers(0, 1)
updates = st.builds(
    lambda channel, size, key: Update(channel, bytes(size), key=key),
    channels,
    st.integers(0, 30),
    st.sampled_from([None, None, "k", "l"]),
)
batches = st.lists(updates, min_size=1, max_size=6)


@dataclass(frozen=True)
class Accepted:
    """An entry that a broker has accepted, and when, in the model's time."""

    entry: Entry
    receipt: Receipt
    at: float

    @property
    def seq(self) -> int:
        return self.receipt.seq


class Model:
    """All that was ever accepted. ``floor``: up to where channels may be lost that may have been forgotten."""

    def __init__(self) -> None:
        self.now = 0.0
        self.epoch = ""
        self.head = 0
        self.floor = 0
        self.accepted: dict[str, list[Accepted]] = {name: [] for name in CHANNELS}
        self.kept: dict[str, list[Accepted]] = {name: [] for name in CHANNELS}
        self.keys: dict[tuple[str, str], Accepted] = {}
        self.base = dict.fromkeys(CHANNELS, 0)

    # Publishing.

    def take(self, entries: Sequence[Entry], receipts: Sequence[Receipt]) -> None:
        """Accept what a broker has accepted. Raises AssertionError where its receipts are wrong."""
        pairs = list(zip(entries, receipts, strict=True))
        for entry, receipt in sorted(pairs, key=lambda pair: pair[1].seq):
            if not receipt.duplicate:
                self._append(entry, receipt)
        for entry, receipt in pairs:
            if receipt.duplicate:
                assert isinstance(entry, Update) and entry.key
                first = self.keys[entry.channel, entry.key].receipt
                assert (receipt.id, receipt.time) == (first.id, first.time)

    def _append(self, entry: Entry, receipt: Receipt) -> None:
        name = entry.channel
        assert receipt.seq == self.head + 1, "a SEQ was left out, or came twice"
        assert receipt.epoch == self.epoch
        assert self.last(name) <= receipt.prev <= max(self.last(name), self.base[name])
        self.head = receipt.seq
        new = Accepted(entry, receipt, self.now)
        self.accepted[name].append(new)
        if isinstance(entry, Closed):
            self.kept[name] = []
            return
        self.kept[name].append(new)
        self._trim(name)
        if entry.key is not None:
            known = self.keys.get((name, entry.key))
            assert known is None or self.age(known) > SURELY_KNOWN, f"{entry.key} was known"
            self.keys[name, entry.key] = new

    def _trim(self, name: str) -> None:
        kept, limits = self.kept[name], RULES[name]
        while len(kept) > limits.history or (
            len(kept) > 1 and sum(len(each.entry.data) for each in kept) > limits.history_bytes
        ):
            kept.pop(0)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for name, kept in self.kept.items():
            self.kept[name] = [each for each in kept if self.age(each) <= SURELY_KEPT]
        forgotten = [name for name in CHANNELS if self._may_be_forgotten(name)]
        self.floor = max([self.floor, *map(self.last, forgotten)])
        for name in forgotten:
            self.base[name] = self.floor

    def _may_be_forgotten(self, name: str) -> bool:
        everything = self.accepted[name]
        return not self.kept[name] and (not everything or self.age(everything[-1]) >= REMEMBERED)

    # What is known of it.

    def age(self, accepted: Accepted) -> float:
        return self.now - accepted.at

    def last(self, name: str) -> int:
        return self.accepted[name][-1].seq if self.accepted[name] else 0

    def exists(self, name: str) -> bool | None:
        """None: it may have been forgotten."""
        if name in RULES.names:
            return True
        if not self.accepted[name]:
            return False
        return None if self._may_be_forgotten(name) else True

    def keeps(self, name: str, each: Accepted) -> bool:
        """Whether it must be supplied; the end of a channel while it is told as such."""
        if isinstance(each.entry, Closed):
            return each is self.accepted[name][-1] and self.age(each) <= SURELY_TOLD
        return each in self.kept[name]

    def lost(self, name: str) -> int:
        """Up to which SEQ something of a channel may be lost."""
        gone = [each.seq for each in self.accepted[name] if not self.keeps(name, each)]
        return max([self.base[name], *gone])

    def between(self, name: str, after: int, upto: int) -> list[Accepted]:
        return [each for each in self.accepted[name] if after < each.seq <= upto]


class Worker:
    """A broker of the machine with its subscribers. One that is ``deaf`` does not hear what others publish."""

    def __init__(self, broker: Broker) -> None:
        self.controller = Controller(broker)
        self.broker = broker
        self.log = broker.log
        self.deaf = False

    def deafen(self) -> None:
        self.deaf = True

    def hear(self, *, lose: bool) -> None:
        """Hear again, also what came meanwhile; or ``lose`` what told it so."""
        self.deaf = False

    def settle(self, head: int) -> None:
        """Have heard what was published up to there."""
        self.look()
        assert self.log.head == head

    def look(self) -> None:
        if isinstance(self.broker, CatchesUp):
            self.broker.catch_up()

    def let_pass(self, seconds: float, used: Container[str]) -> None:
        """Let time pass for this worker, and with the first one for what they share."""
        raise NotImplementedError

    def stop(self) -> None:
        self.broker.stop()


@dataclass(eq=False)
class Reader:
    """A client: the worker that serves it, where it stands, the last id that it has seen, and whether it was told.

    ``knows``: for each channel what it was told of losses, in this answer.
    """

    worker: Worker
    subscription: Subscription
    cursor: str
    knows: dict[str, int] = field(default_factory=dict)

    @property
    def position(self) -> Position:
        return self.subscription.position

    @property
    def names(self) -> tuple[str, ...]:
        return self.subscription.names


class Machine(RuleBasedStateMachine):
    """Publishers, deletions, time and readers, in any order, at any worker."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.workers = self.start()
        self.readers: list[Reader] = []
        self.model.epoch = self.workers[0].log.epoch

    def start(self) -> list[Worker]:
        """One worker, or two that share a log."""
        raise NotImplementedError

    def worker(self, number: int) -> Worker:
        return self.workers[number % len(self.workers)]

    # What happens to the log.

    @rule(number=workers, batch=batches)
    def publish(self, number: int, batch: list[Update]) -> None:
        worker = self.awake(number)
        receipts = worker.broker.publish(batch)
        self.model.take(batch, receipts)
        assert worker.log.head >= max(receipt.seq for receipt in receipts), "who has published finds it at once"

    @rule(posts=st.lists(st.tuples(workers, batches), min_size=2, max_size=5))
    def publish_at_once(self, posts: list[tuple[int, list[Update]]]) -> None:
        """They are committed in any order, but each without others between."""
        greenlets = [gevent.spawn(self.awake(number).broker.publish, batch) for number, batch in posts]
        gevent.joinall(greenlets, raise_error=True)
        receipts = [greenlet.value for greenlet in greenlets]
        for each in receipts:
            fresh = [receipt.seq for receipt in each if not receipt.duplicate]
            assert not fresh or fresh == list(range(fresh[0], fresh[-1] + 1))
        self.model.take([update for _, batch in posts for update in batch], [r for each in receipts for r in each])

    @rule(number=workers, name=channels)
    def delete(self, number: int, name: str) -> None:
        exists = self.model.exists(name)
        try:
            receipts = self.awake(number).broker.publish([Closed(name)])
        except NotFound:
            assert not exists
        else:
            assert exists is not False
            self.model.take([Closed(name)], receipts)

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds: int) -> None:
        """Everybody has heard everything by then."""
        for worker in self.workers:
            if worker.deaf:
                worker.hear(lose=False)
            worker.settle(self.model.head)
        # A little at a time: workers look about once a second.
        for _ in range(0, seconds, STEP):
            for worker in self.workers:
                used = {name for reader in self.readers if reader.worker is worker for name in reader.names}
                worker.let_pass(STEP, used)
        self.model.wait(seconds)
        for worker in self.workers:
            worker.look()

    # What happens to workers.

    def awake(self, number: int) -> Worker:
        """The worker that is meant, or another one that hears; somebody does."""
        hearing = [worker for worker in self.workers if not worker.deaf]
        if not hearing:
            self.workers[0].hear(lose=False)
            return self.workers[0]
        return self.worker(number) if not self.worker(number).deaf else hearing[0]

    @precondition(lambda self: len(self.workers) > 1)
    @rule(number=workers)
    def deafen(self, number: int) -> None:
        worker = self.worker(number)
        if not worker.deaf:
            worker.settle(self.model.head)
            worker.deafen()

    @rule(lose=st.booleans())
    def hear(self, lose: bool) -> None:
        for worker in self.workers:
            if worker.deaf:
                worker.hear(lose=lose)

    @precondition(lambda self: len(self.workers) > 1)
    @rule(number=workers, lost=batches, heard=batches)
    def lose(self, number: int, lost: list[Update], heard: list[Update]) -> None:
        """What one publishes does not reach the other, but what comes next does."""
        self.hear(lose=False)
        self.worker(number).deafen()
        self.publish(number, lost)
        self.hear(lose=True)
        self.publish(number + 1, heard)

    @rule(number=workers)
    def look(self, number: int) -> None:
        """It looks, deaf or not, and so knows everything."""
        self.worker(number).look()

    @invariant()
    def nobody_knows_more_than_was_accepted(self) -> None:
        for worker in self.workers:
            assert worker.log.head <= self.model.head
            # One with little memory forgets channels that its broker still has: it asks, and tells no gap.
            assert worker.log.floor <= self.model.floor or worker.log.limit < PLENTY
            assert worker.log.epoch == self.model.epoch

    # What readers do.

    @rule(number=workers, names=several, back=st.integers(0, 15), newest_only=st.booleans())
    def resume(self, number: int, names: tuple[str, ...], back: int, newest_only: bool) -> None:
        """Somebody comes with a cursor, made by whatever channels, at whatever worker."""
        seq = max(0, self.model.head - back)
        reader = self.come(self.worker(number), names, f"{self.model.epoch}-{seq}", newest_only)
        assert (reader.position.seq, reader.position.doubt) == (seq, None)

    @rule(
        number=workers,
        names=several,
        newest_only=st.booleans(),
        cursor=st.sampled_from(
            [("0therep0-3", "epoch"), ("rubbish", "unknown"), ("{epoch}-{1}", "future"), ("{epoch}-{9}", "future")]
        ),
    )
    def resume_with_nonsense(
        self, number: int, names: tuple[str, ...], newest_only: bool, cursor: tuple[str, str]
    ) -> None:
        """A cursor that is garbage, of another epoch, or from the future: all that is kept is new to it."""
        since, reason = cursor
        for ahead in (1, 9):
            since = since.replace(f"{{{ahead}}}", str(self.model.head + ahead))
        since = since.replace("{epoch}", self.model.epoch)
        reader = self.come(self.worker(number), names, since, newest_only)
        assert (reader.position.seq, reader.position.doubt) == (0, (since, reason))
        self.page(reader, 60, 4)

    @rule(
        number=workers,
        names=several,
        last=st.sampled_from([None, 0, 1, 3]),
        newest_only=st.booleans(),
        again=st.booleans(),
    )
    def begin(self, number: int, names: tuple[str, ...], last: int | None, newest_only: bool, again: bool) -> None:
        """Somebody comes without a cursor and is given what is recent; ``again`` with the cursor of that answer."""
        worker = self.settled(number)
        start = worker.controller.begin(names, None, last, newest_only=newest_only)
        assert list(start.entries) == sorted(start.entries, key=lambda update: update.seq)
        for name in names:
            limits = RULES[name]
            count = limits.replay if last is None else last
            count = min(count, 1) if newest_only or limits.conflate else count
            given = [update for update in start.entries if update.channel == name]
            older = self.model.between(name, given[0].seq - 1, worker.log.head) if given else []
            kept = [each for each in self.model.kept[name] if each.seq <= worker.log.head]
            seqs = [each.seq for each in given]
            assert min(count, len(kept)) <= len(given) <= count, f"{seqs} of {[each.seq for each in kept]} of {name}"
            newest = worker.controller.newest(name)
            assert not kept or (newest is not None and newest.seq == kept[-1].seq)
            assert [update.seq for update in given] == [each.seq for each in older]
        first = start.entries[0].seq - 1 if start.entries else worker.log.head
        assert (start.cursor.seq, start.position.seq) == (first, worker.log.head)
        if again:
            self.come(worker, names, str(start.cursor), newest_only)
        else:
            self.take_in(Reader(worker, Subscription(start.position), str(start.cursor)))

    def come(self, worker: Worker, names: tuple[str, ...], since: str, newest_only: bool) -> Reader:
        start = worker.controller.begin(names, since, None, newest_only=newest_only)
        assert not start.entries
        return self.take_in(Reader(worker, Subscription(start.position), since))

    def take_in(self, reader: Reader) -> Reader:
        self.readers.append(reader)
        reader.worker.controller.add(reader.subscription)
        return reader

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), size=st.integers(0, 60), limit=st.integers(1, 4), pages=st.integers(1, 3))
    def read(self, data: st.DataObject, size: int, limit: int, pages: int) -> None:
        reader = data.draw(st.sampled_from(self.readers))
        for _ in range(pages):
            if reader in self.readers:
                self.page(reader, size, limit)

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), number=workers, by_id=st.booleans())
    def come_back(self, data: st.DataObject, number: int, by_id: bool) -> None:
        """Its connection breaks, and it comes to another worker, with its last id or the cursor of its last page."""
        reader = data.draw(st.sampled_from(self.readers))
        position = reader.position
        if not by_id and position.doubt is None:
            reader.cursor = f"{position.epoch}-{position.seq}"
        self.send(reader, self.worker(number))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """It reads to the end, and goes."""
        reader = data.draw(st.sampled_from(self.readers))
        self.read_on(reader)
        if reader in self.readers:
            self.remove(reader)

    def remove(self, reader: Reader) -> None:
        self.readers.remove(reader)
        reader.worker.controller.remove(reader.subscription)

    def send(self, reader: Reader, worker: Worker) -> None:
        self.remove(reader)
        self.come(worker, reader.names, reader.cursor, reader.position.newest_only)

    def teardown(self) -> None:
        try:
            for reader in list(self.readers):
                self.read_on(reader)
        finally:
            for worker in self.workers:
                worker.stop()

    # The law.

    def settled(self, number: int) -> Worker:
        worker = self.worker(number)
        if not worker.deaf:
            worker.settle(self.model.head)
        return worker

    def read_on(self, reader: Reader) -> None:
        """Everything up to the head: each page is checked."""
        for _ in range(500):
            if reader not in self.readers or not self.page(reader, 40, 3).more:
                return
        raise AssertionError("reading does not come to an end")

    def page(self, reader: Reader, size: int, limit: int) -> Page:
        worker, position = reader.worker, reader.position
        self.settled(self.workers.index(worker))
        doubt, told = position.doubt, dict(zip(position.names, position.told, strict=False))
        before, head = position.seq, worker.log.head
        page = worker.controller.read(reader.subscription, size=size, limit=limit)
        assert page.epoch == self.model.epoch
        assert page.seq >= before, "a cursor never goes back"
        assert page.more or page.ended or page.seq >= head
        assert page.entries or page.gap or page.seq > before or not page.more, "a page that leads nowhere"
        self.check_entries(reader, page, before, size, limit)
        self.check_gap(reader, page, before, doubt)
        for name in reader.names:
            self.check_missing(reader, page, name, before, told.get(name, 0))
        if page.entries:
            reader.cursor = page.entries[-1].id
        if page.ended:
            self.send(reader, worker)
        return page

    def check_entries(self, reader: Reader, page: Page, before: int, size: int, limit: int) -> None:
        for entry in page.entries:
            assert before < entry.seq <= page.seq, "in order, and nothing twice"
            before = entry.seq
            assert entry.channel in reader.names
            (accepted,) = self.model.between(entry.channel, entry.seq - 1, entry.seq)
            assert type(entry) is type(accepted.entry) and entry.epoch == accepted.receipt.epoch
            if isinstance(entry, Update):
                assert (entry.data, entry.prev) == (accepted.entry.data, accepted.receipt.prev)
        sizes = [len(entry.data) for entry in page.entries if isinstance(entry, Update)]
        assert len(sizes) <= limit and (len(sizes) <= 1 or sum(sizes) <= size)
        closed = [entry for entry in page.entries if isinstance(entry, Closed)]
        assert page.ended == bool(closed) and closed == list(page.entries[-1:])[: len(closed)]

    def check_gap(self, reader: Reader, page: Page, before: int, doubt: tuple[str, str] | None) -> None:
        """A gap is told once for all channels, and never without a loss."""
        lost = {name: self.model.lost(name) for name in reader.names}
        if page.gap:
            firsts = [entry.id for entry in page.entries if isinstance(entry, Update)]
            assert page.gap.first == (firsts[0] if firsts else None)
            if doubt:
                assert (page.gap.since, page.gap.reason) == doubt
            else:
                assert (page.gap.since, page.gap.reason) == (f"{self.model.epoch}-{before}", "trimmed")
                # Of several workers, one may know more of losses than the other that was asked before.
                knows = reader.knows if len(self.workers) == 1 else {}
                assert any(seq > max(before, knows.get(name, 0)) for name, seq in lost.items()), "nothing was lost"
            reader.knows = lost
        else:
            assert doubt is None
        if not page.more:
            reader.knows = {}

    def check_missing(self, reader: Reader, page: Page, name: str, before: int, told: int) -> None:
        """What was not received is told as lost, and is not what the broker must keep."""
        received = {entry.seq for entry in page.entries if entry.channel == name}
        newest_only = reader.position.newest_only or RULES[name].conflate
        # What is received instead, or has to be later: the end of the channel, and who skips, whatever is newer.
        instead = [
            each.seq
            for each in self.model.accepted[name]
            if (newest_only or isinstance(each.entry, Closed)) and (each.seq in received or each.seq > page.seq)
        ]
        for each in self.model.between(name, before, page.seq):
            if each.seq in received or any(each.seq < seq for seq in instead):
                continue
            assert page.gap or each.seq <= told, f"{each.entry} is missing, and no gap is told"
            assert not self.model.keeps(name, each), f"{each.entry} is kept, and was not supplied"
