"""The examination: everything that is measured on a path, side by side.

First whether anything answers, and what a silent stream promises; then all the rest at the same time, so that it takes
little longer than the silence is watched.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar

from .flow import OPENING
from .seen import Answer, Poll, Seen, Silence, Sized, Stream
from .talk import PATIENCE, Reader, Target, Unreachable


T = TypeVar("T")

#: The streams that updates are sent to, and whether with gzip.
STREAMS = [
    ("sse", False),
    ("sse?envelope=1", False),
    ("ndjson", False),
    ("text", False),
    ("html", False),
    ("iframe", False),
    ("multipart", False),
    ("sse", True),
    ("ndjson", True),
    ("html", True),
]

#: Updates that are sent, one when the one before has come.
UPDATES = 3

#: How long a poll waits by default; and how long it is watched where a stream shows nothing.
POLL, BLIND = 25.0, 4.0

#: What must pass: 16 channels with the longest names there are; a token in a field; the largest update by default.
CHANNELS, NAME, FIELD, BODY = 16, 128, 4096, 262_144


@dataclass(frozen=True)
class Question:
    """What is to be examined. ``seconds``: how long the silence is watched; None: three heartbeats."""

    target: Target
    channel: str = ""
    seconds: float | None = None
    key: str = ""
    token: str = ""
    origin: str = ""

    @property
    def reading(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @property
    def writing(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else self.reading


def examine(question: Question, progress: Callable[[float, float], object] = lambda done, all: None) -> Seen:
    """Measure everything. ``progress`` is told now and then how many seconds are over, and of how many.

    Raises Unreachable if there is nothing to measure.
    """
    target = question.target
    link = target.reach()
    health = target.ask("/healthz")
    seen = Seen(target.url, link, health, patience=max(4.0, 10 * health.seconds), clock=_clock(health))
    own = f"comet-doctor-{secrets.token_hex(6)}"
    info = target.ask(f"/channels/{own}/info")
    seen = replace(seen, info=info)
    if not health.status and not info.status:
        raise Unreachable(health.text)
    if not health.ours and not info.ours:
        return seen
    return _Examination(question, seen, own, progress).run()


def _clock(answer: Answer) -> float | None:
    """How much further the other clock is."""
    try:
        there = parsedate_to_datetime(answer.headers.get("date", ""))
    except ValueError:
        return None
    return there.timestamp() - time.time()


class _Examination:
    """What is measured once it is known that comet answers."""

    def __init__(self, question: Question, seen: Seen, own: str, progress: Callable[[float, float], object]) -> None:
        self.question, self.seen, self.own, self.progress = question, seen, own, progress
        self.target = question.target
        self.silent = question.channel or f"{own}-silent"
        self.published: list[str] = []

    def run(self) -> Seen:
        silence = self._read(f"{self.silent}/sse?envelope=1&last=0")
        mute = self._read(f"{self.silent}/text?last=0")
        try:
            silence.wait(lambda: _heartbeat(silence) is not None, self.seen.patience)
            heartbeat = _heartbeat(silence)
            # A heartbeat may come late; and where none comes through there is no silence to watch.
            seconds = self.question.seconds or (3 * heartbeat + 1 if heartbeat else BLIND)
            self._measure(silence, heartbeat, seconds)
            return replace(
                self.seen,
                silence=_silence(silence, heartbeat),
                mute=_silence(mute, None) if mute.status == 200 else None,
            )
        finally:
            silence.stop()
            mute.stop()
            for name in self.published:
                self.target.ask(f"/channels/{name}", method="DELETE", headers=self.question.writing)

    def _measure(self, silence: Reader, heartbeat: float | None, seconds: float) -> None:
        ready = Task(lambda: self.target.ask("/readyz"))
        poll = Task(lambda: self._poll(seconds))
        long_url, long_field, body = Task(self._long_url), Task(self._long_field), Task(self._body)
        other_site = Task(self._other_site)
        streams = Task(self._streams)
        while heartbeat is not None and silence.ended is None and silence.age < seconds:
            self.progress(silence.age, seconds)
            silence.wait(lambda: False, min(0.5, seconds - silence.age))
        sent, unpublished = streams.result()
        self.seen = replace(
            self.seen,
            streams=sent,
            unpublished=unpublished,
            ready=ready.result(),
            poll=poll.result(),
            long_url=long_url.result(),
            long_field=long_field.result(),
            body=body.result(),
            origin=self.question.origin,
            other_site=other_site.result(),
        )

    def _read(self, path: str, *, packed: bool = False) -> Reader:
        headers = self.question.reading | ({"Accept-Encoding": "gzip"} if packed else {})
        return Reader(self.target, f"/channels/{path}", headers, patience=self.seen.patience)

    def _poll(self, seconds: float) -> Poll:
        asked = round(min(POLL, max(1.0, seconds - 1)), 1)
        path = f"/channels/{self.silent}/poll?last=0&timeout={asked:g}"
        return Poll(asked, self.target.ask(path, headers=self.question.reading, seconds=asked + PATIENCE))

    # Updates.

    def _streams(self) -> tuple[tuple[Stream, ...], str]:
        """What became of each stream; and why nothing was published, if so."""
        readers = [self._read(f"{self.own}/{wire}", packed=packed) for wire, packed in STREAMS]
        try:
            for reader in readers:
                reader.has_head(self.seen.patience - reader.age)
            late, unpublished = self._updates(readers)
            for (wire, _), reader in zip(STREAMS, readers, strict=True):
                if reader.status == 200 and wire in OPENING:
                    reader.has_begun(self.seen.patience - reader.age)
        finally:
            for reader in readers:
                reader.stop()
        rows = zip(STREAMS, readers, late, strict=True)
        return tuple(_stream(wire, packed, reader, times) for (wire, packed), reader, times in rows), unpublished

    def _updates(self, readers: list[Reader]) -> tuple[list[list[float | None]], str]:
        """How late each update came to each reader; and why none was sent, if so."""
        late: list[list[float | None]] = [[] for _ in readers]
        for number in range(UPDATES):
            mark = f"{self.own}.{number}.".encode()
            for reader in readers:
                reader.expect(mark)
            answer = self._publish(self.own, mark)
            if answer.status != 201:
                return late, self._why_not(answer)
            published = time.monotonic()
            for reader, times in zip(readers, late, strict=True):
                if reader.status == 200:
                    left = published + self.seen.patience - time.monotonic()
                    came = reader.came(mark, left)
                    if came is not None or reader.ended is None:  # what was cut held nothing back
                        times.append(None if came is None else max(0.0, came - published))
        return late, ""

    def _publish(self, name: str, data: bytes) -> Answer:
        headers = {"Content-Type": "text/plain; charset=utf-8"} | self.question.writing
        answer = self.target.ask(f"/channels/{name}", method="POST", headers=headers, body=data)
        if answer.status == 201:
            self.published.append(name)
        return answer

    def _why_not(self, answer: Answer) -> str:
        if answer.status in (401, 403) and not self.question.writing:
            return "COMET_PUBLISH_KEY is not set here."
        return _detail(answer.text) or answer.text[:200] or f"it was answered {answer.status}."

    # Sizes.

    def _long_url(self) -> Sized:
        stem = f"{self.own}-"
        names = [stem + f"{number:x}" * (NAME - len(stem)) for number in range(CHANNELS)]
        path = f"/channels/{','.join(names)}/info"  # one channel too many: comet refuses it, and at once
        return Sized(len(path), self.target.ask(path))

    def _long_field(self) -> Sized:
        return Sized(FIELD, self.target.ask("/healthz", headers={"Comet-Doctor": "x" * FIELD}))

    def _body(self) -> Sized:
        return Sized(BODY, self._publish(f"{self.own}-body", b"x" * BODY))

    def _other_site(self) -> Answer | None:
        if not self.question.origin:
            return None
        # The head of a stream comes at once.
        headers = {"Origin": self.question.origin} | self.question.reading
        return self.target.ask(f"/channels/{self.silent}/sse", method="HEAD", headers=headers)


class Task(Generic[T]):
    """A function that runs in a thread of its own; nobody waits for it who does not want its result."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    def result(self) -> T:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]


