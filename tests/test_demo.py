"""The demo: the clock as a drawing, the gallery as a page, and what the start says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from html import unescape
from itertools import accumulate
from xml.etree import ElementTree

import pytest
from flask.testing import FlaskClient

from comet import create_app, demo
from comet.core.markup import is_closed
from comet.demo.minute import Minute, Sample, rates
from comet.demo.server import tell
from comet.demo.traffic import BOTTOM, LEFT, RIGHT, TOP, ceiling
from comet.serving import banner
from comet.settings import Settings
from tests.live.server import Server
from tests.status.workers import tally


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


NOW = 1_800_000_000.0


def seconds(*deliveries: float, begin: float = NOW) -> list[Sample]:
    """A look each second, from ``begin``: how many updates each second has delivered."""
    totals = accumulate((0.0, *deliveries))
    return [Sample(begin + n, 2, 3, 4e7, 0.5, total / 2, total, total * 100) for n, total in enumerate(totals)]


def test_a_rate_is_of_the_seconds_just_before() -> None:
    """Workers tell a second late: so each rate is of up to three seconds; of the first look nothing is known."""
    found = [rate for _, rate in rates(seconds(6, 0, 0, 0), "deliveries")]
    assert found == [None, 6, 3, 2, 0]


def test_what_a_worker_has_lost_is_no_traffic() -> None:
    """Where less is counted than before, because a worker has gone, the rate is nothing, and never less."""
    assert [rate for _, rate in rates(seconds(5, -5), "deliveries")] == [None, 5, 0]


def test_a_minute_is_of_all_workers_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they have counted is added up; looks that are older than a minute are dropped, and two at once are one."""
    clock = iter([NOW, NOW + 0.1, NOW + 1, NOW + 70])
    monkeypatch.setattr("comet.demo.minute.time.time", lambda: next(clock))
    minute = Minute(lambda: [tally(1, sse=2), tally(2, html=1), tally(3, lives=False)])
    assert minute.look()[0][:4] == (NOW, 2, 3, 80_000_000)
    assert [len(minute.look()) for _ in range(3)] == [1, 2, 1]


def drawing(samples: list[Sample]) -> ElementTree.Element:
    app = create_app(Settings(demo=True, max_streams=10))
    text = demo.draw(app.jinja_env.get_template("traffic.svg"), samples)
    assert len(text.encode()) <= 8192
    return ElementTree.fromstring(text)


def lines(drawing: ElementTree.Element) -> list[list[tuple[float, float]]]:
    """The points of each line of the chart."""
    found = [each.get("d", "") for each in drawing.iter(f"{SVG}path") if each.get("class") == "line"]
    numbers = [[float(number) for number in re.findall(r"[\d.]+", path)] for path in found]
    return [list(zip(line[::2], line[1::2], strict=True)) for line in numbers]


def test_the_chart_ends_now_at_the_present_rate() -> None:
    """Its line ends at the right, as high as the rate is on the scale, which holds the highest of the minute."""
    chart = drawing(seconds(*[10] * 30, *[30] * 40))
    (line,) = lines(chart)
    assert line[-1] == (RIGHT, round(BOTTOM - 30 / 40 * (BOTTOM - TOP), 1))
    assert line[0][0] == LEFT and len(line) == 61
    assert chart.findtext(f"{SVG}title") == "30 deliveries a second"
    assert [text.text for text in chart.iter(f"{SVG}text")][:3] == ["0", "20", "40"]


def test_the_chart_breaks_where_nobody_has_looked() -> None:
    """Of a time that nobody knows anything of it tells nothing; nor at the first look."""
    assert len(lines(drawing(seconds(1, 1) + seconds(1, 1, begin=NOW + 20)))) == 2
    first = drawing(seconds())
    assert lines(first) == [] and first.findtext(f"{SVG}title") == "– deliveries a second"


@pytest.mark.parametrize(("most", "end"), [(0, 10), (10, 10), (10.1, 20), (50, 60), (81, 100), (101, 200), (7e6, 8e6)])
def test_a_scale_holds_the_highest(most: float, end: float) -> None:
    """It ends at a number that is easily halved, and not far above."""
    assert ceiling(most) == end


def test_the_table_tells_now_and_the_most() -> None:
    """Each row has an id of its own, the same in each table. It is closed markup: the html wire shows it as it is."""
    app = create_app(Settings(demo=True, max_streams=10))
    text = tell(app.jinja_env.get_template("server.html"), seconds(*[40] * 9, 10, 10, 10), 7)
    assert is_closed(text)
    rows = dict(re.findall(r'<tr id="server-(\w+)"><th scope="row">[^<]+</th>((?:<td>[^<]*</td>)+)', text))
    cells = {key: re.findall(r"<td>([^<]*)</td>", row) for key, row in rows.items()}
    assert cells["watching"] == ["7", ""]
    assert cells["deliveries"] == ["10", "40"] and cells["bytes"] == ["1 KiB", "3.9 KiB"]
    assert cells["streams"] == ["3", "3"] and cells["memory"] == ["38.1 MiB", "38.1 MiB"] and cells["load"][0] == "0.50"


def test_a_machine_that_counts_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table has a dash there."""
    monkeypatch.setattr("os.getloadavg", _no_load)
    app = create_app(Settings(demo=True, max_streams=10))
    text = tell(app.jinja_env.get_template("server.html"), Minute(lambda: [tally(1)]).look(), 0)
    assert "Load of the machine</th><td>–</td><td>–</td>" in text


def _no_load() -> tuple[float, float, float]:
    raise OSError("not here")


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
    loaded = re.findall(r' (?:src|href)="([^"]*)"', re.sub(r"(?s)<code>.*?</code>", "", visitor.get("/").text))
    assert all(address.startswith(("/", "data:")) for address in loaded)


@pytest.mark.parametrize("channel", ["time", "clock", "server", "traffic", "watching"])
def test_each_channel_of_the_gallery_says_how_to_have_it(visitor: FlaskClient, channel: str) -> None:
    """Without a script, as an element, by a script and in a terminal: to be copied, with this server's address."""
    page = visitor.get("/", headers={"Host": "push.example"}).text
    (panel,) = re.findall(rf'(?s)<section [^>]*id="panel-{channel}".*?</section>', page)
    bare, element, script, terminal = map(unescape, re.findall(r"(?s)<code>(.*?)</code>", panel))
    assert re.fullmatch(rf'<i\w+ src="http://push.example/channels/{channel}/\w+" \w+="{channel}">(</iframe>)?', bare)
    assert 'src="http://push.example/comet.js"' in element and f'<comet-view channel="{channel}">' in element
    assert 'src="http://push.example/comet.js"' in script and f'comet.subscribe("{channel}", {{' in script
    assert re.fullmatch(rf"curl (-N )?http://push.example/channels/{channel}/\w+", terminal)
    loaded = re.findall(r'src="http://push.example(.*?)"', bare + element + script)
    assert {visitor.head(path).status_code for path in loaded} == {200}


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
