"""``view``: the page of a channel, as it is sent. What it shows is tested in browsers."""

from __future__ import annotations

import re

import pytest

from tests.views.client import Client, Serve, assert_problem


def test_the_page_of_a_channel(client: Client) -> None:
    """It is a page, of a channel that nobody knows as well; its scripts are its own, with a nonce of their own."""
    pages = [client.get("/channels/x.y/view"), client.get("/channels/x.y/view")]
    nonces = set()
    for page in pages:
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert 'data-channel="x.y"' in page.text and "<title>x.y, live</title>" in page.text
        (nonce,) = set(re.findall(r'nonce="([^"]+)"', page.text))
        assert f"script-src 'nonce-{nonce}';" in page.headers["Content-Security-Policy"]
        nonces.add(nonce)
    assert len(nonces) == 2
    head = client.ask("HEAD", "/channels/x.y/view")
    assert (head.status_code, head.data) == (200, b"")


def test_what_the_page_of_a_channel_loads_is_there(client: Client) -> None:
    """Its script and its links are found beside it, wherever it is served."""
    client.publish("x", "hello")
    page = client.get("/channels/x/view").text
    (script,) = re.findall(r'<script [^>]*src="\.\./\.\.(/[^"]+)"', page)
    links = [f"/channels/x/{link}" for link in re.findall(r'<a href="([^"]+)"', page)]
    assert len(links) == 6
    assert {client.ask("HEAD", path).status_code for path in (script, *links)} == {200}


@pytest.mark.parametrize(("name", "word"), [("x,y", "one channel"), ("comet.x", "comet."), ("%3Cb%3E", "channel")])
def test_a_name_that_is_none_has_no_page(client: Client, name: str, word: str) -> None:
    """It is 400."""
    assert_problem(client.get(f"/channels/{name}/view"), 400, word)


def test_the_markup_of_a_token_is_text(serve: Serve) -> None:
    """What stands in the address is never markup in the page."""
    page = serve().get("/channels/x/view?token=%22%3E%3Cscript%3E").text
    assert '"><script>' not in page and "?token=%22%3E%3Cscript%3E" in page
