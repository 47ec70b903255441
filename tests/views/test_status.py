"""The status page: who may see it, and what it is."""

from __future__ import annotations

import time
from base64 import b64encode

import jwt
import pytest
from flask import Flask, request

from comet import Comet
from comet import status as status_module
from comet.core.errors import Alarm
from comet.settings import Settings
from tests.views.client import AUTH, KEY, Client, Serve, assert_problem


PATHS = ("/status", "/status?still=1", "/status.json")
CHALLENGES = ['Bearer realm="comet"', 'Basic realm="comet", charset="UTF-8"']
OPEN = {"environ_base": {"REMOTE_ADDR": "127.0.0.1"}, "base_url": "http://127.0.0.1"}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "EVERY", 0.01)


def basic(password: str, user: str = "me") -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


@pytest.mark.parametrize("path", PATHS)
def test_it_takes_the_key(client: Client, path: str) -> None:
    """As a bearer key, or as the password of any user, which is what a browser asks for."""
    for shown in (AUTH, basic(KEY), basic(KEY, ""), basic(KEY, "über")):
        assert client.ask("HEAD", path, shown).status_code == 200
    answer = client.get(path)
    assert_problem(
        answer, 401, "Authorization: Bearer KEY", "In a browser: any user name, and the key as the password."
    )
    assert answer.headers.getlist("WWW-Authenticate") == CHALLENGES


WRONG = [
    basic("wrong"),
    basic(""),
    basic(KEY + " "),
    basic("x:" + KEY),
    {"Authorization": "Basic !"},
    {"Authorization": "Basic"},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": "Basic " + b64encode(KEY.encode()).decode()},
    {"Authorization": "Basic " + b64encode(b"\xff:\xff").decode()},
    {"Authorization": f"Digest username=me, password={KEY}"},
    {"Authorization": "Bearer wrong"},
]


@pytest.mark.parametrize("shown", WRONG, ids=str)
def test_a_password_that_is_not_the_key(client: Client, shown: dict[str, str]) -> None:
    """It is 401, and the browser may ask again."""
    for path in PATHS:
        answer = client.get(path, shown)
        assert_problem(answer, 401, "the key as the password")
        assert answer.headers.getlist("WWW-Authenticate") == CHALLENGES


def test_one_of_several_keys(serve: Serve) -> None:
    """Each is good."""
    client = serve(publish_key=("first", "zwölf"))
    for key in ("first", "zwölf"):
        assert client.ask("HEAD", "/status", basic(key)).status_code == 200
    assert client.ask("HEAD", "/status", basic("first,zwölf")).status_code == 401


def test_a_password_counts_nowhere_else(client: Client) -> None:
    """Where a browser would send it by itself, or a program has no reason to."""
    for method, path in (("GET", "/channels"), ("GET", "/metrics"), ("DELETE", "/channels/x"), ("POST", "/channels/x")):
        answer = client.ask(method, path, basic(KEY))
        assert_problem(answer, 401, "not a bearer key")
        assert answer.headers.getlist("WWW-Authenticate") == CHALLENGES[:1]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ],
)
def test_a_page_of_another_site_can_not_look_in(serve: Serve, header: str, value: str) -> None:
    """A browser sends the password for it, too; also where the site is on the list of those that may read."""
    client = serve(allowed_origins=("https://evil.example",))
    for path in PATHS:
        assert_problem(client.get(path, {**basic(KEY), header: value}), 403, "only pages of this server may")


