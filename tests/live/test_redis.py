"""Real workers of gunicorn that share one Redis, over TLS and with a password."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.brokers.redis_server import RedisServer
from tests.conftest import need
from tests.live.server import Server, free_port
from tests.timing import PATIENCE, Stopwatch, until


pytestmark = pytest.mark.delivers


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    need("openssl")
    folder = tmp_path_factory.mktemp("redis")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem".split(),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    server = RedisServer(
        folder,
        tls_port=str(free_port()),
        tls_cert_file=str(folder / "cert.pem"),
        tls_key_file=str(folder / "key.pem"),
        tls_auth_clients="no",
        tls_ca_cert_file=str(folder / "cert.pem"),
        requirepass="pass/word",
    )
    yield server.start()
    server.kill()


@pytest.fixture(scope="module")
def server(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    certificate = redis.folder / "cert.pem"
    broker = f"rediss://:pass%2Fword@127.0.0.1:{redis.options['tls_port']}/3?prefix=push&ssl_ca_certs={certificate}"
    with Server(workers=2, broker=broker) as running:
        yield running


def lines(stream: requests.Response, count: int) -> list[str]:
    """The next lines of a stream of text."""
    got = stream.iter_lines(chunk_size=1, decode_unicode=True)
    return [next(got) for _ in range(count)]


def test_what_is_published_at_one_worker_comes_from_every_other(server: Server, redis: RedisServer) -> None:
    """Wherever a connection ends up."""
    streams = [server.get("/channels/news/text?last=0", stream=True) for _ in range(12)]
    for n in range(20):
        server.publish("news", f"line {n}")
    for stream in streams:
        assert lines(stream, 20) == [f"line {n}" for n in range(20)]
        stream.close()
    assert Path(f"/proc/{server.workers()[0]}").exists() and len(server.workers()) == 2
    assert "push:meta" in redis.command("-n", "3", "keys", "*")


def test_without_redis_streams_stay_and_publishing_says_so(server: Server, redis: RedisServer) -> None:
    """503 within two seconds, /readyz too; when it is back everything goes on, and the history is there."""
    stream = server.get("/channels/away/text?last=0", stream=True)
    server.publish("away", "1")
    redis.kill()
    with Stopwatch() as watch:
        answer = requests.post(f"{server.url}/channels/away", "lost", headers=server.auth, timeout=10)
    assert answer.status_code == 503
    assert "may have been accepted" in answer.json()["detail"]
    assert "pass" not in answer.text
    assert watch.seconds < 3 * PATIENCE
    until(lambda: all(server.get("/readyz").status_code == 503 for _ in range(8)), what="not ready")
    redis.start()
    # One of two workers that is not, is found by 20 questions.
    until(lambda: all(server.get("/readyz").status_code == 200 for _ in range(20)), seconds=5, what="ready")
    server.publish("away", "2")
    assert lines(stream, 2) == ["1", "2"]
    stream.close()
    # The other worker may still be about to connect again for live updates: it looks once a second.
    until(lambda: all(polled(server, "away") == ["1", "2"] for _ in range(8)), seconds=5, what="both in both workers")


def polled(server: Server, channel: str) -> list[str]:
    answer = server.get(f"/channels/{channel}/poll?last=9")
    return [update["data"] for update in answer.json()["updates"]]


def test_a_killed_worker_loses_nothing(server: Server) -> None:
    """The next one has the history, the epoch and the numbers."""
    first = server.publish("lives", "1")
    for pid in server.workers():
        subprocess.run(["kill", "-9", str(pid)], check=True)
    until(lambda: server.is_up() and len(server.workers()) == 2, seconds=20, what="new workers")
    second = server.publish("lives", "2")
    assert second["id"].split("-")[0] == first["id"].split("-")[0]
    got = server.get(f"/channels/lives/poll?since={first['id']}").json()
    assert [update["data"] for update in got["updates"]] == ["2"]
    assert got["gap"] is None