def _heartbeat(silence: Reader) -> float | None:
    """What the opening promises."""
    found = re.search(rb'data: ?(\{"heartbeat":[0-9.]+\})', silence.text)
    return float(json.loads(found[1])["heartbeat"]) if found else None


def _silence(silence: Reader, heartbeat: float | None) -> Silence:
    # Nothing comes after a heartbeat but the next one: what ends with anything else is the opening, or a goodbye.
    pieces = silence.pieces
    whole = b"".join(text for _, text in pieces)
    opening, beats, size = whole.find(b"\n\n") + 2, [], 0
    for when, text in pieces:
        size += len(text)
        if size > opening:
            beats.append(when)
    return Silence(
        watched=silence.age if silence.ended is None else silence.ended,
        heartbeat=heartbeat,
        beats=tuple(beats),
        ended=silence.ended,
        problem=_problem(silence),
        goodbye=bool(re.search(rb"(^|\n)retry: ?[0-9]+\n\Z", whole)),
        together=any(text.count(b"comet.beat") > 1 for _, text in pieces),
    )


def _stream(wire: str, packed: bool, reader: Reader, late: list[float | None]) -> Stream:
    encoding = reader.headers.get("content-encoding", "").removeprefix("identity")
    return Stream(
        wire, packed, reader.status, reader.ours, reader.head, reader.first, encoding, tuple(late), _problem(reader)
    )


def _problem(reader: Reader) -> str:
    """Why there is no stream; empty: there is one, or it has not even a head."""
    if reader.status == 200 or (reader.status == 0 and (reader.ended is None or reader.ended >= reader.patience)):
        return ""
    if reader.status == 0:
        return "the connection was closed without an answer."
    return _detail(reader.text.decode("utf-8", "replace")) or f"it was answered {reader.status}."


def _detail(text: str) -> str:
    """What a problem says."""
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        return ""
    return str(detail)
