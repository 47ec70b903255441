"""Link: the way to one Redis and to the keys below one prefix. All that is known of redis-py is here.

redis-py repeats by default whatever fails, ten times, scripts too, and connects again without a word. Here nothing is
repeated, and a connection that is lost stays so until somebody asks for another.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import gevent
import redis
from gevent.queue import LifoQueue
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...core.errors import SettingsError
from ...core.log import Entry, Log
from .. import new_epoch
from .entries import of_stream


log = logging.getLogger("comet")

AWAY = (redis.ConnectionError, redis.TimeoutError)

#: Seconds that a connection may take to come about, and an answer to come. Twice of both is less than two seconds.
CONNECT = 0.3
ANSWER = 0.65

#: Calls that are under way at once at the most, each on a connection of its own: more than readers make, so that a
#: publisher need not wait for them; and the seconds that one waits for its turn, more than those before it may take.
CALLS = 8
TURN = 1.5

#: Seconds of silence after which a connection that hears messages is asked whether it is alive.
QUIET = 1.0

SCRIPT = Path(__file__).with_name("log.lua").read_text()


@dataclass(frozen=True, slots=True)
class Standing:
    """Which log it was at some moment, in which run of which server, and how far it went."""

    epoch: str
    run: str
    head: int

    def reaches(self, other: Standing) -> bool:
        """Whether this is the same log, and not an older copy of it that was put in its place."""
        return (self.epoch, self.run) == (other.epoch, other.run) and self.head >= other.head


@dataclass(frozen=True, slots=True)
class Answer:
    """How the log stands after a call, and what the call says."""

    epoch: str
    before: int
    head: int
    floor: int
    holes: list[tuple[int, int]]
    time: float
    run: str
    says: str | None

    @classmethod
    def parse(cls, text: bytes) -> Answer:
        epoch, before, head, floor, holes, time, run, *says = text.decode().split("\n", 7)
        numbers = [int(number) for number in holes.split()]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        return cls(epoch, int(before), int(head), int(floor), pairs, float(time), run, says[0] if says else None)

    @property
    def standing(self) -> Standing:
        return Standing(self.epoch, self.run, self.head)


@dataclass(frozen=True, slots=True)
class Record:
    """SEQ of a channel's newest entry ever, and of the newest that is not kept."""

    last: int
    lost: int

    @classmethod
    def parse(cls, text: bytes) -> Record:
        last, lost, *_ = text.split()
        return cls(int(last), int(lost))

    def without(self, seq: int) -> Record:
        return Record(self.last, max(self.lost, seq))


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read of some channels at one moment. Those that do not exist have no record."""

    standing: Standing
    floor: int
    records: Mapping[str, Record]
    entries: Mapping[str, list[Entry]]


class Link:
    """The way to the Redis of a URL. ``log`` is what this worker knows of the log there."""

    def __init__(self, url: str, log: Log) -> None:
        self.log = log
        #: The run of the server in which this worker has seen the head of its log.
        self.run = ""
        #: What is wrong now, in a sentence; empty if nothing is.
        self.fault = ""
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query))
            self.prefix = options.pop("prefix", "comet")
            database = parts.path.strip("/") or options.get("db", "0")
            if not database.isdecimal():
                raise ValueError(f"{database!r} is no database: these are numbers")
            self._pool = redis.BlockingConnectionPool.from_url(
                parts._replace(query=urlencode(options)).geturl(),
                max_connections=CALLS,
                timeout=TURN,
                queue_class=LifoQueue,
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=CONNECT,
                socket_timeout=ANSWER,
                socket_keepalive=True,
                protocol=2,
                driver_info=None,
            )
            #: For messages: never with the password.
            self.name = f"{parts.hostname or 'localhost'}:{parts.port or 6379}/{database}"
            self.connection()
        except (ValueError, TypeError, redis.RedisError) as error:
            raise SettingsError(f"COMET_BROKER can't be used: {error}.") from error
        self.live = f"{self.prefix}:live:{database}"  # pub/sub knows no databases
        self.woken = f"{self.live}:woken"
        self.meta, self.newest, self.due = (f"{self.prefix}:{name}" for name in ("meta", "last", "due"))
        self.client: Any = redis.Redis(connection_pool=self._pool)
        self._script: Any = self.client.register_script(SCRIPT)

    def connection(self) -> Any:
        """A connection of its own, not connected yet, and not of the pool."""
        return self._pool.connection_class(**self._pool.connection_kwargs)

    def close(self) -> None:
        self._pool.disconnect()

    def call(self, verb: str, *arguments: object, seen: tuple[str, int] | None = None) -> Answer:
        """Have Redis do one transaction. ``seen``: an epoch, and the head that was seen of it; this log's, if None."""
        seen = seen or (self.log.epoch, self.log.head)
        return Answer.parse(self._script(args=[self.prefix, self.live, new_epoch(), *seen, verb, *arguments]))

    def rule(self, channel: str) -> str:
        """What the script must know of a channel's rule."""
        rule, declared = self.log.rules[channel], int(channel in self.log.rules.names)
        return f"{rule.history} {rule.history_bytes} {rule.history_seconds} {declared}"

    def stream(self, channel: str) -> str:
        return f"{self.prefix}:log:{channel}"

    def newer(self, seq: int) -> tuple[Standing, list[str]]:
        """The channels that have something newer, and of which log."""
        pipe = self.client.pipeline()
        pipe.hmget(self.meta, "epoch", "run", "seq")
        pipe.zrangebyscore(self.newest, f"({seq}", "+inf")
        state, names = pipe.execute()
        return _standing(*state), [name.decode() for name in names]

    def read(self, after: Mapping[str, int], upto: int, count: int, newest: Collection[str] = ()) -> Piece:
        """Read at most ``count`` entries of each channel, up to a SEQ; of those in ``newest`` the last one."""
        pipe = self.client.pipeline()
        pipe.hmget(self.meta, "epoch", "run", "seq", "floor", *(f"@{name}" for name in after))
        for name, seq in after.items():
            if name in newest:
                pipe.xrevrange(self.stream(name), upto, f"({seq}", 1)
            else:
                pipe.xrange(self.stream(name), f"({seq}", upto, count)
        (epoch, run, head, floor, *records), *streams = pipe.execute()
        standing = _standing(epoch, run, head)
        return Piece(
            standing,
            int(floor or 0),
            {name: Record.parse(record) for name, record in zip(after, records, strict=True) if record},
            {
                name: [of_stream(standing.epoch, name, row) for row in rows]
                for name, rows in zip(after, streams, strict=True)
            },
        )

    def overdue(self, now: float, count: int) -> list[str]:
        """Channels of which something may be too old, the first of them."""
        return [name.decode() for name in self.client.zrangebyscore(self.due, "-inf", now, start=0, num=count)]

    def postpone(self, channels: Collection[str], until: float) -> None:
        """Do not forget these channels before."""
        if channels:
            self.client.zadd(self.due, dict.fromkeys(channels, until), xx=True, gt=True)

    # Health.

    def danger(self) -> str:
        """How Redis may lose the log at any time; empty if it does not."""
        try:
            policy = str(self.client.config_get("maxmemory-policy").get("maxmemory-policy", "unknown"))
        except redis.ResponseError:
            policy = "unknown"  # not everybody may ask
        if policy.startswith("allkeys"):
            return (
                f"Redis at {self.name} drops any key when its memory is full (maxmemory-policy is {policy}), the log "
                "too. Set it to noeviction, or use another Redis."
            )
        if policy != "noeviction":
            log.warning("comet: Redis at %s: maxmemory-policy is %s; it should be noeviction.", self.name, policy)
        return ""

    def report(self, fault: str) -> None:
        if fault and fault != self.fault:
            log.error("comet: %s", fault)
        self.fault = fault

    def failed(self, error: BaseException) -> None:
        if not isinstance(error, (redis.RedisError, gevent.Timeout)):
            log.error("comet: the Redis broker failed", exc_info=error)
        self.report(self.explain(error))

    def explain(self, error: BaseException) -> str:
        """One sentence for what Redis or the way to it says."""
        if isinstance(error, (redis.TimeoutError, gevent.Timeout)):
            return f"Redis at {self.name} does not answer."
        if isinstance(error, redis.ConnectionError):
            return f"Redis at {self.name} can't be reached: {str(error).rstrip('.')}."
        return f"Redis at {self.name} says: {str(error).rstrip('.')}."


def _standing(epoch: bytes | None, run: bytes | None, head: bytes | None) -> Standing:
    return Standing((epoch or b"").decode(), (run or b"").decode(), int(head or 0))


def hear(connection: Any) -> list[Any]:
    """The next message of a connection that has subscribed to something: its kind, and what it says."""
    try:
        message: list[Any] = connection.read_response(timeout=QUIET, disconnect_on_error=False)
    except redis.TimeoutError:
        connection.send_command("PING", check_health=False)
        message = connection.read_response(timeout=QUIET)
    return message


def is_hopeless(error: redis.RedisError) -> bool:
    """Whether the configuration is wrong: waiting does not help."""
    return isinstance(error, (redis.AuthenticationError, redis.exceptions.NoPermissionError)) or "DB index" in str(
        error
    )
