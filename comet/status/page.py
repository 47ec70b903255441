"""The page: figures as HTML, and the wire that keeps it up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader

from ..core.cursor import Cursor
from ..core.encodings import Encodings
from ..core.log import Entry, Gap
from ..core.wire import Html, State
from .figures import Figures, Place


HTML = "text/html; charset=utf-8"

#: Nothing in it may run, load or send, and nobody may put it into a frame.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)

#: Seconds after which a page comes again whose connection has broken.
AGAIN = 10


def render(figures: Figures, *, still: bool = False) -> str:
    """The figures as HTML. ``still``: they do not change while somebody reads them."""
    return _TABLES.render(figures, still=still)


class Page(Html):
    """The page as it opens, and as it goes on. ``drain``: seconds that a worker takes to stop.

    A browser that comes again while no server is there shows its own page about that, for ever. So a page whose
    connection has broken comes again late; and one that has ended in order says itself when, and that counts for all
    browsers, because it is sooner. State: (that of ``Html``, bytes written).
    """

    headers: ClassVar[dict[str, str]] = {"Content-Security-Policy": POLICY}
    initial: ClassVar[State] = ((), 0)

    def __init__(
        self, names: Sequence[str], encodings: Encodings | None = None, *, place: Place, drain: float = 0.0
    ) -> None:
        super().__init__(names, encodings)
        self._head = _HEAD.render(place=place, still=False).encode()
        self.headers = {**self.headers, "Refresh": str(max(AGAIN, int(drain) + AGAIN))}  # type: ignore[misc]

    def opening(self, cursor: Cursor, retry: int) -> bytes:
        return self._head

    def frame(self, entries: Iterable[Entry], gap: Gap | None, state: State) -> tuple[bytes, State]:
        shown, written = state
        text, shown = super().frame(entries, gap, shown)
        written += len(text)
        assert self.longest is not None
        if written + 3 * len(text) > self.longest:
            text += _again(1)  # the next one, or the one after that, is the last
        return text, (shown, written)

    def goodbye(self, retry: int) -> bytes:
        return _again(retry // 1000 + 1)


def still(figures: Figures, place: Place) -> str:
    """The whole page, as it is now, for somebody who wants to read or to copy something."""
    return _HEAD.render(place=place, still=True) + render(figures, still=True)


def _again(seconds: int) -> bytes:
    return b'<meta http-equiv="refresh" content="%d">\n' % seconds


# How figures are read.


def size(count: float | None) -> str:
    """Bytes, in the unit that leaves one to three digits before the point."""
    if count is None:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000 or unit == "GiB":
            break
        count /= 1024
    return f"{amount(count)} {unit}"


def amount(number: float | None) -> str:
    """A number with as many digits as say something."""
    if number is None:
        return "–"
    if number >= 99.5:
        return f"{number:,.0f}"
    return (f"{number:.1f}" if number >= 0.95 else f"{number:.2g}").removesuffix(".0")


def span(seconds: float | None) -> str:
    """A time in words, as exact as it matters."""
    if seconds is None:
        return "–"
    whole = int(seconds)
    for unit, length, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "", 0)):
        if whole >= length:
            rest = whole % length // part if part and whole < 10 * length else 0
            return f"{whole // length} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def late(seconds: float | None) -> str:
    """A short time, in milliseconds."""
    return "–" if seconds is None else f"{amount(round(seconds * 1000, 1))} ms"


def clock(time: float) -> str:
    """The time of day where the server is."""
    return f"{_local(time):%H:%M:%S %Z}"


def stamp(time: float) -> str:
    """The same for programs."""
    return _local(time).isoformat(timespec="seconds")


def _local(time: float) -> datetime:
    return datetime.fromtimestamp(time).astimezone()


def sentence(trigger: Figures) -> str:
    """What is wrong with a trigger, for people. What to type is told beside it."""
    error: str = trigger["error"]
    for kind in ("Alarm: ", "SourceFailed: "):
        error = error.removeprefix(kind)
    return error.removesuffix(f" Type: {trigger['statement']}") if trigger["statement"] else error


_ENVIRONMENT = Environment(
    autoescape=True,
    loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {each.__name__: each for each in (size, amount, span, late, clock, stamp, sentence)}
_HEAD = _ENVIRONMENT.get_template("status-head.html")
_TABLES = _ENVIRONMENT.get_template("status.html")
