"""Encodings: what several wires make of an update, made once and shared."""

from __future__ import annotations

import base64
import html
import json
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable

from . import markup
from .log import Gap
from .update import Update


Encode = Callable[[Update], bytes]


#: What an encoding costs beside its bytes: key and dictionary entry. Measured: 172 to 207 with tracemalloc, 193 to 234
#: of resident memory.
OVERHEAD = 210


class Encodings:
    """The encodings of updates, made once and kept while ``limit`` bytes last; the oldest go first."""

    def __init__(self, limit: int = 1 << 26) -> None:
        self.limit = limit
        self.weight = 0
        self._made: OrderedDict[tuple[str, str, int], bytes] = OrderedDict()

    def get(self, update: Update, kind: str, encode: Encode) -> bytes:
        key = (kind, update.epoch, update.seq)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = encode(update)
            self.weight += len(made) + OVERHEAD
            while self.weight > self.limit and len(self._made) > 1:
                self.weight -= len(self._made.popitem(last=False)[1]) + OVERHEAD
        return made


# Encodings that several wires share.


def to_json(update: Update) -> bytes:
    """The JSON object of an update: one line for every reader of lines."""
    text = update.text
    fields = {"id": update.id, "channel": update.channel, "event": update.event, "type": update.type}
    fields["data"] = base64.b64encode(update.data).decode() if text is None else text
    if text is None:
        fields["encoding"] = "base64"
    return dump({**fields, "time": round(update.time, 3)})


def dump(value: object) -> bytes:
    """Compact JSON without any character that some reader takes for a line end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "\x85\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    # A cursor may come with a lone surrogate; it is quoted in a gap.
    return text.encode("utf-8", "replace")


def gap_object(gap: Gap) -> dict[str, str | None]:
    return {"since": gap.since, "first": gap.first, "reason": gap.reason}


def to_script(text: str) -> str:
    """A JavaScript string literal that can't end its ``<script>``."""
    literal = dump(text).decode()
    for character in "<>&":
        literal = literal.replace(character, f"\\u{ord(character):04x}")
    return literal


def in_words(update: Update) -> str:
    """What stands for data that can't be shown: its type and size."""
    return f"[{update.type}, {len(update.data)} bytes]"


def data_url(update: Update) -> str:
    media_type = re.sub(r"[ \t]", "", update.type)
    return f"data:{media_type};base64,{base64.b64encode(update.data).decode()}"


_LINE_END = re.compile(rb"\r\n|\r|\n")


def lines(update: Update) -> list[bytes]:
    return [data_url(update).encode()] if update.text is None else _LINE_END.split(update.data)


def sse_event(id: str | None, event: str | None, lines: Iterable[bytes]) -> bytes:
    """One event of an event stream. ``lines`` must hold no line end, ``id`` and ``event`` are checked already."""
    fields = [b"id: " + id.encode()] if id else []
    if event is not None:
        fields.append(b"event: " + event.encode())
    fields += [b"data: " + line for line in lines]
    return b"\n".join(fields) + b"\n\n"


_CONTROLS = {code: "\ufffd" for code in range(0x20) if code not in b"\t\n\r"}


def to_line(update: Update) -> bytes:
    """The data as it is shown on a terminal: no control characters but tab and line ends, and a line end last."""
    text = update.text
    if text is None:
        return in_words(update).encode() + b"\n"
    shown = text.translate(_CONTROLS).encode()
    return shown if shown.endswith(b"\n") else shown + b"\n"


def to_block(update: Update) -> bytes:
    """The content as HTML: closed markup as it is, images as images, the rest as text."""
    text = update.text
    if update.essence.startswith("image/"):
        return f'<img alt="{html.escape(update.channel)}" src="{html.escape(data_url(update))}">'.encode()
    if text is None:
        text = in_words(update)
    elif update.essence == "text/html" and markup.is_closed(text):
        return update.data
    # The page makes the letters as large as the longest line allows.
    longest = max(map(len, text.splitlines()), default=1)
    return f'<pre style="--w:{longest or 1}">\n{html.escape(text)}</pre>'.encode()
