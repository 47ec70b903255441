"""Comet: the Flask extension. Push for somebody else's app, at home in it.

The app is not stored. Routes are in a blueprint below ``url_prefix``; everything of comet's own hangs on the extension
object, so that ``publish`` works from any greenlet, outside of any request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from flask import Blueprint, Flask

from .access import Authorize
from .brokers import Broker
from .cohorts import Subscription
from .core.log import Gap, Start
from .core.update import Closed, Update, check_channel
from .serving import current_settings, refusing
from .settings import Settings
from .triggers.timer import Timer
from .views import make_blueprint, server
from .worker import Worker


F = TypeVar("F", bound=Callable[[], object])


class Comet:
    """``Comet(app)`` or ``Comet().init_app(app)``. Apps of one Comet share its channels.

    Background greenlets start with the first request, or by ``start``. Without ``authorize`` it serves subscribing
    only (and publishing with COMET_PUBLISH_KEY). ``direct_writes`` True: the app has no middleware that wraps response
    bodies, and sockets may be written to directly.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        url_prefix: str | None = "/comet",
        broker: Broker | None = None,
        direct_writes: bool = False,
        settings: Settings | None = None,
    ) -> None:
        self.blueprint: Blueprint = make_blueprint(url_prefix)
        with refusing():
            self.worker = Worker(
                settings or current_settings(), broker=broker, embedded=True, direct_writes=direct_writes
            )
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Register the routes, and the start with the app's first request."""
        if "comet" in app.extensions:
            raise RuntimeError("this app has a Comet already: use that one, app.extensions['comet'].")
        app.extensions["comet"] = self
        app.register_blueprint(self.blueprint)
        app.before_request(self._begin)

    def start(self, worker: Any = None, shared: Path | None = None) -> None:
        """Start the background greenlets, once. Call it with gunicorn's worker in ``post_worker_init``: then the
        streams are drained when the worker stops. ``shared``: a folder of this server's workers, for ``/metrics``."""
        self.worker.start(worker, shared)

    def _begin(self) -> None:
        server.begin(self.worker)

    # Deciding.

    def authorize(self, allowed: Authorize) -> Authorize:
        """Decorate the function that says who may: ``allowed(action, channels) -> bool``. It runs inside the request.

        Actions are ``"subscribe"``, ``"publish"`` and ``"admin"``. Without it everybody may subscribe and nobody else.
        """
        self.worker.access.authorize = allowed
        return allowed

    # Publishing.

    def publish(
        self, channel: str, data: object, *, type: str | None = None, event: str | None = None, key: str | None = None
    ) -> Update:
        """Publish str, bytes or anything JSON; return the update with its id. From any greenlet or thread.

        ``key``: an idempotency key. Published already, it returns the update with the id it was given then.
        Raises BadRequest for what can't be published, TooManyChannels, BrokerAway.
        """
        update = Update.of(channel, data, type=type, event=event, key=key)
        (receipt,) = self.worker.publish([update])
        return update.placed(epoch=receipt.epoch, seq=receipt.seq, prev=receipt.prev, time=receipt.time)

    def delete(self, channel: str) -> None:
        """Forget the channel's history, tell and end its subscribers. Raises NotFound."""
        self.worker.publish([Closed(check_channel(channel))])

    def every(
        self,
        seconds: float,
        *,
        channel: str,
        type: str | None = None,
        event: str | None = None,
        repeat: bool = False,
        always: bool = False,
    ) -> Callable[[F], F]:
        """Decorate a function that is called every ``seconds`` in the background; what it returns is published.

        It returns str, bytes, anything JSON, an Update, or None for nothing. What did not change is published again
        only with ``repeat``. While nobody watches the channel, it is called only with ``always``.
        """
        check_channel(channel)
        if not 0 < seconds < math.inf:
            raise ValueError(f"every {seconds} seconds: it takes a positive number.")

        def decorate(call: F) -> F:
            timer = Timer(
                self._name(f"{call.__module__}:{getattr(call, '__qualname__', 'call')} ({channel})"),
                call=call,
                every=seconds,
                channel=channel,
                type=type,
                event=event,
                repeat=repeat,
                always=always,
            )
            self.worker.add(timer)
            return call

        return decorate

    def _name(self, name: str) -> str:
        """A name that no trigger has: workers run triggers in turn by their names, the same in each of them."""
        taken, number, found = {state.name for state in self.worker.triggers.states}, 1, name
        while found in taken:
            number += 1
            found = f"{name} {number}"
        return found

    # Subscribing.

    def subscribe(
        self,
        *channels: str,
        since: str | None = None,
        last: int | None = None,
        on_gap: Callable[[Gap], None] | None = None,
    ) -> Iterator[Update]:
        """Yield what is published to these channels: a blocking generator, for any greenlet of the serving thread.

        It begins after the cursor ``since``, or with the ``last`` updates of each channel; it ends when one of the
        channels is deleted or the worker stops. ``on_gap`` is told of updates that can no longer be supplied.
        Raises BadRequest for a bad name at once; Full or Stopping when it begins.
        """
        names = tuple(dict.fromkeys(check_channel(name) for name in channels))
        if not names:
            raise ValueError("subscribe to at least one channel.")
        self.worker.check()
        self.worker.check_thread()
        self.worker.start()
        return self._updates(self.worker.controller.begin(names, since, last), on_gap)

    def _updates(self, start: Start, on_gap: Callable[[Gap], None] | None) -> Iterator[Update]:
        yield from start.entries
        for page in self.worker.controller.pages(Subscription(start.position)):
            if page.gap is not None and on_gap is not None:
                on_gap(page.gap)
            yield from (entry for entry in page.entries if isinstance(entry, Update))
