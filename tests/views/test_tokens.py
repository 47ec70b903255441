"""Signed tokens: what they let in, however they come, and what each refusal says."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import jwt
import pytest
from flask import Flask, session

from comet import Comet
from comet.core.rules import Rule
from comet.settings import Settings
from tests.jwts import OTHER, SECRET, reader, token, writer
from tests.views.client import AUTH, KEY, Client, Serve, assert_problem


LISTED = "https://app.example"
CHANNELS = {"secret*": Rule(private=True)}
WIRES = ["sse", "ndjson", "text", "html", "multipart", "iframe", "poll", "jsonp"]
WHAT = ["", *(f"/{wire}" for wire in WIRES), "/latest", "/info", "/view", "/sse?envelope=1"]

Send = Callable[[Client, str, str], Any]


def get(client: Client, path: str, **options: Any) -> Any:
    """Ask; a poll has something to tell at once."""
    answer = client.get(path + ("&" if "?" in path else "?") + "last=1", **options)
    answer.close()
    return answer


def by_header(client: Client, path: str, text: str) -> Any:
    return get(client, path, headers={"Authorization": f"Bearer {text}"})


def by_query(client: Client, path: str, text: str) -> Any:
    return get(client, f"{path}{'&' if '?' in path else '?'}token={text}")


def by_cookie(client: Client, path: str, text: str) -> Any:
    return get(client, path, headers={"Cookie": f"comet_token={text}"})


WAYS = [by_header, by_query, by_cookie]


@pytest.fixture
def client(serve: Serve) -> Client:
    client = serve(jwt_key=(SECRET,), channels=CHANNELS, allowed_origins=(LISTED,))
    client.publish("secret", "<b>x</b>", type="text/html")
    client.publish("open.x", "<b>y</b>", type="text/html")
    return client


def takes_no_cookie(what: str) -> bool:
    return what in ("/jsonp", "/iframe")


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("send", WAYS)
def test_a_private_channel(client: Client, send: Send, what: str) -> None:
    """It takes a token that grants it: 401 without or with a bad one, 403 without the grant; on every wire, whatever
    way the token comes. jsonp and iframe take no cookie."""
    path = f"/channels/secret{what}"
    assert_problem(get(client, path), 401, "secret is a private channel", "comet_token", '"subscribe":[…]')
    assert send(client, path, reader("secret")).status_code == (
        401 if takes_no_cookie(what) and send is by_cookie else 200
    )
    if not (takes_no_cookie(what) and send is by_cookie):
        assert send(client, path, reader("sec*")).status_code == 200
        assert send(client, path, reader("a", "*")).status_code == 200
        assert_problem(
            send(client, path, reader("secre")), 403, "subscribe to secret", "secre,", "a prefix of it and *"
        )
        assert_problem(send(client, path, reader("secret.*")), 403, "secret.*")
        assert_problem(send(client, path, writer("*")), 403, "grants nothing")
        assert_problem(send(client, path, reader("*", key=OTHER)), 401, "signature")
        assert_problem(send(client, path, reader("*", expires=-5)), 401, "expired")
        assert_problem(send(client, path, reader("*", header={"alg": "none"})), 401, "algorithm")
        assert_problem(send(client, path, ""), 401, "the token")


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("send", WAYS)
def test_a_token_that_fails_on_a_public_channel(client: Client, send: Send, what: str) -> None:
    """It is 401 always; a good one that grants something else is no hindrance."""
    path = f"/channels/open.x{what}"
    assert get(client, path).status_code == 200
    assert send(client, path, reader("other")).status_code == 200
    if not (takes_no_cookie(what) and send is by_cookie):
        assert_problem(send(client, path, reader("*", key=OTHER)), 401, "signature")
        assert_problem(send(client, path, "garbage"), 401, "the token")


def test_several_channels(client: Client) -> None:
    """All the private ones of a request must be granted; the public ones beside them need not."""
    client.publish("secret.b")
    both = "/channels/open.x,secret,secret.b/poll"
    assert by_header(client, both, reader("secret*")).status_code == 200
    assert by_header(client, both, reader("secret", "secret.b")).status_code == 200
    assert_problem(by_header(client, both, reader("secret")), 403, "secret.b")
    assert_problem(by_header(client, both, reader("open.x")), 403, "secret")
    assert_problem(get(client, both), 401, "secret")


def test_several_tokens(client: Client) -> None:
    """Only one may be shown: nobody should have to guess which one counts. A cookie is there by itself: it counts
    where none is shown."""
    good, bad = reader("secret"), reader("secret", key=OTHER)
    path = "/channels/secret/poll"
    header = {"Authorization": f"Bearer {good}"}
    assert_problem(client.get(f"{path}?token={good}", header), 400, "2 tokens")
    assert_problem(client.get(f"{path}?token={good}&token={good}"), 400, "2 tokens")
    assert_problem(client.get(f"{path}?%74oken={good}&token={bad}"), 400, "2 tokens")
    assert_problem(client.get(path, {"Cookie": f"comet_token={good}; comet_token={bad}"}), 400, "2 tokens")
    for cookie in (bad, good, "garbage"):
        assert get(client, path, headers={**header, "Cookie": f"comet_token={cookie}"}).status_code == 200
        assert get(client, f"{path}?token={good}", headers={"Cookie": f"comet_token={cookie}"}).status_code == 200
    assert_problem(client.get(path, [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {bad}")]), 401)


def test_a_token_in_the_wrong_place(client: Client) -> None:
    """It counts nowhere else, and no answer repeats it."""
    good = reader("secret")
    for path, headers in (
        ("/channels/secret/poll", {"X-Token": good}),
        ("/channels/secret/poll", {"Authorization": good}),
        ("/channels/secret/poll", {"Authorization": f"Basic {good}"}),
        ("/channels/secret/poll", {"Authorization": f"Token {good}"}),
        ("/channels/secret/poll", {"Cookie": f"token={good}; Comet_Token={good}"}),
        (f"/channels/secret/poll?Token={good}", {}),
        (f"/channels/secret/poll?access_token={good}", {}),
        ("/channels/secret/poll", {"Proxy-Authorization": f"Bearer {good}"}),
    ):
        assert_problem(client.get(path, headers), 401, "private channel")
    for path in (f"/channels/{good}/poll", f"/channels/secret/{good}", f"/{good}", f"/channels/x/poll?timeout={good}"):
        answer = client.get(path)
        assert answer.status_code in (400, 404)
        assert good[:50] not in answer.text


def test_what_the_address_of_a_page_carries(client: Client) -> None:
    """A token in it goes to no other site with the pictures of the page."""
    answer = by_query(client, "/channels/secret/html", reader("secret"))
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Referrer-Policy" not in get(client, "/channels/open.x/html").headers


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Referer": "https://evil.example/page"},
    {"Origin": "null"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_cookie_that_a_page_of_another_site_sends(client: Client, headers: dict[str, str]) -> None:
    """It is no credential there: the refusal says so, and a public channel is served as to anybody."""
    cookie = {"Cookie": f"comet_token={reader('*')}"}
    assert_problem(client.get("/channels/secret/sse", {**cookie, **headers}), 403, "COMET_ALLOWED_ORIGINS")
    assert get(client, "/channels/open.x/sse", headers={**cookie, **headers}).status_code == 200
    shown = {"Authorization": f"Bearer {reader('*')}"}
    assert get(client, "/channels/secret/sse", headers={**shown, **headers}).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"},
                                     {"Origin": LISTED, "Sec-Fetch-Site": "cross-site"}], ids=str)  # fmt: skip
def test_a_cookie_that_a_page_of_ours_sends(client: Client, headers: dict[str, str]) -> None:
    """It counts there, and on the sites that are listed."""
    cookie = {"Cookie": f"comet_token={reader('*')}"}
    assert get(client, "/channels/secret/sse", headers={**cookie, **headers}).status_code == 200


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_cookie_where_every_site_may_read(serve: Serve, headers: dict[str, str]) -> None:
    """``*`` is without credentials: the cookie counts on pages of sites that are named beside it."""
    client = serve(jwt_key=(SECRET,), channels=CHANNELS, allowed_origins=("*", LISTED))
    cookie = {"Cookie": f"comet_token={reader('*')}"}
    assert_problem(client.get("/channels/secret/sse", {**cookie, **headers}), 403, "COMET_ALLOWED_ORIGINS")
    assert get(client, "/channels/secret/sse", headers={**cookie, "Origin": LISTED}).status_code == 200


# Publishing.


def publish(client: Client, channel: str, text: str | None, **headers: str) -> Any:
    sent = {"Authorization": f"Bearer {text}"} if text is not None else {}
    return client.ask("POST", f"/channels/{channel}", {**sent, **headers}, data=b"x")


def test_publishing(client: Client) -> None:
    """By a token that grants it, beside the key; 403 without the grant, 401 with a bad one."""
    assert publish(client, "orders", KEY).status_code == 201
    assert publish(client, "orders", writer("orders*")).status_code == 201
    assert publish(client, "secret", writer("*")).status_code == 201
    assert_problem(publish(client, "orders", writer("order")), 403, "publish to orders", "order,", '"publish":[…]')
    assert_problem(publish(client, "orders", reader("*")), 403, "grants nothing")
    assert_problem(publish(client, "orders", writer("*", key=OTHER)), 401, "signature")
    assert_problem(publish(client, "orders", "wrong"), 401, "the token")
    assert_problem(publish(client, "orders", None), 401, "publish key", "signed token", "orders")
    assert client.ask("POST", f"/channels/orders?token={writer('orders')}", data=b"x").status_code == 201
    assert_problem(client.ask("POST", f"/channels/orders?token={reader('*')}", data=b"x"), 403, "publish")


def test_publishing_a_batch(client: Client) -> None:
    """All its channels must be granted; a token that grants nothing is refused before the body is read."""

    def send(text: str, *channels: str) -> Any:
        lines = "\n".join(f'{{"channel":"{name}","data":"x"}}' for name in channels)
        headers = {"Authorization": f"Bearer {text}", "Content-Type": "application/x-ndjson"}
        return client.ask("POST", "/channels", headers, data=lines.encode())

    assert send(writer("a", "b*"), "a", "b", "b.c").status_code == 201
    assert_problem(send(writer("a"), "a", "b"), 403, "publish to b")
    assert_problem(send(reader("*"), "a"), 403, "may not publish")
    assert_problem(send(writer("a", expires=-1), "a"), 401, "expired")


def test_publishing_by_a_cookie(client: Client) -> None:
    """Only pages of this very server may: a browser sends it for others, too."""
    cookie = {"Cookie": f"comet_token={writer('*')}"}
    assert publish(client, "x", None, **cookie).status_code == 201
    assert publish(client, "x", None, **cookie, Origin="http://localhost").status_code == 201
    for headers in (*FOREIGN[:3], {"Origin": LISTED}):
        assert_problem(publish(client, "x", None, **cookie, **headers), 403, "sends this")
    assert publish(client, "x", writer("*"), Origin=LISTED).status_code == 201


def test_administration(client: Client) -> None:
    """It stays with the key."""
    everything = token({"publish": ["*"], "subscribe": ["*"], "admin": ["*"]})
    for method, path in (("DELETE", "/channels/secret"), ("GET", "/channels")):
        for headers in ({"Authorization": f"Bearer {everything}"}, {"Cookie": f"comet_token={everything}"}):
            assert_problem(client.ask(method, path, headers), 403, "may not admin", "COMET_PUBLISH_KEY")
        assert_problem(client.ask(method, f"{path}?token={everything}"), 403, "may not admin")
        assert client.ask(method, path, AUTH).status_code in (200, 204)


def test_the_key_does_not_open_private_channels(client: Client) -> None:
    """It is for publishing and administration; on public channels it is no hindrance."""
    assert_problem(client.get("/channels/secret/poll", AUTH), 401, "private channel")
    assert get(client, "/channels/open.x/poll", headers=AUTH).status_code == 200


def test_open_beside_tokens(serve: Serve) -> None:
    """COMET_OPEN lets in who shows nothing; a token is judged."""
    client = serve(open=True, publish_key=(), jwt_key=(SECRET,))
    assert publish(client, "x", None).status_code == 201
    assert_problem(publish(client, "x", reader("*")), 403, "grants nothing")
    assert_problem(publish(client, "x", writer("*", key=OTHER)), 401)
    assert publish(client, "x", writer("*")).status_code == 201


def test_a_server_without_keys_for_tokens(serve: Serve) -> None:
    """Nobody gets into a private channel, and the refusal names the variables; elsewhere no token is looked at."""
    client = serve(channels=CHANNELS)
    client.publish("open.x")
    assert_problem(by_header(client, "/channels/secret/poll", reader("*")), 401, "COMET_JWT_KEY")
    for send in WAYS:
        assert send(client, "/channels/open.x/poll", "garbage").status_code == 200
    assert_problem(publish(client, "x", writer("*")), 401, "not one of COMET_PUBLISH_KEY")
    assert_problem(client.ask("POST", "/channels/x?token=garbage", AUTH, data=b"x"), 401, "COMET_JWT_KEY")
    assert publish(client, "x", KEY, Cookie="comet_token=garbage").status_code == 201


# What is presented and fails is 401, whatever stands beside it.

#: What a header, the parameter and the cookie may hold, by a word.
HEADERS = {
    "": None,
    "key": f"Bearer {KEY}",
    "wrong key": "Bearer wrong-key",
    "token": f"Bearer {token({'publish': ['x'], 'subscribe': ['secret']})}",
    "bad token": f"Bearer {token({'publish': ['*'], 'subscribe': ['*']}, key=OTHER)}",
    "expired": f"Bearer {token({'publish': ['*'], 'subscribe': ['*']}, expires=-5)}",
    "empty": "Bearer",
    "two": f"Bearer {KEY}, Bearer x",
    "basic": "Basic dXNlcjpwYXNz",
}
PARAMETERS = ["", "token", "bad token", "expired", "key", "garbage"]
COOKIES = ["", "token", "bad token", "expired", "key", "garbage"]

#: For publishing with header, parameter and cookie ("-": whatever it is): the status. The first that fits counts.
PUBLISHING = [
    ("key", "", "-", 201),  # the cookie is there by itself: beside a key it does not count
    ("key", "token", "-", 201),
    ("key", "-", "-", 401),
    ("", "", "", 401),
    ("", "", "token", 201),
    ("", "", "-", 401),
    ("", "token", "-", 201),
    ("", "-", "-", 401),
    ("token", "", "-", 201),
    ("basic", "-", "-", 401),
    ("-", "", "-", 401),
    ("-", "-", "-", 400),  # two tokens
]
#: The same for subscribing to a private channel, which the key does not open,
PRIVATE = [
    ("key", "", "token", 200),
    ("key", "token", "-", 200),
    ("key", "-", "-", 401),
    ("basic", "", "token", 200),  # a proxy's
    ("basic", "token", "-", 200),
    ("basic", "-", "-", 401),
    *[(*row[:3], 200 if row[3] == 201 else row[3]) for row in PUBLISHING],
]
#: and to a public one.
PUBLIC = [("", "", "", 200), ("key", "", "", 200), ("basic", "", "", 200), *PRIVATE]


def find(table: list[tuple[str, str, str, int]], *presented: str) -> int:
    return next(
        status for *row, status in table if all(cell in ("-", held) for cell, held in zip(row, presented, strict=True))
    )


@pytest.mark.parametrize("header", HEADERS)
def test_a_credential_that_fails_beside_another(client: Client, header: str) -> None:
    """It is 401 whatever is good beside it; two tokens are 400. A cookie counts only where no token is shown, and no
    key for publishing."""
    client.publish("x")
    held = {"": "", "garbage": "garbage", **{word: (text or "").partition(" ")[2] for word, text in HEADERS.items()}}
    for parameter in PARAMETERS:
        for cookie in COOKIES:
            presented = (header, parameter, cookie)
            headers = {"Authorization": HEADERS[header] or ""} if header else {}
            if cookie:
                headers["Cookie"] = f"comet_token={held[cookie]}"
            query = f"?token={held[parameter]}" if parameter else ""
            answer = client.ask("POST", f"/channels/x{query}", headers, data=b"x")
            assert answer.status_code == find(PUBLISHING, *presented), presented
            for channel, table in (("secret", PRIVATE), ("x", PUBLIC)):
                answer = get(client, f"/channels/{channel}/poll{query}", headers=headers)
                assert answer.status_code == find(table, *presented), (channel, presented)
    assert client.get("/channels/x/latest").status_code == 200


def test_a_key_beside_a_bad_token_for_administration(client: Client) -> None:
    """It does not pass as the key."""
    for method, path in (("DELETE", "/channels/secret"), ("GET", "/channels"), ("POST", "/channels")):
        for text in ("garbage", reader("*", key=OTHER), reader("*", expires=-5)):
            headers = {**AUTH, "Content-Type": "application/x-ndjson"}
            assert_problem(client.ask(method, f"{path}?token={text}", headers, data=b""), 401, "the token")
    assert client.ask("DELETE", "/channels/secret", AUTH).status_code == 204
    by_password = {"Authorization": f"Basic {b64encode(f'anybody:{KEY}'.encode()).decode()}"}
    assert client.get("/status.json", by_password).status_code == 200
    assert_problem(client.get("/status.json?token=garbage", by_password), 401, "the token")


# Revoking.


def revoke(client: Client, jti: str, headers: Any = AUTH, query: str = "") -> Any:
    return client.ask("DELETE", f"/tokens/{jti}{query}", headers)


def test_a_revoked_token(client: Client) -> None:
    """It is 401 for whatever it granted, however it comes; tokens of other names, and of none, are as good as before.
    To revoke it once more is no mistake."""
    everything: Any = {"publish": ["*"], "subscribe": ["*"]}
    text, other, nameless = token(everything, jti="x"), token(everything, jti="y"), token(everything)
    for send in WAYS:
        assert send(client, "/channels/secret/poll", text).status_code == 200
    for _ in range(2):
        answer = revoke(client, "x")
        assert (answer.status_code, answer.data) == (204, b"")
        for send in WAYS:
            for path in ("/channels/secret/poll", "/channels/open.x/latest", "/channels/open.x/info"):
                assert_problem(send(client, path, text), 401, "the token has been revoked")
                assert send(client, path, other).status_code == 200
                assert send(client, path, nameless).status_code == 200
        assert_problem(publish(client, "x", text), 401, "the token has been revoked")
        assert publish(client, "x", other).status_code == publish(client, "x", nameless).status_code == 201
    assert_problem(client.ask("POST", f"/channels/x?token={text}", AUTH, data=b"x"), 401, "revoked")


def test_the_stream_of_a_revoked_token(client: Client) -> None:
    """It is told that its token has ended, and ends. One that needed no token goes on."""
    text = token({"subscribe": ["*"]}, jti="x")
    chunks = client.stream(f"/channels/secret/ndjson?last=0&token={text}")
    free = client.stream(f"/channels/open.x/ndjson?last=0&token={text}")
    assert next(chunks) == next(free) == b" "
    assert revoke(client, "x").status_code == 204
    assert b"".join(chunks).startswith(b'{"expiring":0}\n')
    client.publish("open.x", "on and on")
    assert b"on and on" in next(free)
    free.close()


def test_who_may_revoke(client: Client) -> None:
    """The key; no token, whatever it grants, and nothing beside a credential that fails."""
    everything = token({"publish": ["*"], "subscribe": ["*"], "admin": ["*"]}, jti="x")
    assert_problem(revoke(client, "x", ()), 401, "publish key")
    assert_problem(revoke(client, "x", {"Authorization": "Bearer wrong"}), 401, "the token")
    assert_problem(revoke(client, "x", {"Authorization": f"Bearer {everything}"}), 403, "may not admin")
    assert_problem(revoke(client, "x", {"Cookie": f"comet_token={everything}"}), 403, "may not admin")
    assert_problem(revoke(client, "x", (), f"?token={everything}"), 403, "may not admin")
    assert_problem(revoke(client, "x", AUTH, "?token=garbage"), 401, "the token")
    assert by_header(client, "/channels/secret/poll", everything).status_code == 200


@pytest.mark.parametrize("jti", ["%20", "a%20b", "a/b", "a%2Fb", ".x", "%2E%2E", "x" * 129, "%C3%A4", "%FF"])
def test_what_names_no_token(client: Client, jti: str) -> None:
    """It is 400, and the detail says what would have been right."""
    assert_problem(revoke(client, jti), 400, "1 to 128 printable ASCII characters")


def test_a_token_in_place_of_its_name(client: Client) -> None:
    """It is refused, and not repeated."""
    text = token({"publish": ["*"], "subscribe": ["*"]}, jti="x")
    answer = revoke(client, text)
    assert_problem(answer, 400, "jti")
    assert text[:30] not in answer.text


@pytest.mark.parametrize("jti", ["%25", "%3F", "a:b", "x" * 128, "~", "%22", "a+b="])
def test_a_name_with_what_an_address_has_to_escape(client: Client, jti: str) -> None:
    """It is the token's own, as it is."""
    text = token({"subscribe": ["*"]}, jti=unquote(jti))
    assert by_header(client, "/channels/secret/poll", text).status_code == 200
    assert revoke(client, jti).status_code == 204
    assert_problem(by_header(client, "/channels/secret/poll", text), 401, "revoked")


