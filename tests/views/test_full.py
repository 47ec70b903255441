"""No room: the worker is full, stops, or can't hold streams."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from comet.core.errors import BrokerAway
from comet.core.wire import WIRES
from tests.views.client import AUTH, Client, Serve, assert_problem


@pytest.fixture
def full(serve: Serve) -> Iterator[Client]:
    """A worker with one place, and somebody in it."""
    client = serve(max_streams=1)
    stream = client.stream("/channels/y/text")
    next(stream)
    yield client
    stream.close()


@pytest.mark.parametrize("wire", WIRES)
def test_a_full_worker(full: Client, wire: str) -> None:
    """It is 503 with Retry-After, on every wire; everything but streams goes on."""
    answer = full.get(f"/channels/x/{wire}")
    assert_problem(answer, 503, "1 streams", "COMET_MAX_STREAMS")
    assert 5 <= int(answer.headers["Retry-After"]) <= 120
    assert_problem(full.get("/readyz"), 503, "COMET_MAX_STREAMS")
    assert full.get("/healthz").status_code == 200
    assert full.ask("HEAD", f"/channels/x/{wire}").status_code == 200
    assert full.post("/channels/x", "x").status_code == 201
    assert full.get("/channels/x/latest").status_code == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/channels/x/sse", {"Accept": "text/event-stream"}),
        ("/channels/x/sse", {"Accept": "text/html, text/event-stream;q=0.5"}),
        ("/channels/x/sse", {"Last-Event-ID": "abcdef-1"}),
        ("/channels/x/sse", {"Last-Event-ID": ""}),
        ("/channels/x/sse?envelope=1", {"Accept": "text/event-stream"}),
        ("/channels/x", {"Accept": "text/event-stream"}),
    ],
)
def test_an_event_source_finds_no_room(full: Client, path: str, headers: dict[str, str]) -> None:
    """It gets 200, when to come back, and the end: at any other status a browser would give up for good."""
    answer = full.get(path, headers)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    match = re.fullmatch(r"retry: (\d+)\n", answer.text)
    assert match and 5_000 <= int(match[1]) <= 120_000


def test_another_wire_with_a_last_event_id(full: Client) -> None:
    """Only sse is for EventSource."""
    assert_problem(full.get("/channels/x/ndjson", {"Last-Event-ID": "abcdef-1"}), 503)


def test_room_again(serve: Serve) -> None:
    """When somebody leaves, the next is taken in."""
    client = serve(max_streams=1)
    stream = client.stream("/channels/y/text")
    next(stream)
    assert client.get("/channels/x/text").status_code == 503
    stream.close()
    client.get("/channels/x/text").close()
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("wire", WIRES)
def test_a_worker_that_stops(client: Client, wire: str) -> None:
    """It takes no new streams: 503, or 200 and when to come back for an EventSource. It takes no updates either, where
    its log ends with it."""
    client.comet.worker.controller.drain(0.0)
    answer = client.get(f"/channels/x/{wire}")
    assert_problem(answer, 503, "stopping")
    assert int(answer.headers["Retry-After"]) >= 3
    assert_problem(client.get("/readyz"), 503, "stopping")
    assert client.get("/channels/x/sse", {"Accept": "text/event-stream"}).text.startswith("retry: ")
    for refused in (client.post("/channels/x", "x"), client.ask("DELETE", "/channels/x", AUTH)):
        assert_problem(refused, 503, "stopping")
        assert refused.headers["Retry-After"] == "1"


def test_a_private_channel_in_a_full_worker(full: Client) -> None:
    """Whoever may not subscribe learns that first."""
    full.comet.authorize(lambda action, channels: False)
    assert_problem(full.get("/channels/x/sse", {"Accept": "text/event-stream"}), 403)


def test_a_cursor_that_only_a_broker_could_judge(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is away nobody is told a gap that may be none: 503, or 200 and when to come back for an EventSource."""
    client = serve()
    broker = client.comet.worker.controller.broker

    def away() -> None:
        raise BrokerAway("Redis can't be reached.")

    monkeypatch.setattr(broker, "catch_up", away, raising=False)
    later = f"since={broker.log.epoch}-7"
    assert_problem(client.get(f"/channels/x/ndjson?{later}"), 503, "can't be reached")
    assert_problem(client.get(f"/channels/x/poll?{later}"), 503, "can't be reached")
    answer = client.get(f"/channels/x/sse?{later}", {"Accept": "text/event-stream"})
    assert (answer.status_code, answer.text[:7]) == (200, "retry: ")
    assert client.get("/channels/x/poll?timeout=1&since=garbage").json["gap"]["reason"] == "unknown"
