"""Signals: what 500 streams see when the server is told to stop, to reload, or is killed, under full load.

A stream sees all that was acknowledged between its first and its last update, in order, whatever ends it. A stop and a
reload end each in its proper way, spread over the drain; QUIT and KILL cut it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count

import pytest
import requests

from tests.live.clients import Crowd, Response, Subscriber, connect, crowd
from tests.live.publishers import Publisher, Refused, in_background
from tests.live.readers import CONFLATING, EVERY, LASTING, SSE, TELLING, Item, Missed, Seen
from tests.live.server import Server
from tests.live.test_departures import HALVES
from tests.timing import PATIENCE, Stopwatch, until


pytestmark = pytest.mark.alone


DRAIN = 2.0
STREAMS = 500
WAITING = 20
STUCK = 20


class Scene:
    """A server with 500 streams on a busy channel, 20 of them not reading, 20 polls on a quiet one."""

    def __init__(self, server: Server, people: Crowd) -> None:
        self.server = server
        self.people = people
        self.publisher = Publisher(server)
        self.numbers = count()
        self.refused: list[Refused] = []
        server.publish("quiet", "")
        wires = [EVERY[place % len(EVERY)] for place in range(STREAMS - WAITING - STUCK)]
        self.streams = [
            people.add(Subscriber(server, wire, "busy", last=0, version="1.0" if place % 5 == 4 else "1.1"))
            for place, wire in enumerate(wires)
        ]
        self.waiting = [people.add(Subscriber(server, "poll", "quiet", last=0, timeout=60)) for _ in range(WAITING)]
        #: How many streams were over when each poll was answered.
        self.over: list[int] = []
        for poll in self.waiting:
            poll.take = partial(self._answered, poll)
        wires = [LASTING[place % len(LASTING)] for place in range(STUCK)]
        self.stuck = [Subscriber(server, wire, "heavy", last=0, buffer=4096) for wire in wires]

    def publish(self) -> None:
        """At full speed; where the server is away for a moment, try again."""
        try:
            updates = [("busy", f"{next(self.numbers)}") for _ in range(10)]
            self.publisher.publish([*updates, ("heavy", "-" * 50_000)])
        except Refused as refused:
            self.refused.append(refused)
            time.sleep(0.01)
        except requests.RequestException:
            time.sleep(0.01)

    def until_under_way(self) -> None:
        self.people.until(lambda: self.inside()["streams"] >= STREAMS - 50, what="500 streams")
        self.people.until(lambda: all(len(stream.items) > 5 or stream.over for stream in self.streams), seconds=60)
        self.people.until(lambda: self.inside()["writers"] >= STUCK, seconds=60, what="20 stuck")

    def until_polls_are_answered(self) -> None:
        """At once, empty, with a cursor, while most streams go on."""
        self.people.until(lambda: all(poll.answers for poll in self.waiting), what="an answer for each poll")
        assert max(self.over) < len(self.lasting) * 0.75
        for poll in self.waiting:
            assert (poll.items, poll.answers) == ([], 1)
            assert poll.cursor

    def _answered(self, poll: Subscriber, items: Iterable[Item]) -> None:
        poll.items.extend(items)
        self.over.append(sum(stream.over for stream in self.lasting))

    @property
    def lasting(self) -> list[Subscriber]:
        return [stream for stream in self.streams if stream.wire in LASTING]

    def until_all_is_read(self) -> None:
        self.people.until(lambda: not self.people.members, what="the end of all streams")

    def inside(self) -> dict[str, int]:
        return dict(self.server.get("/inside").json())

    @property
    def chunked(self) -> list[Subscriber]:
        """Those that can tell a proper end from a cut."""
        return [stream for stream in self.streams if stream.version == "1.1" and stream.wire in LASTING]

    def check(self) -> None:
        """Nothing is missing before the end of any stream, and all is in order."""
        acknowledged: dict[str, list[int]] = {}
        for update in self.publisher.acknowledged:
            if update.channel == "busy":
                acknowledged.setdefault(update.id.partition("-")[0], []).append(int(update.data))
        of_first_epoch = next(iter(acknowledged.values()))
        for stream in self.streams:
            assert all(isinstance(item, Seen) for item in stream.items), (stream.wire, stream.missed)
            numbers = [int(seen.data) for seen in stream.seen]
            assert numbers == sorted(set(numbers)), stream.wire
            if stream.wire not in CONFLATING and numbers:
                seen = set(numbers)
                lost = [each for each in of_first_epoch if numbers[0] <= each <= numbers[-1] and each not in seen]
                assert not lost, (stream.wire, lost)


@contextmanager
def scene() -> Iterator[Scene]:
    settings = {"drain_seconds": DRAIN, "heartbeat": 600, "history": 1_000_000, "history_bytes": 100_000_000}
    with ExitStack() as stack:
        server = stack.enter_context(Server(app="tests.live.inside:app", **settings))
        there = Scene(server, stack.enter_context(crowd()))
        for stuck in there.stuck:
            stack.enter_context(stuck)
        stack.callback(there.publisher.close)
        yield there


def check_goodbyes(there: Scene) -> None:
    """Each stream that reads has come to its proper end; an event stream was told when to come back."""
    for stream in there.streams:
        assert stream.over, stream.wire
        if stream.wire not in ("poll", "jsonp"):
            assert stream.response.complete and not stream.cut_short, stream.wire
        if isinstance(stream.reader, SSE):
            assert stream.reader.left.startswith(b"retry: ") and stream.reader.left.endswith(b"\n")
            assert 3000 <= (stream.reader.retry or 0) <= 1000 * (DRAIN + 3 + 4)


def check_none_is_early(there: Scene, begun: float) -> None:
    """The ends come evenly over the drain: of N streams, the Kth not before K/N of it.

    A machine that stands still makes them late, never early; that they come in time when it does not is shown with a
    clock of the test's own (``test_the_drain_ends_streams_evenly``).
    """
    ends = sorted(stream.over_at for stream in there.streams if stream.wire not in ("poll", "jsonp"))
    count = len(ends) + len(there.stuck)
    early = [end - begun for place, end in enumerate(ends) if end - begun < DRAIN * place / count]
    assert not early


@pytest.mark.delivers
def test_term_ends_each_stream_in_its_proper_way() -> None:
    """Within COMET_DRAIN_SECONDS + 3 s (stretched by COMET_TEST_PATIENCE) the server is gone, with exit status 0."""
    with scene() as there, in_background(there.publish) as stop:
        there.until_under_way()
        begun = time.monotonic()
        with Stopwatch() as watch:
            there.server.signal(signal.SIGTERM)
            there.until_polls_are_answered()
            there.people.until(lambda: not there.server.runs, what="its end")
        stop()
        there.until_all_is_read()
        assert there.server.wait() == 0
        assert watch.seconds <= (DRAIN + 3) * PATIENCE
        there.check()
        check_goodbyes(there)
        check_none_is_early(there, begun)


@pytest.mark.delivers
def test_hup_ends_each_stream_in_its_proper_way_and_serves_on() -> None:
    """As TERM; meanwhile a new worker takes over, and whoever comes back to it is told of the gap."""
    with scene() as there, in_background(there.publish) as stop:
        there.until_under_way()
        (old,) = there.server.workers()
        there.server.signal(signal.SIGHUP)
        there.people.until(lambda: "is reloaded now" in there.server.log(), what="a child that could load the app")
        begun = time.monotonic()
        with Stopwatch() as watch:
            there.until_polls_are_answered()
            there.people.until(lambda: old not in there.server.workers(), what="the end of the old worker")
        there.until_all_is_read()
        check_that_all_come_back(there)
        stop()
        assert watch.seconds <= (DRAIN + 3) * PATIENCE
        there.check()
        check_goodbyes(there)
        check_none_is_early(there, begun)


@pytest.mark.delivers
def test_quit_cuts_all_streams_at_once() -> None:
    """But for a few that are told goodbye in time, the end is missing: a client can tell that there was more. Exit
    status 0."""
    with scene() as there, in_background(there.publish) as stop:
        there.until_under_way()
        there.server.signal(signal.SIGQUIT)
        there.people.until(lambda: not there.server.runs, seconds=3)
        stop()
        there.until_all_is_read()
        assert there.server.wait() == 0
        there.check()
        ended = [stream for stream in there.chunked if stream.response.complete]
        assert len(ended) < len(there.chunked) / 2
        assert all(b"retry: " in stream.reader.left for stream in ended if isinstance(stream.reader, SSE))


@pytest.mark.delivers
def test_a_killed_worker_cuts_all_streams_and_another_serves() -> None:
    """Whoever comes back with its cursor is told of the gap, and gets all that the new worker's log has."""
    with scene() as there, in_background(there.publish) as stop:
        there.until_under_way()
        (old,) = there.server.workers()
        os.kill(old, signal.SIGKILL)
        there.until_all_is_read()
        check_that_all_come_back(there)
        stop()
        there.check()
        assert not [stream.wire for stream in there.chunked if stream.response.complete]


