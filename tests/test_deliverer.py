"""Deliverer: everybody is brought up to the head, by waking greenlets or by writing to their sockets."""

from __future__ import annotations

import socket as native
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import gevent.socket
import pytest

from comet.brokers.memory import MemoryBroker
from comet.cohorts import COHORT, FEW, Subscription
from comet.controller import Controller
from comet.core.log import Page, Position
from comet.core.rules import Rule, Rules
from comet.core.update import Closed, Update
from comet.core.wire import SSE, Multipart, Text, Wire
from comet.peers import Framing, Peers, bare, chunked
from comet.streams import streaming
from tests.live.clients import Response
from tests.timing import PATIENCE


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BARE_HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Stream:
    """A stream on a real connection. ``yielded`` is what its greenlet gave to the server; ``body`` what came over."""

    def __init__(self, controller: Controller, peers: Peers, wire: Wire, framing: Framing = chunked) -> None:
        here, self.sock = native.socketpair()
        self.sock.setblocking(False)
        self.server = gevent.socket.socket(fileno=here.detach())
        self.framing = framing
        self.peer = peers.of(self.server, framing)
        self.yielded: list[bytes] = []
        self.response = Response()
        self.response.feed(HEAD if framing is chunked else BARE_HEAD)
        self.body = b""
        self.over = False
        start = controller.begin(wire.names, None, 0)
        self.greenlet = gevent.spawn(self._serve, streaming(controller, wire, start, self.peer))

    def _serve(self, body: Iterator[bytes]) -> None:
        """What gunicorn does."""
        try:
            for text in body:
                self.yielded.append(text)
                if text:
                    self.server.sendall(self.framing(text))
            if self.framing is chunked:
                self.server.sendall(b"0\r\n\r\n")
        except OSError:
            pass
        finally:
            self.peer.release(last=True)
            self.server.close()

    def read(self, most: int = 1 << 20) -> bytes:
        """Take what has come by now; return all that ever came."""
        try:
            text = self.sock.recv(most)
        except BlockingIOError:
            return self.body
        self.over = self.over or not text
        self.body += self.response.feed(text)
        return self.body

    def close(self) -> None:
        self.sock.close()
        self.greenlet.kill()


Open = Callable[..., Stream]


@pytest.fixture
def controller() -> Iterator[Controller]:
    controller = Controller(MemoryBroker(rules=Rules(Rule(history_bytes=1 << 22))), heartbeat=60)
    controller.start()
    yield controller
    controller.stop()


@pytest.fixture
def open(controller: Controller) -> Iterator[Open]:
    """Open a stream, and wait until it stands in a cohort."""
    peers = Peers()
    peers.start()
    with ExitStack() as stack:

        def opened(*names: str, wire: type[Wire] = SSE, framing: Framing = chunked) -> Stream:
            stream = Stream(controller, peers, wire(names), framing)
            stack.callback(stream.close)
            wait(lambda: len(standing(controller)) == len(controller.streams) and stream.yielded)
            return stream

        yield opened
    peers.stop()


def wait(state: Callable[[], object]) -> None:
    with gevent.Timeout(5 * PATIENCE):
        while not state():
            gevent.sleep(0.001)


def standing(controller: Controller) -> list[object]:
    """Everybody who stands in a cohort."""
    return [member for cohort in controller._cohorts._all for member in cohort.members]


def make_due(controller: Controller) -> None:
    for cohort in controller._cohorts._all:
        cohort.due = 0.0


def publish(controller: Controller, channel: str, data: str | bytes = "x") -> None:
    controller.update([Update.of(channel, data)])


@pytest.mark.parametrize("framing", [chunked, bare])
def test_an_update_is_written_while_the_greenlets_sleep(controller: Controller, open: Open, framing: Framing) -> None:
    """Each stream has it, framed as the server frames, and its greenlet has yielded nothing but the opening."""
    streams = [open("a", wire=Text, framing=framing) for _ in range(3)]
    for number in range(3):
        publish(controller, "a", f"update {number}")
        for stream in streams:
            wait(lambda stream=stream, number=number: b"%d\n" % number in stream.read())
    for stream in streams:
        assert stream.body == b"update 0\nupdate 1\nupdate 2\n"
        assert stream.yielded == [b""]


def test_what_came_together_leaves_together(controller: Controller, open: Open) -> None:
    """Ten updates at once are one chunk."""
    stream = open("a", wire=Text)
    for number in range(10):
        publish(controller, "a", str(number))
    wait(lambda: b"9" in stream.sock.recv(1000, native.MSG_PEEK) if _ready(stream) else False)
    assert stream.sock.recv(1000) == b"14\r\n0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n\r\n"


def _ready(stream: Stream) -> bool:
    try:
        return bool(stream.sock.recv(1, native.MSG_PEEK))
    except BlockingIOError:
        return False


def test_several_channels_come_merged_in_order(controller: Controller, open: Open) -> None:
    """Whatever channel an update is of, its place in the log is its place in the stream."""
    stream = open("a", "b", wire=Text)
    for number in range(50):
        publish(controller, "ab"[number % 3 % 2], f"{number}")
        if number % 7 == 0:
            gevent.sleep(0)
    wait(lambda: b"49\n" in stream.read())
    assert stream.body == b"".join(b"%d\n" % number for number in range(50))


