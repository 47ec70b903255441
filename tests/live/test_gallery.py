"""The gallery and the page of a channel, in Firefox and in Chromium: what people see, hear, touch and copy."""

from __future__ import annotations

import base64
import html
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.conftest import need
from tests.jwts import reader
from tests.live.browsers import Browser, right_second, rows_of
from tests.live.modules import source
from tests.live.server import Server
from tests.live.sites import Site
from tests.timing import until


pytestmark = pytest.mark.browser

HTML = "text/html; charset=utf-8"
SVG = "image/svg+xml"
JWT_KEY = "a key of at least thirty-two bytes."
PANELS = ("clock", "time", "watching", "server", "traffic")
LIGHT, DARK = "#f5f4ef", "#101217"


@pytest.fixture(scope="module")
def server(site: Site) -> Iterator[Server]:
    toml = '[channels."secret.*"]\nprivate = true\n'
    settings = {"allowed_origins": site.origin, "jwt_key": JWT_KEY, "drain_seconds": 1}
    with Server(demo=1, open=1, files={"comet.toml": toml}, **settings) as running:
        yield running


def subscribers(server: Server, *names: str) -> list[int]:
    return [int(server.get(f"/channels/{name}/info").json().get("subscribers", 0)) for name in names]


def seconds_ago(text: str) -> float:
    return (datetime.now() - datetime.fromisoformat(text)).total_seconds() - 0.5


def words(browser: Browser, id: str) -> str:
    """What is to be read in an element of the page, or in the frame that it has where no script runs."""
    element = browser.find(id)
    frames = element.find_elements(By.TAG_NAME, "iframe")
    if not frames:
        return element.text
    browser.driver.switch_to.frame(frames[0])
    try:
        return browser.text()
    finally:
        browser.driver.switch_to.default_content()


def said(browser: Browser, id: str, state: Callable[[str], object], what: str) -> str:
    """Wait until what is to be read there is so."""
    seen = [""]

    def holds() -> object:
        seen[0] = words(browser, id)
        return state(seen[0])

    try:
        until(holds, what=what)
    except AssertionError as error:
        raise AssertionError(f"{browser.name} shows {seen[0]!r} in #{id}, not {what}") from error
    return seen[0]


# The gallery.


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_each_panel_of_the_gallery_is_live(server: Server, browser: Browser, channel: str, scripts: bool) -> None:
    """With scripts or without, clock, time, table and chart go, and what is published to hello appears."""
    browser.open(f"{server.url}/", scripts=scripts)
    first = until(lambda: right_second(browser, "clock"), what="the right second on the clock")
    chart = browser.picture("traffic").tobytes()
    until(lambda: (right_second(browser, "clock") or first) - first not in (0, 1, -59), what="the hand has moved")
    text = said(browser, "time", lambda now: re.fullmatch(r"[-\d]{10} [:\d]{8}", now), "the time")
    said(browser, "time", lambda now: now > text and abs(seconds_ago(now)) <= 1, "a time that goes")
    said(browser, "server", lambda table: re.search(r"Watching this page\s+1\b", table), "that one is watching")
    table = said(browser, "server", lambda table: re.search(r"Deliveries a second\s+[1-9]", table), "that it delivers")
    said(browser, "server", lambda now: now != table, "another table")
    until(lambda: browser.picture("traffic").tobytes() != chart, what="another chart")
    if scripts:
        said(browser, "watching", lambda now: now == "1 watching", "1 watching")
    server.publish("hello", f"<b>{channel}</b>")
    said(browser, "hello", lambda now: now == f"<b>{channel}</b>", channel)
    assert browser.find("words").is_displayed() is scripts
    assert subscribers(server, *PANELS, "hello") == [1] * 6


def streams(server: Server) -> int:
    return int(server.get("/status.json", headers=server.auth).json()["streams"]["total"])


@pytest.mark.parametrize(("scripts", "count"), [(True, 1), (False, 5)], ids=["scripts", "no-scripts"])
def test_the_gallery_leaves_connections_for_others(
    server: Server, browser: Browser, channel: str, scripts: bool, count: int
) -> None:
    """A browser has six for a server. By script one carries all, of two windows as well; without, one is still free."""
    browser.open(f"{server.url}/", scripts=scripts)
    until(lambda: subscribers(server, *PANELS, "hello") == [1] * 6)
    until(lambda: streams(server) == count, what=f"{count} streams")
    if scripts:
        first = browser.driver.current_window_handle
        browser.driver.switch_to.new_window("window")
        try:
            browser.open(f"{server.url}/")
            until(lambda: right_second(browser, "clock"))
            until(lambda: streams(server) == 1, what="one stream for both")
        finally:
            browser.driver.close()
            browser.driver.switch_to.window(first)


