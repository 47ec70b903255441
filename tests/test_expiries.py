"""Expiries: whose token runs out, and when."""

from __future__ import annotations

import math

import pytest

from comet.cohorts import Subscription
from comet.core.log import Position
from comet.expiries import WARNING, Expiries


def stream(expires: float, jti: str = "") -> Subscription:
    return Subscription(Position(("a",), 0, "epoch0"), expires=expires, jti=jti)


def test_a_stream_is_due_twice() -> None:
    """Once to be told, and once to be ended; not a moment before."""
    expiries = Expiries()
    one, other = stream(1000.0), stream(2000.5)
    expiries.add(one)
    expiries.add(other)
    assert expiries.due(1000 - WARNING - 1) == []
    assert expiries.due(1000 - WARNING) == [one]
    assert expiries.due(999.9) == []
    assert expiries.due(1000.2) == [one]
    assert expiries.due(2000.4) == [other]
    assert expiries.due(2000.6) == []
    assert expiries.due(2001.0) == [other]
    assert expiries.due(9e9) == []


@pytest.mark.parametrize("now", [1000 - WARNING / 2, 1000.0, 5000.0])
def test_a_stream_that_begins_late(now: float) -> None:
    """It is due at once, and again at the end if that is yet to come."""
    expiries = Expiries()
    one = stream(1000.0)
    expiries.add(one)
    assert expiries.due(now) == [one]
    assert expiries.due(5001) == ([one] if now < 1000 else [])


def test_a_token_that_is_revoked() -> None:
    """Its streams are due at once, whether their token has an end or not, and never again; nobody else is."""
    expiries = Expiries()
    one, told, poll, other, plain = streams = [
        stream(9e9, "x"), stream(1000.0, "x"), stream(math.inf, "x"), stream(9e9, "y"), stream(9e9)
    ]  # fmt: skip
    for each in streams:
        expiries.add(each)
    assert expiries.due(990) == [told]
    assert set(expiries.revoke("x")) == {one, told, poll}
    assert max(one.expires, poll.expires) < 9e9
    assert [each.expiring for each in streams] == [True, True, True, False, False]
    assert expiries.revoke("x") == []
    assert set(expiries.due(1e10)) == {other, plain}
    for each in streams:
        expiries.remove(each)
    assert not expiries._due and not expiries._by_jti


def test_a_token_that_was_revoked_before() -> None:
    """Who comes with it all the same is to be ended at once."""
    expiries = Expiries()
    assert expiries.revoke("x") == []
    late = stream(9e9, "x")
    expiries.add(late)
    assert late.expiring
    assert late.expires < 9e9
    assert expiries.due(1e10) == []


def test_a_stream_that_has_ended() -> None:
    """It leaves nothing behind, whatever it was told."""
    expiries = Expiries()
    streams = [stream(1000.0), stream(1000.0), stream(3000.0)]
    for each in streams:
        expiries.add(each)
    expiries.due(990)
    for each in streams:
        expiries.remove(each)
        expiries.remove(each)
    assert not expiries._due
    assert expiries.due(9e9) == []
