"""comet.js in Firefox and in Chromium, over everything that breaks: what the page shows is all, once, and in order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from tests.jwts import SECRET, reader
from tests.live import proxies
from tests.live.browsers import Browser
from tests.live.nginx import Nginx
from tests.live.pages import Page, Tab
from tests.live.server import ROOT, Server
from tests.live.sites import Line, Site
from tests.timing import until


pytestmark = pytest.mark.browser

#: nginx as somebody has set it who has never heard of push.
BUFFERS = "proxy_ignore_headers X-Accel-Buffering; proxy_buffering on;"
CUTS = "proxy_read_timeout 5s;"

#: Each scene shows so many numbered updates, published in so many batches.
UPDATES = 1000
BATCHES = 20
NUMBERS = [str(number) for number in range(UPDATES)]


@contextmanager
def serving(**settings: object) -> Iterator[Server]:
    with Server(
        **{"broker": "sqlite:///log.db", "history": 3000, "heartbeat": 1, "drain_seconds": 1, **settings}
    ) as it:
        yield it


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@contextmanager
def pages(browsers: list[Browser], url: str, channel: str, **options: object) -> Iterator[list[Page]]:
    """Both browsers, subscribed and live. An option that is a function is asked when a page is opened."""

    def open(browser: Browser) -> Page:
        given = {name: value() if callable(value) else value for name, value in options.items()}
        return Page(browser, url, [channel, f"{channel}.other"], **given)

    opened = [open(browser) for browser in browsers]
    try:
        for page in opened:
            page.until(lambda seen: seen["state"] == "live", what="live")
        yield opened
    finally:
        for page in opened:
            page.close()


def publish(server: Server, channel: str, batch: int) -> None:
    """One batch of the numbered updates."""
    size = UPDATES // BATCHES
    server.publish_all(channel, NUMBERS[batch * size : (batch + 1) * size])


def shows_all(page: Page, *, seconds: float = 40) -> None:
    """Every number, once, in order; and no gap was told."""
    seen = page.until(lambda seen: len(seen["lines"]) >= UPDATES, seconds=seconds, what="all updates")
    assert seen["lines"] == NUMBERS
    assert seen["gaps"] == []


@pytest.mark.parametrize("transport", ["sse", "ndjson", "poll"])
def test_each_transport_alone(server: Server, browsers: list[Browser], transport: str) -> None:
    """It shows every update, and is not left for another."""
    channel = f"alone-{transport}"
    with pages(browsers, server.url, channel, transport=transport) as opened:
        for batch in range(BATCHES):
            publish(server, channel, batch)
        for page in opened:
            shows_all(page)
            assert page.look()["transports"] == [transport]


def test_what_was_there_comes_first(server: Server, browsers: list[Browser]) -> None:
    """`last` says how much of it; `since` goes on from a cursor."""
    ids = [server.publish("history", str(number))["id"] for number in range(5)]
    with pages(browsers, server.url, "history", last=3) as opened:
        for page in opened:
            page.until(lambda seen: seen["lines"] == ["2", "3", "4"])
    with pages(browsers, server.url, "history", since=ids[0]) as opened:
        for page in opened:
            seen = page.until(lambda seen: seen["lines"] == ["1", "2", "3", "4"])
            assert seen["cursor"] == ids[4]


def test_a_deleted_channel(server: Server, browsers: list[Browser]) -> None:
    """The page is told that it is closed, and the other one goes on."""
    with pages(browsers, server.url, "gone") as opened:
        server.publish("gone", "last words")
        for page in opened:
            page.until(lambda seen: seen["lines"] == ["last words"])
        requests.delete(f"{server.url}/channels/gone", headers=server.auth, timeout=10)
        for page in opened:
            page.until(lambda seen: "closed gone" in seen["states"])
        server.publish("gone", "somebody else's")
        server.publish("gone.other", "still here")
        for page in opened:
            page.until(lambda seen: seen["lines"] == ["last words", "still here"])


@pytest.mark.parametrize("tabs", [False, True], ids=["alone", "shared"])
def test_a_server_that_is_killed(browsers: list[Browser], tabs: bool) -> None:
    """Twice, for longer than any browser's own patience at the first refusal; the updates come after it is back."""
    with serving() as server, pages(browsers, server.url, "killed", tabs=tabs) as opened:
        for batch in range(BATCHES):
            if batch in (5, 12):
                server.kill()
                for page in opened:
                    page.until(lambda seen: seen["state"] == "offline")
                time.sleep(1.5)
                server.spawn()
                until(server.is_up, seconds=20)
            publish(server, "killed", batch)
        for page in opened:
            shows_all(page)