def test_what_did_not_change_in_the_table_stays(server: Server, browser: Browser, channel: str) -> None:
    """Its rows are the same ones after many updates: what is selected in them, or read out, is not torn away."""
    browser.open(f"{server.url}/")
    table = said(browser, "server", lambda text: "Workers" in text, "the table")
    browser.run("for (const row of document.querySelectorAll('#server tr')) row.mark = 1")
    for _ in range(2):
        table = said(browser, "server", lambda now: now != table, "another table")  # noqa: B023
    marks = browser.run("return [...document.querySelectorAll('#server tr')].map((row) => row.mark)")
    assert marks == [1] * 9


def test_letters_typed_into_the_gallery_are_seen_in_it(server: Server, browser: Browser, channel: str) -> None:
    """What is typed is published, and shown by way of the server; a screen reader does not repeat one's own letters."""
    browser.open(f"{server.url}/")
    field = browser.find("words")
    until(field.is_displayed)
    hello = browser.find("hello")
    assert hello.get_attribute("aria-live") == "polite"
    field.send_keys("Grüße, <b>1</b>")
    said(browser, "hello", lambda now: now == "Grüße, <b>1</b>", "what was typed")
    assert hello.get_attribute("aria-live") == "off"
    assert server.get("/channels/hello/latest").text == "Grüße, <b>1</b>"


def test_hostile_html_in_the_gallery_runs_nothing(server: Server, browser: Browser, channel: str) -> None:
    """Whoever may publish to hello may show markup there, and no more."""
    browser.open(f"{server.url}/")
    attack = "<script>document.title = 'forged'</script><img src=x onerror=\"document.title = 'forged'\"><i>seen</i>"
    server.publish("hello", attack, HTML)
    said(browser, "hello", lambda now: now == "seen", "the markup")
    server.publish("hello", "after")
    said(browser, "hello", lambda now: now == "after", "what came after")
    assert browser.run("return document.title") == "comet, live"


def test_a_gallery_that_nobody_sees_gives_its_connection_back(server: Server, browser: Browser, channel: str) -> None:
    """A hidden page listens to nothing, so that who is counted as watching watches. Seen again, it goes on."""
    browser.open(f"{server.url}/")
    until(lambda: subscribers(server, *PANELS) == [1] * 5)
    size = browser.driver.get_window_size()
    browser.driver.minimize_window()
    until(lambda: subscribers(server, *PANELS) == [0] * 5)
    browser.driver.set_window_size(size["width"], size["height"])
    until(lambda: subscribers(server, *PANELS) == [1] * 5)
    until(lambda: right_second(browser, "clock"))
    assert browser.driver.get_window_size() == size


def test_the_gallery_goes_on_after_the_server_was_away(browser: Browser) -> None:
    """It says that the server is away; one that is started again is found without anybody's help."""
    with Server(demo=1, open=1) as server:
        browser.open(f"{server.url}/")
        until(lambda: right_second(browser, "clock"))
        (away,) = browser.driver.find_elements(By.CLASS_NAME, "away")
        assert not away.is_displayed()
        server.kill()
        until(away.is_displayed, what="it says that the server is away")
        server.spawn()
        until(server.is_up, seconds=20)
        until(lambda: subscribers(server, *PANELS) == [1] * 5, seconds=30)
        said(browser, "time", lambda now: abs(seconds_ago(now)) <= 1, "the time")
        until(lambda: not away.is_displayed())
        browser.leave()


def test_all_workers_are_counted(browser: Browser, tmp_path: Path) -> None:
    """With two workers and SQLite all goes as well; who watches is counted wherever the connection has come to."""
    with Server(demo=1, workers=2, broker=f"sqlite:///{tmp_path / 'log'}") as server:
        browser.open(f"{server.url}/")
        until(lambda: right_second(browser, "clock"), what="the right second on the clock")
        path = f"{server.url}/channels/watching/sse"
        others = [requests.get(path, stream=True, timeout=30) for _ in range(6)]
        said(browser, "watching", lambda now: now == "7 watching", "7 watching")
        said(browser, "server", lambda now: re.search(r"Watching this page\s+7\s+.*Workers\s+2 2", now, re.S), "both")
        for other in others:
            other.close()
        said(browser, "watching", lambda now: now == "1 watching", "1 watching")
        browser.leave()


