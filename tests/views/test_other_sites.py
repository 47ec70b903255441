"""Pages of other sites: CORS, and what goes round it."""

from __future__ import annotations

from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.views.client import AUTH, Client, Serve, assert_problem


LISTED = "https://app.example"
FOREIGN = "https://evil.example"
PATHS = [
    ("GET", "/channels/x/poll?last=1", 200),
    ("GET", "/channels/x/sse", 200),
    ("GET", "/channels/x/latest", 200),
    ("GET", "/channels/x/info", 200),
    ("GET", "/sup.json", 200),
    ("GET", "/healthz", 200),
    ("GET", "/channels/x/nowhere", 404),
    ("GET", "/nowhere", 404),
    ("GET", "/channels/-/sse", 400),
    ("POST", "/channels/x/sse", 405),
    ("POST", "/channels/x", 401),
    ("GET", "/channels", 401),
]


def access_control(answer: TestResponse) -> list[str]:
    return [name for name, _ in answer.headers if name.startswith("Access-Control-")]


@pytest.fixture
def client(serve: Serve) -> Client:
    client = serve(allowed_origins=(LISTED, "http://b.example:81"))
    client.publish("x")
    return client


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
def test_a_listed_origin(client: Client, method: str, path: str, status: int) -> None:
    """It is echoed, on errors too, and may read what only headers tell."""
    for origin in (LISTED, "http://b.example:81"):
        answer = client.ask(method, path, {"Origin": origin})
        answer.close()
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Access-Control-Expose-Headers"] == "Comet-Cursor, ETag, Retry-After, X-SUP-ID"
        assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("origin", [FOREIGN, "null", "", LISTED + ".evil.example", "http://app.example", LISTED + "/"])
@pytest.mark.parametrize(("method", "path", "status"), PATHS)
def test_an_origin_that_is_not_listed(client: Client, method: str, path: str, status: int, origin: str) -> None:
    """It is told nothing; caches still are."""
    answer = client.ask(method, path, {"Origin": origin})
    answer.close()
    assert answer.status_code == status
    assert not access_control(answer)
    assert answer.headers["Vary"] == "Origin"


def test_no_list(serve: Serve) -> None:
    """Without COMET_ALLOWED_ORIGINS there is no word of origins."""
    answer = serve().get("/healthz", {"Origin": LISTED})
    assert not access_control(answer)
    assert "Vary" not in answer.headers


