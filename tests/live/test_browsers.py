"""Every wire in Firefox and in Chromium: what people see while the server publishes."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from selenium.webdriver.common.by import By

from tests.conftest import need
from tests.live.browsers import Browser, right_second, rows_of
from tests.live.server import Server
from tests.live.sites import Line, Site
from tests.timing import until


pytestmark = pytest.mark.browser

RED, GREEN, BLUE = "#e01020", "#10a030", "#1020e0"
SVG = "image/svg+xml"
HTML = "text/html; charset=utf-8"


@pytest.fixture(scope="module")
def friend() -> Iterator[Site]:
    """A site that is on the list of COMET_ALLOWED_ORIGINS."""
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def stranger() -> Iterator[Site]:
    """A site that is not."""
    with Site() as site:
        yield site


@pytest.fixture(scope="module")
def server(friend: Site) -> Iterator[Server]:
    with Server(demo=1, open=1, drain_seconds=1, allowed_origins=friend.origin) as running:
        yield running


def square(colour: str) -> str:
    sides = 'width="400" height="400"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {sides}><rect {sides} fill="{colour}"/></svg>'


def shows_only(browser: Browser, colour: str, *others: str) -> None:
    """Wait until one of the colours is on the screen and the others are not."""

    def state() -> bool:
        picture = browser.picture()
        return rows_of(picture, colour) is not None and not any(rows_of(picture, other) for other in others)

    until(state, what=f"{colour} on the screen of {browser.name}")


def shows_text(browser: Browser, *texts: str) -> None:
    """Wait until the visible text of the page is these lines."""
    seen: list[str] = []

    def state() -> bool:
        seen[:] = browser.text().split("\n")
        return seen == list(texts)

    try:
        until(state)
    except AssertionError as error:
        where = browser.driver.current_url
        raise AssertionError(f"{browser.name} shows {seen}, not {list(texts)}, at {where}") from error


def home(server: Server) -> str:
    """A page at the server's own origin that does nothing."""
    return f"{server.url}/healthz"


def subscribers(server: Server, channel: str) -> int:
    return int(server.get(f"/channels/{channel}/info").json().get("subscribers", 0))


# Without scripts.


def test_a_multipart_picture_is_shown_as_soon_as_it_is_published(
    server: Server, browser: Browser, channel: str
) -> None:
    """Typed into a browser without scripts, multipart shows each image at once, in the place of the one before."""
    server.publish(channel, square(RED), SVG)
    browser.open(f"{server.url}/channels/{channel}/multipart", scripts=False)
    shows_only(browser, RED, GREEN, BLUE)
    for colour, others in ((GREEN, (RED, BLUE)), (BLUE, (RED, GREEN)), (RED, (GREEN, BLUE))):
        server.publish(channel, square(colour), SVG)
        shows_only(browser, colour, *others)


def test_an_img_shows_the_multipart_stream_of_another_site(
    server: Server, browser: Browser, friend: Site, channel: str
) -> None:
    """An <img> on any page shows even a small image at once, and changes as images are published, without scripts."""
    server.publish(channel, square(RED), SVG)
    page = friend.page(f'<img src="{server.url}/channels/{channel}/multipart" alt="live">')
    browser.open(page, scripts=False)
    shows_only(browser, RED, GREEN)
    server.publish(channel, square(GREEN), SVG)
    shows_only(browser, GREEN, RED)


def test_the_clock_goes(server: Server, browser: Browser, channel: str) -> None:
    """/channels/clock/multipart is a clock that shows the right second, and goes, with no script."""
    browser.open(f"{server.url}/channels/clock/multipart", scripts=False)
    first = until(lambda: right_second(browser), what="the right second on the clock")
    until(lambda: (right_second(browser) or first) - first not in (0, 1, -59), what="the hand has moved")


def test_the_html_page_replaces_its_content_in_place(server: Server, browser: Browser, channel: str) -> None:
    """On the html wire the new block takes the place of the old one, which is seen no more; no script runs."""
    browser.open(f"{server.url}/channels/{channel}/html", scripts=False)
    shows_text(browser, f"Waiting for the first update of {channel}")
    for text in ("one", "two", "three"):
        server.publish(channel, text)
        shows_text(browser, text)
    server.publish(channel, f'<div style="height:300px;background:{GREEN}">four</div>', HTML)
    shows_text(browser, "four")
    shows_only(browser, GREEN)


