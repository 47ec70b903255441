"""comet-legacy.js, in Firefox and in Chromium at once: nothing older is to be had, but it uses nothing newer either."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.live.browsers import Browser
from tests.live.server import Server
from tests.live.sites import Site
from tests.timing import until


pytestmark = pytest.mark.browser

#: Browsers do not say that a frame has broken off: it is looked after when it is silent. Here sooner than after 20 s.
HASTE = """<script>
var patient = setTimeout;
setTimeout = function (act, wait) { return patient(act, wait === 20000 ? 2000 : wait); };
</script>"""

PAGE = """
<script src="{url}/comet-legacy.js"></script><script>
var got = {{}}, gaps = [], states = {{}}, subs = {{}};
function start(name, transport, since) {{
  got[name] = got[name] || [];
  states[name] = states[name] || [];
  subs[name] = comet.subscribe("{channel}", {{
    transport: transport, since: since, last: 5000,
    onupdate: function (update) {{ got[name].push(+update.data); }},
    ongap: function (gap) {{ gaps.push(gap.reason); }},
    onstate: function (state, info) {{ states[name].push(state + (info.channel ? " " + info.channel : "")); }}
  }});
}}
{script}
</script>
"""


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("legacy")
    settings = {"broker": f"sqlite:///{folder}/log", "history": 5000, "drain_seconds": 1}
    with Server(allowed_origins=site.origin, heartbeat=1, **settings) as running:
        yield running


def publish(server: Server, channel: str, numbers: range) -> None:
    server.publish_all(channel, map(str, numbers))


def restart(server: Server) -> None:
    server.kill()
    server.spawn()
    until(server.is_up, seconds=20)


class Scene:
    """The same page in all browsers."""

    def __init__(self, browsers: list[Browser], site: Site, server: Server, channel: str, script: str, head: str = ""):
        self.browsers = browsers
        for browser in browsers:
            browser.open(site.page(PAGE.format(url=server.url, channel=channel, script=script), head=head))
            until(lambda: browser.run("return window.subs && Object.keys(subs).length"))  # noqa: B023

    def until(self, expression: str, holds: Callable[[Any], object] = bool, *, seconds: float = 20) -> None:
        for browser in self.browsers:
            until(lambda: holds(browser.run(f"return {expression}")), seconds=seconds, what=expression)  # noqa: B023

    def is_whole(self, names: list[str], count: int) -> None:
        """All numbers are there, once, in order, and no gap was told."""
        for name in names:
            try:
                self.until(f"got['{name}'].length", lambda length: length >= count, seconds=40)
            finally:
                for browser in self.browsers:
                    numbers, gaps = browser.run(f"return [got['{name}'], gaps]")
                    assert numbers == list(range(len(numbers))), f"{name} in {browser.name}: {numbers}"
                    assert gaps == []
        self.until("[" + ",".join(f"got['{name}'].length" for name in names) + "]", lambda all: set(all) == {count})


def test_each_transport_alone_survives_a_server_that_is_killed(
    server: Server, browsers: list[Browser], site: Site, channel: str
) -> None:
    """A thousand numbers across origins, while the server is killed and started again twice."""
    names = ["xhr", "frame", "jsonp"]
    starts = "".join(f"start('{name}', '{name}');" for name in names)
    scene = Scene(browsers, site, server, channel, starts, HASTE)
    scene.until("[subs.xhr.state, subs.frame.state, subs.jsonp.state].join()", lambda all: all == "live,live,live")
    for first in range(0, 1000, 20):
        publish(server, channel, range(first, first + 20))
        if first in (300, 600):
            scene.is_whole(names, first + 20)
            restart(server)
    scene.is_whole(names, 1000)
    scene.until(
        "[subs.xhr.transport, subs.frame.transport, subs.jsonp.transport].join()", lambda all: all == ",".join(names)
    )
    scene.until("subs.xhr.cursor === subs.jsonp.cursor && subs.xhr.cursor === subs.frame.cursor")
    browsers_saw = [browser.run("return states.xhr") for browser in browsers]
    assert all(states[0] == "live" and "offline" in states and states[-1] == "live" for states in browsers_saw)


@pytest.mark.parametrize("last", ["frame", "jsonp"])
def test_a_transport_that_does_not_work_makes_room_for_the_next(
    server: Server, browsers: list[Browser], site: Site, channel: str, last: str
) -> None:
    """Where the page's own policy forbids XMLHttpRequest, or frames too, the next is taken, and nothing is lost."""
    policy = '<meta http-equiv="Content-Security-Policy" content="{}">'
    policies = {"frame": "connect-src 'none'", "jsonp": "connect-src 'none'; frame-src 'none'"}
    scene = Scene(browsers, site, server, channel, "start('any')", policy.format(policies[last]) + HASTE)
    numbers = itertools.count()

    def there() -> bool:
        number = next(numbers)
        publish(server, channel, range(number, number + 1))
        return all(browser.run("return subs.any.transport") == last for browser in browsers)

    until(there, seconds=30, what=last)
    publish(server, channel, range(next(numbers), 1000))
    scene.is_whole(["any"], 1000)


def test_a_subscription_goes_on_over_any_change_of_transport(
    server: Server, browsers: list[Browser], site: Site, channel: str
) -> None:
    """Closed, and begun anew from its cursor with another transport, it misses nothing and gets nothing twice."""
    scene = Scene(browsers, site, server, channel, "start('any', 'xhr')")
    scene.until("subs.any.state", lambda state: state == "live")
    for turn in range(10):
        publish(server, channel, range(turn * 100, turn * 100 + 50))
        for browser in browsers:
            until(lambda: browser.run("return got.any.length"))  # noqa: B023
            again = "subs.any.close(); start('any', arguments[0], subs.any.cursor)"
            browser.run(again, ["frame", "jsonp", "xhr"][turn % 3])
        publish(server, channel, range(turn * 100 + 50, turn * 100 + 100))
    scene.is_whole(["any"], 1000)


def test_a_channel_that_is_deleted_is_told(server: Server, browsers: list[Browser], site: Site, channel: str) -> None:
    """The subscription ends with its last channel, by whatever transport it came."""
    server.publish(channel, "0")
    scene = Scene(
        browsers, site, server, channel, "start('xhr', 'xhr'); start('frame', 'frame'); start('jsonp', 'jsonp')"
    )
    scene.is_whole(["xhr", "frame", "jsonp"], 1)
    requests.delete(f"{server.url}/channels/{channel}", headers=server.auth, timeout=10).raise_for_status()
    for name in ("xhr", "frame", "jsonp"):
        scene.until(f"subs.{name}.state", lambda state: state == "closed")
        scene.until(f"states.{name}.slice(-2).join()", lambda last: last == f"closed {channel},closed")