def test_every_origin(serve: Serve) -> None:
    """``*`` lets all read, and never with credentials; an origin that is listed beside it is echoed."""
    client = serve(allowed_origins=("*", LISTED))
    for origin in (FOREIGN, "null"):
        answer = client.get("/healthz", {"Origin": origin})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
    answer = client.get("/healthz", {"Origin": LISTED})
    assert answer.headers["Access-Control-Allow-Origin"] == LISTED
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/channels/x/sse", {"GET", "HEAD", "OPTIONS"}),
        ("/channels/x", {"GET", "HEAD", "OPTIONS", "POST", "DELETE"}),
        ("/channels", {"GET", "HEAD", "OPTIONS", "POST"}),
    ],
)
def test_preflight(client: Client, path: str, methods: set[str]) -> None:
    """OPTIONS says which methods and headers a listed origin may use, for ten minutes."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = client.ask("OPTIONS", path, {"Origin": LISTED, **asked})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == LISTED
    assert set(answer.headers["Access-Control-Allow-Methods"].split(", ")) == methods
    assert answer.headers["Access-Control-Allow-Headers"] == (
        "Last-Event-ID, Cache-Control, Authorization, Content-Type, Idempotency-Key, Comet-Event"
    )
    assert answer.headers["Access-Control-Max-Age"] == "600"
    refused = client.ask("OPTIONS", path, {"Origin": FOREIGN, **asked})
    assert not access_control(refused)


def test_negotiation_and_origin(client: Client) -> None:
    """Both are named in Vary."""
    answer = client.get("/channels/x", {"Accept": "application/json"})
    assert set(answer.headers["Vary"].split(", ")) == {"Accept", "Origin"}


#: headers, whether jsonp and iframe are served
ASKING: list[tuple[dict[str, str], bool]] = [
    ({}, True),
    ({"Referer": ""}, True),
    ({"Referer": "not a url"}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "strange"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Referer": f"{LISTED}/page"}, True),
    ({"Sec-Fetch-Site": "cross-site", "Origin": LISTED}, True),
    ({"Sec-Fetch-Site": "cross-site", "Origin": "null"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Referer": f"{FOREIGN}/{LISTED}"}, False),
    ({"Sec-Fetch-Site": "cross-site", "Referer": "http://localhost/"}, False),
    ({"Origin": LISTED}, True),
    ({"Origin": "http://localhost"}, True),
    ({"Origin": "https://localhost"}, True),
    ({"Origin": FOREIGN}, False),
    ({"Origin": "null"}, False),
    ({"Origin": FOREIGN, "Referer": f"{LISTED}/"}, False),
    ({"Referer": f"{LISTED}/deep/page?query"}, True),
    ({"Referer": "http://localhost/page"}, True),
    ({"Referer": "http://LOCALHOST/page"}, True),
    ({"Referer": f"{FOREIGN}/page"}, False),
    ({"Referer": "http://localhost.evil.example/"}, False),
    ({"Referer": "http://localhost@evil.example/"}, False),
    ({"Referer": "http://[::1"}, True),
    ({"Sec-Fetch-Site": "same-origin", "Referer": f"{FOREIGN}/"}, True),
]


@pytest.mark.parametrize(("headers", "served"), ASKING)
@pytest.mark.parametrize("wire", ["jsonp", "iframe"])
def test_what_goes_round_cors(client: Client, wire: str, headers: dict[str, str], served: bool) -> None:
    """By Sec-Fetch-Site, else Origin, else Referer: a foreign site that is not on the list is 403."""
    answer = client.get(f"/channels/x/{wire}", headers)
    answer.close()
    if served:
        assert answer.status_code == 200
    else:
        assert_problem(answer, 403, "another site", "COMET_ALLOWED_ORIGINS")


def test_a_name_less_site_and_every_origin(serve: Serve) -> None:
    """With ``*`` every site is on the list, also one that tells no name."""
    client = serve(allowed_origins=("*",))
    client.publish("x")
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}, {"Referer": f"{FOREIGN}/"}):
        assert client.get("/channels/x/jsonp", headers).status_code == 200


@pytest.mark.parametrize("wire", ["sse", "poll", "ndjson", "text", "html", "multipart"])
def test_what_does_not_go_round_cors(client: Client, wire: str) -> None:
    """Other wires are served to anybody; what a page of another site may read, its browser decides."""
    answer = client.get(f"/channels/x/{wire}", {"Sec-Fetch-Site": "cross-site", "Origin": FOREIGN})
    answer.close()
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("query", "host", "target"),
    [
        ("", "localhost", "http://localhost"),
        ("", "localhost:4071", "http://localhost:4071"),
        ("", "a</script>", "/"),
        (f"?origin={LISTED}", "localhost", LISTED),
        ("?origin=http://localhost", "localhost", "http://localhost"),
        ("?origin=https://localhost:81", "localhost:81", "https://localhost:81"),
    ],
)
def test_who_may_read_an_iframe(client: Client, query: str, host: str, target: str) -> None:
    """The origin that is asked for, if it is on the list; else the server's own."""
    answer = client.get(f"/channels/x/iframe{query}", {"Host": host})
    assert f'"{target}")</script>' in next(answer.iter_encoded()).decode()
    answer.close()


@pytest.mark.parametrize("origin", [FOREIGN, "*", "http://app.example", "https://app.example:444"])
def test_an_iframe_for_a_site_that_is_not_listed(client: Client, origin: str) -> None:
    """It is 403: its updates would be handed to anybody."""
    assert_problem(client.get(f"/channels/x/iframe?origin={origin}"), 403, "COMET_ALLOWED_ORIGINS does not name")


@pytest.mark.parametrize("wire", ["jsonp", "iframe", "poll"])
def test_a_cookie_is_no_credential_there(client: Client, wire: str) -> None:
    """jsonp and iframe ask the app without the cookie: another site could make a browser send it."""
    from flask import request

    client.comet.authorize(lambda action, channels: "login" in request.cookies)
    answer = client.get(f"/channels/x/{wire}", {"Cookie": "login=me"})
    answer.close()
    assert answer.status_code == (200 if wire == "poll" else 403)
    assert_problem(client.get(f"/channels/x/{wire}"), 403, "authorize said no")


PAGES: list[tuple[dict[str, str], int]] = [
    ({}, 201),
    ({"Origin": "http://localhost"}, 201),
    ({"Origin": "https://localhost", "Sec-Fetch-Site": "same-origin"}, 201),
    ({"Origin": FOREIGN}, 403),
    ({"Origin": "null"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Origin": FOREIGN, **AUTH}, 201),
]


@pytest.mark.parametrize(("headers", "status"), PAGES)
def test_a_page_publishes_with_a_cookie(client: Client, headers: dict[str, str], status: int) -> None:
    """Only the app's own pages may; with the key it does not matter who sends it."""
    client.comet.authorize(lambda action, channels: True)
    answer: Any = client.ask("POST", "/channels/x", headers, data=b"x")
    if status == 403:
        assert_problem(answer, 403, "only pages of this server may")
    assert answer.status_code == status


def test_the_app_says_no(serve: Serve) -> None:
    """Its no wins over COMET_OPEN, and not over the key."""
    client = serve(open=True)
    client.comet.authorize(lambda action, channels: action == "subscribe")
    assert_problem(client.ask("POST", "/channels/x", data=b"x"), 403, "authorize said no")
    assert client.post("/channels/x").status_code == 201