def test_a_proxy_that_buffers(server: Server, browsers: list[Browser]) -> None:
    """Streams come through when it is pleased to let them: one after the other loses its place, until polls go through.
    The tab remembers."""
    with Nginx(server.port, BUFFERS) as nginx:
        begin = server.publish("buffered", "before the page was made")["id"]
        opened = [Page(browser, nginx.url, ["buffered"], since=begin) for browser in browsers]
        publish(server, "buffered", 0)
        for page in opened:
            seen = page.until(lambda seen: seen["transports"][-1:] == ["poll"])
            assert seen["transports"] == ["sse", "ndjson", "poll"]
        for batch in range(1, BATCHES):
            publish(server, "buffered", batch)
        for page in opened:
            shows_all(page)
        for page in [Page(browser, nginx.url, ["buffered"]) for browser in browsers]:
            page.until(lambda seen: seen["state"] == "live" and seen["lines"] == NUMBERS[-1:])
            assert page.look()["transports"] == ["poll"]
            page.close()


ALL_AT_ONCE = """
window.got = {sse: [], ndjson: [], poll: []};
window.subs = [];
const script = document.body.appendChild(document.createElement("script"));
script.src = "/comet.js";
script.onload = () => {
  for (const transport of Object.keys(got)) {
    const onupdate = (update) => got[transport].push(update.data);
    subs.push(comet.subscribe(arguments[0], {transport, last: 0, onupdate}));
  }
};
"""


def test_http2(server: Server, browsers: list[Browser]) -> None:
    """Through nginx as it is deployed, with TLS: all transports at once, on one connection of the browser."""
    with proxies.Nginx(server.port, **{r"\$request_time": "$request_time by $connection"}) as nginx:
        for browser in browsers:
            browser.open(f"{nginx.url}/healthz")
            browser.run(ALL_AT_ONCE, f"http2.{browser.name}")
        for browser in browsers:
            until(lambda: browser.run("return subs.length === 3 && subs.every((sub) => sub.state === 'live')"))  # noqa: B023
        for batch in range(BATCHES):
            for browser in browsers:
                publish(server, f"http2.{browser.name}", batch)
        for browser in browsers:
            until(lambda: browser.run("return Object.values(got).every((all) => all.length >= 1000)"))  # noqa: B023
            assert browser.run("return got") == dict.fromkeys(("sse", "ndjson", "poll"), NUMBERS)
            assert browser.run("return subs.map((sub) => sub.state)") == ["live"] * 3
            browser.leave()
        for browser in browsers:
            wires = {f'/channels/http2.{browser.name}/{wire} HTTP/2.0"' for wire in ("sse", "ndjson", "poll")}
            until(lambda: all(wire in nginx.log() for wire in wires), what="the log")  # noqa: B023
            lines = [line for line in nginx.log().splitlines() if f"http2.{browser.name}/" in line]
            assert all(any(wire in line for wire in wires) for line in lines)
            assert len({line.rpartition(" by ")[2] for line in lines}) == 1


def test_a_proxy_that_cuts_idle_connections(browsers: list[Browser]) -> None:
    """After five seconds, while the server is silent for fifteen."""
    with (
        serving(heartbeat=15) as server,
        Nginx(server.port, CUTS) as nginx,
        pages(browsers, nginx.url, "idle") as opened,
    ):
        for batch in range(BATCHES):
            if batch == BATCHES // 2:
                for page in opened:
                    page.until(lambda seen: "offline" in seen["states"])
            publish(server, "idle", batch)
        for page in opened:
            shows_all(page)


