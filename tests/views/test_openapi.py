"""The OpenAPI document: it is valid, it has every route, and its patterns are the rules that are checked.

Whether the server keeps to it is tried by tests/live/test_openapi.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from comet import Comet, __version__
from comet.core.errors import BadRequest, BrokerAway
from comet.core.update import check_channel, check_event, check_key, check_type
from comet.settings import Settings
from comet.views.openapi import document
from comet.views.openapi.components import SCHEMAS
from tests.core.exploring import explore
from tests.jwts import SECRET, token
from tests.views.client import Client, Serve


#: What Flask adds to each route; the document says it once for all.
BY_ITSELF = {"HEAD", "OPTIONS"}


def operations() -> Iterator[tuple[str, str]]:
    for path, methods in document("/")["paths"].items():
        yield from ((path, method.upper()) for method in methods)


def test_it_is_valid(client: Client) -> None:
    """By the specification of OpenAPI 3.1; nobody needs a key to read it."""
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    found = json.loads(answer.data)
    OpenAPIV31SpecValidator(found).validate()
    assert (found["openapi"], found["info"]["version"]) == ("3.1.0", __version__)


def test_it_has_every_route(client: Client) -> None:
    """Each path and method of the document is served, and each that is served is in the document."""
    routes = client.app.url_map.bind("localhost")
    described = set()
    for path, method in operations():
        rule, _ = routes.match(re.sub(r"\{\w+\}", "x", path), method, return_rule=True)
        described.add((rule.rule, method))
    served = {
        (rule.rule, method)
        for rule in client.app.url_map.iter_rules()
        for method in (rule.methods or set()) - BY_ITSELF
        if rule.endpoint.startswith("comet.")
    }
    assert described == served, "comet/views/openapi/operations.py has all routes of comet/views/__init__.py"


@pytest.mark.parametrize(("path", "method"), list(operations()))
def test_who_needs_a_credential(client: Client, path: str, method: str) -> None:
    """Where the document asks for one, a request without is 401; elsewhere it is not."""
    security = document("/")["paths"][path][method.lower()]["security"]
    named = re.sub(r"\{\w+\}", "x", path)
    answer = client.ask("HEAD" if method == "GET" else method, named, {"Content-Type": "text/plain"})
    assert (answer.status_code == 401) == (bool(security) and {} not in security)


@pytest.mark.parametrize(("path", "method"), list(operations()))
def test_what_can_be_unknown_for_a_moment(serve: Serve, path: str, method: str) -> None:
    """Where the document takes tokens it has 503, too: whether one was revoked the broker tells, which may be away."""
    client = serve(jwt_key=(SECRET,))
    described = document("/")["paths"][path][method.lower()]

    def is_unknown(jti: str) -> None:
        raise BrokerAway("it is not known yet which tokens have been revoked.")

    client.comet.worker.access.check_revoked = is_unknown
    shown = {"Authorization": f"Bearer {token({'subscribe': ['*']}, jti='x')}", "Content-Type": "text/plain"}
    status = client.ask("HEAD" if method == "GET" else method, re.sub(r"\{\w+\}", "x", path), shown).status_code
    assert (status == 503) == bool(described["security"])
    assert str(status) in described["responses"]


def test_every_part_is_used() -> None:
    """What operations have in common is what at least one of them refers to."""
    whole = json.dumps(document("/"))
    parts = document("/")["components"]
    parts.pop("securitySchemes")
    unused = [
        name
        for kind, named in parts.items()
        for name in named
        if f'"#/components/{kind}/{name}"' not in whole and f"schema {name}" not in whole
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("settings", "headers", "server"),
    [
        ({}, {}, "http://localhost"),
        ({}, {"Host": "push.example:8080"}, "http://push.example:8080"),
        ({}, {"Host": ""}, "/"),
        ({"public_url": "https://push.example/live"}, {}, "https://push.example/live"),
    ],
)
def test_where_the_routes_are(serve: Serve, settings: dict[str, Any], headers: dict[str, str], server: str) -> None:
    """The document names the server as the outside sees it."""
    answer = serve(**settings).get("/openapi.json", headers)
    assert json.loads(answer.data)["servers"] == [{"url": server}]


def test_below_a_prefix() -> None:
    """In somebody else's app the routes are below the extension's prefix, and it below where the app is mounted."""
    app = Flask("host")
    comet = Comet(app, url_prefix="/live", settings=Settings())
    try:
        answer = app.test_client().get("/live/openapi.json", base_url="http://host.example/app")
        assert json.loads(answer.data)["servers"] == [{"url": "http://host.example/app/live"}]
    finally:
        comet.worker.stop()


@pytest.mark.parametrize(
    ("schema", "check"),
    [("Channel", check_channel), ("Event", check_event), ("MediaType", check_type), ("Key", check_key)],
)
@given(data=st.data())
@explore(50)
def test_patterns(schema: str, check: Callable[[str], str], data: st.DataObject) -> None:
    """The pattern of a name, by which clients are made, takes what the server takes."""
    rule = SCHEMAS["BatchLine"]["properties"]["key"] if schema == "Key" else SCHEMAS[schema]
    pattern = re.compile(rule["pattern"], re.ASCII)
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.sampled_from(NAMES)
    text = data.draw(st.lists(texts | st.from_regex(pattern), max_size=3).map("".join))
    # Python's $ also matches before a line feed at the end; that of JSON Schema does not.
    taken = bool(pattern.search(text)) and not text.endswith("\n") and len(text) <= rule.get("maxLength", len(text))
    assert taken == is_right(check, text)


NAMES = ["open", "error", "message", "comet.", "comet", "a", "/", ";", "=", '"', "\xa0", "\u2028", "x" * 127, "\x1f"]


def is_right(check: Callable[[str], str], text: str) -> bool:
    try:
        check(text)
    except BadRequest:
        return False
    return True
