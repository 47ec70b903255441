"""Inside somebody else's app: its own refusals look like ours on our routes, and like its own everywhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask, abort, redirect, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, Unauthorized
from werkzeug.test import TestResponse

from comet import Comet
from comet.settings import Settings
from tests.views.client import AUTH, KEY, Client, assert_problem


class Odd(HTTPException):
    """A status that nobody has a name for."""

    code = 499
    description = "odd"


@pytest.fixture
def client() -> Iterator[Client]:
    app = Flask("host")
    app.config["MAX_CONTENT_LENGTH"] = 10
    app.add_url_rule("/own", view_func=lambda: "its own page")
    comet = Comet(app, settings=Settings(publish_key=(KEY,)))
    yield Client(app)
    comet.worker.stop()


def test_a_body_that_the_app_finds_too_large(client: Client) -> None:
    """Its MAX_CONTENT_LENGTH holds, and is told as a problem."""
    assert_problem(client.post("/comet/channels/x", b"x" * 11), 413)
    assert client.post("/comet/channels/x", b"x" * 10).status_code == 201


def fails_of_a_key() -> bool:
    return request.args["token"] == "x"


def says_who_may() -> bool:
    raise Unauthorized("log in", www_authenticate=WWWAuthenticate("basic", {"realm": "host"}))


@pytest.mark.parametrize(
    ("allowed", "status", "word"),
    [
        (lambda: False, 403, "authorize said no"),
        (fails_of_a_key, 400, "could not understand"),
        (says_who_may, 401, "log in"),
        (lambda: abort(404), 404, "/comet/channels/x"),
        (lambda: abort(418, "tea"), 418, "tea"),
        (lambda: abort(499), 499, "odd"),
    ],
)
def test_the_app_refuses(client: Client, allowed: object, status: int, word: str) -> None:
    """Whatever its authorize raises is told as a problem, with what the error brings along."""
    assert callable(allowed)
    client.app.aborter.mapping[499] = Odd
    client.comet.authorize(lambda action, channels: bool(allowed()))
    answer = client.get("/comet/channels/x/sse")
    assert_problem(answer, status, word)
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Basic realm=host"


def test_the_app_sends_away(client: Client) -> None:
    """A redirect of its own goes out as it is."""
    client.comet.authorize(lambda action, channels: abort(redirect("/login")))
    answer = client.get("/comet/channels/x/sse")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")


def test_the_apps_own_pages(client: Client) -> None:
    """They are left alone, its errors too."""

    def ask(path: str, method: str = "GET") -> TestResponse:
        return client.app.test_client().open(path, method=method)

    for answer in (ask("/own"), ask("/nowhere"), ask("/own", "POST"), ask("//own")):
        assert "X-Content-Type-Options" not in answer.headers
        assert "Cache-Control" not in answer.headers
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert ask("/comet/channels/x/sse", "POST").headers["Allow"]


@pytest.mark.parametrize("wire", ["sse", "html", "multipart"])
def test_a_stream_in_an_app_that_packs(client: Client, wire: str) -> None:
    """A stream says that it is packed already: the app's compressor would hold it back."""
    answer = client.get(f"/comet/channels/x/{wire}")
    assert answer.headers["Content-Encoding"] == "identity"
    answer.close()


def test_credentials_in_an_app(client: Client) -> None:
    """Without authorize the key decides; without the key nobody writes."""
    assert client.ask("POST", "/comet/channels/x", AUTH, data=b"x").status_code == 201
    assert_problem(client.ask("POST", "/comet/channels/x", data=b"x"), 401)
