"""Limits over HTTP: what is beyond one is 429, which says how many, of whom, and which setting."""

from __future__ import annotations

import gc
import json
import re
from typing import Any

import pytest
from flask import Flask, Response

from comet import Comet
from comet.core.wire import WIRES
from comet.settings import Settings
from tests.jwts import SECRET, reader, writer
from tests.views.client import AUTH, Client, Serve, assert_problem


HERE = {"environ_base": {"REMOTE_ADDR": "203.0.113.7"}}
PROXY = {"environ_base": {"REMOTE_ADDR": "10.0.0.1"}}
GRANTED = {"jwt_key": (SECRET,), "streams_per_token": 1}


def tally(client: Client) -> dict[str, int]:
    return client.comet.worker.limits.tally()


def held(client: Client, path: str, **options: Any) -> Any:
    """A stream that has begun. Close it."""
    answer = client.get(path, buffered=False, **options)
    assert answer.status_code == 200
    next(answer.iter_encoded())
    return answer


# Streams.


@pytest.mark.parametrize("wire", WIRES)
def test_too_many_streams_of_an_address(serve: Serve, wire: str) -> None:
    """It is 429 with Retry-After, on every wire, until one has ended; others are not concerned, nor is what ends."""
    client = serve(trusted_proxies=("none",), streams_per_peer=1)
    client.publish("x")
    stream = held(client, "/channels/y/text", **HERE)
    refused = client.get(f"/channels/x/{wire}", **HERE)
    assert_problem(refused, 429, "203.0.113.7 has 1 streams and waiting polls", "COMET_STREAMS_PER_PEER")
    assert refused.headers["Retry-After"] == "10"
    client.get(f"/channels/x/{wire}").close()
    assert client.ask("HEAD", f"/channels/x/{wire}", **HERE).status_code == 200
    assert client.get("/channels/x/latest", **HERE).status_code == 200
    assert client.post("/channels/x", **HERE).status_code == 201
    stream.close()
    client.get(f"/channels/x/{wire}", **HERE).close()
    assert tally(client)["addresses"] == 0


@pytest.mark.parametrize("header", [{"Accept": "text/event-stream"}, {"Last-Event-ID": "x"}])
def test_an_event_source_has_too_many_streams(serve: Serve, header: dict[str, str]) -> None:
    """It gets 200, when to come back, and the end: at any other status a browser would give up for good."""
    client = serve(trusted_proxies=("none",), streams_per_peer=1)
    stream = held(client, "/channels/y/text", **HERE)
    answer = client.get("/channels/x/sse", header, **HERE)
    assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
    assert re.fullmatch(r"retry: \d{4,6}\n", answer.text)
    assert_problem(client.get("/channels/x/ndjson", header, **HERE), 429)
    stream.close()


def test_addresses_behind_a_proxy(serve: Serve) -> None:
    """Each that the proxy names has its own limit, and what strangers write before that is not believed."""
    client = serve(trusted_proxies=("10.0.0.0/8",), streams_per_peer=1)

    def ask(forwarded: str, options: Any = PROXY) -> Any:
        return client.get("/channels/x/text", {"X-Forwarded-For": forwarded}, buffered=False, **options)

    streams = [ask("198.51.100.1"), ask("198.51.100.2"), ask("2001:db8::1"), ask("198.51.100.1", HERE)]
    assert [stream.status_code for stream in streams] == [200] * 4
    assert_problem(ask("6.6.6.6, 198.51.100.1"), 429, "198.51.100.1")
    assert_problem(ask("198.51.100.2, 10.2.3.4"), 429, "198.51.100.2")
    assert_problem(ask("2001:db8::ffff:1"), 429, "2001:db8::/64")
    assert_problem(ask("7.7.7.7", HERE), 429, "203.0.113.7")
    for stream in streams:
        stream.close()


def test_without_trusted_proxies(serve: Serve) -> None:
    """Nobody is counted: all users behind a proxy would share one limit."""
    client = serve()
    streams = [held(client, "/channels/x/text", **HERE) for _ in range(3)]
    assert tally(client)["addresses"] == 0
    for stream in streams:
        stream.close()


def test_too_many_streams_of_a_token(serve: Serve) -> None:
    """However it comes; each token has its own limit, and whoever shows none has none."""
    client = serve(**GRANTED)
    one, other = reader("*", jti="one"), reader("*", jti="other")
    stream = held(client, f"/channels/x/text?token={one}")
    for sent in ({"Authorization": f"Bearer {one}"}, {"Cookie": f"comet_token={one}"}):
        assert_problem(client.get("/channels/x/text", sent), 429, "this token has 1 streams", "COMET_STREAMS_PER_TOKEN")
    # Where cookies are no credential they are not counted either.
    client.get("/channels/x/iframe", {"Cookie": f"comet_token={one}"}).close()
    client.get(f"/channels/x/text?token={other}").close()
    client.get("/channels/x/text").close()
    client.get("/channels/x/text", AUTH).close()
    stream.close()
    assert tally(client)["tokens"] == 0


