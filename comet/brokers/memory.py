"""The broker in the memory of one process. It survives nothing, and needs nothing."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter

from ..core.errors import NotFound, TooManyChannels
from ..core.log import Entry, Log, Page, Position
from ..core.rules import Rules
from ..core.update import Closed, is_own
from . import Broker, Deliver, Receipt, new_epoch


#: So many keys of a channel are remembered, however fast they come.
KEYS_OF_A_CHANNEL = 10_000


class MemoryBroker:
    """One process's log. ``limit`` bounds its history in bytes, ``max_channels`` its names."""

    def __init__(
        self,
        *,
        rules: Rules | None = None,
        limit: int = 1 << 28,
        max_channels: int = 10_000,
        idempotency_seconds: float = 3600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.log = Log(new_epoch(), rules=rules, limit=limit)
        self.max_channels = max_channels
        self.idempotency_seconds = idempotency_seconds
        self._clock = clock
        self._keys: dict[str, OrderedDict[str, Receipt]] = {}
        self._deliver: Deliver = lambda names: None
        self._process = os.getpid()
        self.woken: Callable[[], None] = lambda: None
        self._watched: dict[str, float] = {}

    def start(self, deliver: Deliver) -> None:
        self._own_the_log()
        self._deliver = deliver

    def stop(self) -> None:
        self._deliver = lambda names: None

    def publish(self, entries: Sequence[Entry]) -> list[Receipt]:
        self._own_the_log()
        self._check_room(entries)
        now = self._clock()
        receipts = [self._accept(entry, now) for entry in entries]
        self._deliver({entry.channel for entry in entries})
        return receipts

    def since(self, at: Position, *, size: int, limit: int) -> Page:
        return self.log.read(at, size=size, limit=limit)

    def watch(self, channels: Mapping[str, float]) -> None:
        now = time.monotonic()
        new = channels.keys() - self.watched(channels)
        for channel, seconds in channels.items():
            self._watched[channel] = max(self._watched.get(channel, 0), now + seconds)
        if new:
            self.woken()

    def watched(self, channels: Collection[str]) -> set[str]:
        now = time.monotonic()
        self._watched = {channel: until for channel, until in self._watched.items() if until > now}
        return self._watched.keys() & set(channels)

    def tick(self, now: float, used: Container[str]) -> Iterator[None]:
        yield from self.log.tick(now, used)
        for count, (channel, keys) in enumerate(list(self._keys.items()), 1):
            if count % 200 == 0:
                yield
            while keys and next(iter(keys.values())).time < now - self.idempotency_seconds:
                keys.popitem(last=False)
            if not keys:
                del self._keys[channel]

    def _own_the_log(self) -> None:
        """After a fork (gunicorn --preload): go on in another epoch with what was published before.

        The old one is the parent's, and its next child's too: they would give out the same ids.
        """
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        kept = sorted((update for ring in self.log.rings.values() for update in ring), key=attrgetter("seq"))
        self._keys.clear()
        self.log.restart(new_epoch())
        for update in kept:
            self._accept(update, update.time)

    def _check_room(self, entries: Sequence[Entry]) -> None:
        log = self.log
        new = {entry.channel for entry in entries if not (log.exists(entry.channel) or self._known(entry))}
        for entry in entries:
            if isinstance(entry, Closed) and entry.channel in new:
                raise NotFound(f"there is no channel {entry.channel}.")
        new = {name for name in new if not is_own(name)}  # those count for nobody
        if new and log.published + len(new) > self.max_channels:
            raise TooManyChannels(
                f"{self.max_channels} channels exist already (COMET_MAX_CHANNELS); "
                "one without history and subscribers is forgotten after 60 seconds."
            )

    def _accept(self, entry: Entry, now: float) -> Receipt:
        log = self.log
        if known := self._known(entry):
            return replace(known, duplicate=True)
        receipt = Receipt(log.epoch, log.head + 1, log.last((entry.channel,)), now)
        if isinstance(entry, Closed):
            log.append(Closed(entry.channel, now, log.epoch, receipt.seq))
            return receipt
        log.append(entry.placed(epoch=log.epoch, seq=receipt.seq, prev=receipt.prev, time=now))
        if entry.key is not None:
            keys = self._keys.setdefault(entry.channel, OrderedDict())
            keys[entry.key] = receipt
            if len(keys) > KEYS_OF_A_CHANNEL:
                keys.popitem(last=False)
        return receipt

    def _known(self, entry: Entry) -> Receipt | None:
        if isinstance(entry, Closed) or entry.key is None:
            return None
        keys = self._keys.get(entry.channel)
        return keys.get(entry.key) if keys else None


def _is_a_broker(broker: MemoryBroker) -> Broker:
    return broker  # checked by mypy
