"""The demo: the clock as a drawing, the gallery as a page, and what the start says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from html import unescape
from xml.etree import ElementTree

import pytest
from flask.testing import FlaskClient

from comet import create_app, demo
from comet.serving import banner
from comet.settings import Settings
from tests.live.server import Server


SVG = "{http://www.w3.org/2000/svg}"


def clock(*now: int) -> ElementTree.Element:
    app = create_app(Settings(demo=True, max_streams=10))
    text = demo.draw_clock(app.jinja_env.get_template("clock.svg"), datetime(2026, 11, 23, *now))
    assert len(text.encode()) <= 4096
    return ElementTree.fromstring(text)


def turns(drawing: ElementTree.Element) -> list[float]:
    """By how many degrees the hands of hours, minutes and seconds are turned."""
    found = [each.get("transform", "") for each in drawing.iter() if each.get("transform", "").startswith("rotate")]
    return [float(each[len("rotate(") : -1]) for each in found]


@pytest.mark.parametrize(
    ("now", "hands"),
    [
        ((0, 0, 0), [0, 0, 0]),
        ((3, 0, 0), [90, 0, 0]),
        ((15, 30, 0), [105, 180, 0]),
        ((23, 59, 59), [359.99, 359.9, 354]),
        ((6, 0, 30), [180.25, 3, 180]),
    ],
)
def test_the_hands_of_the_clock_point_at_the_time(now: tuple[int, ...], hands: list[float]) -> None:
    """Hours and minutes move on with the seconds; a small drawing of at most 4 kB."""
    assert turns(clock(*now)) == hands


def test_the_clock_can_be_read_by_a_screen_reader() -> None:
    """The drawing is an image whose title is the time."""
    drawing = clock(9, 5, 7)
    assert drawing.get("role") == "img"
    assert drawing.findtext(f"{SVG}title") == "09:05:07"


@pytest.fixture
def visitor() -> Iterator[FlaskClient]:
    with create_app(Settings(demo=True, open=True, max_streams=10)).test_client() as client:
        yield client


def test_the_gallery_sets_no_cookie_and_allows_only_what_it_needs(visitor: FlaskClient) -> None:
    """GET / is a page without cookies, with a content security policy and nonces that are new each time."""
    pages = [visitor.get("/"), visitor.get("/")]
    nonces = set()
    for page in pages:
        assert page.status_code == 200 and page.content_type == "text/html; charset=utf-8"
        assert "Set-Cookie" not in page.headers
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "*" not in policy
        (nonce,) = set(re.findall(r'nonce="([^"]+)"', page.text))
        assert policy.count(f"'nonce-{nonce}'") == 2
        nonces.add(nonce)
    assert len(nonces) == 2


def test_the_gallery_shows_commands_for_the_address_it_was_asked_at(visitor: FlaskClient) -> None:
    """The curl lines and the HTML to embed name the host of the request, and nothing is asked of another server."""
    text = unescape(visitor.get("/", headers={"Host": "push.example:8080"}).text)
    assert "curl -N http://push.example:8080/channels/time/text" in text
    assert "'Hello from the terminal' http://push.example:8080/channels/hello" in text
    assert '<img src="http://push.example:8080/channels/clock/multipart"' in text
    assert "localhost" not in text
    loaded = re.findall(r' (?:src|href)="([^"]*)"', re.sub(r"<code>.*?</code>", "", visitor.get("/").text))
    assert all(address.startswith(("/", "data:")) for address in loaded)


def test_every_address_in_the_gallery_is_there(visitor: FlaskClient) -> None:
    """Each link leads to a wire, and all eight wires are among them."""
    links = re.findall(r'<a href="([^"]+)"', visitor.get("/").text)
    assert {visitor.head(link).status_code for link in links} == {200}
    wires = {link.rpartition("/")[2].partition("?")[0] for link in links}
    assert wires >= {"sse", "poll", "ndjson", "text", "multipart", "html", "iframe", "jsonp"}


def test_without_open_publishing_the_gallery_asks_for_the_key() -> None:
    """Where a key is needed, the curl line has it, and there is nothing to type into."""
    settings = Settings(demo=True, publish_key=("secret",), public_url="https://push.example/", max_streams=10)
    with create_app(settings).test_client() as visitor:
        text = unescape(visitor.get("/").text)
    assert '-H "Authorization: Bearer $COMET_PUBLISH_KEY"' in text
    assert "https://push.example/channels/hello" in text
    assert "secret" not in text
    assert "<form" not in text


def test_without_the_demo_there_is_no_gallery() -> None:
    """COMET_DEMO=0: / is 404."""
    with create_app(Settings(max_streams=10)).test_client() as visitor:
        assert visitor.get("/").status_code == 404


def test_the_start_of_the_demo_says_where_to_look() -> None:
    """With COMET_DEMO the start prints the address of the page and commands that work; without, nothing of it."""
    with Server(demo=1, open=1) as server:
        said = server.log()
        assert f"comet is live: {server.url}\n" in said
        assert f"curl -N {server.url}/channels/time/text" in said
        assert "Authorization" not in said
    with Server() as server:
        assert "comet is live" not in server.log()


def test_the_banner_asks_for_the_key_where_one_is_needed() -> None:
    """Without COMET_OPEN the command to publish has the key."""
    assert '-H "Authorization: Bearer $COMET_PUBLISH_KEY"' in banner(Settings(demo=True), "http://127.0.0.1:4071")