def test_what_comes_while_a_broker_reads_is_written_next(
    controller: Controller, open: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker may ask its server, and let others run meanwhile. What it returns then is not up to the head any more,
    and not what others are written later."""
    streams = [open("a", wire=Text), open("a", wire=Text)]
    read, made = controller.broker.since, []

    def since(*args: Any, **options: Any) -> Page:
        page = read(*args, **options)
        made.append(page)
        if len(made) == 1:
            publish(controller, "a", "2")
        return page

    monkeypatch.setattr(controller.broker, "since", since)
    publish(controller, "a", "1")
    wait(lambda: all(b"2\n" in stream.read() for stream in streams))
    assert [stream.body for stream in streams] == [b"1\n2\n"] * 2
    assert [[entry.data for entry in page.entries] for page in made] == [[b"1"], [b"2"]]


def test_a_frame_that_was_overtaken_while_it_was_made_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others would end where it ends, and nobody would know that there is more."""
    controller = Controller(MemoryBroker())
    frames, wire = controller._frames, SSE(("a",))
    reader = Subscription(Position(("a",), 0, controller.log.epoch), wire)
    publish(controller, "a", "1")
    read = controller.broker.since

    def overtaken(*args: Any, **options: Any) -> Page:
        page = read(*args, **options)
        publish(controller, "a", "2")
        frames.forget()
        return page

    with monkeypatch.context() as patch:
        patch.setattr(controller.broker, "since", overtaken)
        assert (frame := frames.after(reader, wire)) and frame.seq == 1
    assert (frame := frames.after(reader, wire)) and frame.seq == 2


def test_who_reads_slowly_gets_every_byte_and_keeps_nobody_waiting(controller: Controller, open: Open) -> None:
    """A socket that took only a part gets the rest from its greenlet, which then catches up."""
    slow, fast = open("a", wire=Text), open("a", wire=Text)
    expected = b""
    for number in range(40):
        data = b"%d " % number + b"-" * 40_000
        expected += data + b"\n"
        publish(controller, "a", data.decode())
        wait(lambda expected=expected: len(fast.read()) == len(expected))
    assert slow.body == b""
    assert len(standing(controller)) == 1
    wait(lambda: len(slow.read(7777)) == len(expected))
    assert slow.body == fast.body == expected
    assert fast.yielded == [b""]
    assert len(slow.yielded) > 1
    wait(lambda: len(standing(controller)) == 2)
    publish(controller, "a", "the last")
    wait(lambda: slow.read().endswith(b"the last\n") and fast.read().endswith(b"the last\n"))


def test_who_has_gone_ends_and_the_others_are_served(controller: Controller, open: Open) -> None:
    """An error on one socket is that stream's end only."""
    gone, there = open("a", wire=Text), open("a", wire=Text)
    gone.server._sock.shutdown(native.SHUT_WR)
    publish(controller, "a", "news")
    wait(lambda: there.read() == b"news\n")
    wait(lambda: gone.greenlet.dead)
    assert len(controller.streams) == 1


def test_a_channel_that_is_deleted_ends_its_streams(controller: Controller, open: Open) -> None:
    """What came before, the end, and the proper end of the response."""
    stream = open("a")
    publish(controller, "a", "one")
    wait(lambda: b"data: one" in stream.read())
    controller.update([Closed("a")])
    wait(lambda: stream.read() and stream.over)
    assert b"comet.closed" in stream.body
    assert stream.response.complete


def test_a_conflating_wire_is_written_its_newest(controller: Controller, open: Open) -> None:
    """The state of what is on screen is the whole cohort's."""
    streams = [open("a", wire=Multipart) for _ in range(2)]
    for number in range(3):
        publish(controller, "a", f"part {number}")
        for stream in streams:
            wait(lambda stream=stream, number=number: b"part %d" % number in stream.read())
    assert streams[0].body == streams[1].body
    assert all(len(stream.yielded) == 1 for stream in streams)


def test_a_heartbeat_is_written_while_the_greenlets_sleep(open: Open, controller: Controller) -> None:
    """Nobody is woken for it, and the next one is a heartbeat later."""
    stream = open("a")
    before = len(stream.yielded)
    make_due(controller)
    controller._deliverer.beat()
    wait(lambda: stream.read().endswith(b":\n"))
    assert len(stream.yielded) == before
    controller._deliverer.beat()
    gevent.sleep(0.01)
    assert stream.read().count(b":\n") == 1


def test_a_heartbeat_on_a_full_socket_is_its_greenlets_business(open: Open, controller: Controller) -> None:
    """It waits for room there, where the sweeper sees for how long."""
    stream = open("a")
    while True:
        try:
            stream.server._sock.send(chunked(b"." * 1000))
        except BlockingIOError:
            break
    make_due(controller)
    controller._deliverer.beat()
    wait(lambda: stream.yielded[-1] == b":\n")
    assert standing(controller) == []


def test_a_cohort_that_has_dwindled_joins_another(open: Open, controller: Controller) -> None:
    """Else the coming and going of months would leave each alone."""
    streams = [open("a", wire=Text) for _ in range(COHORT + FEW)]
    for stream in streams[: COHORT - 2]:
        stream.close()
    wait(lambda: len(controller.streams) == FEW + 2)
    assert len(controller._cohorts._all) == 2
    for number in range(3):
        publish(controller, "a", str(number))
        for stream in streams[COHORT - 2 :]:
            wait(lambda stream=stream, number=number: b"%d\n" % number in stream.read())
    wait(lambda: len(standing(controller)) == FEW + 2)
    assert len(controller._cohorts._all) == 1
    assert {stream.body for stream in streams[COHORT - 2 :]} == {b"0\n1\n2\n"}
