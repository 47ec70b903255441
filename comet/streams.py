"""Streams: the greenlet-blocking generators that the server iterates over.

Strategy: each yields its opening at once (an empty chunk where the wire has none: the headers leave with the first
yield), then asks the log, yields what is new as one chunk, and waits. They take what they need as arguments and never
touch the request: it is over when they run.

What they acquire they acquire inside, so that a response that is never iterated (HEAD, a client gone before the first
byte) leaves nothing behind.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator
from typing import Any

from .breath import turn
from .cohorts import Subscription
from .controller import Controller
from .core.cursor import Cursor
from .core.errors import Unavailable
from .core.log import Entry, Page, Start
from .core.update import Update
from .core.wire import Poll, Wire
from .ends import ANSWERED, CUT, DELETED, ERROR, EXPIRED, FULL, GONE, REVOKED, STOPPING, tell
from .frames import Frame
from .peers import Peer


#: Bytes after which the answer of a poll ends.
ANSWER = 1_048_576


#: What the server iterates over.
Chunks = Generator[bytes, None, None]


#: What the server's access log tells of a request when its response is over.
TOLD = (
    "REMOTE_ADDR REQUEST_METHOD RAW_URI PATH_INFO QUERY_STRING SERVER_PROTOCOL "
    "HTTP_AUTHORIZATION HTTP_REFERER HTTP_USER_AGENT"
).split()


class Body:
    """The chunks of a stream, which the server iterates over and closes; then ``release`` is called.

    Nothing stands between: else Flask's response and two iterators of Werkzeug's would live as long as the stream
    (2.5 KiB), and be asked for each chunk. Nor does the request live on, if its ``environ`` is given: what the server
    keeps of that while the body lasts is emptied when it begins, but for what the access log tells.
    """

    __slots__ = ("_chunks", "_environ", "_release")

    def __init__(self, chunks: Chunks, release: Callable[[], None], environ: dict[str, Any] | None = None) -> None:
        self._chunks = chunks
        self._environ = environ
        self._release = release

    def __iter__(self) -> Chunks:
        if self._environ:
            told = {key: self._environ[key] for key in TOLD if key in self._environ}
            self._environ.clear()
            self._environ.update(told)
            self._environ = None
        return self._chunks

    def close(self) -> None:
        try:
            self._chunks.close()
        finally:
            self._release()


class Pace:
    """When a stream may be written to again that is not written to more than ``rate`` times a second."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = 0.0

    def written(self) -> None:
        self._next = time.monotonic() + self._interval

    @property
    def left(self) -> float:
        """Seconds until then; none if they are over."""
        return self._next - time.monotonic()


def streaming(
    controller: Controller,
    wire: Wire,
    start: Start,
    peer: Peer,
    *,
    expires: float = math.inf,
    jti: str = "",
    rate: float | None = None,
    address: str = "",
) -> Chunks:
    """A response that goes on until its client leaves, a channel is closed, the worker stops, or the time comes when
    the token that it rests on ``expires``, or is revoked by its ``jti``. News is written at most ``rate`` times a
    second. ``address``: the client's, for the log."""
    # A stream that ends after so many bytes looks itself, and so does one that has a rate.
    shared = wire.longest is None and rate is None
    subscription = Subscription(start.position, wire, peer if shared else None, expires, jti)
    pace = Pace(rate) if rate is not None else None
    retry = random.randint(2000, 4000)
    begun, reason = time.monotonic(), GONE
    try:
        controller.add(subscription)
    except Unavailable:
        # The place went to somebody else since the view looked.
        yield wire.goodbye(5000)
        return
    try:
        peer.watch(controller.lose, subscription)
        first, subscription.state = wire.frame(start.entries, None, subscription.state)
        first = wire.opening(start.cursor, retry) + first
        # What it has missed leaves with the opening. But the headers leave with that too, and must wait for nobody.
        frame = controller.frame(subscription, wire) if controller.is_at_hand(subscription) else None
        if frame is not None:
            first += frame.text
        peer.writing()
        yield first
        peer.written()
        controller.wrote(subscription, len(first), len(start.entries) + (frame.updates if frame else 0))
        del start, first  # else what they have of the history would be kept as long as the stream lasts
        reason = _end_after(frame, subscription)
        if reason != GONE:
            return
        if pace is not None:
            pace.written()
        while not subscription.gone:
            if subscription.rest is not None:
                rest, subscription.rest = subscription.rest, None
                peer.push(rest)
            if subscription.expiring:
                subscription.expiring = False
                seconds = subscription.expires - time.time()
                if seconds <= 0:
                    reason = REVOKED if jti in controller.revoked else EXPIRED
                if notice := _notice(wire, seconds):
                    peer.writing()
                    yield notice
                    peer.written()
                    controller.wrote(subscription, len(notice))
                if seconds <= 0:
                    return
            pause = pace.left if pace is not None and not subscription.leaving else 0
            frame = controller.frame(subscription, wire) if pause <= 0 else None
            if frame is not None:
                subscription.beating = False
                if frame.text:
                    peer.writing()
                    yield frame.text
                    peer.written()
                    controller.wrote(subscription, len(frame.text), frame.updates)
                reason = _end_after(frame, subscription)
                if reason != GONE:
                    return
                if frame.more:
                    turn()  # a long history must not keep the others waiting
                    continue
                if pace is not None:
                    pace.written()
            if subscription.leaving:
                # Also where something new comes all the time: else it would never end.
                reason = STOPPING
                peer.writing()
                yield wire.goodbye(controller.goodbye_retry())
                return
            if subscription.beating:
                subscription.beating = False
                if beat := wire.heartbeat(subscription.state):
                    peer.writing()
                    yield beat
                    peer.written()
                    controller.wrote(subscription, len(beat))
            if pause > 0:
                controller.pause(subscription, pause)
            else:
                controller.wait(subscription)
    except OSError:
        raise  # the connection broke while what a cohort had left was written
    except Exception:
        reason = ERROR
        raise
    finally:
        reason = CUT if peer.was_cut else reason
        controller.remove(subscription, reason)
        tell(subscription, reason, begun=begun, address=address)
        # The server still writes the end of the response; ``Peer.release`` is called after that.
        peer.writing()


