"""Following: the updates of channels, over whatever breaks between here and the server.

Strategy: the wire ``ndjson``, and a cursor. The cursor is the id of the last update that was handed over; before the
first one it is what the server says in ``Comet-Cursor``. Each attempt goes on from it, so nothing is lost or twice;
what the server has no more it tells as a gap.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Protocol

import requests
from requests import Response
from urllib3.exceptions import HTTPError

from .patience import Patience
from .remote import Remote, Trouble


#: Seconds of silence after which a connection is taken for dead: four heartbeats, if the server has the usual ones.
SILENCE = 65.0

READ = 65_536

#: Bytes of a line that nobody sends.
LONGEST = 256 * 1_048_576

NDJSON = "application/x-ndjson"

#: A connection that has held for so many seconds was a good one.
_GOOD = 5.0


class Watcher(Protocol):
    """Who wants to know how it goes."""

    def connected(self) -> None: ...

    def lost(self, trouble: Trouble, seconds: float) -> None:
        """There is no connection; the next attempt is in so many seconds."""


class Following:
    """Iterate over it for what comes: objects as the wire has them. It ends when all of its channels were deleted.

    The first connection must come about, and a refusal ends it: both raise Trouble.
    """

    def __init__(
        self, remote: Remote, names: list[str], *, since: str | None, last: int | None, watcher: Watcher
    ) -> None:
        self.remote = remote
        self.names = names
        self.cursor = since
        self.last = last
        self.watcher = watcher

    def __iter__(self) -> Iterator[dict[str, Any]]:
        patience, before = Patience(), False
        while self.names:
            begun = time.monotonic()
            try:
                for each in self._connection():
                    if each is None:
                        before = True
                    else:
                        yield each
                trouble = Trouble("the server has ended the stream.", passes=True)
            except Trouble as error:
                if not (error.passes and before):
                    raise
                trouble = error
            if self.names:
                if time.monotonic() - begun > _GOOD:
                    patience.reset()
                seconds = patience.pause(trouble.after)
                self.watcher.lost(trouble, seconds)
                time.sleep(seconds)

    def _connection(self) -> Iterator[dict[str, Any] | None]:
        """One connection: None when it stands, then what comes on it."""
        with self._open() as answer:
            if not answer.headers.get("Content-Type", "").startswith(NDJSON) or "Comet-Cursor" not in answer.headers:
                raise self.remote.stranger(answer)
            # What is missing is known to be missing once it was told, and only then.
            fresh: str | None = answer.headers["Comet-Cursor"]
            self.cursor = self.cursor or fresh
            self.watcher.connected()
            yield None
            for line in self._lines(answer):
                told = self._parse(line)
                if "gap" in told and fresh:
                    self.cursor = fresh
                fresh = None
                if "id" in told:
                    self.cursor = told["id"]
                if told.get("closed") in self.names:
                    self.names.remove(told["closed"])
                yield told

    def _open(self) -> Response:
        parameters = {} if self.last is None or self.cursor else {"last": str(self.last)}
        if self.cursor:
            parameters["since"] = self.cursor
        path = f"/channels/{','.join(self.names)}/ndjson"
        return self.remote.ask("GET", path, patience=SILENCE, params=parameters, stream=True)

    def _lines(self, answer: Response) -> Iterator[bytes]:
        begun = bytearray()
        try:
            # read1: what there is, however the server frames it.
            while data := answer.raw.read1(READ):
                begun += data
                if b"\n" in data:
                    *lines, rest = bytes(begun).split(b"\n")
                    begun = bytearray(rest)
                    yield from (line for line in lines if line.strip())
                elif len(begun) > LONGEST:
                    raise self.remote.stranger(answer)
                elif not begun.strip():
                    begun.clear()  # heartbeats
        except (HTTPError, requests.RequestException, OSError) as error:
            raise self.remote.broken(error) from error

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise Trouble(f"{self.remote.url} sends something that is not of comet: {line[:60]!r}.")
        return told
