"""The broker in Redis: the workers of many hosts share one log.

Strategy: Redis is the truth, and each worker's log is a window on it that is complete from where it begins up to its
head: an entry is appended when everything before it, of all channels, is there. So whatever comes, from whichever
greenlet, is taken or ignored by its numbers alone, and a doubt is never more than a reason to look again.

Publishing is one call of a script for all that has gathered. All workers hear frames of what was published; each says
after which SEQ it comes. Who has missed something reads what is new from the streams; and so does everybody once a
second, which is what counts.
"""

from __future__ import annotations

import logging
import random
import secrets
import time
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import attrgetter
from typing import Any

import gevent
import redis
from gevent.event import AsyncResult, Event
from gevent.lock import BoundedSemaphore

from ...breath import breathe
from ...core.cursor import NOWHERE
from ...core.errors import BrokerAway, CometError, LeaseLost, NotFound, SettingsError, TooLarge, TooManyChannels
from ...core.log import REMEMBERED, Entry, Log, Page, Position
from ...core.ring import weight
from ...core.rules import Rules
from ...core.update import Update
from .. import Deliver, Lease, Receipt
from .entries import Frame, mark
from .link import AWAY, Answer, Link, Record, is_hopeless


log = logging.getLogger("comet")

#: Updates that are published in one call at the most, each 10 kB counting as one: Redis serves nobody else meanwhile.
#: A batch is always one call; this is the largest.
GROUP = 100
LARGEST = 10_000

#: Seconds that a publisher waits before it is told that the broker is away, and then for what it has published to be
#: in this worker's log.
PATIENCE = 2.0
SOON = 0.25

#: Seconds between two looks, and between two tidyings; channels that are tidied in one call.
LOOK = 1.0
TIDY = 5.0
SLICE = 50

#: Seconds of silence after which the connection of the live frames is asked whether it is alive.
QUIET = 1.0

#: Seconds before that connection is made anew: the first time, and at the most.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0

#: Channels, and entries of each, that are read at once; entries of each channel in one page of a late reader.
CHANNELS = 10
ROWS = 100
PAGE = 32

#: Entries that are appended without a breath.
MANY = 2000

MAYBE = "The update may have been accepted; with the same Idempotency-Key it is safe to repeat it."

_seq = attrgetter("seq")