def test_a_link_on_a_page_of_another_site_leads_here(client: Client) -> None:
    """Whoever follows it sees the page; nobody may put it into a frame."""
    headers = {**basic(KEY), "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    answer = client.ask("HEAD", "/status", headers)
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert client.ask("HEAD", "/status", {**headers, "Sec-Fetch-Dest": "iframe"}).status_code == 403


def test_without_a_key_nobody_is_asked_for_one(serve: Serve) -> None:
    """No password would do; the detail says what to set."""
    answer = serve(publish_key=()).get("/status")
    assert_problem(answer, 401, "COMET_PUBLISH_KEY", "COMET_OPEN=1")
    assert answer.headers.getlist("WWW-Authenticate") == CHALLENGES[:1]


def test_on_ones_own_machine(serve: Serve) -> None:
    """COMET_OPEN lets in what comes from there, and from no page of another site."""
    client = serve(open=True, publish_key=())
    for path in PATHS:
        assert client.ask("HEAD", path, **OPEN).status_code == 200
        assert client.ask("HEAD", path, {"Origin": "https://evil.example"}, **OPEN).status_code == 403
        assert client.ask("HEAD", path, {"X-Forwarded-For": "1.2.3.4"}, **OPEN).status_code == 403


def test_a_token_grants_no_administration(serve: Serve) -> None:
    """Whatever it grants."""
    key = "k" * 32
    client = serve(jwt_key=(key,))
    claims = {"comet": {"publish": ["*"], "subscribe": ["*"]}, "exp": time.time() + 60}
    token = jwt.encode(claims, key, "HS256")
    for path in PATHS:
        assert client.get(path, {"Authorization": f"Bearer {token}"}).status_code == 403
        assert client.get(path, basic(token)).status_code == 401


def test_in_an_app_its_authorize_decides() -> None:
    """It is asked for the action admin; its own passwords are its own business."""
    app = Flask("its own")
    comet = Comet(app, settings=Settings())
    asked = []

    @comet.authorize
    def allowed(action: str, channels: object) -> bool:
        asked.append((action, channels))
        return bool(request.authorization and request.authorization.password == "its own")

    client = Client(app)
    assert client.ask("HEAD", "/comet/status", basic("its own")).status_code == 200
    assert client.get("/comet/status.json", basic("its own")).status_code == 200
    answer = client.get("/comet/status", basic("another"))
    assert answer.status_code in (401, 403)
    assert client.get("/comet/status").status_code == 403
    assert set(map(str, asked)) == {"('admin', [])"}


# What it is.


def test_the_page_that_goes_on(client: Client) -> None:
    """It has no length, nothing in it may run, and no proxy holds it back."""
    answer = client.ask("HEAD", "/status", AUTH)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in answer.headers
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "script" not in answer.headers["Content-Security-Policy"]


def test_the_page_that_holds_still(client: Client) -> None:
    """It is whole, and does not come again."""
    client.publish("orders", "x" * 500)
    answer = client.get("/status?still=1", AUTH)
    assert "Refresh" not in answer.headers
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.text.startswith("<!doctype html>")
    assert "orders" in answer.text
    assert_problem(client.get("/status?still=yes", AUTH), 400, "it takes 1 or 0")


def test_a_full_server_is_seen_too(serve: Serve) -> None:
    """Where there is no room for a stream the page comes as it is, again and again."""
    client = serve(max_streams=1)
    stream = client.stream("/channels/x/sse")
    next(stream)
    answer = client.get("/status", AUTH)
    assert (answer.status_code, answer.headers["Refresh"]) == (200, "5")
    assert "1</b> stream" in answer.text
    stream.close()


def test_the_figures_as_json(client: Client) -> None:
    """Once, for programs."""
    for number in range(20):
        client.publish("orders", str(number))
    found = client.get("/status.json", AUTH).json
    assert found is not None
    assert found["totals"]["updates"] == 20
    (channel,) = found["channels"]["busiest"]
    assert (channel["channel"], channel["stored"], channel["bytes"]) == ("orders", 20, 30)
    assert found["broker"] == {"kind": "memory", "state": "ok", "error": ""}
    assert len(found["workers"]) == 1


def test_a_trigger_in_alarm_says_what_to_type(client: Client) -> None:
    """As the log does."""

    def fail() -> str:
        raise Alarm("127.0.0.1 says: denied.", statement="GRANT <b>;")

    client.comet.every(1, channel="x", always=True)(fail)
    state = client.comet.worker.triggers.states[-1]
    state.failed("alarm", Alarm("127.0.0.1 says: denied.", statement="GRANT <b>;"))
    found = client.get("/status.json", AUTH).json
    assert found is not None
    (trigger,) = found["triggers"]
    assert (trigger["state"], trigger["statement"]) == ("alarm", "GRANT <b>;")
    assert "Type: <code>GRANT &lt;b&gt;;</code>" in client.get("/status?still=1", AUTH).text


def test_no_secret_of_an_error_is_shown(client: Client) -> None:
    """Tokens in it are left out, as in the log."""
    client.comet.every(1, channel="x")(lambda: "x")
    client.comet.worker.triggers.states[-1].failed("failed", OSError("https://a.example/?token=hunter2&x=1"))
    text = client.get("/status.json", AUTH).text
    assert "a.example" in text
    assert "hunter2" not in text


def test_its_channel_is_reached_by_no_other_way(client: Client) -> None:
    """Nobody subscribes or publishes to it, nor is it listed anywhere."""
    channel = client.comet.worker.status.channel
    for path in (f"/channels/{channel}", f"/channels/{channel}/html", f"/channels/{channel}/latest"):
        assert_problem(client.get(path, AUTH), 400, "reserved")
    assert_problem(client.post(f"/channels/{channel}", "x"), 400, "reserved")
    assert client.get("/channels", AUTH).json == {"channels": []}


def test_channels_of_hosts_that_share_a_redis_do_not_mix() -> None:
    """Nor do those of two servers of one host: their addresses are others."""
    one, two = Settings(bind="127.0.0.1:1"), Settings(bind="127.0.0.1:2")
    assert one.status_channel == Settings(bind="127.0.0.1:1").status_channel
    assert one.status_channel != two.status_channel
    assert one.rules[one.status_channel].history == 1


def test_a_page_has_room_however_small_updates_must_be(serve: Serve) -> None:
    """COMET_MAX_UPDATE and COMET_MAX_CHANNELS are for others."""
    client = serve(max_update=10, max_channels=1)
    client.publish("x")
    worker = client.comet.worker
    (receipt,) = worker.publish([worker.status._page()])
    assert receipt.seq == 2