def test_what_the_channel_of_revocations_is_to_others(client: Client) -> None:
    """It is no channel: nobody reads it, publishes to it, deletes it or is told of it, whatever they are granted."""
    revoke(client, "x")
    everything = token({"publish": ["*"], "subscribe": ["*"]})
    for headers in (AUTH, {"Authorization": f"Bearer {everything}"}):
        for method, path in (
            ("GET", "/channels/comet.revoked/poll"),
            ("GET", "/channels/comet.revoked/latest"),
            ("POST", "/channels/comet.revoked"),
            ("DELETE", "/channels/comet.revoked"),
        ):
            assert_problem(client.ask(method, path, headers, data=b""), 400, "reserved")
    assert "comet." not in client.get("/channels", AUTH).text
    assert "comet." not in client.get("/sup.json").text


def test_the_largest_update(serve: Serve) -> None:
    """It is no limit for revocations."""
    client = serve(jwt_key=(SECRET,), channels=CHANNELS, max_update=1)
    assert revoke(client, "x").status_code == 204
    assert_problem(by_header(client, "/channels/secret/poll", reader("*", jti="x")), 401, "revoked")


def test_revoking_with_open(serve: Serve) -> None:
    """On one's own machine it takes no key; and where tokens need none, it does no harm."""
    assert revoke(serve(open=True, publish_key=()), "x", ()).status_code == 204


