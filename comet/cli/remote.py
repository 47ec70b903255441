"""Remote: the server that a command talks to, and sentences for what goes wrong there.

Rule 1: what can't be had is Trouble, and its text is all that there is to say. Rule 2: redirects are not followed,
because a POST would become a GET on the way, and a key would be shown to who knows whom.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import requests
from requests import Response
from requests.auth import AuthBase

from .failures import WRONG, fail


#: Seconds: to connect, and for an answer.
CONNECT, ANSWER = 5.0, 15.0

AGENT = "comet (command line)"
PROBLEM = "application/problem+json"

#: Answers that may be others in a moment.
_PASSING = (408, 425, 429, 500, 502, 503, 504)

#: Where a credential comes from, for who has shown none or a wrong one.
_WHERE = " Here it is taken from COMET_PUBLISH_KEY; a signed token from --token or COMET_TOKEN."

#: Seconds that a server may ask to wait for.
_LONGEST = 300.0


class Trouble(Exception):
    """What keeps a command from being done, in a sentence. ``passes``: it may be otherwise in a moment, or in ``after``
    seconds if the server says so."""

    def __init__(self, sentence: str, *, passes: bool = False, after: float = 0.0) -> None:
        super().__init__(sentence)
        self.passes = passes
        self.after = after


class Remote:
    """A server at a URL. ``bearer``: the key or the token that is shown to it. A wrong URL ends the process."""

    def __init__(self, url: str, bearer: str = "") -> None:
        self.url = _check_url(url)
        self.bearer = _check_bearer(bearer)
        self.session = requests.Session()
        # A proxy of the environment is not asked for what is on this machine.
        self.session.trust_env = not _is_here(urlsplit(self.url).hostname or "")
        self.session.auth = _Bearer(self.bearer)
        self.session.headers.update({"User-Agent": AGENT, "Accept-Encoding": "identity"})

    def ask(self, method: str, path: str, *, patience: float = ANSWER, **options: Any) -> Response:
        """Send a request and return the answer, if it is a good one. Raises Trouble."""
        try:
            answer = self.session.request(
                method, self.url + path, timeout=(CONNECT, patience), allow_redirects=False, **options
            )
        except (requests.RequestException, OSError) as error:
            raise self.broken(error) from error
        if answer.status_code >= 300:
            raise self._refused(answer)
        return answer

    def broken(self, error: BaseException) -> Trouble:
        """Why nothing, or no more, comes from there."""
        if isinstance(error, requests.exceptions.SSLError):
            return Trouble(f"{self.url} can't be trusted, or speaks no TLS: {_root(error)}.")
        if isinstance(error, requests.Timeout):
            return Trouble(f"{self.url} does not answer.", passes=True)
        why = _root(error)
        if isinstance(why, socket.gaierror):
            return Trouble(f"there is no host {urlsplit(self.url).hostname!r}: --url or COMET_URL names the server.")
        if isinstance(why, ConnectionRefusedError):
            return Trouble(
                f"no server is at {self.url}: start one (python -m comet serve), or name it by --url or COMET_URL.",
                passes=True,
            )
        text = why.strerror if isinstance(why, OSError) and why.strerror else str(why)
        return Trouble(f"the connection to {self.url} is broken: {text[:200].lower()}.", passes=True)

    def stranger(self, answer: Response) -> Trouble:
        """What answers here is something else."""
        kind = answer.headers.get("Content-Type", "nothing").partition(";")[0]
        return Trouble(
            f"{self.url} is no comet server: it answers {answer.status_code} with {kind[:80]}. "
            "--url or COMET_URL names one (with the prefix of its routes, if they have one)."
        )

    def _refused(self, answer: Response) -> Trouble:
        status = answer.status_code
        if status < 400:
            there = answer.headers.get("Location", "elsewhere")[:200]
            return Trouble(f"{self.url} leads to {there}: name the server itself by --url or COMET_URL.")
        detail = _detail(answer)
        passes = status in _PASSING
        if not detail:
            # A proxy before a server that is away says nothing of comet.
            return Trouble(f"{self.url} answers {status}.", passes=True) if passes else self.stranger(answer)
        advice = _WHERE if status == 401 else ""
        return Trouble(f"{detail} ({status}).{advice}", passes=passes, after=_after(answer))


class _Bearer(AuthBase):
    """Authorization, or none: without this, requests takes one from ~/.netrc."""

    def __init__(self, bearer: str) -> None:
        self.bearer = bearer

    def __call__(self, request: Any) -> Any:
        if self.bearer:
            request.headers["Authorization"] = f"Bearer {self.bearer}"
        return request


def _check_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    if not right or parts.query or parts.fragment or parts.username is not None or not url.isprintable() or " " in url:
        fail(f"--url {url[:200]!r} is not where a server can be: it takes http://HOST:PORT, or https://HOST.", WRONG)
    return url.rstrip("/")


def _check_bearer(bearer: str) -> str:
    if not bearer.isascii() or not bearer.isprintable() or " " in bearer:
        fail(
            "the key or the token has a character that can't be sent: it is of printable ASCII, without blanks.", WRONG
        )
    return bearer


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _root(error: BaseException) -> BaseException:
    """The error of the operating system under those of the libraries."""
    seen: list[BaseException] = []
    while error not in seen:
        seen.append(error)
        if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
            return error
        inner = [each for each in (error.__cause__, error.__context__, *error.args) if isinstance(each, BaseException)]
        inner += [each for each in [getattr(error, "reason", None)] if isinstance(each, BaseException)]
        error = next((each for each in inner if each not in seen), error)
    return error


def _detail(answer: Response) -> str:
    """What comet says is wrong, without its full stop; nothing if it is not comet that answers."""
    if not answer.headers.get("Content-Type", "").startswith(PROBLEM):
        return ""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError, requests.RequestException):
        return ""
    text = " ".join(str(detail).split())
    return "".join(each for each in text if each.isprintable()).rstrip(".")


def _after(answer: Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(float(text), _LONGEST) if text.isascii() and text.isdigit() else 0.0
