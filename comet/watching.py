"""Watching: which channels anybody watches, in whichever worker. Triggers sleep while nobody watches theirs.

Strategy: each worker notes when a channel was last used here, and says so to the broker, which adds up the workers.
Nothing is said of channels that no trigger asks about, nor of what the broker knows already: a channel with thousands
of subscribers, or polls, costs a call every quarter of a minute, which it shares with all others.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Container, Sequence

import gevent
from gevent.event import Event

from .brokers import Broker, Watches
from .core.errors import BrokerAway


log = logging.getLogger("comet")

#: Seconds for which a channel counts as watched after its last subscriber, poll or request for the newest update.
LINGER = 30.0

#: When the broker is to forget so soon, in seconds, it is told again.
RENEWS = 15.0

#: Seconds between two looks; besides, the broker says when something has begun elsewhere.
LOOK = 2.0


class Watch:
    """Whether a channel is watched: ``begun`` is set while it is, ``over`` while it is not.

    ``used``: when it was last used here; ``told``: until when the broker counts it as watched because of that;
    ``turned`` are called after each turn.
    """

    __slots__ = ("begun", "over", "told", "turned", "used")

    def __init__(self, begun: bool = False) -> None:
        self.begun, self.over = Event(), Event()
        self.used = self.told = -math.inf
        self.turned: list[Callable[[], None]] = []
        self.turn(begun)

    def turn(self, begun: bool) -> None:
        for event, right in ((self.begun, begun), (self.over, not begun)):
            if right:
                event.set()
            else:
                event.clear()
        for turned in self.turned:
            turned()


def either(watches: Sequence[Watch]) -> Watch:
    """A watch that has begun while one of these has."""
    if len(watches) == 1:
        return watches[0]
    whole = Watch()

    def turned() -> None:
        whole.turn(any(watch.begun.is_set() for watch in watches))

    for watch in watches:
        watch.turned.append(turned)
    turned()
    return whole


class Watching:
    """Who asks for a ``watch`` is told of all workers. ``subscribers``: the channels that have some in this one."""

    def __init__(self, broker: Broker, subscribers: Container[str]) -> None:
        self.broker = broker if isinstance(broker, Watches) else None
        self.subscribers = subscribers
        self._watches: dict[str, Watch] = {}
        self._more = Event()
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        if self.broker is not None:
            self.broker.woken = self._more.set
            self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None

    def watch(self, channel: str) -> Watch:
        """The watch of a channel. Where the broker can't tell, all are watched."""
        if self.broker is None:
            return Watch(begun=True)
        if channel not in self._watches:
            self._watches[channel] = Watch()
            if channel in self.subscribers:
                self.touch(channel)
            self._more.set()
        return self._watches[channel]

    def touch(self, channel: str) -> bool:
        """The channel is used here, now: call it when its first subscriber comes and when its last one goes.

        Returns whether that has woken whoever waits for it.
        """
        watch = self._watches.get(channel)
        if watch is None:
            return False
        watch.used = time.monotonic()
        if watch.told < watch.used + LOOK:
            self._more.set()
        woken = not watch.begun.is_set()
        watch.turn(True)
        return woken

    def _run(self) -> None:
        """Tell the broker and ask it, now and then, for ever."""
        while True:
            self._more.wait(LOOK)
            self._more.clear()
            try:
                self._look()
            except BrokerAway:
                pass  # it says so itself; what was watched stays so until it is back
            except Exception:
                log.exception("comet: it could not be found out which channels are watched")

    def _look(self) -> None:
        if not self._watches or self.broker is None:
            return
        now = time.monotonic()
        for channel, watch in self._watches.items():
            if channel in self.subscribers:
                watch.used = now
        if due := self._due(now):
            self.broker.watch({channel: watch.used + LINGER - now for channel, watch in due.items()})
            for watch in due.values():
                watch.told = max(watch.told, watch.used + LINGER)
        watched = self.broker.watched(list(self._watches))
        for channel, watch in self._watches.items():
            if channel not in watched:
                watch.told = -math.inf  # of what it was told the broker knows nothing any more
            watch.turn(channel in watched or watch.used + LINGER > time.monotonic())

    def _due(self, now: float) -> dict[str, Watch]:
        """What the broker is to be told: nothing, or everything that it does not know."""
        news = {name: watch for name, watch in self._watches.items() if watch.used + LINGER > max(now, watch.told + 1)}
        return news if any(watch.told < now + RENEWS for watch in news.values()) else {}