# In somebody else's app.


@pytest.fixture
def app() -> Any:
    """Ann, once she has logged in, may do everything."""
    app = Flask("embedded")
    app.secret_key = "x"
    comet = Comet(app, url_prefix=None, settings=Settings(jwt_key=(SECRET,), channels=CHANNELS))
    asked: list[tuple[str, list[str]]] = []

    @comet.authorize
    def allowed(action: str, channels: Any) -> bool:
        asked.append((action, channels))
        return "user" in session

    comet.publish("secret", "x")
    comet.publish("open.x", "x")
    app.extensions["asked"] = asked
    yield app
    comet.worker.stop()


def test_a_token_in_place_of_authorize(app: Flask) -> None:
    """What a token grants the app is not asked for; for the rest it is."""
    client, asked = Client(app), app.extensions["asked"]
    assert by_header(client, "/channels/open.x/poll", reader("*")).status_code == 200
    assert by_query(client, "/channels/open.x/jsonp", reader("open.x")).status_code == 200
    assert by_header(client, "/channels/secret/poll", reader("*")).status_code == 200
    assert publish(client, "open.x", writer("open*")).status_code == 201
    assert not asked
    assert_problem(by_header(client, "/channels/open.x,secret/poll", reader("secret")), 403, "open.x", "authorize")
    assert_problem(publish(client, "open.x", reader("*")), 403, "publish to open.x")
    assert_problem(by_header(client, "/channels/open.x/poll", "garbage"), 401, "the token")
    assert asked == [("subscribe", ["open.x"]), ("publish", ["open.x"])]


