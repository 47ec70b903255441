"""Limits: what one address, one token and one publisher are given, so that none of them takes everything.

They count in this worker alone, as COMET_MAX_STREAMS does. Addresses are limited only where it is known whom to believe
about them: all users behind a proxy share its address.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from .core.errors import OverLimit


#: A peer without an address, as nginx names it; and how it is listed among the trusted.
_SOCKET, UNIX = "unix:", "unix"
#: Listed where clients connect without any proxy.
NONE = "none"

#: Seconds after which who has too many streams may try again.
PAUSE = 10


class Proxies:
    """Whom to believe about addresses: networks, ``unix`` for whoever comes through a Unix socket, or ``none``.

    False without any: then nothing is known of addresses.
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._are_told = bool(trusted)
        self._trusts_sockets = UNIX in trusted
        self._networks = [ip_network(each, strict=False) for each in trusted if each not in (UNIX, NONE)]

    def __bool__(self) -> bool:
        return self._are_told

    def client(self, peer: str, forwarded: str) -> str:
        """A name for where a request comes from: an IPv4 address, or the /64 of an IPv6 address, since one client may
        have all of it.

        ``peer`` is the address of the connection. ``forwarded`` is X-Forwarded-For: each proxy appends whom it was
        asked by. It is read from the right, for as long as who has written an entry is trusted; what stands before
        that a stranger may have made up.
        """
        client = UNIX
        for hop in (peer or _SOCKET, *reversed(forwarded.split(","))):
            address = _address(hop)
            if address is None and hop.strip() != _SOCKET:
                break  # a trusted proxy does not say whom it was asked by: then it is itself that counts
            client = UNIX if address is None else _name(address)
            if not self._trusts(address):
                break
        return client

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        if address is None:
            return self._trusts_sockets
        return any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address in an entry, which may have a port."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _name(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address) >> 64 << 64, 64)))


class Count:
    """How many streams each has at the same time, at most ``most``. 0: any number, and nobody is counted."""

    def __init__(self, most: int, setting: str, whose: str) -> None:
        self.most = most
        self.taken: dict[str, int] = {}
        self._setting, self._whose = setting, whose

    def check(self, name: str) -> None:
        """Raise OverLimit if this one can have no more."""
        if self.taken.get(name, 0) >= self.most:
            raise OverLimit(
                f"{self._whose.format(name)} has {self.most} streams and waiting polls in this worker already, all "
                f"that {self._setting} allows: end one first.",
                retry_after=PAUSE,
            )

    def add(self, name: str) -> None:
        self.taken[name] = self.taken.get(name, 0) + 1

    def remove(self, name: str) -> None:
        self.taken[name] -= 1
        if not self.taken[name]:
            del self.taken[name]


class Place:
    """What a stream takes of the counts. ``leave`` it when its response is over; harmless for one that was left.

    One that is dropped is left by that: a response may fail before a server iterates over it or closes it.
    """

    __slots__ = ("_taken",)

    def __init__(self, taken: Sequence[tuple[Count, str]]) -> None:
        for count, name in taken:
            count.check(name)
        self._taken = taken
        for count, name in taken:
            count.add(name)

    def leave(self) -> None:
        taken, self._taken = self._taken, ()
        for count, name in taken:
            count.remove(name)

    def before(self, then: Callable[[], None]) -> Callable[[], None]:
        """What leaves it and does this ``then``."""

        def release() -> None:
            self.leave()
            then()

        return release

    def __del__(self) -> None:
        if hasattr(self, "_taken"):  # else there was no place for it
            self.leave()


class Rate:
    """So much a second for each, and a second's worth of it at once. 0: any amount.

    More than that at once is let through when nothing is owed, and owed from then on; so whatever is sent once in a
    while passes. Of each is known only until when it owes something, and nothing once that is over.
    """

    #: So many are kept before those who owe nothing any more are looked for.
    KEPT = 1000

    def __init__(self, each_second: float, setting: str, what: str) -> None:
        self.each_second = each_second
        self.until: dict[str, float] = {}
        self._look_at = self.KEPT
        self._setting, self._what = setting, what

    def check(self, name: str, amount: float, now: float) -> None:
        """Raise OverLimit, with the seconds to wait, if this one can't have so much now."""
        wait = self._wait(name, amount, now)
        if wait > 0:
            seconds = math.ceil(wait)
            raise OverLimit(
                f"this publisher has had the {self.each_second:.15g} {self._what} a second that {self._setting} allows "
                f"in this worker; nothing of this is published: send it again in {seconds} s.",
                retry_after=seconds,
            )

    def _wait(self, name: str, amount: float, now: float) -> float:
        if not self.each_second or name not in self.until:
            return 0.0
        # The tolerance is for sums of fractions.
        return self.until[name] - now - max(0.0, 1 - amount / self.each_second) - 1e-9

    def take(self, name: str, amount: float, now: float) -> None:
        if self.each_second:
            self.until[name] = max(now, self.until.get(name, now)) + amount / self.each_second
            if len(self.until) > self._look_at:
                self._forget(now)

    def _forget(self, now: float) -> None:
        self.until = {name: until for name, until in self.until.items() if until > now}
        self._look_at = max(self.KEPT, 2 * len(self.until))


class Limits:
    """The limits of one worker. 0 is off. ``counts`` and ``rates`` say whether there are any of their kind."""

    def __init__(
        self,
        *,
        proxies: Sequence[str] = (),
        streams_per_peer: int = 0,
        streams_per_token: int = 0,
        publish_rate: float = 0.0,
        publish_bytes_rate: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.proxies = Proxies(proxies)
        self._by_address = Count(streams_per_peer, "COMET_STREAMS_PER_PEER", "the address {}")
        self._by_token = Count(streams_per_token, "COMET_STREAMS_PER_TOKEN", "this token")
        self._updates = Rate(publish_rate, "COMET_PUBLISH_RATE", "updates")
        self._bytes = Rate(publish_bytes_rate, "COMET_PUBLISH_BYTES_RATE", "bytes")
        self._clock = clock
        self.counts = bool(self._by_address.most or self._by_token.most)
        self.rates = bool(publish_rate or publish_bytes_rate)

    def enter(self, address: str, token: str) -> Place:
        """A place for a stream of this address, and of this token if there is one. Raises OverLimit."""
        taken = []
        if self._by_address.most:
            taken.append((self._by_address, address))
        if self._by_token.most and token:
            taken.append((self._by_token, token))
        return Place(taken)

    def publish(self, publisher: str, updates: int, size: int) -> None:
        """Count these updates of so many bytes together. Raises OverLimit; then none of it is counted."""
        now = self._clock()
        for rate, amount in ((self._updates, updates), (self._bytes, size)):
            rate.check(publisher, amount, now)
        for rate, amount in ((self._updates, updates), (self._bytes, size)):
            rate.take(publisher, amount, now)

    def tally(self) -> dict[str, int]:
        """How many each limit knows now: to look at from outside."""
        return {
            "addresses": len(self._by_address.taken),
            "tokens": len(self._by_token.taken),
            "publishers": len(self._updates.until) + len(self._bytes.until),
        }
