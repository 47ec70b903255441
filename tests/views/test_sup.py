"""SUP: the document of what has changed, and the header that leads to it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from hashlib import md5
from typing import Any

import gevent
import pytest
from flask import Blueprint, Flask, abort, request

from comet import Comet
from comet.core.errors import BrokerAway
from comet.core.rules import Rule
from comet.settings import Settings
from comet.views import sup
from tests.timing import PATIENCE
from tests.views.client import Client, Serve, assert_problem


@pytest.fixture(autouse=True)
def _made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request has a document of its own; but for the tests of just that."""
    monkeypatch.setattr(sup, "FRESH", -1.0)


def sup_id(path: str) -> str:
    return md5(path.encode()).hexdigest()[:10]


def ask(client: Client, path: str = "/sup.json", **options: Any) -> dict[str, Any]:
    answer = client.get(path, **options)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json is not None
    return dict(answer.json)


def seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()


def test_the_document(client: Client) -> None:
    """Each channel that has changed, once, with its SUP-ID and the id of its newest update; and where to ask again."""
    client.publish("a")
    newest = {channel: client.publish(channel) for channel in ("b:~@x", "a")}
    begun = time.time()
    document = ask(client)
    assert list(document) == ["updated_time", "since_time", "period", "available_periods", "updates"]
    assert document["updates"] == [[sup_id(f"/channels/{channel}/latest"), newest[channel]] for channel in newest]
    assert document["period"] == 60
    assert document["available_periods"] == {
        each: f"http://localhost/sup.json?seconds={each}" for each in ("15", "60", "300", "600")
    }
    assert abs(seconds(document["updated_time"]) - begun) < 10 * PATIENCE
    assert seconds(document["updated_time"]) - seconds(document["since_time"]) == 70


def test_nothing_has_changed(client: Client) -> None:
    """It is a document, too."""
    assert ask(client)["updates"] == []


@pytest.mark.parametrize("period", [15, 60, 300, 600])
def test_a_period_is_asked_for(client: Client, period: int) -> None:
    """What changed before is left out, but a little more is told than was asked for: nobody is late by a moment."""
    now = time.time()
    log = client.comet.worker.controller.log
    for name, ago in (("before", period + 11), ("overlap", period + 9), ("within", period - 1), ("now", 0)):
        client.publish(name)
        seq, _ = log.changes._newest[name]
        log.changes._newest[name] = (seq, now - ago)
    log.changes.now = now
    document = ask(client, f"/sup.json?seconds={period}")
    names = {sup_id(f"/channels/{name}/latest"): name for name in ("before", "overlap", "within", "now")}
    assert [names[each] for each, _ in document["updates"]] == ["overlap", "within", "now"]
    assert document["period"] == period
    assert seconds(document["updated_time"]) - seconds(document["since_time"]) == period + 10


@pytest.mark.parametrize("text", ["", "0", "30", "060", "60.0", "-60", "601", "sixty", "٦٠", "%00", "9" * 5000])
def test_a_period_that_is_not_served(client: Client, text: str) -> None:
    """It is 400, and the detail names those that are."""
    assert_problem(client.get("/sup.json", query_string={"seconds": text}), 400, "it takes 15, 60, 300 or 600")


def test_private_channels(serve: Serve) -> None:
    """They never appear, and nothing points to them."""
    client = serve(channels={"secret.*": Rule(private=True), "secret.but": Rule()})
    for channel in ("public", "secret.one", "secret.but"):
        client.publish(channel)
    told = [each for each, _ in ask(client)["updates"]]
    assert told == [sup_id("/channels/public/latest"), sup_id("/channels/secret.but/latest")]
    assert "X-SUP-ID" not in client.get("/channels/secret.one/latest").headers
    assert "X-SUP-ID" in client.get("/channels/secret.but/latest").headers


def test_a_deleted_channel(client: Client) -> None:
    """It is gone from the document: there is nothing to fetch."""
    client.publish("a")
    client.comet.delete("a")
    assert ask(client)["updates"] == []


def test_a_channel_whose_history_is_gone(serve: Serve) -> None:
    """It has changed all the same."""
    client = serve(memory=1 << 16)
    published = [client.publish(f"c{n}", bytes(10_000)) for n in range(20)]
    assert client.get("/channels/c0/latest").status_code == 404
    assert [update for _, update in ask(client)["updates"]] == published