# Reading it.


def prefer(browser: Browser, *, dark: bool = False, still: bool = False) -> None:
    """What the person has said to like: a dark screen, and nothing that moves."""
    if browser.name == "chromium":
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        return
    with browser.driver.context("chrome"):
        browser.run(
            "Services.prefs.setIntPref('layout.css.prefers-color-scheme.content-override', arguments[0])", 1 - dark
        )
        browser.run("Services.prefs.setIntPref('ui.prefersReducedMotion', arguments[0])", int(still))


@pytest.fixture
def phone(browser: Browser) -> Iterator[None]:
    """A narrow screen."""
    size = browser.driver.get_window_size()
    browser.driver.set_window_size(360, 740)
    yield
    browser.driver.set_window_size(size["width"], size["height"])


EXAMINE = """
axe.run(document, {resultTypes: ["violations"]}).then((found) => {
  const told = found.violations.map((each) => each.id + ": " + each.nodes.map((node) => node.html).join(" | "));
  document.documentElement.setAttribute("data-axe", JSON.stringify(told));
});
"""


def violations(browser: Browser) -> list[str]:
    """What axe-core finds wrong with the page as it is now."""
    browser.run("document.documentElement.removeAttribute('data-axe')")
    browser.run(source("axe-core/axe.min.js") + ";window.axe = axe;" + EXAMINE)
    found = until(lambda: browser.run("return document.documentElement.getAttribute('data-axe')"), what="axe-core")
    return [str(each) for each in json.loads(found)]


@pytest.fixture
def in_light_and_dark(browser: Browser) -> Iterator[Callable[[], list[str]]]:
    """Says what axe-core finds wrong with a page in light, and then in dark."""

    def examine() -> list[str]:
        found = []
        for dark, colour in ((False, LIGHT), (True, DARK)):
            prefer(browser, dark=dark)
            until(lambda: browser.shows(colour), what=colour)  # noqa: B023
            found += violations(browser)
        return found

    yield examine
    prefer(browser)


def test_the_gallery_can_be_used_by_everybody(
    server: Server, browser: Browser, channel: str, in_light_and_dark: Callable[[], list[str]]
) -> None:
    """Light or dark, axe-core finds nothing: names, contrast, landmarks, headings. What ticks is not read out."""
    browser.open(f"{server.url}/")
    until(lambda: right_second(browser, "clock"))
    said(browser, "watching", lambda now: "watching" in now, "how many watch")
    said(browser, "server", lambda text: "Workers" in text, "the table")
    assert in_light_and_dark() == []
    spoken = browser.run(
        "return [...document.querySelectorAll('comet-view')]"
        ".filter((each) => each.ariaLive === 'polite' || /status|log/.test(each.getAttribute('role')))"
        ".map((each) => each.id)"
    )
    assert spoken == ["watching", "hello"]


KINDS = {
    "text": ("two\nlines", "text/plain"),
    "html": ('<html lang="en"><h2>Heading</h2><p>Text and <a href="/">a link</a></p>', HTML),
    "json": ('{"a": [1, 2]}', "application/json"),
    "picture": ('<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"><circle r="90"/></svg>', SVG),
    "nothing": None,
}


def test_the_page_of_a_channel_can_be_used_by_everybody(
    server: Server, browser: Browser, channel: str, in_light_and_dark: Callable[[], list[str]]
) -> None:
    """Light or dark, and whatever it shows, axe-core finds nothing."""
    for kind, content in KINDS.items():
        name = f"{channel}.{kind}"
        if content:
            server.publish(name, *content)
        browser.open(f"{server.url}/channels/{name}/view")
        until(lambda: words(browser, "state") == "live")
        until(lambda: (words(browser, "id") != "–") is bool(content))  # noqa: B023
        assert in_light_and_dark() == [], kind


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_pages_fit_on_a_phone(server: Server, browser: Browser, channel: str, phone: None, scripts: bool) -> None:
    """On a screen of 360 points nothing has to be scrolled sideways: nor in the pages of channels."""
    server.publish(channel, json.dumps({"long": "x" * 300}), "application/json")
    for path in ("/", "/channels/time", "/channels/server/view", f"/channels/{channel}/view"):
        browser.open(f"{server.url}{path}", scripts=scripts)
        until(lambda: browser.run("return document.body && document.body.scrollHeight > 300"))
        if path == "/" and scripts:
            said(browser, "server", lambda text: "Workers" in text, "the table")
            for label in browser.driver.find_elements(By.CSS_SELECTOR, "label[for$=-script]"):
                label.click()  # the longest of the lines to copy
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), path


