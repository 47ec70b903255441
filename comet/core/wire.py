"""The wires: one way each to put updates on an HTTP response.

Strategy: a wire takes entries and returns bytes, and knows nothing of who reads them. What it must remember of what
it has written (which part is on screen) is its *state*: a small value that the caller keeps, so that all streams with
the same wire and the same state share each frame. The encoding of an update is made once and shared by all wires that
use it. At the bottom: the table ``WIRES``.
"""

from __future__ import annotations

import html
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from .cursor import Cursor
from .encodings import Encodings, dump, gap_object, lines, sse_event, to_block, to_json, to_line, to_script
from .log import Entry, Gap
from .update import Closed, Update


State = Any

#: An image, or markup that is shown: nothing in it may run, load or send, but it may be framed.
INERT = "default-src 'none'; img-src * data:; media-src *; font-src *; style-src * 'unsafe-inline'; frame-ancestors *"


class Wire:
    """Base of the wires, and the manual for them.

    ``names`` are the channels of the response. ``key`` tells apart two wires that write different bytes for the same
    entries; a string, because its hash is worked out once. A wire that ``conflates`` is given only the newest update of
    each channel.
    """

    name: ClassVar[str]
    content_type: str
    headers: ClassVar[dict[str, str]] = {}
    conflates: ClassVar[bool] = False
    one_shot: ClassVar[bool] = False
    #: A stream is ended before it has written more than this many bytes; None: it goes on for ever.
    longest: ClassVar[int | None] = None
    initial: ClassVar[State] = None

    def __init__(self, names: Sequence[str], encodings: Encodings | None = None) -> None:
        self.names = tuple(names)
        self.encodings = encodings or Encodings()
        self.key = " ".join((self.name, *self.names))

    def opening(self, cursor: Cursor, retry: int) -> bytes:
        """The first bytes. ``retry``: milliseconds after which a client should come back."""
        return b""

    def frame(self, entries: Iterable[Entry], gap: Gap | None, state: State) -> tuple[bytes, State]:
        """The bytes for these entries, after those that led to ``state``; and the state that they lead to."""
        text = b"" if gap is None else self.gap(gap)
        return text + b"".join(map(self.entry, entries)), state

    def entry(self, entry: Entry) -> bytes:
        return self.closed(entry) if isinstance(entry, Closed) else self.update(entry)

    def update(self, update: Update) -> bytes:
        raise NotImplementedError

    def gap(self, gap: Gap) -> bytes:
        return b""

    def closed(self, closed: Closed) -> bytes:
        return b""

    def heartbeat(self, state: State) -> bytes:
        """What is written after some silence; nothing where the wire has no room for it."""
        return b""

    def expiring(self, seconds: int) -> bytes:
        """What is written when the token that a stream rests on ends in so many seconds; 0: it has, and so does the
        stream."""
        return b""

    def goodbye(self, retry: int) -> bytes:
        """The last bytes. ``retry``: milliseconds after which the client should come back."""
        return b""

    def json(self, update: Update) -> bytes:
        return self.encodings.get(update, "json", to_json)


class SSE(Wire):
    """Server-Sent Events, for EventSource and everything that reads them."""

    name = "sse"
    content_type = "text/event-stream; charset=utf-8"

    def opening(self, cursor: Cursor, retry: int) -> bytes:
        # No blank line: some clients would take this for an empty message.
        return b":comet\nretry: %d\n" % retry

    def update(self, update: Update) -> bytes:
        if len(self.names) > 1:
            return self.encodings.get(update, "sse of several", self._of_several)
        return self.encodings.get(update, "sse", self._alone)

    def _alone(self, update: Update) -> bytes:
        return sse_event(update.id, update.event, lines(update))

    def _of_several(self, update: Update) -> bytes:
        event = update.channel if update.event is None else f"{update.channel}/{update.event}"
        return sse_event(update.id, event, lines(update))

    def gap(self, gap: Gap) -> bytes:
        # No id: the cursor stays where it is until the client has seen something newer.
        return sse_event(None, "comet.gap", [dump(gap_object(gap))])

    def closed(self, closed: Closed) -> bytes:
        # With its id: EventSource comes back by itself, and has then been told.
        return sse_event(closed.id, "comet.closed", [dump({"closed": closed.channel})])

    def heartbeat(self, state: State) -> bytes:
        return b":\n"

    def expiring(self, seconds: int) -> bytes:
        # No id, as a gap.
        return sse_event(None, "comet.expiring", [dump({"expiring": seconds})])

    def goodbye(self, retry: int) -> bytes:
        return b"retry: %d\n" % retry