@pytest.mark.parametrize("what", ["latest", "info"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_header(client: Client, what: str, method: str) -> None:
    """``latest`` and ``info`` say which document tells of the channel, and under which id."""
    url = f"http://localhost/sup.json#{sup_id('/channels/x/latest')}"
    assert client.ask(method, f"/channels/x/{what}").headers["X-SUP-ID"] == url  # 404: it may come
    published = client.publish("x")
    answer = client.ask(method, f"/channels/x/{what}")
    assert (answer.status_code, answer.headers["X-SUP-ID"]) == (200, url)
    if what == "latest":
        again = client.ask(method, "/channels/x/latest", {"If-None-Match": f'"{published}"'})
        assert (again.status_code, again.headers["X-SUP-ID"]) == (304, url)
    assert [url.partition("#")[2], published] in ask(client)["updates"]


@pytest.mark.parametrize(
    "path", ["/channels/x,y/latest", "/channels/-/info", "/channels/x/sse", "/sup.json", "/healthz"]
)
def test_no_header(client: Client, path: str) -> None:
    """What is not about one channel has none."""
    answer = client.get(path)
    answer.close()
    assert "X-SUP-ID" not in answer.headers


#: the host asked for, COMET_PUBLIC_URL, where the document is said to be
HOSTS = [
    ("localhost", "", "http://localhost"),
    ("push.example:81", "", "http://push.example:81"),
    ("a</script>", "", ""),
    ("localhost", "https://push.example", "https://push.example"),
    ("localhost", "https://push.example/live", "https://push.example/live"),
]


@pytest.mark.parametrize(("host", "public", "base"), HOSTS)
def test_addresses(serve: Serve, host: str, public: str, base: str) -> None:
    """They are those of the request, or of COMET_PUBLIC_URL; the SUP-ID is of the path as the outside sees it."""
    client = serve(public_url=public)
    client.publish("x")
    of_x = sup_id("/live/channels/x/latest" if public.endswith("/live") else "/channels/x/latest")
    assert client.get("/channels/x/info", {"Host": host}).headers["X-SUP-ID"] == f"{base}/sup.json#{of_x}"
    document = ask(client, headers={"Host": host})
    assert document["available_periods"]["15"] == f"{base}/sup.json?seconds=15"
    assert document["updates"][0][0] == of_x


def test_asking_whether_it_changed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is the same document, If-None-Match is answered 304."""
    monkeypatch.setattr(sup, "FRESH", 60.0)
    client.publish("x")
    first = client.get("/sup.json")
    assert client.get("/sup.json", {"If-None-Match": first.headers["ETag"]}).status_code == 304
    other = client.get("/sup.json?seconds=15", {"If-None-Match": first.headers["ETag"]})
    assert (other.status_code, other.json["updates"]) == (200, first.json["updates"])  # type: ignore[index]


def test_a_document_serves_all_who_ask_within_a_second(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each place that the app is mounted at."""
    monkeypatch.setattr(sup, "FRESH", 60.0)
    client.publish("a")
    before = ask(client)
    client.publish("b")
    assert ask(client) == before
    assert len(ask(client, "/sup.json?seconds=15")["updates"]) == 2
    mounted = ask(client, base_url="http://localhost/mounted")
    assert sup_id("/mounted/channels/b/latest") in dict(mounted["updates"])
    for place in range(100):
        ask(client, base_url=f"http://localhost/{place}")
    assert len(client.app.view_functions["comet.sup"].__self__._made) < 100  # type: ignore[attr-defined]


def test_the_broker_is_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 503: who is told that nothing changed would believe it."""

    def away() -> None:
        raise BrokerAway("it is away")

    monkeypatch.setattr(client.comet.worker.controller.broker, "check", away, raising=False)
    assert_problem(client.get("/sup.json"), 503, "it is away")


def test_many_channels_do_not_stall_the_others(client: Client) -> None:
    """A document of 10,000 channels is made in pieces."""
    for n in range(10_000):
        client.publish(f"channel-{n}")
    gevent.sleep(0)
    stalls: list[float] = []

    def watch() -> None:
        while True:
            before = time.perf_counter()
            gevent.sleep(0.001)
            stalls.append(time.perf_counter() - before)

    watching = gevent.spawn(watch)
    gevent.sleep(0.01)
    stalls.clear()
    assert len(ask(client, "/sup.json?seconds=600")["updates"]) == 10_000
    watching.kill()
    assert stalls, "nobody else ran"


# Inside somebody else's app.


@pytest.fixture
def embedded() -> Iterator[Client]:
    app = Flask("host")
    comet = Comet(url_prefix="/push")
    comet.worker.access.rules = Settings(channels={"secret": Rule(private=True)}).rules
    comet.init_app(app)
    yield Client(app)
    comet.worker.stop()


def test_below_a_prefix(embedded: Client) -> None:
    """All addresses have it, also where the app itself is mounted somewhere."""
    published = embedded.publish("x")
    for mount in ("", "/app"):
        base, of_x = f"http://localhost{mount}/push", sup_id(f"{mount}/push/channels/x/latest")
        answer = embedded.get("/push/channels/x/latest", base_url=f"http://localhost{mount}")
        assert answer.headers["X-SUP-ID"] == f"{base}/sup.json#{of_x}"
        document = ask(embedded, "/push/sup.json", base_url=f"http://localhost{mount}")
        assert document["updates"] == [[of_x, published]]
        assert document["available_periods"]["60"] == f"{base}/sup.json?seconds=60"


def test_below_another_blueprint() -> None:
    """The app may put comet's blueprint into one of its own."""
    app, comet = Flask("host"), Comet(settings=Settings(public_url="https://host.example"))
    outer = Blueprint("outer", "host", url_prefix="/outer")
    outer.register_blueprint(comet.blueprint)
    app.extensions["comet"] = comet
    app.register_blueprint(outer)
    comet.publish("x", "x")
    answer = app.test_client().get("/outer/comet/channels/x/latest", base_url="http://localhost/app")
    of_x = sup_id("/outer/comet/channels/x/latest")
    assert answer.headers["X-SUP-ID"] == f"https://host.example/outer/comet/sup.json#{of_x}"


def test_the_app_decides_who_reads_what(embedded: Client) -> None:
    """Each is told of the channels that authorize lets it subscribe to, and no cache mixes that up."""

    @embedded.comet.authorize
    def allowed(action: str, channels: list[str]) -> bool:
        if channels == ["refused"]:
            abort(401)
        return action == "subscribe" and channels == [request.headers.get("X-User", "all")]

    for channel in ("all", "ann", "refused", "secret"):
        embedded.publish(channel)
    for user in ("all", "ann", "secret"):
        document = ask(embedded, "/push/sup.json", headers={"X-User": user})
        expected = [] if user == "secret" else [sup_id(f"/push/channels/{user}/latest")]
        assert [each for each, _ in document["updates"]] == expected