def test_a_proxy_that_drops_one_connection_of_three(server: Server, browsers: list[Browser]) -> None:
    """And all that are there, again and again."""
    with Line(server.port, drops=True) as line, pages(browsers, line.url, "dropped", tabs=True) as opened:
        for batch in range(BATCHES):
            if batch % 5 == 4:
                line.cut()
            publish(server, "dropped", batch)
            time.sleep(0.3)
        for page in opened:
            shows_all(page)


def test_a_frozen_server(browsers: list[Browser]) -> None:
    """It takes connections, and says nothing: the page says that what it shows is stale, and goes on afterwards."""
    with serving() as server, pages(browsers, server.url, "frozen", tabs=True) as opened:
        for batch in range(BATCHES):
            if batch == BATCHES // 2:
                assert server.process is not None
                os.killpg(server.process.pid, signal.SIGSTOP)
                for page in opened:
                    page.until(lambda seen: "stale" in seen["states"])
                os.killpg(server.process.pid, signal.SIGCONT)
            publish(server, "frozen", batch)
        for page in opened:
            shows_all(page)
            assert page.look()["state"] == "live"


def test_tokens_that_end(browsers: list[Browser]) -> None:
    """The first has ended already, the second ends soon, the third lasts: the page asks for one after the other."""
    private = '[channels."secret*"]\nprivate = true\n'
    with serving(jwt_key=SECRET, files={"comet.toml": private}) as server:
        begin = server.publish("secret", "before")["id"]

        def tokens() -> list[str]:
            return [reader("secret*", expires=seconds) for seconds in (-5, 6, 3600)]

        with pages(browsers, server.url, "secret", since=begin, tokens=tokens) as opened:
            for batch in range(BATCHES):
                if batch == BATCHES // 2:
                    for page in opened:
                        # On a slow machine the second has ended before it is used.
                        page.until(lambda seen: seen["tokens"] == 0, what="another token")
                publish(server, "secret", batch)
            for page in opened:
                shows_all(page)


def test_the_lines_of_the_documentation(browsers: list[Browser]) -> None:
    """They work as they stand; here on a page of another site, which the server knows."""
    text = (ROOT / "docs" / "browser.md").read_text()
    lines = text.split("```html\n")[1].partition("```")[0]
    with Site() as site, serving(allowed_origins=site.origin) as server:
        page = site.page(lines.replace('src="', f'src="{server.url}'))
        for browser in browsers:
            browser.open(page)
        for word in ("first", "second"):
            server.publish("orders", word)
            for browser in browsers:
                until(lambda browser=browser, word=word: browser.text() == word, what=word)
        for browser in browsers:
            browser.leave()


def test_eight_tabs(server: Server, browsers: list[Browser]) -> None:
    """With different channels, they have one connection at the server, where a browser has no more than six. The tab
    that has it is closed: the others go on, and miss nothing."""
    for browser in browsers:
        common = f"all.{browser.name}"
        server.publish(common, "before")
        tabs = [Tab(browser, server.url, [f"tab{number}.{browser.name}", common], last=0) for number in range(8)]
        for tab in tabs:
            tab.until(lambda seen: seen["state"] == "live", what="live")
        until(lambda name=common: subscribers(server, name) == 1)
        for number in range(100):
            server.publish(common, f"{number}")
        tabs.pop(0).close()
        for number in range(100, 200):
            server.publish(common, f"{number}")
        for number, tab in enumerate(tabs, 1):
            server.publish(f"tab{number}.{browser.name}", "mine")
            seen = tab.until(lambda seen: seen["lines"][-1:] == ["mine"])
            assert seen["lines"] == [*map(str, range(200)), "mine"]
        until(lambda name=common: subscribers(server, name) == 1)
        for tab in tabs:
            tab.close()
        until(lambda name=common: subscribers(server, name) == 0)


def subscribers(server: Server, channel: str) -> int:
    return int(server.get(f"/channels/{channel}/info").json().get("subscribers", 0))