class Envelope(SSE):
    """SSE with the JSON object as data and no event names: for scripts that must see everything."""

    def __init__(self, names: Sequence[str], encodings: Encodings | None = None, *, heartbeat: float = 15.0) -> None:
        super().__init__(names, encodings)
        seconds = int(heartbeat) if heartbeat == int(heartbeat) else heartbeat
        self.key = f"envelope {self.key}"
        self.beat = sse_event(None, "comet.beat", [dump({"heartbeat": seconds})])

    def opening(self, cursor: Cursor, retry: int) -> bytes:
        # The beat is the first event: a script sees that the way lets streams through, and where this one begins. It
        # has the id with it, for Firefox forgets that of a block without data.
        return b"id: %s\nretry: %d\n%s" % (str(cursor).encode(), retry, self.beat)

    def update(self, update: Update) -> bytes:
        return b"id: %s\ndata: %s\n\n" % (update.id.encode(), self.json(update))

    def heartbeat(self, state: State) -> bytes:
        return self.beat


class NDJSON(Wire):
    """A JSON object a line."""

    name = "ndjson"
    content_type = "application/x-ndjson"

    def opening(self, cursor: Cursor, retry: int) -> bytes:
        # Firefox gives a script nothing of an answer, not even its head, before the first byte of its body.
        return self.heartbeat(None)

    def update(self, update: Update) -> bytes:
        return self.json(update) + b"\n"

    def gap(self, gap: Gap) -> bytes:
        return dump({"gap": gap_object(gap)}) + b"\n"

    def closed(self, closed: Closed) -> bytes:
        return dump({"closed": closed.channel}) + b"\n"

    def expiring(self, seconds: int) -> bytes:
        return dump({"expiring": seconds}) + b"\n"

    def heartbeat(self, state: State) -> bytes:
        return b" "  # white space before a JSON object: no reader of lines sees an empty one


class Text(Wire):
    """The data and a line feed: for eyes and ``curl -N``."""

    name = "text"
    content_type = "text/plain; charset=utf-8"

    def update(self, update: Update) -> bytes:
        return self.encodings.get(update, "text", to_line)


#: Chromium shows nothing of another site's picture before it has looked at so many bytes of the response.
_LOOKED_AT = 1024


