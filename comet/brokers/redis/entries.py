"""Entries as they are in Redis: the fields of a stream, and the frames that all workers hear.

An entry is its *mark* (media type, line feed, event name; empty for the end of a channel) and its data. A frame is
what one call has published: a line ``epoch before head time``, then for each entry a line ``seq prev channel length
length``, mark and data. ``before`` chains the frames: who has everything up to there has missed nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from sys import intern

from ...core.log import Entry
from ...core.update import Closed, Update


def mark(entry: Entry) -> str:
    return "" if isinstance(entry, Closed) else f"{entry.type}\n{entry.event or ''}"


def to_entry(epoch: str, channel: str, seq: int, prev: int, time: float, mark: bytes, data: bytes) -> Entry:
    if not mark:
        return Closed(channel, time, epoch, seq)
    media_type, _, event = mark.decode().partition("\n")
    return Update(intern(channel), data, intern(media_type), event or None, None, time, epoch, seq, prev)


def of_stream(epoch: str, channel: str, row: tuple[bytes, dict[bytes, bytes]]) -> Entry:
    place, fields = row
    seq = int(place.partition(b"-")[0])
    return to_entry(epoch, channel, seq, int(fields[b"p"]), float(fields[b"t"]), fields[b"m"], fields[b"d"])


@dataclass(frozen=True, slots=True)
class Frame:
    """What one call has published: everything in (``before``, ``head``]."""

    epoch: str
    before: int
    head: int
    time: float
    body: bytes

    @classmethod
    def parse(cls, message: bytes) -> Frame:
        line, _, body = message.partition(b"\n")
        epoch, before, head, time = line.decode().split(" ")
        return cls(epoch, int(before), int(head), float(time), body)

    @property
    def entries(self) -> Iterator[Entry]:
        body, at = self.body, 0
        while at < len(body):
            end = body.index(b"\n", at)
            seq, prev, channel, of_mark, of_data = body[at:end].decode().split(" ")
            middle = end + 1 + int(of_mark)
            at = middle + int(of_data)
            yield to_entry(self.epoch, channel, int(seq), int(prev), self.time, body[end + 1 : middle], body[middle:at])