def test_a_channel_typed_into_a_browser_is_a_live_page(server: Server, browser: Browser, channel: str) -> None:
    """/channels/NAME, with what a browser sends as Accept, is the html wire."""
    server.publish(channel, "one")
    browser.open(f"{server.url}/channels/{channel}", scripts=False)
    shows_text(browser, "one")
    server.publish(channel, "two")
    shows_text(browser, "two")


def test_several_channels_stand_in_the_order_of_their_names(server: Server, browser: Browser, channel: str) -> None:
    """The html wire shows the channels in the order of NAMES, whichever was published to first or last."""
    upper, lower = f"{channel}.z", f"{channel}.a"
    browser.open(f"{server.url}/channels/{upper},{lower}/html", scripts=False)
    for name, colour in ((lower, BLUE), (upper, GREEN), (lower, BLUE), (upper, RED)):
        server.publish(name, f'<div style="height:100px;background:{colour}"></div>', HTML)

    def in_order() -> bool:
        picture = browser.picture()
        above, below = rows_of(picture, RED), rows_of(picture, BLUE)
        return above is not None and below is not None and above[1] <= below[0] and not rows_of(picture, GREEN)

    until(in_order)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        ("<b>x</b> &amp; <script>document.write('y')</script>", "text/plain"),
        (f"<p>before</p><style>body{{background:{RED}}}", HTML),
        ("<!-- never closed <p>x</p>", HTML),
        ('<a title="never closed>x</a>', HTML),
        ("<textarea>x", HTML),
    ],
)
def test_what_would_swallow_the_page_is_shown_as_text(
    server: Server, browser: Browser, channel: str, data: str, media_type: str
) -> None:
    """Text, and HTML that leaves something open, are shown letter by letter; the next update is seen as ever."""
    browser.open(f"{server.url}/channels/{channel}/html")
    server.publish(channel, data, media_type)
    shows_text(browser, data)
    server.publish(channel, "after")
    shows_text(browser, "after")


def test_no_script_of_a_publisher_runs_on_the_html_wire(server: Server, browser: Browser, channel: str) -> None:
    """HTML is markup on the html wire, never script, although scripts are allowed in the browser."""
    browser.open(f"{server.url}/channels/{channel}/html")
    server.publish(
        channel,
        "<p>seen</p><script>document.title='forged'</script><img src=x onerror=\"document.title='forged'\">",
        HTML,
    )
    shows_text(browser, "seen")
    server.publish(channel, "after")
    shows_text(browser, "after")
    assert browser.run("return document.title") == channel


def test_the_html_page_comes_back_after_its_channel_was_deleted(server: Server, browser: Browser, channel: str) -> None:
    """When the stream has ended, the page reloads by itself and shows what is published then."""
    server.publish(channel, "old")
    browser.open(f"{server.url}/channels/{channel}/html", scripts=False)
    shows_text(browser, "old")
    requests.delete(f"{server.url}/channels/{channel}", headers=server.auth, timeout=10).raise_for_status()
    shows_text(browser, f"Waiting for the first update of {channel}")
    server.publish(channel, "new")
    shows_text(browser, "new")


def test_the_html_page_begins_anew_before_it_grows_large(server: Server, browser: Browser, channel: str) -> None:
    """After about 1 MiB the response ends; the page reloads by itself and goes on with the newest."""
    browser.open(f"{server.url}/channels/{channel}/html", scripts=False)
    until(lambda: "Waiting" in browser.text())
    for number in range(5):
        server.publish(channel, f"<!--{'x' * 250_000}--><p>{number}</p>", HTML)
        until(lambda: browser.text().strip() == str(number), what=str(number))  # noqa: B023
    blocks = (By.CSS_SELECTOR, "body>div")
    until(lambda: len(browser.driver.find_elements(*blocks)) == 1, what="a page with one block")
    server.publish(channel, "small")
    shows_text(browser, "small")


# With scripts.


