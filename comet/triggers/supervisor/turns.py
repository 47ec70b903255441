"""Turns: of all workers that share a broker one runs a trigger, and another takes over when it dies or freezes."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from ...brokers import Lease, Leases, Receipt
from ...core.errors import CometError, LeaseLost
from ...core.update import Update


log = logging.getLogger("comet")

#: Seconds for which a lease holds, and after which it is renewed or asked for again. A worker that dies is followed
#: within the sum of both.
HOLDS = 7.0
RENEWS = 2.0


#: Told of what was published, and where it stands.
Published = Callable[[Sequence[Update], Sequence[Receipt]], None]


class Turn:
    """The wait for a lease, and its keeping while the trigger runs and publishes by it.

    ``lost`` is called when it is another worker's. ``check`` raises for updates that can't be published; ``published``
    is told of those that were.
    """

    lasts = True

    def __init__(
        self,
        leases: Leases,
        name: str,
        lost: Callable[[], None],
        check: Callable[[Sequence[Update]], None],
        published: Published = lambda updates, receipts: None,
    ) -> None:
        self.leases = leases
        self.name = name
        self.lost = lost
        self.check = check
        self.published = published
        self.lease: Lease | None = None
        self._keeper: gevent.Greenlet | None = None
        self._refusal = ""

    def begin(self, stopping: Event) -> bool:
        """Wait until it is this worker's turn. Returns False if ``stopping`` is set first. Then ``end`` it."""
        while not stopping.is_set():
            self.lease = self._ask()
            if self.lease is not None:
                self._keeper = gevent.spawn(self._keep, self.lease)
                return True
            stopping.wait(RENEWS * random.uniform(0.8, 1.2))
        return False

    def end(self) -> None:
        """Give the lease back, if it is still ours."""
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper = None
        if self.lease is not None:
            try:
                self.leases.give_back(self.lease)
            except CometError:
                pass  # it runs out by itself
            self.lease = None

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        """Publish while the turn lasts. Raises LeaseLost when it does not."""
        if self.lease is None:
            raise LeaseLost(f"another worker runs {self.name} now.")
        self.check(updates)
        receipts = self.leases.publish_under(self.lease, updates, checkpoint)
        self.published(updates, receipts)
        return receipts

    def checkpoint(self) -> str | None:
        return self.leases.checkpoint(self.name)

    def _ask(self) -> Lease | None:
        try:
            return self.leases.lease(self.name, HOLDS)
        except CometError as error:
            if str(error) != self._refusal:
                self._refusal = str(error)
                log.warning("comet: no lease for the trigger %s: %s", self.name, error)
            return None

    def _keep(self, lease: Lease) -> None:
        while True:
            gevent.sleep(RENEWS)
            try:
                now = self.leases.lease(self.name, HOLDS)
            except CometError:
                continue  # away: nobody else can have it meanwhile, and publishing fails by itself
            if now != lease:
                self.lease = None
                self.lost()
                return
