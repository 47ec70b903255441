"""``?rate=N``: a subscriber that is written to at most N times a second."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.live.server import Server


pytestmark = pytest.mark.delivers


@pytest.fixture(scope="module", params=[1, 2], ids=["1 worker", "2 workers"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    broker = f"sqlite:///{tmp_path_factory.mktemp('log')}/log.db" if request.param > 1 else "memory"
    with Server(broker=broker, workers=request.param, history=1000, files={"comet.toml": CONFLATES}) as running:
        yield running


CONFLATES = """
[channels."newest"]
conflate = true
"""


@pytest.mark.parametrize("wire", ["sse", "ndjson", "text"])
def test_a_stream_with_a_rate_has_everything_in_few_writes(server: Server, wire: str) -> None:
    """No more than N a second, and one for what was there; a chunk of the body is a write."""
    channel, count = f"rated-{wire}", 60
    stream = server.get(f"/channels/{channel}/{wire}?last=0&rate=4", stream=True)
    begun = time.monotonic()
    for number in range(count):
        server.publish(channel, f"<{number}>")
    chunks: list[bytes] = []
    for chunk in stream.raw.read_chunked():
        chunks.append(chunk)
        if b"<%d>" % (count - 1) in chunk:
            break
    lasted = time.monotonic() - begun
    stream.close()
    body = b"".join(chunks)
    assert [body.count(b"<%d>" % number) for number in range(count)] == [1] * count
    assert sum(b"<" in chunk for chunk in chunks) <= 1 + 4 * lasted


def test_a_picture_with_a_rate_is_the_newest(server: Server) -> None:
    """What was replaced before its turn is never sent."""
    stream = server.get("/channels/film/multipart?last=0&rate=0.5", stream=True)
    begun = time.monotonic()
    server.publish("film", "<first>")
    for number in range(20):
        server.publish("film", f"<{number}>")
    body = b""
    for chunk in stream.raw.read_chunked():
        body += chunk
        if b"<19>" in body:
            break
    stream.close()
    assert body.count(b"<") <= 1 + 0.5 * (time.monotonic() - begun)


@pytest.mark.parametrize("wire", ["sse", "ndjson"])
def test_a_channel_that_conflates_has_the_newest(server: Server, wire: str) -> None:
    """On a wire that has everything else; a channel beside it has all, in order."""
    stream = server.get(f"/channels/newest,other/{wire}?last=0&rate=0.5", stream=True)
    begun = time.monotonic()
    for number in range(20):
        server.publish("newest", f"<new {number}>")
        server.publish("other", f"<old {number}>")
    body = b""
    for chunk in stream.raw.read_chunked():
        body += chunk
        if b"<old 19>" in body:
            break
    stream.close()
    assert [body.count(b"<old %d>" % number) for number in range(20)] == [1] * 20
    assert body.count(b"<new 19>") == 1
    assert body.count(b"<new ") <= 1 + 0.5 * (time.monotonic() - begun)


@pytest.mark.parametrize("rate", ["0", "0.01", "1001", "-1", "x", "", "1e2", "٣"])
def test_a_wrong_rate_is_refused(server: Server, rate: str) -> None:
    """With what it takes."""
    answer = server.get("/channels/x/sse", params={"rate": rate})
    assert answer.status_code == 400
    assert "it takes 0.1 to 1000 writes a second" in answer.json()["detail"]