LISTEN = """
window.got = [];
window.sources = arguments[0].map((url, place) => {
  const source = new EventSource(url);
  got.push([]);
  for (const name of ["open", "message", "goal", "comet.beat", "comet.gap", "comet.closed"])
    source.addEventListener(name, (event) => got[place].push([name, event.data ?? null, event.lastEventId ?? null]));
  return source;
});
"""


def got(browser: Browser, place: int, *names: str) -> list[Any]:
    """What came to an EventSource of the page, of the events with these names."""
    return [event for event in browser.run("return got")[place] if event[0] in names]


def test_an_event_source_misses_nothing_when_its_line_is_cut(server: Server, browser: Browser, channel: str) -> None:
    """EventSource, plain and with envelope=1, has each update once and in order over a broken connection."""
    server.publish(channel, "zero")
    with Line(server.port) as line:
        browser.open(f"{line.url}/healthz")
        path = f"/channels/{channel}/sse"
        browser.run(LISTEN, [path, f"{path}?envelope=1"])
        until(lambda: all(got(browser, place, "message") for place in (0, 1)))
        ids = [
            server.publish(channel, "one\ntwo")["id"],
            server.publish(channel, "three", **{"Comet-Event": "goal"})["id"],
        ]
        until(lambda: got(browser, 0, "goal") and len(got(browser, 1, "message")) == 3)
        line.cut()
        ids += [server.publish(channel, f"missed {number}")["id"] for number in range(3)]
        until(lambda: all(len(got(browser, place, "open")) == 2 for place in (0, 1)), what="both are open again")
        ids.append(server.publish(channel, "last")["id"])
        datas = ["one\ntwo", "three", "missed 0", "missed 1", "missed 2", "last"]
        names = ["message", "goal", "message", "message", "message", "message"]
        expected = [list(each) for each in zip(names, datas, ids, strict=True)]
        until(lambda: got(browser, 0, "message", "goal", "comet.gap")[1:] == expected)
        until(lambda: len(got(browser, 1, "message")) == 7)
        updates = [json.loads(data) for _, data, _ in got(browser, 1, "message", "goal", "comet.gap")]
        assert [update["data"] for update in updates] == ["zero", *datas]
        assert [update["id"] for update in updates][1:] == ids
        assert updates[2]["event"] == "goal" and updates[2]["channel"] == channel
        browser.run("for (const source of sources) source.close()")


def test_an_event_source_has_a_cursor_before_the_first_update(server: Server, browser: Browser, channel: str) -> None:
    """With envelope=1 it misses nothing either if its line is cut before anything has come."""
    server.publish(channel, "old")
    with Line(server.port) as line:
        browser.open(f"{line.url}/healthz")
        browser.run(LISTEN, [f"/channels/{channel}/sse?envelope=1&last=0"])
        until(lambda: got(browser, 0, "comet.beat"))
        line.cut()
        for number in range(3):
            server.publish(channel, f"missed {number}")
        until(lambda: len(got(browser, 0, "message")) >= 3)
        datas = [json.loads(data)["data"] for _, data, _ in got(browser, 0, "message", "comet.gap")]
        assert datas == [f"missed {number}" for number in range(3)]
        browser.run("for (const source of sources) source.close()")


def test_live_pages_come_back_when_the_server_is_reloaded(server: Server, browser: Browser, channel: str) -> None:
    """After a reload an EventSource and a frame with the html wire come back by themselves; the gap is told."""
    server.publish(channel, "before")
    browser.open(home(server))
    browser.run(LISTEN, [f"/channels/{channel}/sse"])
    browser.run(
        "const frame = document.createElement('iframe'); frame.id = 'frame'; frame.src = arguments[0];"
        "document.body.append(frame)",
        f"/channels/{channel}/html",
    )
    until(lambda: got(browser, 0, "message"))
    until(lambda: browser.text_of("frame") == "before")
    (old,) = server.workers()
    server.signal(signal.SIGHUP)
    until(lambda: old not in server.workers(), seconds=20, what="the old worker has gone")
    server.publish(channel, "after")
    until(lambda: len(got(browser, 0, "message")) == 2, seconds=20, what="the EventSource is back")
    (gap,) = got(browser, 0, "comet.gap")
    assert json.loads(gap[1])["reason"] == "epoch"
    assert [data for _, data, _ in got(browser, 0, "message")] == ["before", "after"]
    until(lambda: browser.text_of("frame") == "after", what="the frame is back")


