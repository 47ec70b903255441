"""Worker: everything of comet that lives in one worker process, and its life from the start to the drain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import gevent
from gevent import get_hub, monkey

from .access import Access
from .brokers import Broker, Receipt
from .brokers.memory import MemoryBroker
from .controller import Controller
from .core.encodings import Encodings
from .core.errors import SettingsError
from .core.log import Entry
from .core.update import Update
from .peers import Peers
from .refusals import Refusals
from .settings import Settings
from .triggers import Supervisor, Trigger


log = logging.getLogger("comet")

T = TypeVar("T")

_thread_id: Callable[[], int] = monkey.get_original("_thread", "get_ident")
_new_lock: Callable[[], Any] = monkey.get_original("_thread", "allocate_lock")


class Worker:
    """The rooms of one process, wired together. ``embedded``: they serve inside somebody else's app."""

    def __init__(self, settings: Settings, *, broker: Broker | None = None, embedded: bool = False) -> None:
        self.settings = settings
        self.embedded = embedded
        # A quarter for encodings: those are made again when they are missed, history is not.
        broker = broker or MemoryBroker(
            rules=settings.rules,
            limit=settings.memory * 3 // 4,
            max_channels=settings.max_channels,
            idempotency_seconds=settings.idempotency_seconds,
        )
        self.encodings = Encodings(settings.memory // 4)
        self.controller = Controller(broker, heartbeat=settings.heartbeat, max_streams=settings.max_streams)
        self.peers = Peers(write_timeout=settings.write_timeout)
        self.access = Access(
            settings.rules, keys=settings.publish_key, open=settings.open, origins=settings.allowed_origins
        )
        self.refusals = Refusals()
        self.triggers = Supervisor(self._publish_for_trigger)
        self._started = False
        self._hub_thread = 0
        self._loop: Any = None

    def start(self, gunicorn_worker: Any = None) -> None:
        """Start the background greenlets, once. With gunicorn's worker, also drain when it is told to stop."""
        if gunicorn_worker is not None:
            _check(gunicorn_worker)
            gevent.spawn(self._watch, gunicorn_worker)
        if not self._started:
            self._started = True
            self._hub_thread, self._loop = _thread_id(), get_hub().loop
            self.controller.start()
            self.peers.start()
            self.triggers.start()

    def stop(self) -> None:
        """End the background greenlets at once. For tests and shells."""
        if self._started:
            self.triggers.stop()
            self.controller.stop()
            self.peers.stop()
            self._started = False

    def add(self, trigger: Trigger) -> None:
        self.triggers.add(trigger)

    def publish(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Publish from any greenlet, or from a real thread: then the hub's thread does it while this one waits."""
        if self._started and _thread_id() != self._hub_thread:
            return self._in_hub(lambda: self.controller.update(entries))
        return self.controller.update(entries)

    def _publish_for_trigger(self, updates: Sequence[Update]) -> list[Receipt]:
        return self.controller.update(updates)

    def _in_hub(self, work: Callable[[], T]) -> T:
        # A lock of the operating system: gevent's own would belong to this thread's hub.
        done, results, errors = _new_lock(), [], []
        done.acquire()

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                errors.append(error)
            finally:
                done.release()

        self._loop.run_callback_threadsafe(gevent.spawn, run)
        done.acquire()
        if errors:
            raise errors[0]
        return results[0]

    def _watch(self, gunicorn_worker: Any) -> None:
        """Drain when gunicorn's worker is told to stop. It calls no hook then, and would kill the streams."""
        while gunicorn_worker.alive:
            gevent.sleep(0.1)
        self.triggers.stop()
        self.controller.drain(self.settings.drain_seconds)
        # Who takes no goodbye is cut, or the worker would wait for it until it is killed.
        self.peers.cut_writers()


def _check(gunicorn_worker: Any) -> None:
    """Raise SettingsError where gunicorn was told something else on its command line."""
    cfg = gunicorn_worker.cfg
    if "gevent" not in cfg.worker_class_str:
        raise SettingsError(
            f"the worker class {cfg.worker_class_str} can't hold streams: start with gunicorn -k gevent."
        )