@pytest.mark.parametrize("wire", WIRES)
def test_a_stream_that_ends(serve: Serve, wire: str) -> None:
    """Its place is free again: closed before it began or after, read to its end, or never looked at."""
    client = serve(trusted_proxies=("none",), streams_per_peer=1, max_streams=1)
    client.publish("x")
    path = f"/channels/x/{wire}"
    client.get(path, buffered=False).close()
    held(client, path).close()
    client.get(path, buffered=False)
    stream = held(client, path)
    if not WIRES[wire].one_shot:
        client.ask("DELETE", "/channels/x", AUTH)
        list(stream.iter_encoded())
    stream.close()
    assert tally(client)["addresses"] == 0


def test_a_stream_that_is_refused_later(serve: Serve) -> None:
    """What has no place for another reason keeps none."""
    client = serve(trusted_proxies=("none",), streams_per_peer=2, max_streams=1)
    stream = held(client, "/channels/x/text", **HERE)
    for _ in range(3):
        assert_problem(client.get("/channels/x/text", **HERE), 503)
        assert client.get("/channels/x/sse", {"Accept": "text/event-stream"}, **HERE).status_code == 200
        assert_problem(client.get("/channels/x/poll?timeout=0", **HERE), 400)
    stream.close()
    assert tally(client)["addresses"] == 0


def test_an_app_that_fails_behind_the_view() -> None:
    """The response that it drops keeps no place."""
    app = Flask("failing")
    app.logger.disabled = True  # pytest keeps what is logged, and with its traceback the response
    comet = Comet(app, settings=Settings(trusted_proxies=("none",), streams_per_peer=1))
    fails = True

    @app.after_request
    def fail(response: Response) -> Response:
        if fails:
            raise RuntimeError("in a hook of the app")
        return response

    for wire in ("text", "poll"):
        assert app.test_client().get(f"/comet/channels/x/{wire}?timeout=1").status_code == 500
        gc.collect()  # its exceptions point at each other
        assert comet.worker.limits.tally()["addresses"] == 0
    fails = False
    answer = app.test_client().get("/comet/channels/x/text", buffered=False)
    assert answer.status_code == 200
    answer.close()
    assert comet.worker.limits.tally()["addresses"] == 0
    comet.worker.stop()


# Publishing.


def batch(*data: str) -> dict[str, Any]:
    lines = [json.dumps({"channel": "x", "data": each}) for each in data]
    return {"data": "\n".join(lines), "headers": {"Content-Type": "application/x-ndjson"}}


def test_a_publisher_is_too_fast(serve: Serve) -> None:
    """It is 429 with the seconds to wait, and nothing is published; other publishers are not concerned."""
    client = serve(publish_rate=0.1, jwt_key=(SECRET,))
    assert client.post("/channels/x", "first").status_code == 201
    refused = client.post("/channels/x", "second", {"Idempotency-Key": "k"})
    assert_problem(refused, 429, "0.1 updates a second", "COMET_PUBLISH_RATE", "nothing")
    assert refused.headers["Retry-After"] in ("9", "10")
    assert_problem(client.post("/channels", **batch("a", "b")), 429)
    assert [update["data"] for update in client.poll("x", "last=9")["updates"]] == ["first"]
    for jti in ("one", "two"):
        granted = {"Authorization": f"Bearer {writer('*', jti=jti)}"}
        assert (
            client.post(
                "/channels", **batch("a", "b") | {"headers": granted | {"Content-Type": "application/x-ndjson"}}
            ).status_code
            == 201
        )
        assert client.post("/channels/x", "c", granted).status_code == 429
    assert client.ask("DELETE", "/channels/x", AUTH).status_code == 204


def test_a_publisher_sends_too_much(serve: Serve) -> None:
    """Bytes of bodies count; what is larger than a second's worth passes once, and is owed."""
    client = serve(publish_bytes_rate=1000)
    assert client.post("/channels/x", "x" * 900).status_code == 201
    assert_problem(client.post("/channels/x", "x" * 900), 429, "1000 bytes a second", "COMET_PUBLISH_BYTES_RATE")
    assert_problem(client.post("/channels", **batch("y" * 900)), 429)
    other = serve(publish_bytes_rate=1000)
    assert other.post("/channels", **batch(*["y" * 900] * 20)).status_code == 201
    assert int(other.post("/channels/x", "x").headers["Retry-After"]) in (18, 19)


@pytest.mark.parametrize("header", ["Bearer test-key", "bearer  test-key", "BEARER test-key "])
def test_the_same_key_written_otherwise(serve: Serve, header: str) -> None:
    """It is the same publisher."""
    client = serve(publish_rate=0.1)
    assert client.post("/channels/x").status_code == 201
    assert client.post("/channels/x", headers={"Authorization": header}).status_code == 429


def test_publishers_without_a_credential(serve: Serve) -> None:
    """With COMET_OPEN each address is one."""
    client = serve(publish_rate=0.1, open=True)

    def publish(peer: str) -> int:
        host = {"Host": "localhost"}
        return client.ask("POST", "/channels/x", host, environ_base={"REMOTE_ADDR": peer}).status_code

    assert [publish("127.0.0.1"), publish("127.0.0.1"), publish("127.0.0.2")] == [201, 429, 201]


def test_what_is_refused_for_another_reason(serve: Serve) -> None:
    """It does not count."""
    client = serve(publish_rate=0.1, max_update=10)
    for _ in range(3):
        assert client.post("/channels/x", "x" * 11).status_code == 413
        assert client.post("/channels/-").status_code == 400
        assert client.ask("POST", "/channels/x").status_code == 401
    assert client.post("/channels/x").status_code == 201