class Multipart(Wire):
    """``multipart/x-mixed-replace``: each part replaces the one before, with no script.

    Header-eager: a part goes out together with the boundary *and the head of the next one*, because Chromium shows a
    part only then. So its type is settled for life by the first update. State: (type, the part on screen).
    """

    name = "multipart"
    conflates = True
    # Nobody can guess it. Who reads it and puts it into an update has that update left out.
    boundary = b"comet-" + secrets.token_hex(16).encode()
    content_type = f"multipart/x-mixed-replace; boundary={boundary.decode()}"
    headers: ClassVar[dict[str, str]] = {"Content-Security-Policy": INERT}

    def opening(self, cursor: Cursor, retry: int) -> bytes:
        return b"--" + self.boundary + b"\r\n"

    def frame(self, entries: Iterable[Entry], gap: Gap | None, state: State) -> tuple[bytes, State]:
        written = []
        for update in entries:
            if isinstance(update, Closed) or not self._shows(update, state):
                continue
            if state is None:
                written.append(self._first_head(update))
            state = (update.type, update)
            written.append(self._part(update))
        return b"".join(written), state

    def _shows(self, update: Update, state: State) -> bool:
        # An empty part shows as a broken image.
        fits = state is None or _meaning(update.type) == _meaning(state[0])
        return bool(update.data) and self.boundary not in update.data and fits

    def _part(self, update: Update) -> bytes:
        return update.data + b"\r\n--" + self.boundary + b"\r\n" + self._head(update.type)

    def _first_head(self, update: Update) -> bytes:
        head = self._head(update.type)
        missing = _LOOKED_AT - len(update.data)
        if missing > 0 and update.essence.startswith("image/"):
            head = b"Comet-Padding: " + b"." * missing + b"\r\n" + head
        return head

    def _head(self, media_type: str) -> bytes:
        if media_type.lower().startswith("text/") and "charset" not in media_type.lower():
            media_type += "; charset=utf-8"
        return b"Content-Type: " + media_type.encode() + b"\r\n\r\n"

    def heartbeat(self, state: State) -> bytes:
        # A part always replaces the content. An image may be drawn again; a document would lose its scroll position.
        return self._part(state[1]) if state and state[1].essence.startswith("image/") else b""


def _meaning(media_type: str) -> str:
    """The same for two media types that mean the same: text is UTF-8 if it does not say what it is."""
    meaning = "".join(media_type.lower().split())
    return meaning if "charset=" in meaning or not meaning.startswith("text/") else f"{meaning};charset=utf-8"


#: Short text large, long text readable, images whole, all of it in the middle: in a window, a frame or on a phone.
#: ``--n`` is the number of channels, ``--w`` the length of a text's longest line.
_LOOK = (
    ":root{color-scheme:light dark}"
    "body{box-sizing:border-box;min-height:100vh;margin:0;padding:min(1.5rem,4vmin);"
    "display:flex;flex-direction:column;gap:1rem;justify-content:center;font:1rem/1.5 system-ui,sans-serif}"
    "body>div{width:fit-content;min-width:min(100%,42rem);max-width:100%;margin:0 auto}"
    "body>div>pre,body>div>img{display:block;max-width:100%;margin:0 auto}"
    "body>div>pre{width:fit-content;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;line-height:1.4;"
    "white-space:pre-wrap;overflow-wrap:anywhere;"
    "font-size:clamp(.8rem,calc((100vw - 3rem)/var(--w)/.62),4rem)}"
    "body>div>img{max-height:calc((100vh - 3rem)/var(--n) - 1rem)}"
    "#waiting{margin:0;text-align:center;opacity:.6}"
)


class Html(Wire):
    """A page that never finishes loading: each update hides the block before it by a ``<style>``, with no script.

    State: for each channel, in the order of the names, the id of the update on screen, or None. The whole id: what has
    once been hidden must never come again, in another epoch either.
    """

    name = "html"
    content_type = "text/html; charset=utf-8"
    headers: ClassVar[dict[str, str]] = {"Content-Security-Policy": INERT, "Refresh": "2"}
    conflates = True
    longest = 1_048_576
    initial = ()

    def opening(self, cursor: Cursor, retry: int) -> bytes:
        names = html.escape(", ".join(self.names))
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{names}</title>'
            '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
            f"<style>:root{{--n:{len(self.names)}}}{_LOOK}</style></head><body>\n"
            f'<p id="waiting">Waiting for the first update of {names}</p>\n'
        ).encode()

    def frame(self, entries: Iterable[Entry], gap: Gap | None, state: State) -> tuple[bytes, State]:
        shown = list(state or (None,) * len(self.names))
        waiting = not any(shown)
        written = []
        for update in entries:
            if isinstance(update, Closed):
                continue
            place = self.names.index(update.channel)
            # The old block is hidden in the same write, after the new one has come: no moment without content.
            hide = f"<style>#c{place}-{shown[place]}{{display:none}}</style>" if shown[place] else ""
            block = self.encodings.get(update, "html", to_block)
            head = f'<div id="c{place}-{update.id}" style="order:{place}">'
            written.append(head.encode() + block + b"</div>" + hide.encode() + b"\n")
            shown[place] = update.id
        if waiting and any(shown):
            written.append(b"<style>#waiting{display:none}</style>\n")
        return b"".join(written), tuple(shown)

    def heartbeat(self, state: State) -> bytes:
        return b"<!-- -->\n"


