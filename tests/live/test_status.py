"""The status page of real servers, with one worker and with two: in programs, and in real browsers."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

from tests.live.browsers import Browser
from tests.live.server import KEY, Server
from tests.timing import PATIENCE, until


HOSTILE = "</td></table><script>document.title='run'</script><style>*{display:none}</style>"

TRIGGERS = """
[[triggers]]
name = "rows"
kind = "timer"
channel = "rows"
call = "sources:alarm"
every = 1
always = true
[[triggers]]
name = "prices <b>"
kind = "timer"
channel = "prices"
call = "sources:prices"
every = 0.1
[[triggers]]
name = "feed"
kind = "timer"
channel = "feed"
call = "sources:broken"
every = 1
always = true
"""

SOURCES = f"""
from comet.core.errors import Alarm

numbers = iter(range(1_000_000))

def prices():
    return next(numbers)

def alarm():
    raise Alarm("the database says: denied.", statement="GRANT SELECT ON `shop`.`rows` TO 'comet';")

def broken():
    raise OSError({HOSTILE!r})
"""

#: Ends a page after a few updates, not after some minutes.
SHORT = """
from comet.status.page import Page
from wsgi import app

Page.longest = 15_000
"""


@contextmanager
def serving(folder: Path, workers: int, **options: Any) -> Iterator[Server]:
    several = {"broker": f"sqlite:///{folder}/log.db", "workers": 2} if workers == 2 else {}
    files = {"comet.toml": TRIGGERS, "sources.py": SOURCES, "short.py": SHORT}
    with Server(files=files, **several, **options) as server:
        yield server


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("status"), request.param) as running:
        yield running


def figures(server: Server) -> Any:
    answer = server.get("/status.json", auth=("me", KEY))
    assert answer.status_code == 200, answer.text
    return answer.json()


def channel(found: Any, name: str) -> Any:
    return next((each for each in found["channels"]["busiest"] if each["channel"] == name), None)


@contextmanager
def looking(server: Server) -> Iterator[Iterator[str]]:
    """The pieces of the page as they come."""
    with server.get("/status", stream=True, auth=("me", KEY)) as answer:
        assert answer.status_code == 200
        yield (piece.decode() for piece in answer.iter_content(None))


def pages(pieces: Iterator[str]) -> Iterator[str]:
    """What the page shows, again and again, as text."""
    deadline = time.monotonic() + 20 * PATIENCE
    for piece in pieces:
        for block in piece.split('<div id="c0-')[1:]:
            assert "<script" not in block
            yield " ".join(re.sub(r"<[^>]*>", " ", block).split())
        assert time.monotonic() < deadline, piece


def seq(answer: dict[str, Any]) -> int:
    return int(answer["id"].partition("-")[2])


def test_while_nobody_looks_nothing_is_done(server: Server) -> None:
    """Updates of different seconds are neighbours in the log: no page was published in between, by no worker."""

    def no_page_in_a_second() -> bool:
        first = server.publish("quiet", "1")
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > 1.3)
        return seq(server.publish("quiet", "2")) == seq(first) + 1

    until(no_page_in_a_second, seconds=20)


def test_the_numbers_are_right(server: Server) -> None:
    """Five streams of two wires and 20 updates, over all workers, in the page and as JSON."""
    workers = len(server.workers())
    before = figures(server)
    with ExitStack() as streams:
        for wire in ("sse", "sse", "sse", "ndjson", "ndjson"):
            streams.callback(server.open(f"/channels/orders/{wire}").close)
        with looking(server) as pieces:
            until(lambda: figures(server)["streams"] == {"total": 6, "by_wire": {"html": 1, "ndjson": 2, "sse": 3}})
            for number in range(20):
                server.publish("orders", f"{number:05}")
            # Each in its turn: a page is what is told in a second.
            shown = (page for page in pages(pieces))
            page = next(page for page in shown if re.search(r"\borders \S+ 5 20 100 B \d s", page))
            assert "6 streams" in page
            assert "html 1 ndjson 2 sse 3" in page
            assert ("A single worker." in page) is (workers == 1)
            found = until(lambda: all_is_counted(server, before), what="20 updates in the figures")
    assert found["rates"]["updates"] > 1
    assert found["rates"]["deliveries"] > 5
    assert found["totals"]["updates"] - before["totals"]["updates"] == 20
    assert channel(found, "orders") | {"age": 0, "rate": 0} == {
        "channel": "orders",
        "stored": 20,
        "bytes": 100,
        "subscribers": 5,
        "age": 0,
        "rate": 0,
    }
    assert sorted(worker["pid"] for worker in found["workers"]) == sorted(server.workers())
    assert sum(worker["streams"] for worker in found["workers"]) == 6
    assert all(10**7 < worker["memory"] < 10**9 for worker in found["workers"])
    assert (found["missing"], found["broker"]["state"]) == (0, "ok")
    until(lambda: figures(server)["streams"] == {"total": 0, "by_wire": {}})


def all_is_counted(server: Server, before: Any) -> Any:
    """The figures, once the worker that is asked has what the others have published, and what they have written."""
    found = figures(server)
    deliveries = found["totals"]["deliveries"] - before["totals"]["deliveries"]
    stored = (channel(found, "orders") or {}).get("stored")
    return found if (deliveries >= 100, stored, found["missing"]) == (True, 20, 0) else None


def test_triggers_are_told_whichever_worker_runs_them(server: Server) -> None:
    """What is wrong with them, in whatever words; what to type; and what they have published."""
    with server.get("/channels/prices/text", stream=True):
        found = until(lambda: all_are_told(server))
    assert found["rows"]["statement"] == "GRANT SELECT ON `shop`.`rows` TO 'comet';"
    assert HOSTILE in found["feed"]["error"]
    assert {found[name]["worker"] for name in ("rows", "prices <b>")} <= set(server.workers())
    with looking(server) as pieces:
        page = next(page for page in pages(pieces) if "The trigger feed" in page)
    assert "&lt;/td&gt;&lt;/table&gt;&lt;script&gt;document.title=&#39;run&#39;" in page


def all_are_told(server: Server) -> dict[str, Any] | None:
    """The triggers by name, once all have done something: another worker is told of it a second later."""
    found = {trigger["name"]: trigger for trigger in figures(server)["triggers"]}
    states = found["rows"]["state"], found["prices <b>"]["state"]
    done = states == ("alarm", "running") and found["prices <b>"]["updates"] > 3 and found["feed"]["restarts"] > 1
    return found if done and found["prices <b>"]["age"] < 5 else None


def test_a_worker_that_died_is_followed(server: Server) -> None:
    """The page goes on, in whichever worker its viewer is then; the new one is told and the old one is not."""
    before = server.workers()
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(server.workers()) == len(before) and before[0] not in server.workers(), seconds=20)
    shown: set[int] = set()

    def is_known() -> bool:
        nonlocal shown
        try:
            shown = {worker["pid"] for worker in figures(server)["workers"]}
        except (requests.RequestException, AssertionError):
            return False
        return shown == set(server.workers())

    until(is_known, seconds=20)

    def goes_on() -> bool:
        try:
            with looking(server) as pieces:
                found = pages(pieces)
                return next(found) != next(found)
        except requests.RequestException:
            return False

    until(goes_on, seconds=20)


# In browsers.


def visit(browser: Browser, server: Server) -> None:
    """Open the page with the key as the password, without scripts."""
    browser.leave()
    browser.allow_scripts(False)
    browser.driver.get(f"http://me:{KEY}@127.0.0.1:{server.port}/status")
    until(lambda: "as of" in browser.text(), seconds=20, what="the page")


def ask(browser: Browser, script: str) -> Any:
    """What a script of the test says; nothing while one document takes the place of another."""
    try:
        return browser.run(script)
    except WebDriverException:
        return None


def born(browser: Browser) -> float:
    """When the document was opened that is shown."""
    return float(ask(browser, "return performance.timeOrigin") or 0)


def number_of(browser: Browser, what: str) -> int | None:
    found = re.search(rf"(\d+)\s+{what}", browser.text())
    return int(found[1]) if found else None


@pytest.mark.browser
def test_a_browser_shows_it_live(browser: Browser, tmp_path: Path) -> None:
    """Numbers and time change without a reload and without scripts; hostile text is text; a page that gets nothing
    says so, and comes back when the server does."""
    with serving(tmp_path, 1, drain_seconds=0.1) as server:
        visit(browser, server)
        assert browser.driver.title.startswith("comet: status of ")
        marked = born(browser)
        times = {re.search(r"as of (\S+)", browser.text())[1]}  # type: ignore[index]
        with server.get("/channels/orders/sse", stream=True), server.get("/channels/orders/text", stream=True):
            until(lambda: number_of(browser, "streams") == 3)
        until(lambda: number_of(browser, "stream\\b") == 1)
        times.add(re.search(r"as of (\S+)", browser.text())[1])  # type: ignore[index]
        assert len(times) == 2
        assert born(browser) == marked
        assert HOSTILE in browser.text()
        assert "GRANT SELECT ON `shop`.`rows` TO 'comet';" in browser.text()
        assert browser.driver.find_elements(By.TAG_NAME, "script") == []
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        until(lambda: "Nothing new" not in browser.text())
        until(lambda: "Nothing new" in (ask(browser, LATER) or ""))

        server.signal(signal.SIGTERM)
        server.wait()
        server.spawn()
        until(lambda: born(browser) > marked, seconds=30, what="that it comes again")
        until(lambda: "as of" in browser.text(), seconds=20)
        browser.leave()


#: What the page shows in some seconds if nothing comes.
LATER = """
document.getAnimations().forEach((animation) => animation.finish());
return document.body.innerText;
"""


@pytest.mark.browser
def test_a_page_that_has_become_long_begins_afresh(browser: Browser, tmp_path: Path) -> None:
    """At the place to which it was scrolled."""
    with serving(tmp_path, 1, app="short:app") as server:
        for number in range(40):
            server.publish(f"stock.{number}", "x")
        visit(browser, server)
        until(lambda: "stock.39" in browser.text())
        begun = born(browser)
        until(lambda: ask(browser, "scrollTo(0, 400); return scrollY") == 400)
        until(lambda: born(browser) > begun, seconds=30)
        until(lambda: "stock.39" in browser.text())
        until(lambda: ask(browser, "return scrollY") == 400)
        browser.leave()