def test_the_keyboard_reaches_all_of_the_gallery(server: Server, browser: Browser, channel: str) -> None:
    """Tab goes from one to the next, the arrows choose among the ways to have a channel; what has the focus is seen."""
    browser.open(f"{server.url}/")
    until(lambda: browser.run("return document.querySelectorAll('.ways button').length") == len(PANELS))
    body = browser.driver.find_element(By.TAG_NAME, "body")
    focus = "const it = document.activeElement; return it.id || it.textContent.trim()"
    seen = []
    for _ in range(30):
        (browser.driver.switch_to.active_element if seen else body).send_keys(Keys.TAB)
        seen.append(browser.run(focus))
        if seen[-1] == "words":
            break
    expected = [each for name in PANELS for each in (f"{name} by itself", f"{name}-bare", "Copy")]
    assert seen == [*expected, "hello by itself", "words"]
    browser.run("document.getElementById('clock-bare').focus()")
    for way, shown in (("element", "<comet-view"), ("script", "comet.subscribe"), ("curl", "curl")):
        browser.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        assert browser.run(focus) == f"clock-{way}"
        (code,) = [
            each for each in browser.driver.find_elements(By.CSS_SELECTOR, "#panel-clock code") if each.is_displayed()
        ]
        assert shown in code.text
        ring = "return getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
        assert browser.run(ring) == "solid"


def test_nothing_moves_for_who_wants_it_still(server: Server, browser: Browser, channel: str) -> None:
    """With prefers-reduced-motion a fresh update is not shown by an animation; else it is."""
    server.publish(channel, "one")
    for still in (True, False):
        prefer(browser, still=still)
        browser.open(f"{server.url}/channels/{channel}/view")
        said(browser, "content", lambda now: now == "one", "the update")
        until(lambda: browser.find("content").get_attribute("class") == "scripted fresh")
        name = browser.run("return getComputedStyle(document.getElementById('content')).animationName")
        assert (name == "none") is still
    prefer(browser)


def test_pages_break_no_rule_of_their_own(server: Server, browser: Browser, channel: str) -> None:
    """The content security policies allow what the pages do: nothing is reported, nothing is asked of other servers."""
    server.publish(channel, "<style>p{color:red}</style><p style='margin:0'>seen", HTML)
    for path in ("/", f"/channels/{channel}/view", "/channels/clock/view"):
        if browser.name == "chromium":
            browser.driver.get_log("browser")  # what was said before
        browser.open(f"{server.url}{path}")
        if path == "/":
            until(lambda: right_second(browser, "clock"))
        else:
            until(lambda: words(browser, "id") != "–")
        loaded = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert all(name.startswith((server.url, "data:")) for name in loaded)
        if browser.name == "chromium":
            assert browser.driver.get_log("browser") == []


# Copying from it.


def ways(server: Server, name: str) -> list[str]:
    """The lines of a panel of the gallery: without a script, as an element, by a script, in a terminal."""
    page = server.get("/").text
    (panel,) = re.findall(rf'(?s)<section [^>]*id="panel-{name}".*?</section>', page)
    return [html.unescape(code) for code in re.findall(r"(?s)<code>(.*?)</code>", panel)]


LIVE = {
    "clock": lambda old, new: old.startswith("data:image/svg") and old != new,
    "traffic": lambda old, new: old.startswith("data:image/svg") and old != new,
    "time": lambda old, new: bool(re.match(r"\d{4}-", old)) and old != new,
    "server": lambda old, new: "Open streams" in old and old != new,
    "watching": lambda old, new: old.endswith(" watching"),
}

CONTENT = """
const it = document.querySelector(arguments[0]);
const image = it && it.querySelector(":scope > img");
return image ? image.src : it && (it.src || it.srcdoc || it.textContent);
"""