def check_that_all_come_back(there: Scene) -> None:
    """With their last cursors, on each wire, to a worker whose log has begun anew."""
    until(there.server.is_up, seconds=20, what="a new worker")
    cursors = {stream.wire: stream.cursor for stream in there.streams if stream.wire in TELLING}
    for wire, cursor in cursors.items():
        with Subscriber(there.server, wire, "busy", since=cursor) as subscriber:
            subscriber.until(lambda it: it.seen)
            gap, first, *_ = subscriber.items
            assert isinstance(first, Seen)
            assert gap == Missed(cursor or "", first.id, "epoch")


def test_new_streams_are_sent_away_while_a_worker_drains() -> None:
    """An EventSource gets 200, ``retry:`` and the end, or it would give up for good; the others 503. Nothing is
    accepted that nobody would see."""
    requests_and_statuses = [
        ("GET /channels/x/sse", "Accept: text/event-stream", 200),
        ("GET /channels/x/sse", "Last-Event-ID: aaaaaaaa-1", 200),
        ("GET /channels/x/sse?envelope=1", "Accept: text/event-stream", 200),
        ("GET /channels/x/sse", "Accept: */*", 503),
        ("GET /channels/x/ndjson", "Accept: text/event-stream", 503),
        ("GET /channels/x/poll", "Accept: */*", 503),
        ("POST /channels/x", "Authorization: Bearer test-key\r\nContent-Length: 0", 503),
        ("GET /readyz", "Accept: */*", 503),
        ("GET /healthz", "Accept: */*", 200),
    ]
    with Server(drain_seconds=2) as server, ExitStack() as stack:
        # What begins while nobody listens any more comes over connections that are there already.
        connections = [stack.enter_context(connect(server)) for _ in requests_and_statuses]
        server.publish("x", "")
        with Subscriber(server, "poll", "x", last=0, timeout=60) as poll:
            until(lambda: server.get("/channels/x/info").json()["subscribers"] == 1)
            server.signal(signal.SIGTERM)
            poll.until(lambda it: it.answers)  # so it drains
        for sock, (request, header, status) in zip(connections, requests_and_statuses, strict=True):
            sock.sendall(f"{request} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n".encode())
            response, body = Response(), b""
            while text := sock.recv(65536):
                body += response.feed(text)
            assert (response.complete, response.status) == (True, status), (request, header, body)
            if status == 503:
                assert 1 <= int(response.headers["retry-after"]) <= 120
                assert response.headers["content-type"] == "application/problem+json"
            elif "sse" in request:
                assert body.startswith(b"retry: ") and body.endswith(b"\n") and b"\n\n" not in body
                assert 5000 <= int(body[7:]) <= 120_000
        assert server.wait() == 0