@dataclass(slots=True, eq=False)
class _Job:
    entries: Sequence[Entry]
    lease: Lease | None = None
    checkpoint: str | None = None
    result: AsyncResult = field(default_factory=AsyncResult)

    @property
    def size(self) -> int:
        return 1 + sum(1 + len(entry.data) // 10_000 for entry in self.entries if isinstance(entry, Update))


class RedisBroker:
    """The log below the prefix of a Redis URL. ``limit`` bounds this worker's window on it in bytes."""

    def __init__(
        self,
        url: str,
        *,
        rules: Rules | None = None,
        limit: int = 1 << 28,
        max_channels: int = 10_000,
        idempotency_seconds: float = 3600.0,
    ) -> None:
        # Until Redis is reached, cursors are worth nothing.
        self.log = Log(NOWHERE.epoch, rules=rules, limit=limit)
        self.max_channels = max_channels
        self.idempotency_seconds = idempotency_seconds
        self._link = Link(url)
        self._me = ""
        self._number = 0
        self._jobs: deque[_Job] = deque()
        self._work = Event()
        self._grown = Event()
        self._looking = BoundedSemaphore()
        self._looks = 0
        self._reading = BoundedSemaphore(4)
        self._past: dict[str, int] = {}
        self._ahead = 0.0
        self._tidied_at = 0.0
        self._used: Container[str] = ()
        self._fault = ""
        self._greenlets: list[gevent.Greenlet] = []
        self._deliver: Deliver = lambda names: None

    # Life.

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._me = secrets.token_hex(8)  # here, not before: a worker may be forked from what has been made
        connection = self._link.connection()
        try:
            if danger := self._danger():
                raise SettingsError(f"COMET_BROKER: {danger}")
            self._subscribe(connection)
        except redis.RedisError as error:
            connection.disconnect()
            if is_hopeless(error):
                raise SettingsError(f"COMET_BROKER: {self._link.explain(error)}") from error
            self._failed(error)  # it may come; then all is as if it had been there
        self._greenlets = [
            gevent.spawn(self._writer),
            gevent.spawn(self._listener, connection),
            gevent.spawn(self._keeper),
        ]

    def stop(self) -> None:
        gevent.killall(self._greenlets)
        self._greenlets = []
        self._link.close()

    def check(self) -> None:
        """Raise BrokerAway if nothing can be published now."""
        if self._fault:
            raise BrokerAway(self._fault)

    def _danger(self) -> str:
        """How Redis may lose the log at any time."""
        policy = self._link.eviction()
        if policy.startswith("allkeys"):
            return (
                f"Redis at {self._link.name} drops any key when its memory is full (maxmemory-policy is {policy}), the "
                "log too. Set it to noeviction, or use another Redis."
            )
        if policy != "noeviction":
            log.warning("comet: Redis at %s: maxmemory-policy is %s; it should be noeviction.", self._link.name, policy)
        return ""

    def _report(self, fault: str) -> None:
        if fault and fault != self._fault:
            log.error("comet: %s", fault)
        self._fault = fault

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, (redis.RedisError, gevent.Timeout)):
            log.error("comet: the Redis broker failed", exc_info=error)
        self._report(self._link.explain(error))

    def _call(self, verb: str, *arguments: object) -> Answer:
        return self._link.call((self.log.epoch, self.log.head), verb, *arguments)

    # Publishing.

    def publish(self, entries: Sequence[Entry]) -> list[Receipt]:
        return self._publish(_Job(list(entries)))

    def publish_under(self, lease: Lease, entries: Sequence[Entry], checkpoint: str | None = None) -> list[Receipt]:
        return self._publish(_Job(list(entries), lease, checkpoint))

    def _publish(self, job: _Job) -> list[Receipt]:
        if len(job.entries) > LARGEST:
            raise TooLarge(f"{len(job.entries)} updates in one batch; Redis takes at most {LARGEST} together.")
        self._jobs.append(job)
        if self._greenlets:
            self._work.set()
        else:
            self._commit(self._gather())  # not started: there is nobody but this publisher
        try:
            with gevent.Timeout(PATIENCE, BrokerAway(f"Redis at {self._link.name} does not answer. {MAYBE}")):
                outcome: list[Receipt] | CometError = job.result.get()
        except BrokerAway:
            if job in self._jobs:
                self._jobs.remove(job)
            raise
        if isinstance(outcome, CometError):
            raise outcome
        self._await(outcome)
        return outcome

    def _await(self, receipts: Sequence[Receipt]) -> None:
        """Who has published finds it here as soon as it is told so."""
        seq = max((receipt.seq for receipt in receipts if receipt.epoch == self.log.epoch), default=0)
        with gevent.Timeout(SOON, False):
            while self._greenlets and self.log.head < seq:
                self._grown.wait()

    def _writer(self) -> None:
        """Publish what has gathered, group after group, for ever."""
        while True:
            self._work.wait()
            self._work.clear()
            while self._jobs:
                self._commit(self._gather())

    def _gather(self) -> list[_Job]:
        jobs = [self._jobs.popleft()]
        size = jobs[0].size
        while self._jobs and (size := size + self._jobs[0].size) <= GROUP:
            jobs.append(self._jobs.popleft())
        return jobs

    def _commit(self, jobs: Sequence[_Job]) -> None:
        try:
            answer = self._call_again(jobs)
        except (Exception, gevent.Timeout) as error:
            self._failed(error)
            for job in jobs:
                job.result.set(BrokerAway(f"{self._fault} {MAYBE}"))
        else:
            for job, says in zip(jobs, (answer.says or "").split("\n"), strict=True):
                job.result.set(self._outcome(job, says, answer))

    def _call_again(self, jobs: Sequence[_Job]) -> Answer:
        """Publish; repeat it once where no answer comes. Redis knows the number of a call that it has done already."""
        self._number += 1
        me = self._me if self._greenlets else secrets.token_hex(8)
        arguments = [me, self._number, self.max_channels, self.idempotency_seconds]
        arguments += [argument for job in jobs for argument in self._arguments(job)]
        with gevent.Timeout(PATIENCE):
            try:
                return self._call("publish", *arguments)
            except AWAY:
                return self._call("publish", *arguments)

    def _arguments(self, job: _Job) -> Iterator[object]:
        checkpoint = "" if job.checkpoint is None else f"={job.checkpoint}"
        yield from (job.lease.name, job.lease.fence, checkpoint) if job.lease else ("", "", "")
        yield len(job.entries)
        for entry in job.entries:
            yield entry.channel
            yield self._rule(entry.channel)
            yield (entry.key or "") if isinstance(entry, Update) else ""
            yield mark(entry)
            yield entry.data if isinstance(entry, Update) else ""

    def _rule(self, channel: str) -> str:
        rule = self.log.rules[channel]
        declared = int(channel in self.log.rules.names)
        return f"{rule.history} {rule.history_bytes} {rule.history_seconds} {declared}"

    def _outcome(self, job: _Job, says: str, answer: Answer) -> list[Receipt] | CometError:
        if says == "!full":
            return TooManyChannels(
                f"{self.max_channels} channels exist already (COMET_MAX_CHANNELS); "
                "one without history and subscribers is forgotten after 60 seconds."
            )
        if says.startswith("!unknown"):
            return NotFound(f"there is no channel {says.split()[1]}.")
        if says == "!lease":
            return LeaseLost(f"another worker runs {job.lease and job.lease.name} now.")
        return [_receipt(text, answer) for text in says.split(";") if text]

    # Leases.

    def lease(self, name: str, seconds: float) -> Lease | None:
        fence = self._ask("lease", name, self._me, seconds)
        return Lease(name, int(fence)) if fence else None

    def give_back(self, lease: Lease) -> None:
        self._ask("give_back", lease.name, self._me, lease.fence)

    def checkpoint(self, name: str) -> str | None:
        text = self._ask("checkpoint", name)
        return text[1:] if text else None

    def _ask(self, verb: str, *arguments: object) -> str | None:
        try:
            return self._call(verb, *arguments).says
        except redis.RedisError as error:
            raise BrokerAway(self._link.explain(error)) from error

    # Hearing.

    def _subscribe(self, connection: Any) -> None:
        connection.connect()
        connection.send_command("SUBSCRIBE", self._link.live)
        connection.read_response()
        self._look()  # what came before the confirmation; from now on nothing is missed

    def _listener(self, connection: Any) -> None:
        """Hear the live frames, and connect again whenever there is a doubt, for ever."""
        pause = FIRST_PAUSE
        while True:
            try:
                if not connection.is_connected:
                    self._subscribe(connection)
                    if danger := self._danger():
                        log.error("comet: %s", danger)
                pause = FIRST_PAUSE
                while True:
                    self._hear(connection)
                    breathe()
            except Exception as error:
                if pause == FIRST_PAUSE:
                    log.warning("comet: no live updates, connecting again: %s", self._link.explain(error))
            finally:
                connection.disconnect()
            gevent.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _hear(self, connection: Any) -> None:
        try:
            kind, *rest = connection.read_response(timeout=QUIET, disconnect_on_error=False)
        except redis.TimeoutError:
            connection.send_command("PING", check_health=False)
            kind, *rest = connection.read_response(timeout=QUIET)
        if kind == b"message":
            self._take(Frame.parse(rest[1]))
        elif kind != b"pong":
            raise redis.ConnectionError(f"{kind.decode()} came unasked")

    def _take(self, frame: Frame) -> None:
        if frame.epoch != self.log.epoch or frame.before > self.log.head:
            self._look()
            return
        names = set()
        for count, entry in enumerate(frame.entries, 1):
            if frame.epoch == self.log.epoch and entry.seq > self.log.head:
                self.log.append(entry)
                names.add(entry.channel)
            if count % ROWS == 0:
                breathe()
        if frame.epoch == self.log.epoch:
            self._grow(frame.head)
        self._deliver(names)

    def _grow(self, head: int) -> None:
        self.log.head = max(self.log.head, head)
        old, self._grown = self._grown, Event()
        old.set()

    # Looking.

    def catch_up(self) -> None:
        """Look now: another worker may be ahead."""
        try:
            self._look()
        except redis.RedisError as error:
            self._failed(error)

    def _look(self) -> None:
        """Take over what is new in Redis. Who comes while others wait for a look shares the next one."""
        looks = self._looks
        with self._looking:
            if self._looks == looks:
                self._looks += 1
                self._look_once()

    def _look_once(self) -> None:
        answer = self._call("look")
        if answer.epoch in self._past and answer.epoch != self.log.epoch:
            # A copy of an earlier log was put back: does it have what was seen of it?
            answer = self._link.call((answer.epoch, self._past[answer.epoch]), "look")
        self._ahead = answer.time - time.time()
        if answer.epoch != self.log.epoch:
            self._begin(answer)
        elif answer.head > self.log.head or answer.floor > self.log.floor:
            self._follow(answer)
        self._report(f"Redis at {self._link.name} takes nothing: {answer.says}." if answer.says else "")

    def _begin(self, answer: Answer) -> None:
        """Take over all that Redis has: aside, so that nobody reads half of it."""
        other = Log(answer.epoch, rules=self.log.rules, limit=self.log.limit)
        for _ in _fill(other, answer, *self._read(answer, 0)):
            breathe()
        if self.log.epoch not in (answer.epoch, NOWHERE.epoch):
            log.error("comet: Redis at %s: the log begins anew, with epoch %s.", self._link.name, answer.epoch)
            self._past[self.log.epoch] = self.log.head
        for name in self.log.rings:
            other.open(name)
        vars(self.log).update(vars(other))
        self._grow(answer.head)
        self._deliver(list(self.log.rings))

    def _follow(self, answer: Answer) -> None:
        """Append everything up to the head, of all channels, in SEQ order."""
        after = self.log.head
        records, entries = self._read(answer, after)
        if len(entries) > MANY:
            self._begin(answer)
            return
        # If something that was never seen here has been forgotten already, channels without a record have lost it.
        kept = self._link.newer(0) if answer.floor > after else self.log.rings
        forgotten = set(self.log.rings).difference(kept)
        for _ in _fill(self.log, answer, records, entries):
            pass  # without a breath: what is lost is known when all is done
        for name in forgotten:
            _skip(self.log, name, answer.floor)
        self._grow(answer.head)
        self._deliver(forgotten.union(records))

    def _read(self, answer: Answer, after: int) -> tuple[dict[str, Record], list[Entry]]:
        """Records and entries of all channels that have news; the older entries only if there is room for them."""
        records: dict[str, Record] = {}
        entries: list[Entry] = []
        dropped: dict[str, int] = {}
        room = self.log.limit
        places = dict.fromkeys(self._link.newer(after), after)
        while places:
            piece = self._link.read(dict(islice(places.items(), CHANNELS)), answer.head, ROWS)
            if piece.epoch != answer.epoch:
                raise redis.ConnectionError("the log was replaced while it was read")
            records.update(piece.records)
            for name, found in piece.entries.items():
                entries += found
                room -= _weight(found)
                if len(found) == ROWS:
                    places[name] = found[-1].seq
                else:
                    del places[name]
            if room < 0:
                entries.sort(key=_seq)
                half = len(entries) // 2
                dropped.update({entry.channel: entry.seq for entry in entries[:half]})
                del entries[:half]
                room = self.log.limit - _weight(entries)
            breathe()
        entries.sort(key=_seq)
        for name, seq in dropped.items():
            records[name] = records[name].without(seq)
        return records, entries

    # Reading.

    def since(self, at: Position, *, size: int, limit: int) -> Page:
        if at.epoch == self.log.epoch and self.log.lacks(at.names, at.seq):
            with self._reading:
                try:
                    if not self._fault and (page := self._from_redis(at, size, limit)):
                        return page
                except redis.RedisError as error:
                    self._failed(error)
        return self.log.read(at, size=size, limit=limit)

    def _from_redis(self, at: Position, size: int, limit: int) -> Page | None:
        """The page of a reader who is behind this worker's window: what that lacks, Redis may still have."""
        upto, rules = self.log.head, self.log.rules
        newest = [name for name in at.names if at.newest_only or rules[name].conflate]
        piece = self._link.read(dict.fromkeys(at.names, at.seq), upto, PAGE, newest)
        if piece.epoch != at.epoch:
            return None
        scratch = Log(piece.epoch, rules=rules)
        for name in at.names:
            scratch.adopt(name, piece.records[name].lost if name in piece.records else piece.floor)
        # Beyond the last entry of a channel that has more, another channel may have something first.
        bound = min([upto, *(found[-1].seq for found in piece.entries.values() if len(found) == PAGE)])
        for entry in sorted((entry for found in piece.entries.values() for entry in found), key=_seq):
            if entry.seq <= bound:
                scratch.append(entry)
        scratch.head, scratch.floor = bound, piece.floor
        page = scratch.read(at, size=size, limit=limit)
        return page if bound == upto else replace(page, more=True, told=scratch.missed(at.names, at.seq))

    # Letting time pass.

    def tick(self, now: float, used: Container[str]) -> Iterator[None]:
        self._used = used
        yield from self.log.tick(now + self._ahead, used)  # by the clock that has stamped them

    def _keeper(self) -> None:
        """Look once a second and tidy now and then, for ever."""
        while True:
            gevent.sleep(LOOK * random.uniform(0.8, 1.0))
            try:
                self._look()
                if time.monotonic() - self._tidied_at >= TIDY:
                    self._tidied_at = time.monotonic()
                    self._tidy()
            except Exception as error:
                self._failed(error)

    def _tidy(self) -> None:
        """Drop what is too old, and forget channels that nobody needs; those that are subscribed to here are needed."""
        now = time.time() + self._ahead
        empty = [name for name, ring in self.log.rings.items() if not len(ring) and name in self._used]
        if empty:
            self._link.client.zadd(self._link.due, dict.fromkeys(empty, now + REMEMBERED), xx=True, gt=True)
        while names := self._link.client.zrangebyscore(self._link.due, "-inf", now, start=0, num=SLICE):
            channels = [name.decode() for name in names]
            self._call("tidy", *(argument for name in channels for argument in (name, self._rule(name))))
            if len(names) < SLICE:
                return


