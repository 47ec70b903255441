"""Every route: what it takes, and what it says to the rest."""

from __future__ import annotations

import pytest

from tests.views.client import AUTH, Client, Serve, assert_problem


#: path, methods that it takes, as they stand in Allow
ROUTES = [
    ("/channels", "GET, HEAD, OPTIONS, POST"),
    ("/channels/x", "DELETE, GET, HEAD, OPTIONS, POST"),
    ("/channels/x,y", "DELETE, GET, HEAD, OPTIONS, POST"),
    ("/channels/x/sse", "GET, HEAD, OPTIONS"),
    ("/channels/x/anything", "GET, HEAD, OPTIONS"),
    ("/channels/x/latest", "GET, HEAD, OPTIONS"),
    ("/channels/x/info", "GET, HEAD, OPTIONS"),
    ("/tokens/x", "DELETE, OPTIONS"),
    ("/metrics", "GET, HEAD, OPTIONS"),
    ("/status", "GET, HEAD, OPTIONS"),
    ("/status.json", "GET, HEAD, OPTIONS"),
    ("/sup.json", "GET, HEAD, OPTIONS"),
    ("/comet.js", "GET, HEAD, OPTIONS"),
    ("/openapi.json", "GET, HEAD, OPTIONS"),
    ("/healthz", "GET, HEAD, OPTIONS"),
    ("/readyz", "GET, HEAD, OPTIONS"),
]

METHODS = ("POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")


@pytest.mark.parametrize(("path", "allow"), ROUTES)
def test_a_method_that_a_path_does_not_take(client: Client, path: str, allow: str) -> None:
    """It is 405 with Allow, and the detail says what would have been right."""
    for method in METHODS:
        if method not in allow:
            answer = client.ask(method, path, data=b"body")
            assert_problem(answer, 405, method, path, allow)
            assert sorted(answer.headers["Allow"].split(", ")) == sorted(allow.split(", "))


@pytest.mark.parametrize(("path", "allow"), ROUTES)
def test_options(client: Client, path: str, allow: str) -> None:
    """OPTIONS says what a path takes; nobody needs a key to ask."""
    answer = client.ask("OPTIONS", path)
    assert answer.status_code == 200
    assert answer.data == b""
    assert sorted(answer.headers["Allow"].split(", ")) == sorted(allow.split(", "))


@pytest.mark.parametrize(
    "path", ["/x", "/channels/", "/channels//x", "//channels/x/info", "/channels/x/", "/channels/x/sse/", "/a\u2028b"]
)
def test_a_path_that_is_not_served(client: Client, path: str) -> None:
    """It is 404, said like every other error, and names where channels are."""
    assert_problem(client.get(path), 404, "nothing is served at", "/channels/NAME")
    assert_problem(client.post(path), 404, "nothing is served at")


@pytest.mark.parametrize("path", ["/channels/x/SSE", "/channels/x/websocket", "/channels/x/%0A"])
def test_a_wire_that_is_none(client: Client, path: str) -> None:
    """It is 404, and the detail names those that there are."""
    assert_problem(client.get(path), 404, "sse, poll, ndjson, text, multipart, html, iframe, jsonp", "latest, info")


def test_the_process_runs(client: Client) -> None:
    """healthz and readyz answer whoever asks."""
    for path in ("/healthz", "/readyz"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
        assert client.ask("HEAD", path).data == b""


def test_a_failure_that_nobody_thought_of(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace goes into the log, and not to the client."""
    monkeypatch.setattr(client.comet.worker.controller, "check_room", lambda: 1 / 0)
    answer = client.app.test_client().get("/readyz")
    assert answer.status_code == 500
    assert_problem(answer, 500, "its log says why")
    assert "ZeroDivision" not in answer.text


def test_an_empty_server_is_asked_for_its_channels(client: Client) -> None:
    """The list is empty, and only for the key."""
    assert client.get("/channels", AUTH).json == {"channels": []}
    assert_problem(client.get("/channels"), 401, "Authorization: Bearer")


def test_the_demo(serve: Serve) -> None:
    """The gallery has the headers of every answer."""
    assert serve(demo=True).get("/").status_code == 200
    assert_problem(serve().get("/"), 404)
