"""Ends: the reason that is counted, and the line that is written."""

from __future__ import annotations

import logging

import pytest

from comet import ends
from comet.brokers.memory import MemoryBroker
from comet.cohorts import Subscription
from comet.controller import Controller
from comet.core.log import Position
from comet.core.update import Closed, Update
from comet.core.wire import SSE, Html, Wire
from comet.ends import ENDS_OF_POLLS, ENDS_OF_STREAMS
from comet.peers import NO_PEER
from comet.streams import Chunks, streaming


def opened(controller: Controller, wire: Wire) -> Chunks:
    """A stream that has written its opening."""
    stream = streaming(controller, wire, controller.begin(wire.names, None, None), NO_PEER, address="192.0.2.7")
    next(stream)
    return stream


def why(controller: Controller, wire: Wire, caplog: pytest.LogCaptureFixture) -> str:
    """The reason of the only end that was counted, which is that of the line."""
    ((counted, number),) = controller.counts.closes.items()
    (line,) = (record for record in caplog.records if hasattr(record, "fields"))
    assert (counted, number) == ((wire.name, line.fields["reason"]), 1)
    return str(line.fields["reason"])


@pytest.fixture(autouse=True)
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "comet")


def test_a_stream_that_its_server_closes(caplog: pytest.LogCaptureFixture) -> None:
    """As it does when a write fails: the client has gone."""
    controller = Controller(MemoryBroker())
    opened(controller, wire := SSE(("a",))).close()
    assert why(controller, wire, caplog) == ends.GONE


def test_a_channel_that_was_deleted(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever else was to be written goes out first."""
    controller = Controller(MemoryBroker())
    stream = opened(controller, wire := SSE(("a",)))
    controller.update([Update("a", b"1")])
    controller.update([Closed("a")])
    assert b"comet.closed" in b"".join(stream)
    assert why(controller, wire, caplog) == ends.DELETED


def test_a_worker_that_stops(caplog: pytest.LogCaptureFixture) -> None:
    """The goodbye is on its way."""
    controller = Controller(MemoryBroker())
    stream = opened(controller, wire := SSE(("a",)))
    for each in controller.streams:
        each.leaving = True
    assert b"retry:" in b"".join(stream)
    assert why(controller, wire, caplog) == ends.STOPPING


def test_a_response_that_is_full(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its wire may hold no more."""
    monkeypatch.setattr(Html, "longest", 1000)
    controller = Controller(MemoryBroker())
    stream = opened(controller, wire := Html(("a",)))
    controller.update([Update("a", b"x" * 1000, "text/html")])
    assert b"x" * 1000 in b"".join(stream)
    assert why(controller, wire, caplog) == ends.FULL


@pytest.mark.parametrize(("error", "reason"), [(RuntimeError, ends.ERROR), (BrokenPipeError, ends.GONE)])
def test_a_stream_that_fails(
    error: type[Exception], reason: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that broke is no failure."""
    controller = Controller(MemoryBroker())
    stream = opened(controller, wire := SSE(("a",)))

    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(controller, "frame", fail)
    with pytest.raises(error):
        next(stream)
    assert why(controller, wire, caplog) == reason


def test_the_line(caplog: pytest.LogCaptureFixture) -> None:
    """It says all that is known, and no more: nothing of the request."""
    controller = Controller(MemoryBroker())
    receipts = controller.update([Update("a", b"1"), Update("b", b"2")])
    stream = opened(controller, SSE(("a", "b")))
    for each in controller.streams:
        each.leaving = True
    list(stream)
    (line,) = (record for record in caplog.records if hasattr(record, "fields"))
    assert line.fields | {"seconds": 0.0, "bytes": 0} == {
        "reason": "stopping",
        "wire": "sse",
        "channels": "a,b",
        "seconds": 0.0,
        "updates": 2,
        "bytes": 0,
        "last": receipts[1].id,
        "peer": "192.0.2.7",
    }
    assert line.fields["bytes"] == controller.counts.yielded.bytes > 0
    assert "a stream has ended: stopping, wire sse, channels a,b, 0.0 s, updates 2, bytes " in line.getMessage()


def test_an_unknown_address(caplog: pytest.LogCaptureFixture) -> None:
    """A Unix socket has none."""
    ends.tell(Subscription(Position(("a",), 0, "epoch1")), ends.GONE, begun=0.0, address="")
    assert caplog.records[-1].getMessage().endswith("peer -")


def test_less_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Above the level of information, nothing."""
    caplog.set_level(logging.WARNING, "comet")
    ends.tell(Subscription(Position(("a",), 0, "epoch1")), ends.GONE, begun=0.0, address="")
    assert not caplog.records


def test_every_reason_is_in_a_table() -> None:
    """Else it would not be told before it has happened, and the first time would be no increase."""
    reasons = {value for name, value in vars(ends).items() if name.isupper() and isinstance(value, str)}
    assert reasons == {*ENDS_OF_STREAMS, *ENDS_OF_POLLS}
