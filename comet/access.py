"""Access: who may do what. Each refusal says which check failed and what would have passed.

Three ways to be let in for publishing and administration: the key, the app's own ``authorize``, and ``COMET_OPEN`` on
one's own machine. Subscribing is open, unless ``authorize`` says otherwise or the channel is private.

A signed token grants channels for publishing and subscribing. What it does not grant is decided as if there were none;
but a private channel takes one. It comes in the header ``Authorization``, as ``?token=``, or else in a cookie.

Each credential that is shown must be good, whatever stands beside it: key and token may come together, two tokens are
refused, and one that fails is Unauthorized.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from flask import Request, current_app, request
from werkzeug.exceptions import HTTPException

from .core.errors import BadRequest, Forbidden, Unauthorized
from .core.redaction import COOKIE, PARAMETER
from .core.rules import Rules
from .settings import is_loopback_host
from .tokens import GRANTS, NO_TOKEN, Token, Tokens


#: ``authorize(action, channels)``: action is "subscribe", "publish" or "admin".
Authorize = Callable[[str, Sequence[str]], bool]

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/\\]+))(?::[0-9]*)?")

#: Where a request keeps the token that was read, and by whom.
_READ = "comet.token"

_FORWARDING = ("HTTP_FORWARDED", "HTTP_X_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA", "HTTP_CF_")


class Access:
    """The rules of one app. ``open``: requests from this machine need no credential (see ``_check_open``).
    ``check_revoked`` raises Unauthorized for the jti of a token that was revoked."""

    def __init__(
        self,
        rules: Rules,
        *,
        keys: Sequence[str] = (),
        tokens: Tokens | None = None,
        check_revoked: Callable[[str], None] = lambda jti: None,
        open: bool = False,
        origins: Sequence[str] = (),
    ) -> None:
        self.rules = rules
        self.keys = [key.encode() for key in keys]
        self.tokens = tokens or Tokens()
        self.check_revoked = check_revoked
        self.open = open
        self.origins = tuple(origins)
        self.authorize: Authorize | None = None

    def check_subscribe(self, channels: Sequence[str], *, cookies: bool = True) -> Token:
        """Raise Unauthorized or Forbidden if this request may not read these channels. Return the token that let it in,
        on which what follows rests; NO_TOKEN: it rests on none.

        ``cookies`` False: they are no credential here, since other sites can make a browser send them.
        """
        token = self._token(cookies=cookies and bool(self.tokens) and self._is_site_welcome())
        lacking = token.lacks("subscribe", channels)
        private = [name for name in channels if self.rules[name].private]
        if refused := [name for name in lacking if name in private]:
            self._refuse_private(refused[0], token)
        if self.authorize and lacking and not self._ask("subscribe", lacking, cookies=cookies):
            raise Forbidden(f"you may not subscribe to {', '.join(lacking)}: the application's authorize said no.")
        needed = private or (self.authorize and len(lacking) < len(channels))
        return token if needed else NO_TOKEN

    def _refuse_private(self, name: str, token: Token) -> NoReturn:
        if token is not NO_TOKEN:
            raise Forbidden(_lacks(token, "subscribe", name))
        if not self.tokens:
            raise Unauthorized(
                f"{name} is a private channel: it takes a signed token, and this server has no key for them: "
                "set COMET_JWT_KEY or COMET_JWT_PUBLIC_KEY."
            )
        if COOKIE in request.cookies:
            self.check_site(credentials=True)  # that is why it did not count
        raise Unauthorized(
            f"{name} is a private channel: it takes a signed token with {_claim('subscribe', name)}, as the header "
            f"Authorization: Bearer TOKEN, as ?{PARAMETER}=TOKEN, or in the cookie {COOKIE}."
        )

    def is_public(self, channel: str) -> bool:
        """Whether this request may be told of a channel beside others: it is not private, and ``authorize`` says yes.

        An ``authorize`` that refuses in its own way, by ``abort`` say, has said no.
        """
        try:
            return not self.rules[channel].private and (self.authorize is None or self._ask("subscribe", [channel]))
        except HTTPException:
            return False

    def check_write(self, action: str, channels: Sequence[str]) -> None:
        """Raise Unauthorized or Forbidden if this request may not ``publish`` or ``admin``. No channels: they are not
        known yet."""
        environ = request.environ
        header = environ.get("HTTP_AUTHORIZATION")
        by_key = header is not None and self._is_key(header)
        token = self._token(cookies=not by_key)
        if header is not None and not (by_key or self._is_read(header)) and self._is_for_us(header):
            self._refuse_key(header)
        if not self.tokens and self.authorize is None and environ.get("QUERY_STRING") and PARAMETER in request.args:
            raise Unauthorized(
                f"?{PARAMETER}= is sent, and this server has no key for tokens: set COMET_JWT_KEY or "
                f"COMET_JWT_PUBLIC_KEY, or leave it out."
            )
        if by_key:
            return None
        if token is not NO_TOKEN:
            return self._check_token(token, action, channels)
        if self.authorize and self._ask(action, channels):
            # The application may have recognized a cookie: then the page that sends this must be its own.
            return check_same_origin(request)
        if header is not None:
            self._refuse_key(header)
        if self.authorize:
            raise Forbidden(f"you may not {action}: the application's authorize said no.")
        if self.open:
            return _check_open(request)
        if not self.keys and not self.tokens:
            raise Unauthorized(
                "no publish key is set: set COMET_PUBLISH_KEY and send Authorization: Bearer KEY; "
                "or, on your own machine, COMET_OPEN=1."
            )
        other = f", or a signed token with {_claim(action, *channels)}" if self.tokens and action == "publish" else ""
        raise Unauthorized(f"this takes the publish key: send the header Authorization: Bearer KEY{other}.")

    def check_page(self) -> None:
        """Raise Unauthorized or Forbidden if this request may not see a page of administration.

        As ``check_write("admin", [])``; besides, the key may be the password of HTTP Basic, whoever the user is: a
        browser can ask for that. It then sends it for pages of other sites, too: these may lead here, but not look in.
        """
        shown = request.authorization
        if shown and shown.type == "basic" and _among((shown.password or "").encode(), self.keys):
            self._token(cookies=False)  # one that fails is refused beside it, too
            return None if request.headers.get("Sec-Fetch-Dest") == "document" else check_same_origin(request)
        try:
            self.check_write("admin", [])
        except Unauthorized as error:
            if not self.keys:
                raise
            raise Unauthorized(f"{error} In a browser: any user name, and the key as the password.") from error

    def _check_token(self, token: Token, action: str, channels: Sequence[str]) -> None:
        lacking = token.lacks(action, channels)
        if not lacking and token.grants.get(action):
            if not self._shown():
                check_same_origin(request)  # a browser sends a cookie for pages of other sites, too
        elif self.authorize and self._ask(action, lacking):
            check_same_origin(request)
        else:
            raise Forbidden(_lacks(token, action, *lacking[:1]))

    # What a request presents.

    def token_name(self, *, cookies: bool = True) -> str:
        """A name for the token that this request presents, to count by; empty: none. Ask after a check, with the same
        ``cookies``."""
        return self._token(cookies=cookies and bool(self.tokens) and self._is_site_welcome()).name

    def publisher(self) -> str:
        """A name for whoever was let in by a key or a token, to count by; empty: by neither. Ask after a check."""
        header = request.headers.get("Authorization", "")
        if header and self._is_key(header):
            return f"key {header.partition(' ')[2].strip()}"
        return self.token_name()

    def _token(self, *, cookies: bool = True) -> Token:
        """The token that this request presents; NO_TOKEN: none. Raises Unauthorized for one that fails.

        One that is shown on purpose counts; a cookie is there by itself.
        """
        if not self.tokens:
            return NO_TOKEN
        shown = self._shown()
        if not shown and cookies:
            shown = request.cookies.getlist(COOKIE)
        if len(shown) > 1:
            raise BadRequest(f"{len(shown)} tokens in one request (Authorization, ?{PARAMETER}=, {COOKIE}): send one.")
        if not shown:
            return NO_TOKEN
        token = self._read(shown[0])
        if token.jti:
            self.check_revoked(token.jti)
        return token

    def _read(self, text: str) -> Token:
        """Read a token, once for a request: whether it is signed is asked by each check, and dear to find out."""
        read = request.environ.get(_READ)
        if read is None or read[:2] != (self, text):
            read = request.environ[_READ] = self, text, self.tokens.read(text)
        token: Token = read[2]
        return token

    def _shown(self) -> list[str]:
        header = request.headers.get("Authorization", "")
        scheme, _, text = header.partition(" ")
        shown = [text.strip()] if scheme.lower() == "bearer" and not self._is_key(header) else []
        return shown + request.args.getlist(PARAMETER)

    def _is_key(self, header: str) -> bool:
        scheme, _, key = header.partition(" ")
        return scheme.lower() == "bearer" and _among(key.strip().encode("latin-1", "replace"), self.keys)

    def _is_read(self, header: str) -> bool:
        """Whether it counts as a token."""
        return bool(self.tokens) and header.partition(" ")[0].lower() == "bearer"

    def _is_for_us(self, header: str) -> bool:
        # An app has credentials of its own, a password or a token where no key is set: its authorize judges those.
        return self.authorize is None or (bool(self.keys) and header.partition(" ")[0].lower() == "bearer")

    def _refuse_key(self, header: str) -> NoReturn:
        if header.partition(" ")[0].lower() != "bearer":
            raise Unauthorized("the credential is not a bearer key: send the header Authorization: Bearer KEY.")
        raise Unauthorized("the bearer key is not one of COMET_PUBLISH_KEY.")

    def _is_site_welcome(self) -> bool:
        try:
            self.check_site(credentials=True)
        except Forbidden:
            return False
        return True

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

    def check_site(self, *, credentials: bool = False) -> None:
        """Raise Forbidden if a page of another site, not on the list, has asked for what goes round CORS.

        ``credentials``: a cookie would count; then it must be on the list by its name.
        """
        site = request.headers.get("Sec-Fetch-Site")
        asking = request.headers.get("Origin") or origin_of(request.headers.get("Referer", ""))
        if site is None:
            own = not asking or own_origin(request, asking)  # not a browser, or one that tells nothing
        else:
            own = site in ("same-origin", "none")
        listed = asking.lower() in self.origins if credentials else self.allows_origin(asking)
        if not own and not listed:
            raise Forbidden(
                f"a page of another site ({asking[:200] or 'unnamed'}) asks for this; "
                "COMET_ALLOWED_ORIGINS does not name it."
            )


def _claim(action: str, *channels: str) -> str:
    """What a token would have to say."""
    name = channels[0] if channels else "NAME"
    return f'{name}, or a prefix of it and *, in its claim {{"comet":{{"{action}":[…]}}}}'


def _lacks(token: Token, action: str, *channels: str) -> str:
    if action not in GRANTS:
        return f"the token may not {action}: that takes the publish key (COMET_PUBLISH_KEY)."
    granted = ", ".join(token.grants.get(action, ())) or "nothing"
    what = " to ".join((action, *channels))
    return f"the token may not {what}: it grants {granted:.200}, and takes {_claim(action, *channels)}."


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
