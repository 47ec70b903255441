"""What one token and one publisher is given, each in one worker: with one, and with two. Addresses are in
``test_attacks.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import pytest
import requests

from tests.jwts import SECRET, token, writer
from tests.live.raw import Connection
from tests.live.server import Server
from tests.timing import until


#: Streams of one token; updates and bytes a second of one publisher.
MOST, UPDATES, BYTES = 3, 50, 100_000

_numbers = count()


@pytest.fixture(scope="module", params=[1, 2], ids=["1 worker", "2 workers"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    broker = f"sqlite:///{tmp_path_factory.mktemp('limits')}/log.db" if request.param > 1 else "memory"
    with Server(
        broker=broker,
        workers=request.param,
        jwt_key=SECRET,
        streams_per_token=MOST,
        publish_rate=UPDATES,
        publish_bytes_rate=BYTES,
        history=1000,
        history_bytes=10_000_000,
    ) as running:
        until(lambda: len(running.workers()) == request.param, what="all workers")
        yield running


def held_by(server: Server, text: str, stack: ExitStack) -> Connection:
    """Open streams with a token until one is refused, and give that."""
    for number in range(MOST * len(server.workers()) + 1):
        connection = stack.enter_context(Connection(server))
        wire = ("sse", "ndjson", "html")[number % 3]
        if connection.get(f"/channels/quiet/{wire}?token={text}").head().status != 200:
            assert number >= MOST
            return connection.answer()
    raise AssertionError("nobody was refused")


def test_a_token_in_many_hands(server: Server) -> None:
    """It has its streams and no more; others have theirs; and when one ends, another finds its place."""
    one, other = (token({"subscribe": ["*"]}, jti=f"hand {name}".replace(" ", ".")) for name in "ab")
    with ExitStack() as stack:
        refused = held_by(server, one, stack)
        assert refused.status == 429
        assert b"COMET_STREAMS_PER_TOKEN" in refused.body
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) > 0
        assert one.split(".")[1].encode() not in refused.body
        for free in (f"?token={other}", ""):
            with Connection(server) as connection:
                assert connection.get(f"/channels/quiet/sse{free}").head().status == 200

    def lets_in() -> bool:
        with Connection(server) as connection:
            return connection.get(f"/channels/quiet/sse?token={one}").head().status == 200

    until(lambda: all(lets_in() for _ in range(MOST)), what="its places")


@pytest.mark.parametrize(
    ("updates", "data", "setting"),
    [(3 * UPDATES, "", "COMET_PUBLISH_RATE"), (3, "x" * BYTES, "COMET_PUBLISH_BYTES_RATE")],
    ids=["updates", "bytes"],
)
def test_a_publisher_who_sends_too_much(server: Server, updates: int, data: str, setting: str) -> None:
    """Three times its rate passes once; then it is told when to come back, and nothing of that is published. Others
    publish meanwhile, and so does it later."""
    channel = f"rated.{next(_numbers)}"
    one, other = ({"Authorization": f"Bearer {writer(channel, jti=f'{channel}.{name}')}"} for name in "ab")
    lines = "".join(json.dumps({"channel": channel, "data": data}) + "\n" for _ in range(updates))

    def publish(what: str, headers: dict[str, str]) -> requests.Response:
        headers = headers | {"Content-Type": "application/x-ndjson"}
        return requests.post(f"{server.url}/channels", what, headers=headers, timeout=10)

    taken = 0
    while (answer := publish(lines, one)).status_code == 201:
        taken += updates
        assert taken <= updates * len(server.workers())
    assert answer.status_code == 429
    assert setting in answer.json()["detail"]
    assert 1 <= int(answer.headers["Retry-After"]) <= 3
    line = lines.partition("\n")[0]
    assert publish(line, other).status_code == 201
    until(lambda: server.get(f"/channels/{channel}/info").json().get("stored") == taken + 1, what="all of it")
    until(lambda: publish(line, one).status_code == 201, what="that it has waited as long as it was told")
