"""Status: the live page for administration, made with comet itself.

Strategy: the numbers are those of the metrics, and what these have no room for (why a trigger fails, who subscribes to
what) each worker says in a file, while anybody looks. A timer, which runs in one of the workers, adds all that up every
second and publishes it as a page, in an internal channel. Whoever opens the page subscribes to that, on the wire of
pages that never finish loading. While nobody looks, all of them sleep.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator

import gevent

from .. import __version__
from ..breath import breathe
from ..controller import Controller
from ..core.encodings import Encodings
from ..core.update import OwnUpdate, is_own
from ..metrics import Metrics
from ..triggers.supervisor import Supervisor
from ..triggers.timer import Timer
from .figures import Channel, Figures, Look, Place, channel_of, figures
from .page import HTML, Page, render
from .said import Sayings


#: Seconds between two looks.
EVERY = 1.0

#: Rates are of so many looks.
LOOKS = 6

#: Seconds that the other workers have to say something, before one that is silent is told.
PATIENCE = 4.0


class Status:
    """The figures of all workers of this server, and the page of them. ``channel`` is the page's.

    ``expected``: how many workers there should be; ``drain``: seconds that they take to stop.
    """

    def __init__(
        self,
        controller: Controller,
        metrics: Metrics,
        triggers: Supervisor,
        encodings: Encodings,
        *,
        channel: str,
        drain: float,
    ) -> None:
        self.controller = controller
        self.metrics = metrics
        self.channel = channel
        broker = type(controller.broker).__name__.removesuffix("Broker").lower()
        self.place = Place(os.uname().nodename, __version__, broker)
        self.wire = Page((channel,), encodings, place=self.place, drain=drain)
        self.expected = 1
        self.timer = Timer(channel, call=self._page, every=EVERY, channel=channel)
        self._sayings = Sayings(controller, triggers, channel)
        self._looks: deque[Look] = deque(maxlen=LOOKS)

    def start(self) -> None:
        """Begin to say what is asked for. Call it in the worker, once, after the metrics have begun."""
        self._sayings.start(self.metrics.folder)

    def stop(self) -> None:
        self._sayings.stop()

    def figures(self) -> Figures:
        """What is so now. Waits for a second if nobody has looked of late: it takes two looks to tell a rate."""
        self.controller.watching.touch(self.channel)
        if not self._has_looked():
            self._look()
            gevent.sleep(EVERY)
        return self._figures()

    def _page(self) -> OwnUpdate:
        return OwnUpdate(self.channel, render(self._figures()).encode(), HTML)

    def _figures(self) -> Figures:
        self._look()
        expected = self._sayings.expected(self.expected) if self._sayings.has_been_asked(PATIENCE) else 0
        looks, channels = list(self._looks), list(self._channels())
        said = self._sayings.all(tally.pid for tally in looks[-1].tallies if tally.lives)
        return figures(looks, said, channels, self.place, expected=expected) | {"alone": self.metrics.folder is None}

    def _has_looked(self) -> bool:
        looks, now = self._looks, time.time()
        return bool(looks) and now - looks[0].time >= EVERY and now - looks[-1].time < 2 * EVERY

    def _look(self) -> None:
        looks, now = self._looks, time.time()
        if looks and now - looks[-1].time > LOOKS * EVERY:
            looks.clear()  # everybody was asleep
        if len(looks) > 1 and looks[-1].time - looks[-2].time < EVERY * 0.9:
            looks.pop()  # however many ask, looks are some time apart
        looks.append(Look(now, self.metrics.tallies()))

    def _channels(self) -> Iterator[Channel]:
        now = time.time()
        for name, ring in list(self.controller.log.rings.items()):
            if not is_own(name):
                yield channel_of(name, ring, now)
                breathe()  # there may be thousands
