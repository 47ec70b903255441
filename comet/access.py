"""Access: who may do what. Each refusal says which check failed and what would have passed.

Three ways to be let in for publishing and administration: the key, the app's own ``authorize``, and ``COMET_OPEN`` on
one's own machine. Subscribing is open, unless ``authorize`` says otherwise or the channel is private.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from flask import Request, current_app, request
from werkzeug.exceptions import HTTPException

from .core.errors import Forbidden, Unauthorized
from .core.rules import Rules
from .settings import is_loopback_host


#: ``authorize(action, channels)``: action is "subscribe", "publish" or "admin".
Authorize = Callable[[str, Sequence[str]], bool]

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/\\]+))(?::[0-9]*)?")

_FORWARDING = ("HTTP_FORWARDED", "HTTP_X_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA", "HTTP_CF_")


class Access:
    """The rules of one app. ``open``: requests from this machine need no credential (see ``_check_open``)."""

    def __init__(
        self, rules: Rules, *, keys: Sequence[str] = (), open: bool = False, origins: Sequence[str] = ()
    ) -> None:
        self.rules = rules
        self.keys = [key.encode() for key in keys]
        self.open = open
        self.origins = tuple(origins)
        self.authorize: Authorize | None = None

    def check_subscribe(self, channels: Sequence[str], *, cookies: bool = True) -> None:
        """Raise Unauthorized or Forbidden if this request may not read these channels.

        ``cookies`` False: they are no credential here, since other sites can make a browser send them.
        """
        for name in channels:
            if self.rules[name].private:
                raise Unauthorized(
                    f"{name} is a private channel: it takes a signed token, and this server has no key for them."
                )
        if self.authorize and not self._ask("subscribe", channels, cookies=cookies):
            raise Forbidden(f"you may not subscribe to {', '.join(channels)}: the application's authorize said no.")

    def is_public(self, channel: str) -> bool:
        """Whether this request may be told of a channel beside others: it is not private, and ``authorize`` says yes.

        An ``authorize`` that refuses in its own way, by ``abort`` say, has said no.
        """
        try:
            return not self.rules[channel].private and (self.authorize is None or self._ask("subscribe", [channel]))
        except HTTPException:
            return False

    def check_write(self, action: str, channels: Sequence[str]) -> None:
        """Raise Unauthorized or Forbidden if this request may not ``publish`` or ``admin``."""
        header = request.headers.get("Authorization")
        if header is not None and self._is_for_us(header):
            return self._check_key(header)
        if self.authorize and self._ask(action, channels):
            # The application may have recognized a cookie: then the page that sends this must be its own.
            return check_same_origin(request)
        if header is not None:
            return self._check_key(header)
        if self.authorize:
            raise Forbidden(f"you may not {action}: the application's authorize said no.")
        if self.open:
            return _check_open(request)
        if self.keys:
            raise Unauthorized("this takes the publish key: send the header Authorization: Bearer KEY.")
        raise Unauthorized(
            "no publish key is set: set COMET_PUBLISH_KEY and send Authorization: Bearer KEY; "
            "or, on your own machine, COMET_OPEN=1."
        )

    def _is_for_us(self, header: str) -> bool:
        # An app has credentials of its own, a password or a token where no key is set: its authorize judges those.
        return self.authorize is None or (bool(self.keys) and header.partition(" ")[0].lower() == "bearer")

    def _check_key(self, header: str) -> None:
        scheme, _, key = header.partition(" ")
        presented = key.strip().encode("latin-1", "replace")
        if scheme.lower() != "bearer":
            raise Unauthorized("the credential is not a bearer key: send the header Authorization: Bearer KEY.")
        if not _among(presented, self.keys):
            raise Unauthorized("the bearer key is not one of COMET_PUBLISH_KEY.")

    def _ask(self, action: str, channels: Sequence[str], *, cookies: bool = True) -> bool:
        assert self.authorize is not None
        if cookies or "HTTP_COOKIE" not in request.environ:
            return bool(self.authorize(action, list(channels)))
        environ = {key: value for key, value in request.environ.items() if key != "HTTP_COOKIE"}
        app = current_app._get_current_object()  # type: ignore[attr-defined]
        with app.app_context(), app.request_context(environ):
            # The app's hooks run too: they are who sets g.user, or refuses whoever has no cookie.
            refused = app.preprocess_request() is not None
            return not refused and bool(self.authorize(action, list(channels)))

    # Other sites.

    def allows_origin(self, origin: str) -> bool:
        return "*" in self.origins or origin.lower() in self.origins

    def check_site(self) -> None:
        """Raise Forbidden if a page of another site, not on the list, has asked for what goes round CORS."""
        site = request.headers.get("Sec-Fetch-Site")
        asking = request.headers.get("Origin") or origin_of(request.headers.get("Referer", ""))
        if site is None:
            own = not asking or own_origin(request, asking)  # not a browser, or one that tells nothing
        else:
            own = site in ("same-origin", "none")
        if not own and not self.allows_origin(asking):
            raise Forbidden(
                f"a page of another site ({asking[:200] or 'unnamed'}) asks for this; "
                "COMET_ALLOWED_ORIGINS does not name it."
            )


def _among(presented: bytes, keys: Sequence[bytes]) -> bool:
    # All of them, and each in constant time: how long it takes tells nothing.
    return sum(hmac.compare_digest(presented, key) for key in keys) > 0


def origin_of(url: str) -> str:
    """The origin of a URL, or nothing if it has none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""


def own_origin(request: Request, origin: str) -> bool:
    """Whether an origin is this server's own. The scheme is not compared: a proxy in front may have changed it."""
    return origin.lower() in (f"http://{request.host}".lower(), f"https://{request.host}".lower())


def check_same_origin(request: Request) -> None:
    """Raise Forbidden if a browser says that a page of another origin sends this."""
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    if origin is not None and not own_origin(request, origin):
        raise Forbidden(f"a page of {origin} sends this; only pages of this server may.")
    if site not in (None, "same-origin", "none"):
        raise Forbidden(f"a page of another site sends this (Sec-Fetch-Site: {site}); only pages of this server may.")


def _check_open(request: Request) -> None:
    """COMET_OPEN: raise Forbidden unless the request comes from this very machine, and from no other site's page."""
    peer = request.environ.get("REMOTE_ADDR", "")
    if not is_loopback_host(peer):
        raise Forbidden(f"COMET_OPEN lets in this machine only, and the request comes from {peer or 'a Unix socket'}.")
    for name in request.environ:
        if name.startswith(_FORWARDING):
            header = name.removeprefix("HTTP_").replace("_", "-").title()
            raise Forbidden(f"COMET_OPEN lets in direct requests only, and this one was forwarded ({header}).")
    host = request.headers.get("Host", "")
    match = _HOST.fullmatch(host)
    if not match or not is_loopback_host((match[1] or match[2]).lower()):
        raise Forbidden(
            f"COMET_OPEN takes requests to localhost or a loopback address, and the Host is {host[:200]!r}."
        )
    check_same_origin(request)
