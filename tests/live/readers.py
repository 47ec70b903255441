"""Readers: what a subscriber understands of each wire, written from the contract alone.

Strategy: bytes of a body go in, in pieces of any size, and what is complete by now comes out. Nothing here knows of
sockets. Most streams of a wire get the same bytes, so what was made of a piece is remembered: thousands of readers
cost little more than one.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Seen:
    """An update as a subscriber saw it. ``id`` and ``channel`` are empty where the wire does not carry them."""

    data: str
    id: str = ""
    channel: str = ""
    event: str | None = None

    @property
    def seq(self) -> int:
        return seq_of(self.id)


@dataclass(frozen=True, slots=True)
class Missed:
    """A gap that was told."""

    since: str
    first: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a channel that was told."""

    channel: str


Item = Seen | Missed | Ended


def seq_of(id: str) -> int:
    return int(id.rpartition("-")[2])


class Reader:
    """Base of the readers: records that end in ``end``.

    ``cursor`` is where a client would go on; None while the wire has not told it.
    """

    end: ClassVar[bytes] = b"\n"

    def __init__(self) -> None:
        self.left = b""
        self.cursor: str | None = None

    def feed(self, text: bytes) -> Iterable[Item]:
        text = self.left + text
        place = text.rfind(self.end) + len(self.end)
        if place < len(self.end):
            self.left = text
            return ()
        self.left = text[place:]
        items, cursor = self.records(text[:place])
        self.cursor = cursor or self.cursor
        return items

    def finish(self) -> Iterable[Item]:
        """The response has come to its proper end."""
        return ()

    @staticmethod
    def records(text: bytes) -> tuple[tuple[Item, ...], str | None]:
        """The items of complete records, and the cursor after them."""
        raise NotImplementedError


def _of_object(fields: dict[str, Any]) -> Item:
    if "gap" in fields:
        return Missed(**fields["gap"])
    if "closed" in fields:
        return Ended(fields["closed"])
    return Seen(fields["data"], fields["id"], fields["channel"], fields["event"])


def _last_id(items: Iterable[Item]) -> str | None:
    ids = [item.id for item in items if isinstance(item, Seen)]
    return ids[-1] if ids else None


_RETRY = re.compile(rb"(?m)^retry: ([0-9]+)\n")


class SSE(Reader):
    """As EventSource reads it, for one channel: then ``event`` is the publisher's."""

    end = b"\n\n"

    def __init__(self) -> None:
        super().__init__()
        self._opening = b""

    def feed(self, text: bytes) -> Iterable[Item]:
        if len(self._opening) < 200:
            self._opening += text
        return super().feed(text)

    @property
    def retry(self) -> int | None:
        """Milliseconds after which it would come back: said at the opening, and again with the goodbye."""
        found = _RETRY.findall(self._opening) + _RETRY.findall(self.left)
        return int(found[-1]) if found else None

    @staticmethod
    @lru_cache(256)
    def records(text: bytes) -> tuple[tuple[Item, ...], str | None]:
        items: list[Item] = []
        cursor = None
        for block in text.decode().split("\n\n")[:-1]:
            id = event = None
            data: list[str] = []
            for line in block.split("\n"):
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "id":
                    id = value
                elif name == "event":
                    event = value
                elif name == "data":
                    data.append(value)
            cursor = id or cursor
            if event == "comet.gap":
                items.append(Missed(**json.loads("\n".join(data))))
            elif event == "comet.closed":
                items.append(Ended(json.loads("\n".join(data))["closed"]))
            elif data and event != "comet.beat":
                items.append(SSE.seen(id or "", event, "\n".join(data)))
        return tuple(items), cursor

    @staticmethod
    def seen(id: str, event: str | None, data: str) -> Seen:
        if event is None and data.startswith('{"id":"'):
            return Seen(**{name: json.loads(data)[name] for name in ("data", "id", "channel", "event")})
        return Seen(data, id, "", event)


class SSEOfSeveral(SSE):
    """Of several channels, whose events are CHANNEL or CHANNEL/EVENT."""

    @staticmethod
    @lru_cache(256)
    def records(text: bytes) -> tuple[tuple[Item, ...], str | None]:
        items, cursor = SSE.records(text)
        return tuple(SSEOfSeveral.named(item) if isinstance(item, Seen) else item for item in items), cursor

    @staticmethod
    def named(seen: Seen) -> Seen:
        channel, slash, event = (seen.event or "").partition("/")
        return Seen(seen.data, seen.id, channel, event if slash else None)