def one_shot(
    controller: Controller, wire: Poll, start: Start, peer: Peer, *, timeout: float, limit: int, jti: str = ""
) -> Chunks:
    """A response that is written at once when there is something to tell, after ``timeout`` seconds, or when the token
    that it rests on is revoked by its ``jti``."""
    subscription = Subscription(start.position, wire, jti=jti)
    reason = GONE
    try:
        controller.add(subscription)
    except Unavailable:
        yield wire.answer((), None, start.cursor)
        return
    try:
        peer.watch(controller.lose, subscription)
        if start.entries:
            answer, updates = _first(wire, start, limit)
        else:
            page = _wait(controller, subscription, time.monotonic() + timeout, limit)
            # Of the page's epoch: another may have begun while it was read.
            answer = wire.answer(page.entries, page.gap, Cursor(page.epoch, page.seq))
            updates = sum(isinstance(entry, Update) for entry in page.entries)
            controller.told(page.gap.reason if page.gap else "")
        if not subscription.gone:
            reason = ANSWERED
        controller.wrote(subscription, len(answer), updates)
        peer.writing()
        yield answer
    finally:
        controller.remove(subscription, CUT if peer.was_cut else reason)
        peer.writing()


def refusal(text: bytes) -> Chunks:
    """A response that ends at once."""
    yield text


def _first(wire: Poll, start: Start, limit: int) -> tuple[bytes, int]:
    """The answer to a client without a cursor, the recent updates, and how many they are. What it has no room for, the
    next one has."""
    entries: list[Entry] = []
    size = 0
    for update in start.entries:
        size += len(update.data)
        if entries and (size > ANSWER or len(entries) >= limit):
            return wire.answer(entries, None, Cursor(update.epoch, entries[-1].seq)), len(entries)
        entries.append(update)
    return wire.answer(entries, None, Cursor(start.position.epoch, start.position.seq)), len(entries)


def _end_after(frame: Frame | None, subscription: Subscription) -> str:
    """Why a stream ends that has been written this; GONE: it does not, before its client leaves."""
    if frame is None:
        return GONE
    longest = subscription.wire.longest if subscription.wire else None
    return DELETED if frame.ended else FULL if longest is not None and subscription.bytes >= longest else GONE


def _notice(wire: Wire, seconds: float) -> bytes:
    """What is written when a token ends in so many seconds, or has ended."""
    if seconds > 0:
        return wire.expiring(math.ceil(seconds))
    return wire.expiring(0) + wire.goodbye(random.randint(2000, 4000))


def _wait(controller: Controller, subscription: Subscription, deadline: float, limit: int) -> Page:
    """Return the first page that has something, or an empty one when the time is over."""
    while True:
        page = controller.read(subscription, size=ANSWER, limit=limit)
        left = deadline - time.monotonic()
        if page or subscription.called or left <= 0:
            return page
        controller.wait(subscription, left)
