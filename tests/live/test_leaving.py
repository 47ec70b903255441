"""Pages that are left, and not; or left, and come back to: what comet.js does then, in Firefox and in Chromium."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.live.browsers import Browser
from tests.live.pages import Page
from tests.live.server import Server
from tests.live.sites import Site
from tests.timing import until


pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """By its heartbeat alone a page would notice after half a minute that its stream has ended."""
    log = f"sqlite:///{tmp_path_factory.mktemp('leaving')}/log"
    with Server(broker=log, history=3000, heartbeat=20, drain_seconds=1, allowed_origins=site.origin) as running:
        yield running


def publish(server: Server, channel: str, numbers: range) -> None:
    server.publish_all(channel, map(str, numbers))


def subscribers(server: Server, channel: str) -> int:
    return int(server.get(f"/channels/{channel}/info").json().get("subscribers", 0))


LEAVE = """
const [by, address] = arguments;
window.left = window.left || 0;
addEventListener("beforeunload", () => { window.left += 1; }, {once: true});
const element = document.body.appendChild(document.createElement(by));
if (by === "a") element.href = address;
else Object.assign(element, {action: address, method: "post"});
if (by === "a") element.click();
else element.submit();
"""


WAYS = {
    "shared": {"tabs": True},
    "alone": {"tabs": False},
    "ndjson": {"transport": "ndjson"},
    "poll": {"transport": "poll"},
}


@pytest.mark.parametrize("name", WAYS)
def test_a_page_that_begins_to_be_left_and_stays(
    server: Server, browsers: list[Browser], site: Site, name: str
) -> None:
    """A download, a link and a form that are answered by 204, a site that does not answer: within moments the page goes
    on, with all thousand updates. Firefox has ended its streams then, the EventSource without a word."""
    channel = f"stays.{name}"
    download = {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment; filename=report"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ways = [
            ("a", site.answer(204)),
            ("form", site.answer(204)),
            ("a", site.answer(200, download, b"a report")),
            ("a", f"http://127.0.0.1:{silent.getsockname()[1]}/"),
        ]
        opened = [Page(browser, server.url, [channel], **WAYS[name]) for browser in browsers]
        for page in opened:
            page.until(lambda seen: seen["state"] == "live", what="live")
        for turn, way in enumerate(ways):
            for browser in browsers:
                if way == ways[-1] and browser.name == "chromium":
                    continue  # its driver waits for the answer; its streams know nothing of it
                browser.run(LEAVE, *way)
                until(lambda: browser.run("return window.left") == turn + 1)  # noqa: B023
            for tenth in range(10):
                publish(server, channel, range(turn * 250 + tenth * 25, turn * 250 + tenth * 25 + 25))
            for page in opened:
                there = (turn + 1) * 250
                seen = page.until(lambda seen: len(seen["lines"]) >= there, seconds=10, what=str(way))  # noqa: B023
                assert seen["lines"] == [str(number) for number in range(there)]
                assert seen["gaps"] == []
        for page in opened:
            page.close()


SUBSCRIBES = """
<script src="{url}/comet.js"></script><script>
var got = [], gaps = [], was = [];
addEventListener("pageshow", (event) => was.push(event.persisted));
var sub = comet.subscribe("{channel}", {{
  onupdate: (update) => got.push(+update.data), ongap: (gap) => gaps.push(gap.reason), ...{options}
}});
</script>
"""


class Visit:
    """A page that keeps what it has got, in the tab of a browser that is at the front now."""

    def __init__(self, browser: Browser, site: Site, server: Server, channel: str, **options: object) -> None:
        self.browser = browser
        self.tab = browser.driver.current_window_handle
        self.elsewhere = site.page("elsewhere")
        browser.open(
            site.page(SUBSCRIBES.format(url=server.url, channel=channel, options=json.dumps({"last": 0, **options})))
        )
        self.until("window.sub && sub.state === 'live'")

    def run(self, script: str) -> Any:
        self.browser.driver.switch_to.window(self.tab)
        return self.browser.run(script)

    def until(self, expression: str, *, seconds: float = 10) -> None:
        until(lambda: self.run(f"return {expression}"), seconds=seconds, what=f"{self.browser.name}: {expression}")

    def leave(self) -> None:
        self.run(f"location.href = '{self.elsewhere}'")
        self.until(f"location.href === '{self.elsewhere}'")

    def come_back(self) -> bool:
        """Return whether the page is the old one."""
        self.run("history.back()")
        self.until("window.sub && was.length > 0")
        return bool(self.run("return was.length > 1 && was[1]"))

    def has(self, numbers: range) -> None:
        """All of these, once, in order."""
        self.until(f"got.length >= {len(numbers)}")
        assert self.run("return [got, gaps]") == [list(numbers), []]


@pytest.mark.parametrize("name", ["shared", "alone"])
def test_a_page_that_is_come_back_to(server: Server, browsers: list[Browser], site: Site, name: str) -> None:
    """Left for another one it has no connection. From the back-forward cache it goes on where it was; Firefox, which
    keeps no page with a connection, loads it anew."""
    for browser in browsers:
        channel = f"back.{name}.{browser.name}"
        visit = Visit(browser, site, server, channel, **WAYS[name])
        publish(server, channel, range(100))
        visit.has(range(100))
        for turn in range(1, 3):
            visit.leave()
            until(lambda: subscribers(server, channel) == 0)  # noqa: B023
            publish(server, channel, range(turn * 100, turn * 100 + 50))
            kept = visit.come_back()
            assert kept or browser.name == "firefox"
            if kept:
                visit.has(range(turn * 100 + 50))
                publish(server, channel, range(turn * 100 + 50, turn * 100 + 100))
                visit.has(range(turn * 100 + 100))
                visit.run("was.length = 1")
            visit.until("sub.state === 'live'")
        browser.leave()


def test_a_page_that_was_left_without_a_connection(browsers: list[Browser], site: Site) -> None:
    """Both browsers keep it: it goes on from where it was, with the first look at the server that is there again."""
    with Server(broker="sqlite:///log.db", history=3000, allowed_origins=site.origin, drain_seconds=1) as server:
        visits = [Visit(browser, site, server, "without", tabs=False) for browser in browsers]
        publish(server, "without", range(100))
        for visit in visits:
            visit.has(range(100))
        server.kill()
        for visit in visits:
            visit.until("sub.state === 'offline'")
            visit.leave()
        server.spawn()
        until(server.is_up, seconds=20)
        publish(server, "without", range(100, 500))
        for visit in visits:
            assert visit.come_back()
            visit.has(range(500))
        publish(server, "without", range(500, 1000))
        for visit in visits:
            visit.has(range(1000))
            visit.browser.leave()


@pytest.mark.parametrize("how", ["put away", "frozen"])
def test_the_tab_that_leads_sleeps(server: Server, browsers: list[Browser], site: Site, how: str) -> None:
    """In the back-forward cache, or frozen for its long rest, it leads no more: the other one goes on at once, and what
    it missed it has when it is back."""
    for browser in browsers:
        if how == "frozen" and browser.name == "firefox":
            continue  # it freezes no pages
        channel = f"leads-{how.replace(' ', '-')}.{browser.name}"
        leader = Visit(browser, site, server, channel)
        browser.driver.switch_to.new_window("tab")
        other = Visit(browser, site, server, channel)
        publish(server, channel, range(200))
        for visit in (leader, other):
            visit.has(range(200))
        if how == "frozen":
            freeze(leader, frozen=True)
        else:
            leader.leave()
        publish(server, channel, range(200, 600))
        other.has(range(600))
        until(lambda: subscribers(server, channel) == 1)  # noqa: B023
        if how == "frozen":
            freeze(leader, frozen=False)
            kept = True
        else:
            kept = leader.come_back()
            assert kept or browser.name == "firefox"
        leader.until("sub.state === 'live'")
        publish(server, channel, range(600, 1000))
        other.has(range(1000))
        if kept:
            leader.has(range(1000))
        until(lambda: subscribers(server, channel) == 1)  # noqa: B023
        browser.driver.switch_to.window(other.tab)
        browser.driver.close()
        browser.driver.switch_to.window(leader.tab)
        browser.leave()


def freeze(visit: Visit, *, frozen: bool) -> None:
    visit.browser.driver.switch_to.window(visit.tab)
    command = {"state": "frozen" if frozen else "active"}
    visit.browser.driver.execute_cdp_cmd("Page.setWebLifecycleState", command)  # type: ignore[attr-defined]