def test_scripts_that_are_copied_from_the_gallery_work_elsewhere(
    server: Server, browser: Browser, site: Site, channel: str
) -> None:
    """The elements and the scripts, put on a page of a site that is on the list, are live there."""
    copied = [way for name in PANELS for way in ways(server, name)[1:3]]
    browser.open(site.page("\n".join(f"<div>{way}</div>" for way in copied)))

    selectors = {selector: name for name in PANELS for selector in (f"comet-view[channel={name}]", f"#{name}")}

    def contents() -> dict[str, str]:
        return {selector: str(browser.run(CONTENT, selector) or "") for selector in selectors}

    first = until(lambda: all((now := contents()).values()) and now, what="something in each")

    def still() -> list[str]:
        now = contents()
        return [selector for selector, name in selectors.items() if not LIVE[name](first[selector], now[selector])]

    until(lambda: not still(), what="all of it goes")


def test_frames_that_are_copied_from_the_gallery_work_elsewhere(
    server: Server, browser: Browser, site: Site, channel: str
) -> None:
    """What takes no script, put on a page of any site, is live there without one."""
    copied = [f'<div id="{name}">{ways(server, name)[0]}</div>' for name in PANELS]
    browser.open(site.page("\n".join(copied)), scripts=False)
    for name in PANELS:
        if name in ("clock", "traffic"):
            until(lambda: browser.run("return document.querySelector(arguments[0]).naturalWidth", f"#{name} img"))  # noqa: B023
        else:
            said(browser, name, lambda text: LIVE[name](text, f"not {text}"), name)  # noqa: B023
    until(lambda: right_second(browser, "clock"))


