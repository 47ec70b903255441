"""Streams: what is handed to the server, and given back by it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import gevent
import pytest
from flask import Flask, Response

from comet import Comet
from comet.brokers.memory import MemoryBroker
from comet.controller import Controller
from comet.core.log import Page, Position
from comet.core.rules import Rule, Rules
from comet.core.update import Update
from comet.core.wire import NDJSON, SSE, Envelope, Poll, Text, Wire
from comet.ends import REVOKED
from comet.peers import NO_PEER
from comet.settings import Settings
from comet.streams import Body, Chunks, one_shot, streaming
from comet.worker import Worker
from tests.timing import PATIENCE, until


def chunks(seen: list[str]) -> Chunks:
    try:
        yield b"one"
        yield b"two"
    finally:
        seen.append("closed")


def test_the_server_iterates_over_the_chunks_themselves() -> None:
    """Nothing is asked for each chunk but the generator."""
    generator = chunks([])
    assert iter(Body(generator, lambda: None)) is generator


def test_closing_closes_the_chunks_and_then_releases() -> None:
    """The end of the stream is over when its peer is released."""
    seen: list[str] = []
    body = Body(chunks(seen), lambda: seen.append("released"))
    assert next(iter(body)) == b"one"
    body.close()
    assert seen == ["closed", "released"]


def test_a_peer_is_released_although_closing_fails() -> None:
    """Else its descriptor would stay watched."""

    def failing() -> Chunks:
        try:
            yield b""
        finally:
            raise RuntimeError("on the way out")

    seen: list[str] = []
    body = Body(failing(), lambda: seen.append("released"))
    next(iter(body))
    with pytest.raises(RuntimeError):
        body.close()
    assert seen == ["released"]


def wrapping(response: Response) -> Response:
    body = response.response
    response.response = (chunk.upper() for chunk in body)  # type: ignore[union-attr]
    response.direct_passthrough = False
    return response


@pytest.mark.parametrize("hook", [None, wrapping])
def test_a_stream_is_let_go_also_where_an_app_wraps_its_body(hook: Callable[[Response], Response] | None) -> None:
    """Whatever a hook of the app puts around it, closing the response ends the subscription."""
    app = Flask("wrapped")
    comet = Comet(app, settings=Settings(max_streams=10))
    if hook is not None:
        app.after_request(hook)
    comet.publish("a", "news")
    answer = app.test_client().get("/comet/channels/a/sse", buffered=False)
    stream = answer.iter_encoded()
    assert next(stream)
    assert len(comet.worker.controller.streams) == 1
    answer.close()
    del stream
    assert not comet.worker.controller.streams
    comet.worker.stop()


def test_streams_that_ask_for_the_same_share_one_wire() -> None:
    """It keeps nothing of who reads it."""
    worker = Worker(Settings())
    same = [worker.wire(SSE, ("a", "b")) for _ in range(2)]
    assert same[0] is same[1]
    others = [worker.wire(SSE, ("b", "a")), worker.wire(Text, ("a", "b")), worker.wire(Envelope, ("a", "b"))]
    assert len({wire.key for wire in (*same, *others)}) == 4


class Restarting(MemoryBroker):
    """A broker whose log begins anew while somebody reads it, as that of Redis may."""

    def since(self, at: Position, *, size: int, limit: int) -> Page:
        page = super().since(at, size=size, limit=limit)
        self.log.restart("another0")
        return page


@pytest.mark.parametrize("with_cursor", [False, True])
def test_the_cursor_of_a_poll_is_of_the_epoch_that_it_has_read(with_cursor: bool) -> None:
    """Else its client would come back to the new log as one who has everything up to there, and miss it."""
    broker = Restarting()
    controller = Controller(broker)
    receipts = controller.update([Update("a", b"1"), Update("a", b"2")])
    start = controller.begin(("a",), receipts[0].id if with_cursor else None, None)
    if not with_cursor:
        broker.log.restart("another0")
    (answer,) = one_shot(controller, Poll(("a",)), start, NO_PEER, timeout=1, limit=100)
    assert json.loads(answer)["cursor"] == receipts[1].id


class Clock:
    """The time of day as the test sets it."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize(("wire", "can_tell"), [(SSE, True), (NDJSON, True), (Text, False)])
