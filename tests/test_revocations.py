"""Revocations: every worker knows them, whatever becomes of the log."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from comet import revocations
from comet.brokers import Broker
from comet.brokers.memory import MemoryBroker
from comet.brokers.sqlite import SqliteBroker
from comet.cohorts import Subscription
from comet.controller import Controller
from comet.core.errors import BrokerAway, Unauthorized
from comet.core.log import Position
from comet.core.rules import REVOKED
from comet.core.update import Closed, OwnUpdate, Update
from comet.revocations import Revocations
from tests.timing import until


Make = Callable[..., Revocations]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Workers on the same file."""
    made: list[Revocations] = []

    def worker(broker: Broker | None = None) -> Revocations:
        controller = Controller(broker or SqliteBroker(tmp_path / "log.db"), heartbeat=0.5)
        controller.start()
        made.append(Revocations(controller, controller.update))
        made[-1].start()
        return made[-1]

    yield worker
    for each in made:
        each.stop()
        each.controller.stop()


def is_revoked(worker: Revocations, jti: str) -> bool:
    try:
        worker.check(jti)
    except Unauthorized as error:
        assert "revoked" in str(error)
        return True
    return False


def stream(worker: Revocations, jti: str, expires: float = 9e9) -> Subscription:
    """Somebody who subscribes by a token."""
    subscription = Subscription(Position(("a",), 0, worker.controller.log.epoch), expires=expires, jti=jti)
    worker.controller.add(subscription)
    return subscription


def test_a_token_is_revoked(make: Make) -> None:
    """The worker that does it knows it at once, the others as soon as they hear of it; no other token is touched."""
    one, other = make(), make()
    assert not is_revoked(one, "x")
    one.revoke("x")
    assert is_revoked(one, "x")
    until(lambda: is_revoked(other, "x"), sleep=gevent.sleep)
    assert not is_revoked(one, "X")
    assert not is_revoked(other, "xy")


def test_the_streams_of_a_revoked_token(make: Make) -> None:
    """They are to be ended in every worker, and those only; one that comes late, too."""
    one, other = make(), make()
    streams = {(worker, jti): stream(worker, jti) for worker in (one, other) for jti in ("x", "x.", "")}
    poll = stream(one, "x", expires=float("inf"))
    one.revoke("x")
    assert streams[one, "x"].expiring and poll.expiring
    until(lambda: streams[other, "x"].expiring, sleep=gevent.sleep)
    assert [held for held in streams if streams[held].expiring] == [(one, "x"), (other, "x")]
    assert streams[one, "x"].expires <= time.time()
    late = stream(one, "x")
    assert late.expiring
    for worker in (one, other):
        for each in list(worker.controller.streams):
            worker.controller.remove(each)
        assert not worker.controller._expiries._by_jti
        assert not worker.controller._expiries._due


def test_a_worker_that_starts(make: Make) -> None:
    """It lets no token in before it knows all that was revoked, however long ago and however much that is."""
    one = make()
    one.controller.update([_update(f"old {n}") for n in range(2500)])
    one.revoke("x")
    other = make()
    assert is_revoked(other, "x")
    assert is_revoked(other, "old 0")
    assert len(other.controller.revoked) == 2501


def test_the_memory_of_a_worker_is_short(make: Make, tmp_path: Path) -> None:
    """What its log had no room for is read from where it is kept; and what it knows it keeps."""
    one = make(SqliteBroker(tmp_path / "log.db", limit=20_000))
    one.revoke("x")
    for n in range(300):
        one.controller.update([Update("a", f"{n}".encode() * 50)])
    assert not one.controller.log.rings[REVOKED]
    assert is_revoked(one, "x")
    assert is_revoked(make(SqliteBroker(tmp_path / "log.db", limit=20_000)), "x")


def test_a_revocation_is_repeated(make: Make) -> None:
    """It takes no second place in the log."""
    one, other = make(), make()
    one.revoke("x")
    one.revoke("x")
    until(lambda: is_revoked(other, "x"), sleep=gevent.sleep)
    other.revoke("x")
    assert len(one.controller.log.rings[REVOKED]) == 1


def test_the_log_begins_anew(make: Make) -> None:
    """What the worker knows holds, and is published again: those that start later know it too."""
    broker = MemoryBroker()
    one = make(broker)
    one.revoke("x")
    until(lambda: one._in_log, sleep=gevent.sleep)
    broker.log.restart("another0")
    one.controller.update([_update("y")])
    assert is_revoked(one, "x")
    until(lambda: one._in_log == {"x", "y"}, sleep=gevent.sleep)
    assert {json.loads(update.data)["jti"] for update in broker.log.rings[REVOKED]} == {"x", "y"}


class Away(MemoryBroker):
    """A broker that is out of reach, and then has what another worker has published."""

    away = True

    def check(self) -> None:
        if self.away:
            raise BrokerAway("away")


def test_the_broker_is_away_at_the_start(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """No token that could have been revoked is taken until it is known which were."""
    monkeypatch.setattr(revocations, "PATIENCE", 0.05)
    monkeypatch.setattr(revocations, "AGAIN", 0.05)
    broker = Away()
    one = make(broker)
    with pytest.raises(BrokerAway, match="revoked"):
        one.check("y")
    broker.publish([_update("x")])
    broker.away = False
    monkeypatch.setattr(revocations, "PATIENCE", 10)
    assert is_revoked(one, "x")
    assert not is_revoked(one, "y")
    broker.away = True
    assert not is_revoked(one, "y")  # what was known holds


def test_the_broker_is_away_when_a_token_is_revoked(make: Make) -> None:
    """Who asks for it is told; yet it holds in this worker, and is published when the broker is back."""
    one = make(MemoryBroker())
    publish, one._publish = one._publish, lambda entries: (_ for _ in ()).throw(BrokerAway("away"))
    until(lambda: not is_revoked(one, "x"), sleep=gevent.sleep)
    with pytest.raises(BrokerAway):
        one.revoke("x")
    assert is_revoked(one, "x")
    one._publish = publish
    until(lambda: one._in_log == {"x"}, sleep=gevent.sleep)


def test_what_is_no_revocation(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever writes into the broker by himself ends nothing with it."""
    one = make()
    one.controller.update([OwnUpdate(REVOKED, data) for data in (b"", b"\xff", b"[]", b"{}", b'"x"', b"5")])
    one.controller.update([Closed(REVOKED)])
    one.revoke("x")
    until(lambda: one._in_log == {"x"}, sleep=gevent.sleep)
    assert is_revoked(one, "x")
    assert one.controller.revoked == {"x"}
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 6


@pytest.mark.parametrize("broker", [MemoryBroker, SqliteBroker])
def test_the_limits_of_channels_and_streams(broker: type[Broker], make: Make, tmp_path: Path) -> None:
    """Revocations are nobody's channel, and who follows them is no stream."""
    options = {"path": tmp_path / "small.db"} if broker is SqliteBroker else {}
    one = make(broker(max_channels=1, **options))
    one.revoke("x")
    one.controller.update([Update("a", b"1")])
    one.revoke("y")
    until(lambda: one._in_log == {"x", "y"}, sleep=gevent.sleep)
    assert not one.controller.streams
    assert REVOKED not in one.controller.subscribed


def _update(jti: str) -> OwnUpdate:
    return OwnUpdate(REVOKED, json.dumps({"jti": jti}).encode())