def _fill(log: Log, answer: Answer, records: Mapping[str, Record], entries: Iterable[Entry]) -> Iterator[None]:
    """Append what was read up to the head of the answer, and yield now and then. Nobody may read the log meanwhile."""
    for name, record in records.items():
        if name not in log.rings or not log.rings[name].published:
            log.adopt(name, record.lost)
    for count, entry in enumerate(entries, 1):
        if entry.seq > log.head:
            log.append(entry)
        if count % ROWS == 0:
            yield
    for name, record in records.items():
        _skip(log, name, record.last if record.last <= answer.head else min(record.lost, answer.head))
    log.floor, log.holes = max(log.floor, answer.floor), answer.holes
    log.head = max(log.head, answer.head)


def _skip(log: Log, name: str, seq: int) -> None:
    """Nothing of a channel up to there is kept, unless it is here."""
    ring = log.open(name)
    before = ring.weight
    if ring.last < seq:
        ring.skip(seq)
    log.weight += ring.weight - before


def _weight(entries: Iterable[Entry]) -> int:
    return sum(weight(entry) for entry in entries if isinstance(entry, Update))


def _receipt(text: str, answer: Answer) -> Receipt:
    seq, prev, *earlier = text.split(" ")
    epoch, when = earlier or (answer.epoch, answer.time)
    return Receipt(str(epoch), int(seq), int(prev), float(when), duplicate=bool(earlier))
