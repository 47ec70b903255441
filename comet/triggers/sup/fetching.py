"""Fetching: a GET within bounds of time and size, which ends at once when it is to stop."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

import gevent
import requests
from gevent.event import Event

from ...core.errors import SourceFailed, TooLarge


#: Seconds for a connection, for silence, and for all of an answer.
CONNECT = 5.0
SILENCE = 10.0
LONGEST = 20.0

_PIECE = 65_536


class Stopped(Exception):
    """It was to stop meanwhile."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``mark`` is what tells one body from another: the ETag, or else a hash."""

    status: int
    headers: requests.structures.CaseInsensitiveDict[str]
    body: bytes

    @property
    def mark(self) -> str:
        etag = self.headers.get("ETag", "")
        return etag if re.fullmatch(r'(W/)?"[!-~]{1,150}"', etag) else sha256(self.body).hexdigest()[:32]

    @property
    def has_etag(self) -> bool:
        return self.mark.endswith('"')

    @property
    def max_age(self) -> float:
        """For so many seconds asking again makes no sense."""
        found = re.search(r"\bmax-age=([0-9]{1,6})\b", self.headers.get("Cache-Control", ""))
        return float(found[1]) if found else 0.0

    @property
    def retry_after(self) -> float:
        text = self.headers.get("Retry-After", "")
        return float(text) if re.fullmatch("[0-9]{1,6}", text) else 0.0


class Web:
    """GETs on kept connections, until ``stopping`` is set. Close it."""

    def __init__(self, agent: str, stopping: Event) -> None:
        self.stopping = stopping
        self._session = requests.Session()
        self._session.headers["User-Agent"] = agent

    def close(self) -> None:
        self._session.close()

    def get(self, url: str, most: int, mark: str = "") -> Answer:
        """Fetch it, with at most ``most`` bytes; 304 where it is still what has this mark.

        Raises SourceFailed where no answer comes, TooLarge, or Stopped.
        """
        asking = gevent.spawn(self._ask, url, most, mark)
        try:
            gevent.wait([asking, self.stopping], count=1)
            if not asking.ready():
                raise Stopped
        finally:
            asking.kill()
        answer: Answer | Exception = asking.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ask(self, url: str, most: int, mark: str) -> Answer | Exception:
        headers = {"If-None-Match": mark} if mark.endswith('"') else {}  # a hash says nothing to the server
        try:
            with (
                gevent.Timeout(LONGEST, SourceFailed(f"{shown(url)} takes longer than {LONGEST:g} seconds.")),
                self._session.get(url, headers=headers, stream=True, timeout=(CONNECT, SILENCE)) as response,
            ):
                return Answer(response.status_code, response.headers, _body(response, most))
        except (requests.RequestException, ValueError) as error:
            return SourceFailed(f"{shown(url)} can't be fetched: {_reason(error)}.")
        except Exception as error:
            return error  # raised by who waits


def _body(response: requests.Response, most: int) -> bytes:
    pieces, size = [], 0
    for piece in response.iter_content(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise TooLarge(f"{shown(response.url)} is larger than {most} bytes.")
    return b"".join(pieces)


def shown(url: str) -> str:
    """A URL for a sentence: without what is secret in it, or may be."""
    return re.sub("[?#].*", "", re.sub("//[^/?#]*@", "//", url), flags=re.DOTALL)


def _reason(error: BaseException) -> str:
    """What has failed, in the words of the system if it has some: at the bottom of what has raised what."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    reason: BaseException | None = error
    while reason is not None:
        if isinstance(reason, OSError) and reason.strerror and not isinstance(reason, requests.RequestException):
            return reason.strerror
        reason = reason.__cause__ or reason.__context__
    words = re.sub("(?<=[a-z])(?=[A-Z])", " ", type(error).__name__)
    return words.lower()
