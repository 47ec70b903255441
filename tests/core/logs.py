"""A log that a test fills by hand, at a time that the test says."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from comet.core.log import Log, Page, Position
from comet.core.rules import Rule, Rules
from comet.core.update import Closed, OwnUpdate, Update, is_own


EPOCH = "k3f9tq00"


def placed(channel: str, seq: int, data: bytes = b"x", **more: Any) -> Update:
    """An update with a place."""
    place = {"epoch": EPOCH, "seq": seq, "prev": 0, "time": 0.0}
    kind = OwnUpdate if is_own(channel) else Update
    return kind(channel, data, **{name: more.pop(name) for name in list(more) if name not in place}).placed(
        **{**place, **more}
    )


class Filled:
    """A log, a clock, and what a broker would do with them."""

    def __init__(self, *, limit: int = 1 << 28, declared: Mapping[str, Rule] | None = None, **rule: Any) -> None:
        self.log = Log(EPOCH, rules=Rules(Rule(**rule), declared), limit=limit)
        self.now = 1000.0

    def publish(self, channel: str, data: bytes = b"x", **more: Any) -> Update:
        place = {"epoch": self.log.epoch, "time": self.now, "prev": self.log.last((channel,))}
        update = placed(channel, self.log.head + 1, data, **place, **more)
        self.log.append(update)
        return update

    def delete(self, channel: str) -> Closed:
        closed = Closed(channel, self.now, self.log.epoch, self.log.head + 1)
        self.log.append(closed)
        return closed

    def wait(self, seconds: float, used: Container[str] = ()) -> None:
        """Let time pass, a second at a time as a worker does."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 1, end)
            for _ in self.log.tick(self.now, used):
                pass

    def at(self, *names: str, seq: int = 0, newest_only: bool = False) -> Position:
        return Position(names, seq, self.log.epoch, newest_only)

    def read(self, *names: str, seq: int = 0, **how: int) -> Page:
        return self.log.read(Position(names, seq, self.log.epoch), **how)

    def ids(self, page: Page) -> list[int]:
        return [entry.seq for entry in page.entries]
