"""File: follows a file that grows, and publishes each new line of it.

Strategy: the file is held open, and twenty times a second its size and its name are looked at. If the name belongs to
another file, that one is followed too; the one before it is read on for a while, because who wrote it may not have
noticed yet. A checkpoint tells the beginning of a line in each of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence

from gevent.event import Event

from ...breath import breathe
from ...core.update import TEXT, Update
from .. import Publish
from .followed import Followed, Line, Place, find, identify


log = logging.getLogger("comet")

#: Seconds between two looks at the file.
PACE = 0.05

#: Seconds for which a file is followed on that has lost its name, after it was written the last time.
LINGER = 10.0

#: So much of a line is taken, in bytes.
MOST = 262_144

#: Lines that are published together at the most.
TOGETHER = 200


class File:
    """Publish each new line of the file ``path`` to ``channel``, without its end; of it at most ``most`` bytes.

    It begins at the end, and later where it has stopped; a file that comes into being is read from its beginning.
    """

    def __init__(
        self,
        name: str,
        *,
        path: str,
        channel: str,
        event: str | None = None,
        type: str = TEXT,
        most: int = MOST,
    ) -> None:
        self.name = name
        self.path = self.source = path
        self.channel = channel
        self.event = event
        self.type = type
        self.most = most
        self.linger = LINGER
        # Before the keys: files of two hosts may have the same numbers, and lines go to one channel.
        self._mark = hashlib.md5(name.encode()).hexdigest()[:8]
        self._stopping = Event()
        #: The last one has the name, the others had it before.
        self._files: list[Followed] = []
        self._life = 0
        self._cut = False

    def run(self, publish: Publish) -> None:
        self._stopping.clear()
        try:
            self._begin(publish)
            while not self._stopping.is_set():
                if not self._turn(publish):
                    self._stopping.wait(PACE)
        finally:
            for each in self._files:
                each.close()
            self._files.clear()

    def stop(self) -> None:
        self._stopping.set()

    # Which files.

    def _begin(self, publish: Publish) -> None:
        text = publish.checkpoint()
        if text is not None:
            self._go_on([Place(**fields) for fields in json.loads(text)])
            return
        self._look()
        for each in self._files:
            each.go_to_end()
        publish([], self._checkpoint())

    def _go_on(self, places: Sequence[Place]) -> None:
        for place in places:
            self._life = max(self._life, place.life)
            path = find(self.path, (place.dev, place.inode))
            if path is None or not self._open(path, place):
                log.warning("comet: %s: what was written to %s after it was read may be lost", self.name, self.path)

    def _look(self) -> None:
        """Follow the file that has the name now."""
        identity = identify(self.path)
        if identity is None or (self._files and self._files[-1].identity == identity):
            return
        for each in self._files:
            if each.identity == identity:  # it has its name again
                self._files.remove(each)
                self._files.append(each)
                return
        self._open(self.path)

    def _open(self, path: str, place: Place | None = None) -> bool:
        """Follow a file, if it is there, from its beginning or from a place in it."""
        try:
            file = Followed(path, most=self.most, life=1 + max([self._life, *(each.life for each in self._files)]))
        except FileNotFoundError:
            return False
        if place is not None and not file.go_to(place):
            file.close()
            return False
        self._files.append(file)
        return True

    def _checkpoint(self) -> str:
        return json.dumps([each.place.fields for each in self._files], separators=(",", ":"))

    # What is in them.

    def _turn(self, publish: Publish) -> bool:
        """Publish what is new. Returns whether there is more already."""
        self._look()
        for each in self._files:
            self._publish(publish, each, each.read())
            if each.more:
                return True  # the lines of the next one come after all of these
        for each in self._files[:-1]:
            if time.monotonic() - each.written > self.linger:
                self._publish(publish, each, each.end())
                self._files.remove(each)
                each.close()
        return False

    def _publish(self, publish: Publish, file: Followed, lines: Sequence[Line]) -> None:
        for begin in range(0, len(lines), TOGETHER):
            if self._stopping.is_set():
                return
            batch = lines[begin : begin + TOGETHER]
            file.place = batch[-1].after
            publish([self._update(each) for each in batch], self._checkpoint())
            breathe()
        if file.cut and not self._cut:
            self._cut = True
            log.warning("comet: %s has a line of more than %d bytes; the rest is left out", self.path, self.most)
        breathe()  # a long line takes many reads

    def _update(self, line: Line) -> Update:
        return Update(self.channel, line.data, self.type, self.event, f"{self._mark}:{line.place.key}")
