"""Workers of this process on one Redis, and what their subscribers are told."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import gevent
import redis

from comet.brokers.redis import RedisBroker
from comet.cohorts import Subscription
from comet.controller import Controller
from comet.core.errors import BrokerAway
from comet.core.log import Gap
from comet.core.update import Update
from tests.timing import PATIENCE


Make = Callable[..., Controller]


@contextmanager
def sockets_may_be_dropped() -> Iterator[None]:
    """Greenlets are killed here. One that is just connecting drops its socket without closing it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


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
        self.subscription = Subscription(start.position)
        self.greenlet = gevent.spawn(self._run, controller, self.subscription)
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
        position = self.subscription.position
        return f"{position.epoch}-{position.seq}"

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
    """Whether publishing works again. With a key: what was not answered may have been accepted."""
    try:
        controller.update([Update("a", text.encode(), key=text)])
    except BrokerAway:
        return False
    return True


def broker(controller: Controller) -> RedisBroker:
    assert isinstance(controller.broker, RedisBroker)
    return controller.broker


_OLDER = """
local P, seconds = ARGV[1], ARGV[2]
local function fields(record)
  local kept, oldest = string.match(record, '^(.*) (%S+)$')
  return string.format('%s %.6f', kept, oldest - seconds)
end
local meta = redis.call('HGETALL', P .. ':meta')
for i = 1, #meta, 2 do
  if string.sub(meta[i], 1, 1) == '@' then redis.call('HSET', P .. ':meta', meta[i], fields(meta[i + 1])) end
end
local due = redis.call('ZRANGE', P .. ':due', 0, -1, 'WITHSCORES')
for i = 1, #due, 2 do redis.call('ZADD', P .. ':due', due[i + 1] - seconds, due[i]) end
for _, stream in ipairs(redis.call('KEYS', P .. ':log:*')) do
  local rows = redis.call('XRANGE', stream, '-', '+')
  redis.call('DEL', stream)
  for _, row in ipairs(rows) do
    row[2][4] = string.format('%.6f', row[2][4] - seconds)
    redis.call('XADD', stream, row[1], unpack(row[2]))
  end
end
for _, key in ipairs(redis.call('KEYS', P .. ':key:*')) do
  redis.call('PEXPIRE', key, math.floor(redis.call('PTTL', key) - 1000 * seconds))
end
"""


def make_older(broker: RedisBroker, seconds: float) -> None:
    """Let all that is in Redis, and in this worker's log, be so much older: as if the time had passed."""
    link = broker._link
    where = {name: link._pool.connection_kwargs[name] for name in ("host", "port")}
    with redis.Redis(**where, socket_timeout=60) as patient:
        patient.eval(_OLDER, 0, link.prefix, str(seconds))
    for ring in broker.log.rings.values():
        ring.updates[:] = [replace(update, time=update.time - seconds) for update in ring.updates]
        ring.closed_at -= seconds
        if ring.idle_since is not None:
            ring.idle_since -= seconds