def test_a_page_hears_of_the_end_of_a_channel(server: Server, browser: Browser, channel: str) -> None:
    """An EventSource gets comet.closed, and what is published to a new channel of the name after it has come back."""
    server.publish(channel, "old")
    browser.open(home(server))
    browser.run(LISTEN, [f"/channels/{channel}/sse"])
    until(lambda: got(browser, 0, "message"))
    requests.delete(f"{server.url}/channels/{channel}", headers=server.auth, timeout=10).raise_for_status()
    until(lambda: got(browser, 0, "comet.closed"))
    assert json.loads(got(browser, 0, "comet.closed")[0][1]) == {"closed": channel}
    until(lambda: len(got(browser, 0, "open")) == 2)
    server.publish(channel, "new")
    until(lambda: [data for _, data, _ in got(browser, 0, "message")] == ["old", "new"])


FETCH = """
window.got = [];
(async () => {
  const answer = await fetch(arguments[0]);
  window.cursor = answer.headers.get("Comet-Cursor");
  let text = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    const lines = (text + piece).split("\\n");
    text = lines.pop();
    got.push(...lines.map(JSON.parse));
  }
})();
"""

POLL = """
window.got = [];
(async () => {
  for (let since = ""; ; ) {
    const answer = await (await fetch(arguments[0] + "?timeout=5&since=" + since)).json();
    got.push(...answer.updates);
    since = answer.cursor;
  }
})();
"""


@pytest.mark.parametrize(("wire", "script"), [("ndjson", FETCH), ("poll", POLL)])
def test_a_script_reads_json_as_it_is_published(
    server: Server, browser: Browser, channel: str, wire: str, script: str
) -> None:
    """fetch gets each line of ndjson at once, and a loop of polls misses nothing."""
    server.publish(channel, "0")
    browser.open(home(server))
    browser.run(script, f"/channels/{channel}/{wire}")
    for number in range(1, 4):
        until(lambda: len(browser.run("return got")) == number, what=f"{number} updates")  # noqa: B023
        server.publish(channel, str(number))
    server.publish(channel, "4")
    until(lambda: [update["data"] for update in browser.run("return got")] == ["0", "1", "2", "3", "4"])


def test_a_script_of_an_allowed_site_reads_across_origins(
    server: Server, browser: Browser, friend: Site, stranger: Site, channel: str
) -> None:
    """CORS: EventSource and fetch work from a site on the list, and not from another."""
    server.publish(channel, "hello")
    browser.open(friend.page("friend"))
    browser.run(LISTEN, [f"{server.url}/channels/{channel}/sse"])
    until(lambda: got(browser, 0, "message"))
    browser.run(FETCH, f"{server.url}/channels/{channel}/ndjson")
    until(lambda: browser.run("return got.length && cursor"))
    browser.open(stranger.page("stranger"))
    browser.run(
        "window.refused = []; const source = new EventSource(arguments[0]);"
        "source.onerror = () => { refused.push('sse'); source.close(); };"
        "fetch(arguments[0]).catch(() => refused.push('fetch'))",
        f"{server.url}/channels/{channel}/sse",
    )
    until(lambda: sorted(browser.run("return refused")) == ["fetch", "sse"])


FRAME = """
window.got = [];
window.addEventListener("message", (event) => got.push([event.origin, JSON.parse(event.data)]));
const frame = document.createElement("iframe");
frame.src = arguments[0];
document.body.append(frame);
"""