class NDJSON(Reader):
    """One object a line; a heartbeat is a blank before it."""

    @staticmethod
    @lru_cache(256)
    def records(text: bytes) -> tuple[tuple[Item, ...], str | None]:
        lines = text.split(b"\n")[:-1]
        items = tuple(_of_object(json.loads(line)) for line in lines)
        return items, _last_id(items)


class Text(Reader):
    """Lines: as many updates, if none has a line end in it."""

    @staticmethod
    @lru_cache(256)
    def records(text: bytes) -> tuple[tuple[Item, ...], str | None]:
        return tuple(Seen(line) for line in text.decode().split("\n")[:-1]), None


_SCRIPT = re.compile(r'<script>parent\.postMessage\(("(?:[^"\\]|\\.)*"),("(?:[^"\\]|\\.)*")\)</script>')


class Iframe(Reader):
    """A line for each script."""

    @staticmethod
    @lru_cache(256)
    def records(text: bytes) -> tuple[tuple[Item, ...], str | None]:
        page = text.decode()
        items = tuple(_of_object(json.loads(json.loads(match[1]))) for match in _SCRIPT.finditer(page))
        return items, _last_id(items)


_BLOCK = re.compile(r'<div id="c\d+-[0-9a-z]+-(\d+)" style="order:\d+"><pre[^>]*>\n(.*?)</pre></div>', re.DOTALL)


class Html(Reader):
    """The blocks of text on the page. Of their ids the number is enough."""

    @staticmethod
    @lru_cache(256)
    def records(text: bytes) -> tuple[tuple[Item, ...], str | None]:
        page = text.decode()
        blocks = _BLOCK.finditer(page)
        return tuple(Seen(html.unescape(block[2]), f"-{block[1]}") for block in blocks), None

    def feed(self, text: bytes) -> Iterable[Item]:
        # Data may have line ends; a block is complete with the end of its line.
        text = self.left + text
        place = max(text.rfind(b"</div>\n"), text.rfind(b"</style>\n"), text.rfind(b"-->\n"), text.rfind(b"<body>\n"))
        place = text.find(b"\n", place) + 1 if place >= 0 else 0
        self.left = text[place:]
        return self.records(text[:place])[0]


class Multipart(Reader):
    """A part is complete with the boundary after it."""

    def feed(self, text: bytes) -> Iterable[Item]:
        text = self.left + text
        boundary, found, _ = text.partition(b"\r\n")
        if not found:
            self.left = text
            return ()
        *parts, rest = (b"\r\n" + text).split(b"\r\n" + boundary + b"\r\n")
        # The boundary stays before what is left: it is the first line again.
        self.left = boundary + b"\r\n" + rest
        return [Seen(part.partition(b"\r\n\r\n")[2].decode()) for part in parts if part]


class Poll(Reader):
    """One answer: nothing is known before its end."""

    before = b""
    after = b""

    def feed(self, text: bytes) -> Iterable[Item]:
        self.left += text
        return ()

    def finish(self) -> Iterable[Item]:
        text = self.left
        assert text.startswith(self.before) and text.endswith(self.after), text
        items, self.cursor = self._answer(text[len(self.before) : len(text) - len(self.after)])
        return items

    @staticmethod
    @lru_cache(256)
    def _answer(text: bytes) -> tuple[tuple[Item, ...], str]:
        answer = json.loads(text)
        items: list[Item] = [Missed(**answer["gap"])] if answer["gap"] else []
        items += map(_of_object, answer["updates"])
        items += map(Ended, answer["closed"])
        return tuple(items), answer["cursor"]


class JSONP(Poll):
    """The same in a call."""

    before = b"/**/callback("
    after = b");"


#: Each wire's reader and how it is asked for.
READERS: dict[str, tuple[type[Reader], str]] = {
    "sse": (SSE, "sse"),
    "envelope": (SSE, "sse?envelope=1"),
    "ndjson": (NDJSON, "ndjson"),
    "poll": (Poll, "poll"),
    "jsonp": (JSONP, "jsonp"),
    "iframe": (Iframe, "iframe"),
    "text": (Text, "text"),
    "html": (Html, "html"),
    "multipart": (Multipart, "multipart"),
}

EVERY = tuple(READERS)
#: Those that carry cursors and tell gaps, those that go on, and those that show only the newest.
TELLING = ("sse", "envelope", "ndjson", "poll", "jsonp", "iframe")
LASTING = ("sse", "envelope", "ndjson", "iframe", "text", "html", "multipart")
CONFLATING = ("html", "multipart")
