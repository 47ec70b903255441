"""flask-sse itself, in an app that knows nothing of comet, and two workers that take its messages over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from flask import Flask, request
from flask_sse import sse

from tests.brokers.redis_server import RedisServer
from tests.live.server import Server
from tests.timing import until


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.start()
    server.kill()


@pytest.fixture(scope="module")
def server(redis: RedisServer) -> Iterator[Server]:
    with Server(broker=f"{redis.url}/1", workers=2, flask_sse="sse,user-", replay=0, max_update=1000) as running:
        until(lambda: redis.command("pubsub", "numpat").strip() == "2", what="the one worker that listens")
        yield running


@pytest.fixture
def say(redis: RedisServer) -> Callable[..., None]:
    """The app of somebody who uses flask-sse: what is posted to it, it publishes."""
    app = Flask("foreign")
    app.config["REDIS_URL"] = redis.url
    app.register_blueprint(sse, url_prefix="/stream")

    @app.post("/say")
    def view() -> str:
        sse.publish(**request.json)
        return "said"

    def say(**message: object) -> None:
        assert app.test_client().post("/say", json=message).text == "said"

    return say


def updates(server: Server, channel: str, since: str) -> list[dict[str, object]]:
    answer = server.get(f"/channels/{channel}/poll", params={"since": since, "timeout": 5}).json()
    assert answer["gap"] is None
    return list(answer["updates"])


def test_what_flask_sse_publishes_arrives_once(server: Server, say: Callable[..., None]) -> None:
    """Two workers, and each message is one update: the same data, its type as the event, on the channel of its name."""
    begin = server.publish("begin", "")["id"]
    for n in range(50):
        say(data={"number": n, "text": "é"}, type="greeting", id="same", retry=10)
        say(data=f"private {n}\nsecond line", channel="user-ann")
    say(data="end")
    found = updates(server, "sse,user-ann", begin)
    until(lambda: found[-1]["data"] == "end" or found.extend(updates(server, "sse,user-ann", str(found[-1]["id"]))))
    assert found.pop()["data"] == "end"
    numbers = [update for update in found if update["channel"] == "sse"]
    assert [json.loads(str(update["data"])) for update in numbers] == [{"number": n, "text": "é"} for n in range(50)]
    assert {(update["event"], update["type"]) for update in numbers} == {("greeting", "application/json")}
    texts = [update for update in found if update["channel"] == "user-ann"]
    assert [update["data"] for update in texts] == [f"private {n}\nsecond line" for n in range(50)]
    assert {(update["event"], update["type"]) for update in texts} == {(None, "text/plain; charset=utf-8")}


def test_a_stream_shows_it_as_flask_sse_would(server: Server, say: Callable[..., None]) -> None:
    """The same event and data for the EventSource of a page; the id is one that it can resume from."""
    stream = server.get("/channels/sse/sse", stream=True)
    lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
    next(line for line in lines if line.startswith("retry:"))
    say(data={"message": "Hello!"}, type="greeting")
    block = [next(lines), next(lines), next(lines)]
    assert block[0].startswith("id:")
    assert [line.replace(": ", ":", 1) for line in block[1:]] == ["event:greeting", 'data:{"message":"Hello!"}']
    stream.close()


def test_what_others_publish_is_left_alone(server: Server, redis: RedisServer, say: Callable[..., None]) -> None:
    """Other channels of Redis are not heard, and what is no message of flask-sse, or too large, is told once."""
    begin = server.publish("begin", "")["id"]
    redis.command("publish", "orders", '{"data": "secret"}')
    for _ in range(20):
        redis.command("publish", "sse", "rubbish")
    say(data="x" * 1001)
    say(data="after")
    assert [update["data"] for update in updates(server, "sse", begin)] == ["after"]
    assert server.get("/channels/orders/info").status_code == 404
    assert server.log().count("is left out") == 1
