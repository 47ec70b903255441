"""Followed: one file, held open, whose lines are read from a place on, whatever becomes of its name."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import asdict, dataclass

from ...breath import breathe
from ...core.errors import Alarm
from ...core.lines import Lines


#: Bytes that are read at once.
READ = 16_384

#: By so many first bytes a file is known again that was written anew.
HEAD = 256


@dataclass(frozen=True, slots=True)
class Place:
    """The beginning of a line in a file, for checkpoints. ``head``: a digest of the file's first bytes up to here.

    ``life`` is one more for each file that came after it, and each time that it was written anew: a number of an inode,
    and an offset in it, come again.
    """

    dev: int
    inode: int
    life: int
    offset: int
    head: str

    @property
    def key(self) -> str:
        """The name of the line that begins here."""
        return f"{self.dev}:{self.inode}:{self.life}:{self.offset}"

    @property
    def fields(self) -> dict[str, int | str]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Line:
    """``place``: where it begins; ``after``: where the next one does."""

    data: bytes
    place: Place
    after: Place


class Followed:
    """A file that is open. Close it. Raises Alarm for what is no file."""

    def __init__(self, path: str, *, most: int, life: int) -> None:
        """Open it at its beginning. Raises FileNotFoundError, and Alarm for what can't be read as a file."""
        self.most = most
        self._fd = _open(path)
        status = os.fstat(self._fd)
        self.identity = (status.st_dev, status.st_ino)
        #: Whether there was more than was read.
        self.more = False
        #: When something was read, by the monotonic clock.
        self.written = time.monotonic()
        self._start(0, life)

    def _start(self, offset: int, life: int) -> None:
        self.life = life
        self._lines = Lines(self.most)
        self._read_to = self._offset = offset
        self._head = os.pread(self._fd, HEAD, 0)
        #: Where the next line begins that is to be published. Whoever publishes moves it.
        self.place = self._place(offset)

    def close(self) -> None:
        os.close(self._fd)

    @property
    def cut(self) -> int:
        """Lines that were too long."""
        return self._lines.cut

    def _place(self, offset: int) -> Place:
        return Place(*self.identity, self.life, offset, hashlib.md5(self._head[:offset]).hexdigest())

    # Where to begin.

    def go_to(self, place: Place) -> bool:
        """Go on there. Returns False if this is not the file that it was, or has been written anew."""
        is_it = self.identity == (place.dev, place.inode) and os.fstat(self._fd).st_size >= place.offset
        if is_it and self._place(place.offset).head == place.head:
            self._start(place.offset, place.life)
            return True
        return False

    def go_to_end(self) -> None:
        """Begin with the line that has not ended yet."""
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, READ, max(0, size - READ))
        begun = len(tail) - (tail.rfind(b"\n") + 1)
        self._start(size - (begun if begun < READ else 0), self.life)

    # Reading.

    def read(self) -> list[Line]:
        """The lines that are new, of so much as is read at once."""
        size = os.fstat(self._fd).st_size
        if size < self._read_to or os.pread(self._fd, len(self._head), 0) != self._head:
            self._start(0, self.life + 1)  # truncated, or written anew
        data = os.pread(self._fd, READ, self._read_to)
        self._read_to += len(data)
        self.more = bool(data) and self._read_to < size
        if not data:
            return []
        self.written = time.monotonic()
        if len(self._head) < HEAD:
            self._head = os.pread(self._fd, HEAD, 0)
        return self._told(self._lines.feed(data))

    def end(self) -> list[Line]:
        """The last line, which has no end."""
        return self._told(self._lines.end())

    def _told(self, found: list[tuple[bytes, int]]) -> list[Line]:
        lines, place = [], self._place(self._offset)
        for data, size in found:
            self._offset += size
            after = self._place(self._offset)
            lines.append(Line(data, place, after))
            place = after
            breathe()
        return lines


def identify(path: str) -> tuple[int, int] | None:
    """Which file has this name now."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _alarm(path, error) from error
    return status.st_dev, status.st_ino


def find(path: str, identity: tuple[int, int]) -> str | None:
    """What the file is called now: this, or another name in the same folder."""
    if identify(path) == identity:
        return path
    try:
        with os.scandir(os.path.dirname(path) or ".") as entries:
            for entry in entries:
                if entry.inode() == identity[1] and identify(entry.path) == identity:
                    return entry.path
    except OSError:
        pass  # there is no such folder now
    return None


def _open(path: str) -> int:
    try:
        # Without waiting: whoever opens a pipe waits for its other end.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _alarm(path, error) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Alarm(f"{path} can't be followed: it is not a file.")
    return fd


def _alarm(path: str, error: OSError) -> Alarm:
    return Alarm(f"{path} can't be read: {(error.strerror or str(error)).lower()}.")
