"""SUP over real servers: the documents of several workers, and one comet that follows another."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from comet.core.sup import sup_id
from tests.brokers.redis_server import RedisServer
from tests.live.server import Server
from tests.timing import until


SECRET = """
[channels."secret"]
private = true
"""


@pytest.fixture(params=["memory", "sqlite", "redis"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server with a private channel; where they can be several, of two workers."""
    redis = RedisServer(tmp_path)
    try:
        broker = {"memory": "memory", "sqlite": f"sqlite:///{tmp_path}/log.db"}.get(request.param) or redis.start().url
        workers = 1 if request.param == "memory" else 2
        with Server(files={"comet.toml": SECRET}, broker=broker, workers=workers) as server:
            until(lambda: len(server.workers()) == workers, what="all workers")
            yield server
    finally:
        redis.kill()


def document(server: Server, seconds: int = 15) -> dict[str, Any]:
    answer = server.get("/sup.json", params={"seconds": seconds})  # on a connection of its own: any worker
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "max-age=1")
    return dict(answer.json())


def test_every_worker_tells_of_every_change(remote: Server) -> None:
    """Whichever of them is asked, and after a restart too; of private channels none ever does."""
    remote.publish("secret", "x")
    expected = []
    for n in range(20):
        remote.publish(f"c{n}", "before")
        expected.append([sup_id("", f"c{n}"), remote.publish(f"c{n}", "x")["id"]])
    last = [sup_id("", "last"), remote.publish("last", "x")["id"]]
    until(lambda: all(last in document(remote)["updates"] for _ in range(10)), what="the change in every worker")
    for _ in range(10):
        assert document(remote)["updates"] == [*expected, last]
    if remote.settings["workers"] > 1:
        remote.signal(signal.SIGTERM)
        assert remote.wait() == 0
        remote.spawn()
        until(lambda: _is_ready(remote), seconds=20, what="the server again")
        for seconds in (60, 300, 600):
            assert document(remote, seconds)["updates"] == [*expected, last]


def test_the_header_leads_to_the_document(remote: Server) -> None:
    """And the document tells by the same id what ``latest`` has as its ETag, also when nothing has changed."""
    published = remote.publish("news", "x")["id"]
    known = {"If-None-Match": f'"{published}"'}
    until(lambda: all(remote.get("/channels/news/latest").ok for _ in range(10)), what="the update in every worker")
    answers = [remote.get("/channels/news/latest"), remote.get("/channels/news/latest", headers=known)]
    answers.append(remote.get("/channels/news/info"))
    assert [answer.status_code for answer in answers] == [200, 304, 200]
    (link,) = {answer.headers["X-SUP-ID"] for answer in answers}
    url, _, of_news = link.partition("#")
    assert url == f"{remote.url}/sup.json"
    told = until(lambda: dict(requests.get(url, timeout=10).json()["updates"]).get(of_news), what="the change")
    assert f'"{told}"' == answers[0].headers["ETag"]


def test_below_the_prefix_of_an_app() -> None:
    """The document of the extension is where its channels are."""
    with Server(app="tests.live.apps.plain:app") as server:
        published = server.get("/publish/x/hello").text
        base, of_x = f"{server.url}/comet", sup_id("/comet", "x")
        for what in ("latest", "info"):
            assert server.get(f"/comet/channels/x/{what}").headers["X-SUP-ID"] == f"{base}/sup.json#{of_x}"
        answer = server.get("/comet/sup.json").json()
        assert [of_x, published] in answer["updates"]
        assert answer["available_periods"]["300"] == f"{base}/sup.json?seconds=300"
        assert server.get("/sup.json").status_code == 404


def _is_ready(server: Server) -> bool:
    try:
        return server.get("/readyz").ok
    except requests.RequestException:
        return False


# One follows the other.


def follow(url: str, ids: str) -> str:
    return f'[[triggers]]\nname = "them"\nkind = "sup"\nurl = "{url}"\nevery = 0.1\nids = {{{ids}}}\n'


def kept(server: Server, channel: str) -> list[tuple[str, str]]:
    """Type and data of all updates that a channel keeps."""
    answer = server.get(f"/channels/{channel}/poll?last=1000&limit=1000&timeout=1").json()
    return [(update["type"], update["data"]) for update in answer["updates"]]


@pytest.mark.parametrize("remote", ["memory", "redis"], indirect=True)
def test_one_comet_follows_another(remote: Server, tmp_path: Path) -> None:
    """Each change of a channel is there once, with its type, whatever is restarted; other channels are not."""
    page = f'{{channel = "p", feed = "{remote.url}/channels/page/latest"}}'
    ids = f'{sup_id("", "news")} = "news", {sup_id("", "page")} = {page}'
    toml = follow(f"{remote.url}/sup.json?seconds=15", ids)
    remote.publish("news", "0")
    remote.publish("other", "x")
    with Server(files={"comet.toml": toml}, broker=f"sqlite:///{tmp_path}/follower.db", workers=2) as follower:
        until(lambda: kept(follower, "news"), what="what there was before")
        for n in (1, 2):
            remote.publish("news", f"{n}")
            remote.publish("page", f"<p>{n}</p>", "text/html")
            until(lambda n=n: len(kept(follower, "news")) == n + 1 and len(kept(follower, "p")) == n)  # type: ignore[misc]
        follower.signal(signal.SIGTERM)
        assert follower.wait() == 0
        remote.publish("news", "3")
        follower.spawn()
        until(lambda: _is_ready(follower), seconds=20, what="the follower again")
        until(lambda: len(kept(follower, "news")) == 4, what="what changed meanwhile")
        remote.publish("news", "4")
        news = [("text/plain; charset=utf-8", str(n)) for n in range(5)]
        pages = [("text/html; charset=utf-8", f"<p>{n}</p>") for n in (1, 2)]
        until(lambda: kept(follower, "news") == news and kept(follower, "p") == pages, what="what changed then")
        assert follower.get("/channels/other/info").status_code == 404
        assert "trigger them failed" not in follower.log()
        remote.kill()
        until(lambda: f"{remote.url}/sup.json can't be fetched: Connection refused." in follower.log())
        remote.spawn()
        until(lambda: _is_ready(remote), seconds=20, what="the followed server again")
        remote.publish("news", "5")
        until(lambda: len(kept(follower, "news")) == 6, what="what changed after that")


def test_a_feed_that_never_answers(tmp_path: Path) -> None:
    """It keeps no worker from stopping."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/sup.json"
        with Server(files={"comet.toml": follow(url, f'a = {{channel = "a", feed = "{url}"}}')}) as follower:
            connection, _ = listening.accept()
            with connection:
                assert connection.recv(100).startswith(b"GET /sup.json HTTP/1.1")
                assert follower.get("/healthz").ok
                follower.signal(signal.SIGTERM)
                assert follower.wait(5) == 0
                assert "failed" not in follower.log()


def test_what_is_declared_wrong() -> None:
    """The server does not start, and says why."""
    server = Server(files={"comet.toml": follow("http://example.invalid/sup.json", '4762d33f = "news"')})
    try:
        server.spawn()
        assert server.wait() != 0
        assert "ids.4762d33f: its feed is not news of a comet at http://example.invalid/sup.json" in server.log()
    finally:
        server.__exit__()