class Iframe(Wire):
    """The forever-iframe: a page of scripts that hand each object to the page around it."""

    name = "iframe"
    content_type = "text/html; charset=utf-8"

    def __init__(self, names: Sequence[str], encodings: Encodings | None = None, *, origin: str) -> None:
        super().__init__(names, encodings)
        self.origin = to_script(origin).encode()
        self.key = f"{self.key} {origin}"

    def opening(self, cursor: Cursor, retry: int) -> bytes:
        return b'<!doctype html><html><head><meta charset="utf-8"><title>comet</title></head><body>\n'

    def update(self, update: Update) -> bytes:
        return self._post(self.encodings.get(update, "script", lambda update: to_script(self._text(update)).encode()))

    def _text(self, update: Update) -> str:
        return self.json(update).decode()

    def gap(self, gap: Gap) -> bytes:
        return self._post(to_script(dump({"gap": gap_object(gap)}).decode()).encode())

    def closed(self, closed: Closed) -> bytes:
        return self._post(to_script(dump({"closed": closed.channel}).decode()).encode())

    def expiring(self, seconds: int) -> bytes:
        return self._post(to_script(dump({"expiring": seconds}).decode()).encode())

    def _post(self, literal: bytes) -> bytes:
        return b"<script>parent.postMessage(" + literal + b"," + self.origin + b")</script>\n"

    def heartbeat(self, state: State) -> bytes:
        return b"<!-- -->\n"


class Poll(Wire):
    """One JSON answer: as soon as there is something to tell, else when the time is over."""

    name = "poll"
    content_type = "application/json"
    one_shot = True

    def answer(self, entries: Iterable[Entry], gap: Gap | None, cursor: Cursor) -> bytes:
        """The whole answer. ``cursor`` is where the next one goes on."""
        updates, closed = [], []
        for entry in entries:
            if isinstance(entry, Closed):
                closed.append(entry.channel)
            else:
                updates.append(self.json(entry))
        rest = dump({"cursor": str(cursor), "gap": gap and gap_object(gap), "closed": closed})
        return b'{"updates":[' + b",".join(updates) + b"]," + rest[1:]


class JSONP(Poll):
    """The answer of ``poll`` as a script, for pages of other sites in old browsers."""

    name = "jsonp"
    content_type = "text/javascript; charset=utf-8"

    def __init__(self, names: Sequence[str], encodings: Encodings | None = None, *, callback: str) -> None:
        super().__init__(names, encodings)
        self.callback = callback.encode()

    def answer(self, entries: Iterable[Entry], gap: Gap | None, cursor: Cursor) -> bytes:
        # The comment keeps the callback's name from being the first bytes, which some plug-ins took for a file's magic.
        return b"/**/" + self.callback + b"(" + super().answer(entries, gap, cursor) + b");"


WIRES: dict[str, type[Wire]] = {
    "sse": SSE,
    "poll": Poll,
    "ndjson": NDJSON,
    "text": Text,
    "multipart": Multipart,
    "html": Html,
    "iframe": Iframe,
    "jsonp": JSONP,
}

#: What an ``Accept`` header asks for; anything else is text.
BY_TYPE = {
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
    "application/json": "poll",
    "multipart/x-mixed-replace": "multipart",
    "text/html": "html",
}
