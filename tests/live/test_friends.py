"""The example of a chat, in Firefox and Chromium: htmx 2, htmx 4, Turbo and comet's elements read the same wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.live.browsers import BROWSERS, Browser
from tests.live.foreign import Foreign
from tests.live.modules import source
from tests.live.server import ROOT, Server
from tests.live.sites import Line
from tests.timing import until


pytestmark = pytest.mark.browser

PAGES = ("elements", "htmx2", "htmx4", "turbo")

OPEN = """
document.body.append(...arguments[0].map((name) =>
  Object.assign(document.createElement("iframe"), {id: name, src: "/" + name})));
"""

LINES = """
return arguments[0].map((name) => {
  const list = document.getElementById(name).contentDocument.getElementById("messages");
  return list && [...list.children].map((item) => item.innerHTML);
});
"""

SAY = """
const page = document.getElementById(arguments[0]).contentDocument;
page.querySelector("input").value = arguments[1];
page.querySelector("button").click();
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    source("@hotwired/turbo/package.json")
    running = Foreign("", "-k", "gevent", "--chdir", str(ROOT / "examples" / "browser"))
    running.app = "app:app"
    with running:
        yield running


def shows(browser: Browser, said: list[str]) -> None:
    """Wait until each page has these lines, and no other."""
    try:
        until(lambda: browser.run(LINES, PAGES) == [said] * len(PAGES), seconds=20)
    except AssertionError as error:
        raise AssertionError(f"{browser.name}: {dict(zip(PAGES, browser.run(LINES, PAGES), strict=True))}") from error


def subscribers(server: Server) -> dict[str, Any]:
    names = ("chat", "chat.turbo")
    return {name: server.get(f"/comet/channels/{name}/info").json().get("subscribers") for name in names}


def say(server: Server, text: str) -> None:
    assert requests.post(f"{server.url}/say", {"text": text}, timeout=10).status_code == 204


@pytest.mark.parametrize("kind", BROWSERS)
def test_libraries_read_the_same_wire(server: Server, kind: str) -> None:
    """Each shows what was said before and what is said now, text as text, and goes on without a loss when cut off."""
    for number in range(10):
        say(server, f"{kind} {number}")
    said = [f"{kind} {number}" for number in range(10)]
    with BROWSERS[kind]() as browser, Line(server.port) as line:
        browser.open(f"{line.url}/")
        browser.run(OPEN, PAGES)
        shows(browser, said)
        for name in PAGES:
            browser.run(SAY, name, f"<b>{name}</b>")
            said.append(f"&lt;b&gt;{name}&lt;/b&gt;")
            shows(browser, said)
        assert subscribers(server) == {"chat": 3, "chat.turbo": 1}
        line.cut()
        for number in range(3):
            say(server, f"missed {number}")
        said += [f"missed {number}" for number in range(3)]
        shows(browser, said)
        browser.run(SAY, "turbo", "last")
        shows(browser, [*said, "last"])
        browser.leave()