def test_the_token_of_a_stream_ends(wire: type[Wire], can_tell: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told shortly before where the wire has room for it; at the end it is told so, and ended, and has nothing
    more, although something new is there."""
    clock = Clock()
    monkeypatch.setattr("comet.controller.time", clock)
    monkeypatch.setattr("comet.streams.time", clock)
    controller = Controller(MemoryBroker(), heartbeat=1)
    controller.start()
    start = controller.begin(("a",), None, None)
    made = wire(("a",))
    stream = streaming(controller, made, start, NO_PEER, expires=clock.now + 1.2)
    got: list[bytes] = []
    reader = gevent.spawn(got.extend, stream)
    until(lambda: len(got) > can_tell, sleep=gevent.sleep)
    assert got[1:] == ([made.expiring(2)] if can_tell else [])
    controller.update([Update("a", b"news")])
    until(lambda: len(got) > 1 + can_tell, sleep=gevent.sleep)
    clock.now += 2.2
    reader.join(10 * PATIENCE)
    controller.update([Update("a", b"more")])
    assert not controller.streams
    assert b"news" in got[1 + can_tell]
    assert (len(got) > 2 + can_tell) is can_tell
    assert not can_tell or got[-1].startswith(made.expiring(0))
    assert b"more" not in b"".join(got)
    controller.stop()


@pytest.mark.parametrize(("wire", "can_tell"), [(SSE, True), (NDJSON, True), (Text, False)])
def test_the_token_of_a_stream_is_revoked(wire: type[Wire], can_tell: bool) -> None:
    """It is told so as at the token's end, where the wire has room for it, and is ended; others go on."""
    controller = Controller(MemoryBroker(), heartbeat=60)
    controller.start()
    start = controller.begin(("a",), None, None)
    made = wire(("a",))
    got: dict[str, list[bytes]] = {"x": [], "y": []}
    readers = {
        jti: gevent.spawn(into.extend, streaming(controller, made, start, NO_PEER, expires=time.time() + 600, jti=jti))
        for jti, into in got.items()
    }
    until(lambda: all(got.values()), sleep=gevent.sleep)
    controller.revoke("x")
    readers["x"].join(10 * PATIENCE)
    controller.update([Update("a", b"more")])
    until(lambda: len(got["y"]) == 2, sleep=gevent.sleep)
    assert len(got["x"]) == 1 + can_tell
    assert not can_tell or got["x"][-1].startswith(made.expiring(0))
    assert b"more" in got["y"][1]
    assert controller.counts.closes[made.name, REVOKED] == 1
    controller.stop()
    gevent.killall(list(readers.values()))


def test_the_token_of_a_poll_is_revoked() -> None:
    """It is answered at once, with nothing."""
    controller = Controller(MemoryBroker(), heartbeat=60)
    controller.start()
    start = controller.begin(("a",), None, None)
    poll = one_shot(controller, Poll(("a",)), start, NO_PEER, timeout=60, limit=100, jti="x")
    reader = gevent.spawn(list, poll)
    until(lambda: controller.streams, sleep=gevent.sleep)
    controller.revoke("x")
    reader.join(10 * PATIENCE)
    assert json.loads(reader.value[0])["updates"] == []
    controller.stop()


def test_a_stream_is_ended_although_something_new_comes_all_the_time() -> None:
    """It gets what there is, and its goodbye: to wait until nothing is new could take for ever."""
    controller = Controller(MemoryBroker())
    stream = streaming(controller, SSE(("a",)), controller.begin(("a",), None, None), NO_PEER)
    next(stream)
    drain = gevent.spawn(controller.drain, 0.0)
    gevent.sleep(0.01)
    got = []
    while len(got) < 10 and not (got and got[-1].startswith(b"retry: ")):
        controller.update([Update("a", b"more")])
        got.append(next(stream))
    assert [chunk.partition(b":")[0] for chunk in got] == [b"id", b"retry"]
    assert list(stream) == []
    drain.join()


# A stream that has a rate.


class Rated:
    """A stream with a rate on channel ``a``, its chunks as they came."""

    def __init__(
        self, rate: float, *, wire: Wire | None = None, heartbeat: float = 60.0, conflate: bool = False
    ) -> None:
        rules = Rules(Rule(history=100_000, conflate=conflate))
        self.controller = Controller(MemoryBroker(rules=rules), heartbeat=heartbeat)
        self.controller.start()
        self.wire = wire or Text(("a",))
        start = self.controller.begin(("a",), None, None)
        self.got: list[bytes] = []
        stream = streaming(self.controller, self.wire, start, NO_PEER, rate=rate)
        self.reader = gevent.spawn(self.got.extend, stream)
        until(lambda: self.got, sleep=gevent.sleep)

    def publish(self, text: str) -> None:
        self.controller.update([Update("a", text.encode())])

    @property
    def paused(self) -> bool:
        """Whether it waits alone."""
        return any(stream.cohort and stream.cohort.key[0] == "alone" for stream in self.controller.streams)

    def drain(self) -> list[bytes]:
        """End it, and return all that it was written."""
        self.controller.drain(0.0)
        self.reader.join(10 * PATIENCE)
        self.controller.stop()
        return self.got


def test_what_comes_while_a_stream_with_a_rate_pauses_goes_out_as_one_write() -> None:
    """It is written no earlier, and nothing is lost."""
    rated = Rated(0.1)
    rated.publish("1")
    until(lambda: rated.paused, sleep=gevent.sleep)
    for text in "23":
        rated.publish(text)
    gevent.sleep(0.05)
    assert rated.got == [b""]
    assert rated.drain() == [b"", b"1\n2\n3\n", b""]


def test_a_stream_with_a_rate_is_not_written_more_often() -> None:
    """However much comes; all of it comes, once and in order."""
    rated, begun = Rated(50), time.monotonic()
    for number in range(1000):
        rated.publish(f"{number}")
        gevent.sleep(0.0002)
    until(lambda: rated.got[-1].endswith(b"999\n"), sleep=gevent.sleep)
    writes, lasted = len(rated.got), time.monotonic() - begun
    assert 2 < writes <= 2 + lasted * 50
    assert b"".join(rated.drain()).split() == [b"%d" % number for number in range(1000)]


def test_of_a_conflating_channel_a_stream_with_a_rate_is_written_the_newest() -> None:
    """What has come and gone in the pause is skipped."""
    rated = Rated(0.1, conflate=True)
    rated.publish("1")
    until(lambda: rated.paused, sleep=gevent.sleep)
    for text in "23":
        rated.publish(text)
    assert rated.drain() == [b"", b"3\n", b""]


def test_a_pause_that_is_longer_than_a_heartbeat_has_heartbeats() -> None:
    """Else a proxy would take the stream for dead; and they are no news."""
    rated = Rated(0.1, wire=NDJSON(("a",)), heartbeat=0.05)
    rated.publish("1")
    until(lambda: rated.got[1:4] == [b" "] * 3, sleep=gevent.sleep)
    assert b'"data":"1"' in rated.drain()[-2]


def test_a_stream_that_pauses_ends_with_its_peer() -> None:
    """At once."""
    rated = Rated(0.1)
    rated.publish("1")
    until(lambda: rated.paused, sleep=gevent.sleep)
    (stream,) = rated.controller.streams
    rated.controller.lose(stream)
    rated.reader.join(5 * PATIENCE)
    assert (rated.got, rated.controller.streams) == ([b""], set())
    rated.controller.stop()
