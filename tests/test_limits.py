"""Limits: whose address it is, who has how many streams, and who publishes how fast."""

from __future__ import annotations

import gc
import random

import pytest

from comet.core.errors import OverLimit
from comet.limits import Limits, Proxies, Rate


#: trusted, peer, X-Forwarded-For, the client
CLIENTS = [
    ("none", "203.0.113.7", "", "203.0.113.7"),
    ("none", "203.0.113.7", "198.51.100.1", "203.0.113.7"),
    ("none", "127.0.0.1", "198.51.100.1", "127.0.0.1"),
    ("10.0.0.0/8", "203.0.113.7", "198.51.100.1", "203.0.113.7"),
    ("10.0.0.0/8", "10.1.2.3", "198.51.100.1", "198.51.100.1"),
    ("10.0.0.0/8", "10.1.2.3", "9.9.9.9, 198.51.100.1", "198.51.100.1"),
    ("10.0.0.0/8", "10.1.2.3", "9.9.9.9, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
    ("10.0.0.0/8", "10.1.2.3", "9.9.9.9,198.51.100.1\t,10.9.9.9,10.0.0.1", "198.51.100.1"),
    ("10.0.0.0/8,198.51.100.1", "10.1.2.3", "9.9.9.9, 198.51.100.1", "9.9.9.9"),
    ("10.0.0.0/8", "10.1.2.3", "10.0.0.7", "10.0.0.7"),
    ("10.0.0.0/8", "10.1.2.3", "", "10.1.2.3"),
    ("10.0.0.0/8", "10.1.2.3", "198.51.100.1, unknown", "10.1.2.3"),
    ("10.0.0.0/8", "10.1.2.3", "198.51.100.1,", "10.1.2.3"),
    ("10.0.0.0/8", "10.1.2.3", "198.51.100.1, \xff<script>", "10.1.2.3"),
    ("10.0.0.0/8", "10.1.2.3", "198.51.100.1, 1" + "0" * 5000, "10.1.2.3"),
    ("10.0.0.0/8", "10.1.2.3", "198.51.100.1:4071", "198.51.100.1"),
    ("10.0.0.0/8", "10.1.2.3", "[2001:db8:1:2::3]:4071", "2001:db8:1:2::/64"),
    ("10.0.0.0/8", "10.1.2.3", "[2001:db8:1:2::3]", "2001:db8:1:2::/64"),
    ("10.0.0.0/8", "10.1.2.3", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("10.0.0.0/8", "10.1.2.3", "::ffff:198.51.100.1", "198.51.100.1"),
    ("10.0.0.0/8", "::ffff:10.1.2.3", "198.51.100.1", "198.51.100.1"),
    ("10.1.2.3/8", "10.200.0.1", "198.51.100.1", "198.51.100.1"),
    ("2001:db8::/32", "2001:db8::1", "198.51.100.1", "198.51.100.1"),
    ("::1", "::1", "fe80::1%eth0", "fe80::/64"),
    ("unix", "", "198.51.100.1", "198.51.100.1"),
    ("unix", "", "", "unix"),
    ("unix", "127.0.0.1", "198.51.100.1", "127.0.0.1"),
    ("127.0.0.1", "", "198.51.100.1", "unix"),
    ("unix,127.0.0.1", "127.0.0.1", "198.51.100.1, unix:", "198.51.100.1"),
    ("127.0.0.1", "127.0.0.1", "198.51.100.1, unix:", "unix"),
]


@pytest.mark.parametrize(("trusted", "peer", "forwarded", "client"), CLIENTS)
def test_whose_request_it_is(trusted: str, peer: str, forwarded: str, client: str) -> None:
    """The last address that somebody trusted has written; what strangers say is not looked at."""
    assert Proxies(trusted.split(",")).client(peer, forwarded) == client


def test_whether_addresses_are_known() -> None:
    """Only when it is said whom to believe, or that there is nobody in between."""
    assert not Proxies()
    assert Proxies(["none"])
    assert Proxies(["unix"])


def test_too_many_streams() -> None:
    """The sentence says which limit, how many and which setting; nothing is taken of the other limit then."""
    limits = Limits(streams_per_peer=2, streams_per_token=3)
    places = [limits.enter("a", "t"), limits.enter("a", "t"), limits.enter("b", "t")]
    with pytest.raises(OverLimit, match=r"the address a has 2 streams .* COMET_STREAMS_PER_PEER") as caught:
        limits.enter("a", "u")
    assert (caught.value.status_hint, caught.value.retry_after) == (429, 10)
    with pytest.raises(OverLimit, match=r"this token has 3 streams .* COMET_STREAMS_PER_TOKEN"):
        limits.enter("c", "t")
    assert limits.tally() == {"addresses": 2, "tokens": 1, "publishers": 0}
    places.pop().leave()
    places.append(limits.enter("c", "t"))
    limits.enter("b", "").leave()
    for place in places:
        place.leave()
        place.leave()
    assert limits.tally() == {"addresses": 0, "tokens": 0, "publishers": 0}


def test_a_place_that_is_dropped() -> None:
    """It is free again, also when it was part of a circle."""
    limits = Limits(streams_per_peer=1)
    limits.enter("a", "")
    place = limits.enter("a", "")
    circle = [place]
    circle.append(circle)  # type: ignore[arg-type]
    del circle, place
    gc.collect()
    assert limits.tally()["addresses"] == 0


def test_without_limits() -> None:
    """Nobody is counted."""
    limits = Limits()
    assert (limits.counts, limits.rates) == (False, False)
    limits.enter("a", "t")
    for _ in range(100):
        limits.publish("a", 1000, 1 << 20)
    assert limits.tally() == {"addresses": 0, "tokens": 0, "publishers": 0}


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_publisher_is_too_fast() -> None:
    """A second's worth at once passes; then it is told in whole seconds when to go on, and each has its own."""
    clock = Clock()
    limits = Limits(publish_rate=10, clock=clock)
    for _ in range(10):
        limits.publish("a", 1, 100)
    with pytest.raises(OverLimit, match=r"the 10 updates a second that COMET_PUBLISH_RATE .* nothing") as caught:
        limits.publish("a", 1, 100)
    assert caught.value.retry_after == 1
    limits.publish("b", 10, 100)
    clock.now += 0.1
    limits.publish("a", 1, 100)
    with pytest.raises(OverLimit):
        limits.publish("a", 1, 100)
    clock.now += 0.5
    with pytest.raises(OverLimit):
        limits.publish("a", 6, 100)
    limits.publish("a", 5, 100)


def test_a_batch_that_is_larger_than_a_second() -> None:
    """It passes when nothing is owed, and is owed from then on."""
    clock = Clock()
    limits = Limits(publish_rate=10, clock=clock)
    limits.publish("a", 1, 1)
    with pytest.raises(OverLimit):
        limits.publish("a", 35, 1)
    clock.now += 0.1
    limits.publish("a", 35, 1)
    with pytest.raises(OverLimit) as caught:
        limits.publish("a", 1, 1)
    assert caught.value.retry_after == 3  # 2.6
    clock.now += 2.5
    with pytest.raises(OverLimit):
        limits.publish("a", 1, 1)
    clock.now += 0.1
    limits.publish("a", 1, 1)


def test_less_than_one_a_second() -> None:
    """One passes, and the next after a time."""
    clock = Clock()
    limits = Limits(publish_rate=0.1, clock=clock)
    limits.publish("a", 1, 1)
    with pytest.raises(OverLimit) as caught:
        limits.publish("a", 1, 1)
    assert caught.value.retry_after == 10
    clock.now += 10
    limits.publish("a", 1, 1)


def test_two_rates() -> None:
    """Both must hold; what one refuses does not count in the other."""
    clock = Clock()
    limits = Limits(publish_rate=2, publish_bytes_rate=1000, clock=clock)
    limits.publish("a", 1, 900)
    with pytest.raises(OverLimit, match="the 1000 bytes a second that COMET_PUBLISH_BYTES_RATE"):
        limits.publish("a", 1, 200)
    limits.publish("a", 1, 100)
    with pytest.raises(OverLimit, match="COMET_PUBLISH_RATE"):
        limits.publish("a", 1, 0)


def test_whoever_waits_as_told_passes() -> None:
    """Whatever was published before, in any sizes; and over time no more than the rate passes."""
    chance = random.Random(1)
    for _ in range(200):
        clock, rate = Clock(), chance.choice([0.3, 1, 7, 1000])
        limits = Limits(publish_rate=rate, clock=clock)
        passed, begun = 0, clock.now
        for _ in range(50):
            amount = chance.choice([1, 2, 5, 50])
            try:
                limits.publish("a", amount, 0)
            except OverLimit as error:
                clock.now += error.retry_after
                limits.publish("a", amount, 0)
            passed += amount
            assert passed <= rate * (clock.now - begun + 1) + 50
            clock.now += chance.choice([0, 0, 0.01, 1])


def test_many_publishers_who_come_once() -> None:
    """They are forgotten when they owe nothing any more."""
    clock = Clock()
    limits = Limits(publish_rate=100, publish_bytes_rate=1000, clock=clock)
    for number in range(100_000):
        limits.publish(f"publisher {number}", 1, 1)
        clock.now += 0.001
    assert limits.tally()["publishers"] <= 2 * (Rate.KEPT + 1)
