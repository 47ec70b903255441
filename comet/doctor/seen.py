"""What was measured on a path: plain values. Times are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Link:
    """How the first machine on the path is reached. Without TLS ``tls`` is None. ``protocol`` is what it would rather
    speak, by ALPN; empty: it does not say."""

    name: float
    tcp: float
    tls: float | None = None
    version: str = ""
    protocol: str = ""


@dataclass(frozen=True)
class Answer:
    """An answer that has ended. ``status`` 0: none came, and ``text`` says why. The names of headers are in lower
    case; one that came twice has both values."""

    status: int
    seconds: float
    version: str = "1.1"
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def ours(self) -> bool:
        """Whether comet itself has said this."""
        return is_ours(self.headers)


def is_ours(headers: Mapping[str, str]) -> bool:
    """Whether an answer with these headers is comet's, and no proxy's own."""
    problem = headers.get("content-type", "").startswith("application/problem+json")
    return problem or "comet-cursor" in headers or "comet-reached-by" in headers


@dataclass(frozen=True)
class Stream:
    """A stream that something was published to, or nothing. ``packed``: it was asked for with gzip.

    ``status`` 0: no head came in time. ``first``: when the first bytes of the body came. ``late``: for each update how
    long after its 201 it came; None: not in time.
    """

    wire: str
    packed: bool = False
    status: int = 200
    ours: bool = True
    head: float | None = 0.0
    first: float | None = 0.0
    encoding: str = ""
    late: tuple[float | None, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Silence:
    """A stream to which nothing is published. ``heartbeat`` is what comet has promised, if that came through; ``beats``
    are the times when something came after the opening. ``ended``: when it did so by itself, ``goodbye``: comet said
    so. ``together``: several heartbeats came at once. ``problem``: why there was no stream."""

    watched: float
    heartbeat: float | None = None
    beats: tuple[float, ...] = ()
    ended: float | None = None
    goodbye: bool = False
    together: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Poll:
    """A long poll that waited for nothing. ``asked``: how long it was to wait."""

    asked: float
    answer: Answer


@dataclass(frozen=True)
class Sized:
    """A request with something large in it."""

    size: int
    answer: Answer


@dataclass(frozen=True)
class Seen:
    """All of it. None: this was not measured."""

    url: str
    link: Link
    health: Answer
    patience: float = 4.0
    info: Answer | None = None
    ready: Answer | None = None
    streams: tuple[Stream, ...] = ()
    #: Whether updates were published: empty if so, else why not.
    unpublished: str = ""
    silence: Silence | None = None
    #: The same on a wire that has no heartbeats.
    mute: Silence | None = None
    poll: Poll | None = None
    long_url: Sized | None = None
    long_field: Sized | None = None
    body: Sized | None = None
    clock: float | None = None
    origin: str = ""
    other_site: Answer | None = None
