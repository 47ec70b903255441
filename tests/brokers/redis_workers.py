"""Workers of this process on one Redis, and what their subscribers are told."""

from __future__ import annotations

from collections.abc import Callable

import gevent

from comet.brokers.redis import RedisBroker
from comet.cohorts import Subscription
from comet.controller import Controller
from comet.core.errors import BrokerAway
from comet.core.log import Gap, Position
from comet.core.update import Update
from tests.timing import PATIENCE


Make = Callable[..., Controller]


def wait(state: Callable[[], object], seconds: float = 10) -> None:
    with gevent.Timeout(seconds * PATIENCE):
        while not state():
            gevent.sleep(0.005)


class Reader:
    """A subscriber of a worker. ``told``: the updates and gaps that it got; ``closed``: its channel was deleted."""

    def __init__(self, controller: Controller, *names: str, since: str | None = None, last: int = 0) -> None:
        self.told: list[Update | Gap] = []
        self.closed = False
        start = controller.begin(names, since, last)
        self.told += start.entries
        self.position: Position = start.position
        self.greenlet = gevent.spawn(self._run, controller, Subscription(start.position))
        gevent.sleep(0)

    def _run(self, controller: Controller, subscription: Subscription) -> None:
        for page in controller.pages(subscription):
            if page.gap:
                self.told.append(page.gap)
            self.told += [entry for entry in page.entries if isinstance(entry, Update)]
            self.closed |= page.ended

    def leave(self) -> str:
        """Stop reading; return the cursor."""
        self.greenlet.kill()
        return f"{self.position.epoch}-{self.position.seq}"

    @property
    def gaps(self) -> list[Gap]:
        return [each for each in self.told if isinstance(each, Gap)]

    @property
    def texts(self) -> list[str]:
        return [each.data.decode() for each in self.told if isinstance(each, Update)]


def publish(controller: Controller, *texts: str, channel: str = "a") -> str:
    """Publish; return the last id."""
    return controller.update([Update(channel, text.encode()) for text in texts])[-1].id


def publish_works(controller: Controller, text: str) -> bool:
    try:
        publish(controller, text)
    except BrokerAway:
        return False
    return True


def broker(controller: Controller) -> RedisBroker:
    assert isinstance(controller.broker, RedisBroker)
    return controller.broker
