"""Full: what a worker does that holds as many streams as it may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.live.clients import Subscriber, connect
from tests.live.readers import EVERY, SSE
from tests.live.server import Server
from tests.timing import until


pytestmark = pytest.mark.delivers


MOST = 5


@contextmanager
def a_full_server() -> Iterator[tuple[Server, list[Subscriber]]]:
    """A server with all the streams that it may hold, and these."""
    with Server(max_streams=MOST, poll_timeout=60) as server, ExitStack() as stack:
        server.publish("full", "")
        wires = ("sse", "ndjson", "text", "multipart", "iframe")
        streams = [stack.enter_context(Subscriber(server, wire, "full", last=0)) for wire in wires]
        until(lambda: server.get("/channels/full/info").json()["subscribers"] == MOST)
        yield server, streams


@pytest.fixture(scope="module")
def full() -> Iterator[tuple[Server, list[Subscriber]]]:
    """One that stays full: for tests that only ask."""
    with a_full_server() as (server, streams):
        yield server, streams


@pytest.mark.parametrize(
    "header", ["Accept: text/event-stream", "Accept: text/html, text/event-stream", "Last-Event-ID: x"]
)
@pytest.mark.parametrize("wire", ["sse", "envelope"])
def test_an_event_source_is_told_when_to_come_back(
    full: tuple[Server, list[Subscriber]], wire: str, header: str
) -> None:
    """It gets 200, ``retry:`` and the end: on any other status a browser's would give up for good."""
    server, _ = full
    with Subscriber(server, wire, "full", headers=(header,)) as refused:
        refused.until(lambda it: it.response.complete)
        assert refused.response.status == 200
        assert refused.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert isinstance(refused.reader, SSE) and refused.items == []
        assert 5000 <= (refused.reader.retry or 0) <= 120_000


@pytest.mark.parametrize("wire", EVERY)
def test_everybody_else_gets_503_and_when_to_come_back(full: tuple[Server, list[Subscriber]], wire: str) -> None:
    """Retry-After, and a detail that names the limit."""
    server, _ = full
    with Subscriber(server, wire, "full", headers=("Accept: */*",)) as refused:
        refused.until(lambda it: it.response.complete)
        assert refused.response.status == 503
        assert 1 <= int(refused.response.headers["retry-after"]) <= 120
        assert refused.response.headers["content-type"] == "application/problem+json"
        assert b"COMET_MAX_STREAMS" in refused.refusal


def test_a_full_server_still_publishes_and_answers() -> None:
    """Also while many connections stand idle: 200 are kept free for this. It is alive, and not ready for more."""
    with a_full_server() as (server, streams), ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(connect(server))
        assert server.publish("full", "still here")["subscribers"] == MOST
        for stream in streams:
            stream.until(lambda it: it.seen and it.seen[-1].data == "still here")
        assert server.get("/healthz").status_code == 200
        assert server.get("/channels/full/latest").text == "still here"
        ready = server.get("/readyz")
        assert (ready.status_code, int(ready.headers["Retry-After"]) > 0) == (503, True)


def test_it_serves_again_when_somebody_leaves() -> None:
    """One goes, one comes; and no more."""
    with a_full_server() as (server, streams):
        streams.pop().leave()
        until(lambda: server.get("/readyz").status_code == 200)
        with Subscriber(server, "ndjson", "full").open() as newcomer:
            assert newcomer.response.status == 200
            server.publish("full", "for the newcomer")
            newcomer.until(lambda it: it.seen and it.seen[-1].data == "for the newcomer")
            assert server.get("/readyz").status_code == 503
            assert server.get("/channels/full/text").status_code == 503
