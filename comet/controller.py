"""Controller: the choke point for data. ``add`` and ``remove`` subscribers, ``update`` them.

One log, N cursors, an Event for each cohort of them. A subscriber is an integer over the shared log; the Event that it
waits on carries no data, it says "look again". Publishing appends to the log and returns; the *deliverer*, one greenlet
of the worker, sees to whoever waits on the channels that have something new.

The one rule of waiting: ask the log, *then* join a cohort and wait. ``wait`` does both, nothing switches between,
and an Event is set once and never waited on again, so no wake-up is lost.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

import gevent

from .breath import breathe
from .brokers import Broker, CatchesUp, HasHealth, Receipt, Tidies
from .cohorts import Cohorts, Subscription
from .core.counts import Counts
from .core.errors import Full, Stopping
from .core.log import Entry, Log, Page, Position, Start
from .core.update import Update
from .core.wire import Wire
from .deliverer import Deliverer
from .ends import DELETED, GONE, STOPPING
from .expiries import Expiries
from .frames import ENTRIES, PIECE, Frame, Frames
from .watching import Watching


class Controller:
    """Everybody who subscribes in this worker, and the greenlets that serve them. Times are in seconds."""

    def __init__(self, broker: Broker, *, heartbeat: float = 15.0, max_streams: int = 50_000) -> None:
        self.broker = broker
        self.heartbeat = heartbeat
        self.max_streams = max_streams
        self.streams: set[Subscription] = set()
        #: Whether the streams are being ended; and whether nobody is taken in any more.
        self.stopping = self.refusing = False
        self.counts = Counts()
        self._subscribers: dict[str, int] = {}
        self.watching = Watching(broker, self._subscribers)
        self._cohorts = Cohorts(broker.log, heartbeat, self.counts)
        self._expiries = Expiries()
        self._frames = Frames(broker)
        self._deliverer = Deliverer(self._cohorts, self._frames, self._tidy)
        self._drained_at = 0.0

    @property
    def log(self) -> Log:
        return self.broker.log

    # The three verbs.

    def add(self, subscription: Subscription) -> None:
        """Take a subscriber in. Raises Stopping or Full. It must be removed again, whatever happens."""
        self.check_room()
        self.streams.add(subscription)
        self.counts.opens[subscription.kind] += 1
        if subscription.expires < math.inf or subscription.jti:
            self._expiries.add(subscription)
        for name in subscription.names:
            if name not in self._subscribers:
                self._subscribers[name] = 0
                self.log.open(name)
                self.watching.touch(name)
            self._subscribers[name] += 1

    def remove(self, subscription: Subscription, reason: str = GONE) -> None:
        """Let a subscriber go. Harmless for one that has gone already."""
        if subscription not in self.streams:
            return
        self.streams.remove(subscription)
        self.counts.closes[subscription.kind, reason] += 1
        if subscription.expires < math.inf or subscription.jti:
            self._expiries.remove(subscription)
        self._cohorts.leave(subscription)
        for name in subscription.names:
            self._subscribers[name] -= 1
            if not self._subscribers[name]:
                del self._subscribers[name]
                self.log.release(name)
                self.watching.touch(name)

    def lose(self, subscription: Subscription) -> None:
        """The subscriber's peer has gone: wake it, so that it ends."""
        subscription.gone = True
        self._cohorts.wake_one(subscription)

    @property
    def revoked(self) -> Set[str]:
        """The jti of tokens that are good no more, as far as this worker knows."""
        return self._expiries.revoked

    def revoke(self, jti: str) -> None:
        """End everybody who rests on this token, now and from now on."""
        for stream in self._expiries.revoke(jti):
            self._cohorts.wake_one(stream)
            breathe()

    def update(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Publish these entries, all or none. They are in the log when this returns; delivering comes after."""
        receipts = self.broker.publish(entries)
        breathe()  # who publishes in a loop without a pause would keep everybody else from running
        return receipts

    def check_room(self) -> None:
        """Raise Stopping or Full if no stream can be taken in now."""
        if self.refusing:
            raise Stopping("this worker is stopping; try again.", retry_after=int(self.goodbye_retry() / 1000) + 1)
        if len(self.streams) >= self.max_streams:
            raise Full(f"this worker holds {self.max_streams} streams already (COMET_MAX_STREAMS).", retry_after=10)

    def check_broker(self) -> None:
        """Raise BrokerAway if nothing can be published now."""
        if isinstance(self.broker, HasHealth):
            self.broker.check()

    @property
    def subscribed(self) -> Mapping[str, int]:
        """The channels that have subscribers in this worker, and how many."""
        return self._subscribers

    # Ask, wait, ask again.

    def read(self, subscription: Subscription, *, size: int = PIECE, limit: int = ENTRIES) -> Page:
        """Return what is new for a subscriber and move its cursor past it. An empty page: nothing is."""
        page = self.broker.since(subscription.position, size=size, limit=limit)
        subscription.position.move(page.epoch, page.seq, page.told)
        return page

    def begin(self, names: tuple[str, ...], since: str | None, last: int | None, *, newest_only: bool = False) -> Start:
        """Begin an answer (see ``Log.begin``). Raises BrokerAway if only the broker could tell what a cursor is."""
        if not since and any(self._is_partial(name) for name in names):
            return self._begin_with_recent(names, last, newest_only)
        start = self.log.begin(names, since, last, newest_only=newest_only)
        doubt = start.position.doubt
        if doubt and doubt[1] != "unknown" and isinstance(self.broker, CatchesUp):
            # Another worker may have delivered more than this one has seen; or begun another epoch.
            self.broker.catch_up()
            start = self.log.begin(names, since, last, newest_only=newest_only)
        return start

    def _begin_with_recent(self, names: tuple[str, ...], last: int | None, newest_only: bool) -> Start:
        """Begin an answer without a cursor where the broker may have more of what is recent."""
        recent: list[Update] = []
        upto = self.log.head
        for name in names:
            found, seq = self._recent(name, self.log.replay(name, last, newest_only))
            recent += found
            upto = min(upto, seq)  # what has come while the broker read comes once more, as news
        return self.log.start(names, recent, upto, newest_only)

    def _is_partial(self, name: str) -> bool:
        ring = self.log.rings.get(name)
        return ring is not None and ring.partial

    def _recent(self, name: str, count: int) -> tuple[Iterable[Update], int]:
        """The ``count`` newest updates of a channel up to some SEQ, and that SEQ: the broker's if too few are here."""
        ring = self.log.rings.get(name)
        here = ring.recent(count) if ring else []
        if len(here) == count or not self._is_partial(name):
            return here, self.log.head
        recent: deque[Update] = deque(maxlen=count)
        position = Position((name,), 0, self.log.epoch, newest_only=count == 1)
        while True:
            page = self.broker.since(position, size=PIECE, limit=ENTRIES)
            if page.epoch != position.epoch:
                recent.clear()  # another log has begun meanwhile
            recent.extend(entry for entry in page.entries if isinstance(entry, Update))
            if page.ended or not page.more:
                return () if page.ended else recent, page.seq
            position.move(page.epoch, page.seq, page.told)
            breathe()

    def newest(self, name: str) -> Update | None:
        """The newest update of a channel that is kept, here or by the broker."""
        recent, _ = self._recent(name, 1)
        return next(iter(recent), None)

    def keeps(self, name: str, receipt: Receipt) -> bool:
        """Whether anything of a channel is kept that was published to at this place, or has yet to come here.

        If not, it was too old, or deleted, or of a log that is gone: who subscribes now is given nothing.
        """
        is_coming = receipt.epoch == self.log.epoch and receipt.seq > self.log.head
        return is_coming or bool(self.log.rings.get(name))

    def is_at_hand(self, subscription: Subscription) -> bool:
        """Whether what is new for a subscriber is in the log of this process, so that nobody else is asked for it."""
        return not self.log.lacks(subscription.names, subscription.position.seq)

    def frame(self, subscription: Subscription, wire: Wire) -> Frame | None:
        """Return what is to be written next to a streaming subscriber, and move it past that; None: nothing is."""
        frame = self._frames.after(subscription, wire)
        if frame is not None:
            frame.move(subscription)
            self.told(frame.gap)
        return frame

    def told(self, gap: str) -> None:
        """Count a gap that was told, if there was one."""
        if gap:
            self.counts.gaps[gap] += 1

    def wrote(self, subscription: Subscription, size: int, updates: int = 0) -> None:
        """So much was written to a subscriber by its own greenlet."""
        subscription.updates += updates
        subscription.bytes += size
        self.counts.yielded.updates += updates
        self.counts.yielded.bytes += size

    def wait(self, subscription: Subscription, timeout: float | None = None) -> None:
        """Wait until there may be something to do; not at all, if there is."""
        self._cohorts.wait(subscription, timeout)

    def pause(self, subscription: Subscription, seconds: float) -> None:
        """Wait so long, whatever comes, unless there is something to do beside what is new."""
        self._cohorts.pause(subscription, seconds)

    def pages(self, subscription: Subscription) -> Iterator[Page]:
        """The pages for a subscriber, for ever: a blocking generator for readers in this process."""
        self.add(subscription)
        reason = GONE
        try:
            while True:
                if page := self.read(subscription):
                    self.told(page.gap.reason if page.gap else "")
                    yield page
                    if page.ended:
                        reason = DELETED
                        return
                elif subscription.leaving:
                    reason = STOPPING
                    return
                else:
                    self.wait(subscription)
        finally:
            self.remove(subscription, reason)

    def follow(self, channel: str) -> Iterator[Page]:
        """The pages of one of comet's own channels from the beginning of the log, for ever: for a greenlet of the
        worker's own, which is no stream. An empty page that has no ``more``: that is all there is yet."""
        self.log.open(channel)
        reader = Subscription(Position((channel,), 0, self.log.epoch))
        try:
            while True:
                page = self.read(reader)
                yield page
                if not page.more:
                    self.wait(reader)
        finally:
            self._cohorts.leave(reader)

    # Life.

    def start(self) -> None:
        """Begin to deliver. Call it in the worker, once."""
        self.broker.start(self._deliverer.notify)
        self._deliverer.start()
        self.watching.start()

    def stop(self) -> None:
        """Stop delivering, at once. For tests and shells; a worker drains instead."""
        self.watching.stop()
        self._deliverer.stop()
        self.broker.stop()

    def refuse(self) -> None:
        """Take nobody in any more: this worker is about to drain."""
        self.stopping = self.refusing = True

    def drain(self, seconds: float) -> None:
        """End all streams, evenly over ``seconds``, each with its goodbye. Blocks until then.

        Who comes meanwhile is ended last, unless nobody is taken in (see ``refuse``). Streams that do not take their
        goodbye are still there afterwards; cutting them is the caller's work.
        """
        self.stopping = True
        begun = time.monotonic()
        self._drained_at = begun + seconds
        lasting = []
        for stream in list(self.streams):
            if stream.wire and stream.wire.one_shot:
                self._end(stream)  # its client comes back anyway
            else:
                lasting.append(stream)
        random.shuffle(lasting)
        for place, stream in enumerate(lasting):
            # Never sleep(0): it would keep the sockets waiting (see breath).
            gevent.sleep(max(1e-9, begun + seconds * place / len(lasting) - time.monotonic()))
            self._end(stream)
        while not self.refusing and time.monotonic() < self._drained_at:
            gevent.sleep(0.02)  # who was let in before may ask only now, if there was much to do
        self.refuse()
        for stream in list(self.streams):
            self._end(stream)  # who came meanwhile
        while self.streams and time.monotonic() < self._drained_at + 0.5:
            gevent.sleep(0.02)

    def _end(self, stream: Subscription) -> None:
        stream.leaving = True
        self._cohorts.wake_one(stream)

    def goodbye_retry(self) -> int:
        """Milliseconds after which a stream that is ended now should come back: when the drain is over, spread out."""
        left = max(0.0, self._drained_at - time.monotonic())
        return int(1000 * (left + 3 + random.random() * max(4.0, len(self.streams) / 1000)))

    def _tidy(self) -> None:
        """Let time pass for the tokens of the streams, and for the log."""
        for stream in self._expiries.due(time.time()):
            stream.expiring = True
            self._cohorts.wake_one(stream)
            breathe()
        if isinstance(self.broker, Tidies):
            before = self.log.weight, self.log.floor
            for _ in self.broker.tick(time.time(), self._subscribers):
                breathe()
            if (self.log.weight, self.log.floor) != before:
                self._frames.forget()  # they may hold what is no longer kept
