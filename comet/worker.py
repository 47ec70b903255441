"""Worker: everything of comet that lives in one worker process, and its life from the start to the drain."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import gevent
from gevent import get_hub, monkey

from .access import Access
from .audience import Audience
from .broker_url import make_broker
from .brokers import Broker, Leases, Listens, Receipt
from .brokers.memory import MemoryBroker
from .controller import Controller
from .core.encodings import Encodings
from .core.errors import BrokerAway, SettingsError, Stopping, TooLarge, WrongServer
from .core.log import Entry
from .core.update import Update, is_own
from .core.wire import Wire
from .limits import Limits
from .metrics import Metrics
from .peers import Peers
from .port import is_closed
from .refusals import Refusals
from .revocations import Revocations
from .settings import Settings, is_loopback, refuse_flask_sse, refuse_open, refuse_workers
from .sources import make_trigger
from .status import Status
from .stopping import on_term
from .tokens import Tokens
from .triggers import Trigger
from .triggers.flask_sse import FlaskSse
from .triggers.supervisor import Supervisor
from .triggers.supervisor.checkpoints import Checkpoints


log = logging.getLogger("comet")

T = TypeVar("T")

#: Seconds after which gunicorn has closed the port of a worker that it reloads: it looks once a second, and on a busy
#: machine it may be late.
CLOSES = 10.0

#: Seconds that a real thread waits for the hub's thread to publish for it.
HANDOVER = 10.0

_thread_id: Callable[[], int] = monkey.get_original("_thread", "get_ident")
_new_lock: Callable[[], Any] = monkey.get_original("_thread", "allocate_lock")


class Worker:
    """The rooms of one process, wired together. ``embedded``: they serve inside somebody else's app."""

    def __init__(
        self, settings: Settings, *, broker: Broker | None = None, embedded: bool = False, direct_writes: bool = False
    ) -> None:
        self.settings = settings
        self.embedded = embedded
        #: Whether sockets may be written to past the server.
        self.direct_writes = direct_writes and settings.direct_writes
        # A quarter for encodings: those are made again when they are missed, history is not.
        broker = broker or make_broker(settings, settings.memory * 3 // 4)
        self.encodings = Encodings(settings.memory // 4)
        #: Makes a wire. Whoever asks for the same is given the same: it knows nothing of who reads it.
        self.wire: Callable[..., Wire] = lru_cache(maxsize=1000)(self._wire)
        self.controller = Controller(broker, heartbeat=settings.heartbeat, max_streams=settings.max_streams)
        self.peers = Peers(write_timeout=settings.write_timeout)
        self.revocations = Revocations(self.controller, self.publish)
        self.access = Access(
            settings.rules,
            keys=settings.publish_key,
            tokens=Tokens(settings.jwt_key, settings.jwt_public_key),
            check_revoked=self.revocations.check,
            open=settings.open,
            origins=settings.allowed_origins,
        )
        self.limits = Limits(
            proxies=settings.trusted_proxies,
            streams_per_peer=settings.streams_of_a_peer,
            streams_per_token=settings.streams_per_token,
            publish_rate=settings.publish_rate,
            publish_bytes_rate=settings.publish_bytes_rate,
        )
        self.refusals = Refusals()
        leases = broker if isinstance(broker, Leases) else None
        watch, keeps = self.controller.watching.watch, self.controller.keeps
        checkpoints = None if leases else Checkpoints(Path(settings.checkpoints))
        self.triggers = Supervisor(
            self.publish,
            leases=leases,
            checkpoints=checkpoints,
            check=self._check_sizes,
            published=lambda updates, receipts: self.metrics.published(updates, receipts),
            watch=watch,
            keeps=keeps,
        )
        self.metrics = Metrics(self.controller, self.peers, self.triggers, self.encodings)
        self.audience = Audience(self.controller.subscribed)
        self.status = Status(
            self.controller,
            self.metrics,
            self.triggers,
            self.encodings,
            channel=settings.status_channel,
            drain=settings.drain_seconds,
        )
        self.add(self.status.timer)
        for declared in settings.triggers:
            self.triggers.add(*make_trigger(declared, settings.max_update), kind=declared.kind)
        if settings.flask_sse:
            if not isinstance(broker, Listens):
                raise SettingsError(refuse_flask_sse())
            self.add(FlaskSse(settings.flask_sse, broker.listen))
        self.started = False
        #: Whether this process must be the only one: what it publishes no other sees.
        self.alone = isinstance(broker, MemoryBroker)
        self._refusal = ""
        self._hub_thread = 0
        self._loop: Any = None
        self._watcher: gevent.Greenlet | None = None
        self._before_start = _new_lock()

    def _wire(self, kind: Callable[..., Wire], names: tuple[str, ...], **options: float) -> Wire:
        return kind(names, self.encodings, **options)

    def start(self, gunicorn_worker: Any = None, shared: Path | None = None) -> None:
        """Start the background greenlets, once. With gunicorn's worker, also drain when it is told to stop. ``shared``
        is a folder where the workers of this server tell each other what they have counted.

        Raises gunicorn's AppImportError, which ends gunicorn with the sentence, if it was told what can't be served.
        """
        if gunicorn_worker is not None:
            self._check(gunicorn_worker.cfg)
            self.status.expected = gunicorn_worker.cfg.workers
            if self._watcher is None:
                self._watcher = gevent.spawn(self._watch, gunicorn_worker)
                on_term(gunicorn_worker, shared, self._told_to_end)
        if not self.started:
            self.started = True
            self._hub_thread, self._loop = _thread_id(), get_hub().loop
            self.controller.start()
            if self.access.tokens:
                self.revocations.start()
            self.peers.start()
            self.metrics.start(shared)
            self.audience.start(self.metrics.folder)
            self.status.start()
            self.triggers.start()

    def try_out(self, cfg: Any) -> None:
        """Raise what ``start`` would raise, and leave nothing behind. In a process that then ends."""
        self._check(cfg)
        self.controller.broker.start(lambda names: None)
        self.controller.broker.stop()

    def stop(self) -> None:
        """End the background greenlets at once. For tests and shells."""
        if self.started:
            self.triggers.stop()
            self.revocations.stop()
            self.controller.stop()
            self.peers.stop()
            self.status.stop()
            self.audience.stop()
            self.metrics.stop()
            self.started = False

    def add(self, trigger: Trigger) -> None:
        self.triggers.add(trigger)

    def refuse(self, sentence: str) -> None:
        """From now on publishing and subscribing raise WrongServer with this sentence."""
        if not self._refusal:
            log.error("comet: %s", sentence)
        self._refusal = sentence

    def check(self) -> None:
        """Raise WrongServer if this process was found unfit."""
        if self._refusal:
            raise WrongServer(self._refusal, retry_after=60)

    def check_thread(self) -> None:
        """Raise RuntimeError in a thread whose greenlets this worker can't wake."""
        here = _thread_id() == self._hub_thread if self.started else get_hub().main_hub
        if not here:
            raise RuntimeError("subscribe in a greenlet of the thread that serves; from a real thread only publish.")

    def publish(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Publish from any greenlet, or from a real thread: then the hub's thread does it while this one waits."""
        self.check()
        if self.controller.stopping and self.alone:
            # The next worker's log is another: its subscribers would never know of this.
            raise Stopping("this worker is stopping; try again.", retry_after=1)
        self._check_sizes(entries)
        if not self.started:
            # Nobody waits yet, and each thread of such a server may come here.
            with self._before_start:
                receipts = self.controller.broker.publish(entries)
                self.metrics.published(entries, receipts)
                return receipts
        if _thread_id() != self._hub_thread:
            return self._in_hub(lambda: self._update(entries))
        return self._update(entries)

    def _update(self, entries: Sequence[Entry]) -> list[Receipt]:
        receipts = self.controller.update(entries)
        self.metrics.published(entries, receipts)
        return receipts

    def _check_sizes(self, entries: Sequence[Entry]) -> None:
        most = self.settings.max_update
        for entry in entries:
            if isinstance(entry, Update) and len(entry.data) > most and not is_own(entry.channel):
                raise TooLarge(f"{len(entry.data)} bytes; an update has at most {most} (COMET_MAX_UPDATE).")

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
        if not done.acquire(True, HANDOVER):
            raise BrokerAway(
                f"the thread that serves did not answer within {HANDOVER:g} seconds; the update may be published yet. "
                "With a key a repetition is safe."
            )
        if errors:
            raise errors[0]
        return results[0]

    def _told_to_end(self, all_stop: bool) -> None:
        # Where others serve, it serves with them for another moment, but for a log that is its own.
        if all_stop or self.alone:
            self.controller.refuse()

    def _watch(self, gunicorn_worker: Any) -> None:
        """Drain when gunicorn's worker is told to stop. It calls no hook then, and would kill the streams."""
        while gunicorn_worker.alive and not self.controller.stopping:
            gevent.sleep(0.1)
        gevent.spawn(self.triggers.stop)  # beside the drain: a trigger may need its time
        deadline = time.monotonic() + CLOSES
        while not self.controller.stopping and not is_closed(gunicorn_worker) and time.monotonic() < deadline:
            gevent.sleep(0.02)
        try:
            self.controller.drain(self.settings.drain_seconds)
        finally:
            gunicorn_worker.alive = False
        # Who takes no goodbye is cut, and who sends half a body: else the worker would wait until it is killed.
        self.peers.cut_all()

    def _check(self, cfg: Any) -> None:
        """Refuse where gunicorn was told something else on its command line, or in a configuration that is not ours."""
        # Where gunicorn's worker is, gunicorn is.
        from gunicorn.errors import AppImportError

        if "gevent" not in cfg.worker_class_str:
            raise AppImportError(
                f"comet: the worker class {cfg.worker_class_str} can't hold streams: each would take a thread or a "
                "process. Start with gunicorn -k gevent."
            )
        if getattr(cfg, "protocol", "http") != "http":
            self.direct_writes = False  # uwsgi's framing is not HTTP's
        if cfg.workers > 1 and self.alone:
            raise AppImportError(f"comet: {refuse_workers(cfg.workers)}")
        beyond = [bind for bind in cfg.bind if not is_loopback(bind)]
        if self.settings.open and beyond:
            sentence = refuse_open("gunicorn's bind", beyond[0])
            raise AppImportError(f"comet: {sentence}")