def test_authorize_does_not_open_private_channels(app: Flask) -> None:
    """They take a token, whoever is logged in; the channels beside them do not."""
    client = app.test_client()
    with client.session_transaction() as session_of_ann:
        session_of_ann["user"] = "ann"
    assert client.get("/channels/open.x/poll").status_code == 200
    assert client.get("/channels/secret/poll").status_code == 401
    assert client.get("/channels/open.x,secret/poll").status_code == 401
    header = {"Authorization": f"Bearer {reader('secret')}"}
    assert client.get("/channels/open.x,secret/poll", headers=header).status_code == 200
    assert client.post("/channels/open.x", data=b"x", headers=header).status_code == 201
    assert client.delete("/channels/open.x", headers=header).status_code == 204


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/channels/secret/poll"),
        ("GET", "/channels/secret/jsonp?callback=f"),
        ("GET", "/channels/secret/info"),
        ("POST", "/channels/secret"),
        ("POST", "/channels"),
    ],
)
def test_how_often_a_token_is_verified(serve: Serve, monkeypatch: pytest.MonkeyPatch, method: str, path: str) -> None:
    """Once for a request, whatever is asked of it: who may, whose streams these are, who publishes."""
    client = serve(
        channels=CHANNELS,
        jwt_key=(SECRET,),
        streams_per_token=5,
        publish_rate=5.0,
        publish_bytes_rate=5.0,
    )
    client.publish("secret")
    verified = []
    decode = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *args, **options: verified.append(args) or decode(*args, **options))
    shown = {"Authorization": f"Bearer {token({'publish': ['*'], 'subscribe': ['*']}, jti='once')}"}
    line = json.dumps({"channel": "secret", "data": "x"})
    kind = "application/x-ndjson" if path == "/channels" else "text/plain"
    answer = client.ask(method, path, {**shown, "Content-Type": kind}, data=line if method == "POST" else None)
    assert answer.status_code == (201 if method == "POST" else 200), answer.text
    assert len(verified) == 1