def test_a_forever_frame_posts_to_the_page_around_it(
    server: Server, browser: Browser, friend: Site, channel: str
) -> None:
    """The iframe wire posts each update, as JSON, to a page of its own origin or of the one that it was made for."""
    nasty = "</script><!-- \u2028 <b> \"quoted\" 'single'"
    for page, query in ((home(server), ""), (friend.page("friend"), f"?origin={friend.origin}")):
        server.publish(channel, "first")
        browser.open(page)
        browser.run(FRAME, f"{server.url}/channels/{channel}/iframe{query}")
        until(lambda: browser.run("return got.length"))
        server.publish(channel, nasty)
        until(lambda: len(browser.run("return got")) == 2)
        assert [origin for origin, _ in browser.run("return got")] == [server.url] * 2
        assert [update["data"] for _, update in browser.run("return got")] == ["first", nasty]


def test_a_forever_frame_is_refused_to_a_stranger(
    server: Server, browser: Browser, friend: Site, stranger: Site, channel: str
) -> None:
    """A site that is not on the list gets no message, whatever origin it names and whatever it hides."""
    server.publish(channel, "secret")
    policy = '<meta name="referrer" content="no-referrer">'
    pages = (stranger.page("stranger"), stranger.page(policy))
    with Line(server.port) as line:
        for page, origin in itertools.product(pages, (friend.origin, stranger.origin, None)):
            browser.open(page)
            line.answers.clear()
            query = f"?origin={origin}" if origin else ""
            browser.run(FRAME, f"{line.url}/channels/{channel}/iframe{query}")
            until(lambda: b"\r\n\r\n" in line.answers, what=f"an answer for {origin}")
            assert line.answers.startswith(b"HTTP/1.1 403")
            assert b"secret" not in line.answers
            assert browser.run("return got") == []
        browser.leave()


def test_a_frame_made_for_another_origin_posts_nothing_here(
    server: Server, browser: Browser, friend: Site, channel: str
) -> None:
    """The browser hands the messages to the named origin only."""
    server.publish(channel, "for the server's own pages")
    browser.open(friend.page("friend"))
    browser.run(FRAME, f"{server.url}/channels/{channel}/iframe")
    until(lambda: subscribers(server, channel) == 1)
    browser.run(FRAME.replace("window.got = [];", ""), f"{server.url}/channels/{channel}/iframe?origin={friend.origin}")
    # The second frame came later and has spoken: the first one is silent.
    until(lambda: browser.run("return got.length"))
    server.publish(channel, "two")
    # Two listeners now, one message each from the second frame.
    until(lambda: len(browser.run("return got")) == 4)
    assert [update["data"] for _, update in browser.run("return got")][2:] == ["two", "two"]


SCRIPT = """
window.got = window.got || [];
window.show = (answer) => got.push(answer);
const script = document.createElement("script");
script.src = arguments[0];
script.onerror = () => got.push("refused");
document.body.append(script);
"""


def test_jsonp_goes_across_ports_to_allowed_sites_only(
    server: Server, browser: Browser, friend: Site, stranger: Site, channel: str
) -> None:
    """A script tag gets an answer, and the next one waits at its cursor; a stranger's script gets nothing."""
    server.publish(channel, "one")
    url = f"{server.url}/channels/{channel}/jsonp?callback=show"
    browser.open(friend.page("friend"))
    browser.run(SCRIPT, url)
    (answer,) = until(lambda: browser.run("return got"))
    assert [update["data"] for update in answer["updates"]] == ["one"]
    browser.run(SCRIPT, f"{url}&since={answer['cursor']}")
    server.publish(channel, "two")
    until(lambda: len(browser.run("return got")) == 2)
    assert [update["data"] for update in browser.run("return got")[1]["updates"]] == ["two"]
    browser.open(stranger.page("stranger"))
    browser.run(SCRIPT, url)
    assert until(lambda: browser.run("return got")) == ["refused"]


# In a terminal.


@pytest.mark.parametrize(
    ("wire", "line"), [("text", b"hello\n"), ("sse", b"data: hello\n"), ("ndjson", b'"data":"hello"')]
)
def test_curl_prints_each_update_at_once(server: Server, wire: str, line: bytes) -> None:
    """curl -N prints an update as soon as it is published."""
    need("curl")
    name = f"curl.{wire}"
    command = ["curl", "-sN", f"{server.url}/channels/{name}/{wire}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        try:
            server.publish(name, "hello")
            while line not in curl.stdout.readline():
                assert curl.poll() is None
        finally:
            curl.terminate()
