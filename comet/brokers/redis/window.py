"""Window: this worker's log, complete from where it begins up to its head.

An entry is appended when everything before it, of all channels, is there. So whatever comes, in whichever greenlet, is
taken or ignored by its numbers alone, and a doubt is never more than a reason to look again. Frames say after which SEQ
they come; who has missed one reads what is new from the streams, and so does everybody once a second.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from operator import attrgetter
from typing import Any

import gevent
import redis
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from ...breath import breathe
from ...core.cursor import NOWHERE
from ...core.log import Entry, Log
from ...core.ring import weight
from ...core.update import Update
from .. import Deliver
from .entries import Frame
from .link import Answer, Link, Record, Standing, hear


log = logging.getLogger("comet")

#: Seconds before that connection is made anew: the first time, and at the most.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0

#: Channels, and entries of each, that are read at once, and entries that are appended without a breath.
CHANNELS = 10
ROWS = 100
MANY = 2000

_seq = attrgetter("seq")


class Window:
    """Keeps the log of a link. ``woken`` is called when a channel begins to be watched. Times are in seconds."""

    def __init__(self, link: Link, woken: Callable[[], None]) -> None:
        self.link = link
        self.woken = woken
        self.log = link.log
        self.deliver: Deliver = lambda names: None
        #: Seconds by which the clock of Redis is ahead of ours.
        self.ahead = 0.0
        self._past: dict[str, int] = {}
        self._looking = BoundedSemaphore()
        self._looks = 0
        self._failure: redis.RedisError | None = None
        self._grown = Event()

    # Hearing.

    def subscribe(self, connection: Any) -> None:
        connection.connect()
        connection.send_command("SUBSCRIBE", self.link.live, self.link.woken)
        for _ in "12":
            connection.read_response()
        self.look()  # what came before the confirmation; from now on nothing is missed

    def listen(self, connection: Any) -> None:
        """Hear the live frames, and connect again whenever there is a doubt, for ever."""
        pause = FIRST_PAUSE
        while True:
            try:
                if not connection.is_connected:
                    self.subscribe(connection)
                    if danger := self.link.danger():
                        log.error("comet: %s", danger)
                pause = FIRST_PAUSE
                while True:
                    self._hear(connection)
                    breathe()
            except Exception as error:
                if pause == FIRST_PAUSE:
                    log.warning("comet: no live updates, connecting again: %s", self.link.explain(error))
            finally:
                connection.disconnect()
            gevent.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _hear(self, connection: Any) -> None:
        kind, *rest = hear(connection)
        if kind == b"message" and rest[0].decode() == self.link.woken:
            self.woken()
        elif kind == b"message":
            self._take(Frame.parse(rest[1]))
        elif kind != b"pong":
            raise redis.ConnectionError(f"{kind.decode()} came unasked")

    def _take(self, frame: Frame) -> None:
        if frame.epoch != self.log.epoch or frame.before > self.log.head:
            self.look()
            return
        names = set()
        for count, entry in enumerate(frame.entries, 1):
            if frame.epoch == self.log.epoch and entry.seq > self.log.head:
                self.log.append(entry)
                names.add(entry.channel)
            if count % ROWS == 0:
                breathe()
        if frame.epoch == self.log.epoch:
            self.log.head = max(self.log.head, frame.head)
        self._has_grown(names)

    def _has_grown(self, names: Iterable[str]) -> None:
        self.deliver(names)
        old, self._grown = self._grown, Event()
        old.set()

    def wait_for(self, epoch: str, seq: int, timeout: float) -> None:
        """Wait until this is in the log, but not for long."""
        with gevent.Timeout(timeout, False):
            while epoch == self.log.epoch and self.log.head < seq:
                self._grown.wait()

    # Looking.

    def look(self) -> None:
        """Take over what is new in Redis. Who comes while others wait for a look shares the next one, and its error."""
        looks = self._looks
        with self._looking:
            if self._looks == looks:
                self._looks += 1
                self._failure = None
                try:
                    self._look()
                except redis.RedisError as error:
                    self._failure = error
            if self._failure:
                raise self._failure

    def _look(self) -> None:
        answer = self.link.call("look")
        if answer.epoch in self._past and answer.epoch != self.log.epoch:
            # A copy of an earlier log was put back: does it have what was seen of it?
            answer = self.link.call("look", seen=(answer.epoch, self._past[answer.epoch]))
        self.ahead = answer.time - time.time()
        if answer.epoch != self.log.epoch:
            self._begin(answer)
        elif answer.head > self.log.head or answer.floor > self.log.floor:
            self._follow(answer)
        self.link.run = answer.run
        self.link.report(f"Redis at {self.link.name} takes nothing: {answer.says}." if answer.says else "")

    def _begin(self, answer: Answer) -> None:
        """Take over all that Redis has: aside, so that nobody reads half of it."""
        other = Log(answer.epoch, rules=self.log.rules, limit=self.log.limit, mirror=True)
        for _ in _fill(other, answer, *self._read(answer, 0, other)):
            breathe()
        if self.log.epoch not in (answer.epoch, NOWHERE.epoch):
            log.error("comet: Redis at %s: the log begins anew, with epoch %s.", self.link.name, answer.epoch)
            self._past[self.log.epoch] = self.log.head
        for name in self.log.rings:
            other.open(name)
        vars(self.log).update(vars(other))
        self._has_grown(list(self.log.rings))

    def _follow(self, answer: Answer) -> None:
        """Append everything up to the head, of all channels, in SEQ order."""
        after = self.log.head
        records, entries = self._read(answer, after, self.log)
        if len(entries) > MANY:
            self._begin(answer)
            return
        # If something that was never seen here has been forgotten already, channels without a record have lost it.
        kept = self._newer(answer, 0) if answer.floor > after else self.log.rings
        forgotten = set(self.log.rings).difference(kept)
        for _ in _fill(self.log, answer, records, entries):
            pass  # without a breath: what is lost is known when all is done
        for name in forgotten:
            self.log.skip(name, answer.floor)
        self._has_grown(forgotten.union(records))

    def _newer(self, answer: Answer, after: int) -> list[str]:
        standing, names = self.link.newer(after)
        _check(standing, answer)
        return names

    def _read(self, answer: Answer, after: int, into: Log) -> tuple[dict[str, Record], list[Entry]]:
        """Records and entries of all channels that have news; the older entries only if there is room for them.

        Of those for which there is none, the log that they would have gone ``into`` is told.
        """
        records: dict[str, Record] = {}
        entries: list[Entry] = []
        gone: dict[str, int] = {}
        room = self.log.limit
        places = dict.fromkeys(self._newer(answer, after), after)
        while places:
            piece = self.link.read(dict(islice(places.items(), CHANNELS)), answer.head, ROWS)
            _check(piece.standing, answer)
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
                for entry in entries[:half]:
                    gone[entry.channel] = entry.seq
                    into.changes.note(entry)
                del entries[:half]
                room = self.log.limit - _weight(entries)
            breathe()
        entries.sort(key=_seq)
        for name in gone.keys() & records:
            into.open(name).partial = True
            records[name] = records[name].without(gone[name])
        return records, entries


def _check(standing: Standing, answer: Answer) -> None:
    """Raise ConnectionError if what was read is not of the log of the answer: what an older copy of it lacks would pass
    for something that never was."""
    if not standing.reaches(answer.standing):
        raise redis.ConnectionError("the log was replaced while it was read")


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
        log.skip(name, record.last if record.last <= answer.head else min(record.lost, answer.head))
    log.floor, log.holes = max(log.floor, answer.floor), answer.holes
    log.head = max(log.head, answer.head)


def _weight(entries: Iterable[Entry]) -> int:
    return sum(weight(entry) for entry in entries if isinstance(entry, Update))