@pytest.mark.parametrize("name", PANELS)
def test_the_curl_line_of_the_gallery_works(server: Server, name: str) -> None:
    """Typed into a terminal, it prints what the channel has."""
    need("curl")
    command = ways(server, name)[3].split()
    assert command[0] == "curl"
    with subprocess.Popen([*command, "-s"], stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        try:
            line = curl.stdout.readline().decode().lstrip(" ")  # of ndjson that is a heartbeat, if it comes first
        finally:
            curl.terminate()
    expected = {"time": r"\d{4}-\d\d-\d\d ", "watching": r"\d+ watching\n", "server": r'\{"id":', "clock": "<svg "}
    assert re.match(expected.get(name, "<svg "), line)


# The page of a channel.


def view(browser: Browser, server: Server, channel: str, query: str = "", *, scripts: bool = True) -> None:
    browser.open(f"{server.url}/channels/{channel}/view{query}", scripts=scripts)


def test_the_page_of_a_channel_shows_each_update_as_it_comes(server: Server, browser: Browser, channel: str) -> None:
    """A channel that nobody knows has nothing yet; text, JSON, HTML and pictures follow, each with its id and age."""
    view(browser, server, channel)
    said(browser, "state", lambda now: now == "live", "live")
    assert words(browser, "content") == "Nothing yet." and words(browser, "id") == "–"
    for data, type, seen in (
        ("<b>two</b>\nlines", "text/plain", "<b>two</b>\nlines"),
        ("<b>bold</b> <i>text</i>", HTML, "bold text"),
        ('{"a":12345678901234567890,"b":[],"c":["<i>",{}]}', "application/json", JSON_LAID_OUT),
        ("{not json", "application/json", "{not json"),
        (b"\xff\0\1", "application/octet-stream", "application/octet-stream, 3 B"),
        ("", "text/plain", ""),
        (f"<p>one</p>{'<!-- -->' * 200}", HTML, "one"),
    ):
        id = server.publish(channel, data, type)["id"]
        said(browser, "id", lambda now: now == id, id)  # noqa: B023
        said(browser, "content", lambda now: now == seen, seen)  # noqa: B023
        assert words(browser, "type") == type
        assert re.fullmatch(r"just now|\d+ s ago", words(browser, "age"))
    assert words(browser, "size") == "1.6 KiB"
    server.publish(channel, square("#10a030"), SVG)
    until(lambda: rows_of(browser.picture("content"), "#10a030"), what="the picture")


JSON_LAID_OUT = """{
  "a": 12345678901234567890,
  "b": [],
  "c": [
    "<i>",
    {}
  ]
}"""


def square(colour: str) -> str:
    sides = 'width="400" height="400"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {sides}><rect {sides} fill="{colour}"/></svg>'


def test_pictures_of_bytes_are_pictures(server: Server, browser: Browser, channel: str) -> None:
    """What is no text is shown as well, if it is an image."""
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    server.publish(channel, base64.b64decode(pixel), "image/png")
    view(browser, server, channel)
    until(lambda: browser.run("return document.querySelector('#content img')?.naturalWidth") == 1)
    assert words(browser, "size") == "70 B"


def test_html_of_a_publisher_stays_in_its_frame(server: Server, browser: Browser, channel: str) -> None:
    """Its styles and its markup change nothing outside, no script of it runs, and it leads nobody away."""
    attack = (
        "<style>h1,.none,header{display:none}</style><p>seen</p></body></html></iframe>"
        "<script>top.document.title = 'forged'</script><img src=x onerror=\"top.document.title = 'forged'\">"
        "<svg onload=\"top.document.title = 'forged'\"></svg><meta http-equiv=refresh content='0;url=/healthz'>"
        "<base href='https://elsewhere.example/'>"
        "<iframe srcdoc=\"<script>top.document.title = 'forged'</script>\"></iframe>"
    )
    server.publish(channel, attack, HTML)
    view(browser, server, channel)
    said(browser, "content", lambda now: "seen" in now, "the content")
    server.publish(channel, "<p>after</p>", HTML)
    said(browser, "content", lambda now: now == "after", "what came after")
    assert browser.run("return document.title") == f"{channel}, live"
    assert words(browser, "state") == "live" and browser.driver.find_element(By.TAG_NAME, "h1").is_displayed()


def test_the_page_of_a_channel_says_whether_it_is_live(browser: Browser) -> None:
    """While the server is away it is offline; it goes on when it is back, with what was published meanwhile."""
    with Server() as server:
        server.publish("news", "one")
        view(browser, server, "news")
        said(browser, "state", lambda now: now == "live", "live")
        said(browser, "content", lambda now: now == "one", "one")
        server.kill()
        said(browser, "state", lambda now: now == "offline", "offline")
        assert words(browser, "content") == "one"
        server.spawn()
        until(server.is_up, seconds=20)
        server.publish("news", "two")
        said(browser, "state", lambda now: now == "live", "live")
        said(browser, "content", lambda now: now == "two", "two")
        browser.leave()


def test_the_page_of_a_channel_that_is_deleted(server: Server, browser: Browser, channel: str) -> None:
    """It says so, and shows nothing more of it; what is published under the name afterwards, it shows."""
    server.publish(channel, "old")
    view(browser, server, channel)
    said(browser, "content", lambda now: now == "old", "old")
    requests.delete(f"{server.url}/channels/{channel}", headers=server.auth, timeout=10).raise_for_status()
    said(browser, "content", lambda now: now == "Nothing yet.", "nothing")
    said(browser, "state", lambda now: now == "live", "live")
    server.publish(channel, "new")
    said(browser, "content", lambda now: now == "new", "new")


def test_the_page_of_a_channel_is_live_without_a_script(server: Server, browser: Browser, channel: str) -> None:
    """A frame shows what is newest, and what follows."""
    server.publish(channel, "one")
    view(browser, server, channel, scripts=False)
    frame = (By.CSS_SELECTOR, "main > noscript > iframe, main > iframe")

    def shown() -> str:
        browser.driver.switch_to.frame(browser.driver.find_element(*frame))
        try:
            return browser.text()
        finally:
            browser.driver.switch_to.default_content()

    until(lambda: shown() == "one")
    server.publish(channel, "two")
    until(lambda: shown() == "two")
    assert not browser.find("state").is_displayed() and not browser.find("content").is_displayed()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_private_channel_is_shown_to_a_token(server: Server, browser: Browser, channel: str, scripts: bool) -> None:
    """What the page loads and subscribes to takes the token of its address along; so do its links."""
    name = f"secret.{channel}"
    token = reader(name, key=JWT_KEY)
    server.publish(name, "for you")
    view(browser, server, name, f"?token={token}", scripts=scripts)
    seen: Any = (lambda: words(browser, "content")) if scripts else (lambda: page_text(browser))
    until(lambda: seen() == "for you")
    links = browser.run("return [...document.querySelectorAll('nav a')].map((link) => link.href)")
    assert len(links) == 6 and all(link.endswith(f"?token={token}") for link in links)


def page_text(browser: Browser) -> str:
    browser.driver.switch_to.frame(0)
    try:
        return browser.text()
    finally:
        browser.driver.switch_to.default_content()
