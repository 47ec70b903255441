"""The limits, asked where there are any: what the address and the token of a request hold, what its publisher sends."""

from __future__ import annotations

from ..limits import Place
from .current import the_request, worker


def enter(*, cookies: bool) -> Place:
    """A place for the stream that is asked for. Raises OverLimit. ``cookies``: are they a credential for it?"""
    comet = worker()
    return comet.limits.enter(address(), comet.access.token_name(cookies=cookies))


def check_publishing(updates: int, size: int) -> None:
    """Count what is about to be published. Raises OverLimit, and then nothing of it may be."""
    comet = worker()
    # Whoever shows neither key nor token is known by the address: with COMET_OPEN, or by the app's authorize.
    comet.limits.publish(comet.access.publisher() or address(), updates, size)


def address() -> str:
    """Whose request this is: the client's address, or that of a proxy that nobody believes."""
    environ, proxies = the_request().environ, worker().limits.proxies
    peer: str = environ.get("REMOTE_ADDR", "")
    return proxies.client(peer, environ.get("HTTP_X_FORWARDED_FOR", "")) if proxies else peer