def test_what_is_acknowledged_while_a_worker_takes_over_is_seen() -> None:
    """A subscriber of the new worker sees all that is acknowledged from then on: the old one accepts nothing more."""
    with Server(drain_seconds=2) as server:
        old = server.publish("over", "old")["id"].partition("-")[0]
        server.signal(signal.SIGHUP)
        with until(lambda: subscribed_to_another_epoch(server, old), seconds=20, what="the new worker") as subscriber:
            published = []
            for number in range(100):
                try:
                    published.append(server.publish("over", f"{number}")["id"])
                except AssertionError as error:
                    assert "503" in str(error) or "stopping" in str(error)
                except requests.ConnectionError:
                    pass  # the old one listens no more, and had not come to this
            subscriber.until(lambda it: it.cursor == published[-1])
            assert [seen.id for seen in subscriber.seen] == published


def subscribed_to_another_epoch(server: Server, old: str) -> Subscriber | None:
    subscriber = Subscriber(server, "envelope", "over", last=0)
    try:
        subscriber.open()
        if subscriber.response.headers.get("comet-cursor", old).startswith(old):
            subscriber.leave()
            return None
        return subscriber
    except (AssertionError, OSError):
        subscriber.leave()
        return None


def test_nobody_who_sends_half_a_request_delays_the_end() -> None:
    """Half a head, half a body, an idle connection: TERM is done within COMET_DRAIN_SECONDS + 3 s all the same."""
    with Server(drain_seconds=1, write_timeout=60) as server, ExitStack() as stack:
        for half in (*HALVES, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
            stack.enter_context(connect(server)).sendall(half)
        server.publish("half", "")  # the server has come to know of them all
        with Stopwatch() as watch:
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
        assert watch.seconds <= (1 + 3) * PATIENCE
