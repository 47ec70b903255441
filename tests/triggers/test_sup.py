"""Sup: feeds of another server, published when its SUP document says that they have changed."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gevent
import pytest

from comet.brokers import Receipt
from comet.core.errors import Alarm, SettingsError, SourceFailed, TooLarge
from comet.core.sup import sup_id
from comet.core.update import Update
from comet.triggers import Trigger
from comet.triggers.sup import Sup, fetching
from comet.triggers.sup.document import Document
from comet.triggers.sup.fetching import shown
from tests.timing import PATIENCE
from tests.triggers.feeds import Feeds, serving
from tests.triggers.test_triggers import TriggerContract
from tests.triggers.watching import Published, ended, wait


@pytest.fixture
def feeds() -> Iterator[Feeds]:
    with serving() as feeds:
        yield feeds


def sup(feeds: Feeds, *names: str, every: float = 0.01, **options: Any) -> Sup:
    """A trigger for the feeds at ``/NAME``, with this SUP-ID, and published to this channel."""
    ids = {name: {"channel": name, "feed": f"{feeds.url}/{name}"} for name in names}
    return Sup("test", url=f"{feeds.url}/sup.json", ids=ids, every=every, **options)


@contextmanager
def running(trigger: Sup, publish: Published) -> Iterator[None]:
    greenlet = gevent.spawn(trigger.run, publish)
    try:
        yield
    finally:
        trigger.stop()
        ended(greenlet)


def looks(feeds: Feeds, count: int = 2) -> None:
    """Wait until so many more looks are over."""
    upto = feeds.count("/sup.json") + count + 1
    wait(lambda: feeds.count("/sup.json") >= upto)


def told(published: Published) -> list[tuple[str, str, str | None]]:
    return [(update.channel, update.data.decode(), update.key) for update in published]


class TestSup(TriggerContract):
    @pytest.fixture(autouse=True)
    def _serve(self, feeds: Feeds) -> Iterator[None]:
        self.feeds = feeds
        change = gevent.spawn(self._change)
        yield
        change.kill()

    def _change(self) -> None:
        count = 0
        while True:
            count += 1
            self.feeds.page("/a", str(count))
            self.feeds.document(("a", count))
            gevent.sleep(0.005)

    def make(self) -> Trigger:
        return sup(self.feeds, "a")

    def test_what_publish_raises_it_raises(self) -> None:
        """An update that was not accepted is not forgotten: the supervisor is told, and starts the trigger again."""

        class Refusing(Published):
            def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
                raise OSError("the broker is away")

        with pytest.raises(OSError, match="the broker is away"):
            gevent.spawn(self.make().run, Refusing()).get(timeout=10 * PATIENCE)


# What is published.


def test_what_changes_is_published_once(feeds: Feeds, published: Published) -> None:
    """The body of the feed with its media type, and by its SUP-ID and update-id as the key; others are let be."""
    feeds.page("/a", "a1", Content_Type="text/html; charset=utf-8")
    feeds.page("/b", b"\xff\x00", Content_Type="image/png")
    feeds.document(("a", "u1"), ("unknown", "x"), ("b", 17))
    with running(sup(feeds, "a", "b", event="fed"), published):
        wait(lambda: len(published) == 2)
        looks(feeds)
        assert [(update.channel, update.data, update.type, update.event, update.key) for update in published] == [
            ("a", b"a1", "text/html; charset=utf-8", "fed", "a:u1"),
            ("b", b"\xff\x00", "image/png", "fed", "b:17"),
        ]
        asked = feeds.count("/b")
        feeds.page("/a", "a2")
        feeds.document(("a", "u2"), ("b", 17))
        wait(lambda: len(published) == 3)
        looks(feeds)
        assert (published[2].channel, published[2].data, published[2].key) == ("a", b"a2", "a:u2")
        assert feeds.count("/b") == asked
        assert feeds.count("/unknown") == 0


def test_the_first_look_publishes_what_there_is(feeds: Feeds, published: Published) -> None:
    """Also of feeds that have not changed of late: a page wants the present state."""
    feeds.page("/a", "a0")
    feeds.document()
    with running(sup(feeds, "a", "gone"), published):
        wait(lambda: len(published) == 1)
        looks(feeds)
    assert [update.data for update in published] == [b"a0"]
    assert feeds.count("/a") == 1


def test_what_is_told_again_is_not_published_again(feeds: Feeds, published: Published) -> None:
    """The document repeats an update-id as long as it reaches back to it, and forgets it then."""
    feeds.page("/a", "a1")
    feeds.document(("a", "u1"))
    with running(sup(feeds, "a"), published):
        wait(lambda: published)
        looks(feeds)
        feeds.document()
        looks(feeds)
        feeds.document(("a", "u1"))
        looks(feeds)
    assert len(published) == 1


def test_a_feed_that_comes_late(feeds: Feeds, published: Published) -> None:
    """Who is told of a change and then gets what was there before, from a cache say, asks once more."""
    feeds.page("/a", "old", ETag='"1"')
    feeds.document(("a", "u1"))
    with running(sup(feeds, "a"), published):
        wait(lambda: published)
        looks(feeds)
        feeds.page("/a", "old", ETag='"1"')
        feeds.page("/a", "new", ETag='"2"', later=True)
        feeds.document(("a", "u2"))
        wait(lambda: len(published) == 2)
        looks(feeds)
    assert told(published) == [("a", "old", "a:u1"), ("a", "new", 'a:u2:"2"')]
    assert ("/a", '"1"') in feeds.conditions


def test_a_comets_etag_is_its_update_id(feeds: Feeds, published: Published) -> None:
    """Then what was fetched is what was told, and nobody asks once more."""
    feeds.page("/a", "a1", ETag='"k3f9tq-1042"')
    feeds.document(("a", "k3f9tq-1042"))
    with running(sup(feeds, "a"), published):
        wait(lambda: published)
        looks(feeds)
    assert feeds.count("/a") == 1


def test_a_page_that_is_never_the_same(feeds: Feeds, published: Published) -> None:
    """Without an ETag it is published once for each update-id, though it would look new each time."""
    feeds.page("/a", "1")
    feeds.document(("a", "u1"))
    with running(sup(feeds, "a"), published):
        wait(lambda: published)
        feeds.page("/a", "2")
        looks(feeds)
    assert told(published) == [("a", "1", "a:u1")]


# Coming back.


def test_after_a_restart_it_goes_on(feeds: Feeds, published: Published) -> None:
    """Nothing twice, and what changed meanwhile is published, if the document reaches back so far."""
    feeds.page("/a", "a1", ETag='"1"')
    feeds.page("/b", "b1")
    feeds.document(("a", "u1"), ("b", "u1"), until=1000)
    with running(sup(feeds, "a", "b"), published):
        wait(lambda: len(published) == 2)
        looks(feeds)
    feeds.page("/b", "b2")
    feeds.document(("b", "u2"), since=1000, until=1060)
    with running(sup(feeds, "a", "b"), published):
        wait(lambda: len(published) == 3)
        looks(feeds)
    assert told(published)[2:] == [("b", "b2", "b:u2")]


def test_after_a_restart_of_a_log_that_forgets(feeds: Feeds) -> None:
    """What there is is published anew, also what has not changed of late: the channels are empty."""
    published = Published()
    published.lasts = False
    feeds.page("/a", "a1", ETag='"1"')
    feeds.document(("a", "u1"), until=1000)
    trigger = sup(feeds, "a")
    for _ in range(2):
        with running(trigger, published):
            looks(feeds)
    assert published.texts == ["a1"]
    again = Published()
    again.lasts = False
    again.checkpoints = published.checkpoints
    feeds.document(since=1000, until=1060)
    with running(sup(feeds, "a"), again):
        wait(lambda: again)
        looks(feeds)
    assert told(again) == [("a", "a1", 'a::"1"')]


def test_after_a_long_time_all_feeds_are_looked_at(feeds: Feeds, published: Published) -> None:
    """The document does not reach back to the last look: what is not as it was is published."""
    for name in "ab":
        feeds.page(f"/{name}", "old", ETag='"old"')
    feeds.document(until=1000)
    with running(sup(feeds, "a", "b"), published):
        wait(lambda: len(published) == 2)
        looks(feeds)
    feeds.page("/b", "new", ETag='"new"')
    feeds.document(since=1001, until=2000)
    with running(sup(feeds, "a", "b"), published):
        wait(lambda: len(published) == 3)
        feeds.document(since=1999, until=2060)
        looks(feeds)
    assert told(published)[2:] == [("b", "new", 'b::"new"')]


def test_what_fails_is_not_forgotten(feeds: Feeds, published: Published) -> None:
    """A feed that was told of and could not be had is fetched with a later look, also after a restart; others are
    published meanwhile."""
    feeds.page("/a", "sorry", 500)
    feeds.page("/b", "b1")
    feeds.document(("a", "u1"), ("b", "u1"), until=1000)
    with pytest.raises(SourceFailed, match=rf"^{feeds.url}/a answers 500\.$"):
        sup(feeds, "a", "b").run(published)
    assert told(published) == [("b", "b1", "b:u1")]
    feeds.document(since=1000, until=1060)
    feeds.page("/a", "a1")
    with running(sup(feeds, "a", "b"), published):
        wait(lambda: len(published) == 2)
    assert told(published)[1:] == [("a", "a1", "a:u1")]


def test_a_checkpoint_of_another_document(feeds: Feeds, published: Published) -> None:
    """It is worth nothing, and neither is one that nobody understands."""
    for checkpoint in ("{", "[]", '{"url": 1}', json.dumps({"url": "http://other/", "until": 1e10, "places": {}})):
        published.checkpoints.append(checkpoint)
        feeds.page("/a", checkpoint)
        feeds.document(("a", checkpoint))
        count = len(published)
        with running(sup(feeds, "a"), published):
            wait(lambda count=count: len(published) == count + 1)  # type: ignore[misc]


def test_a_checkpoint_tells_no_password(feeds: Feeds, published: Published) -> None:
    """Status pages show it."""
    url = feeds.document().replace("//", "//me:secret@") + "?key=secret"
    feeds.pages["/sup.json?key=secret"] = feeds.pages["/sup.json"]
    with running(Sup("test", url=url, ids={}), published):
        wait(lambda: published.checkpoints)
    assert json.loads(published.checkpoints[0])["url"] == f"{feeds.url}/sup.json"


# The pace.


@pytest.mark.parametrize(
    ("every", "period", "cache", "least"),
    [
        (None, 17, "", 17),
        (None, 60, "public, max-age=90", 90),
        (30.0, 7, "max-age=5", 30),
        (20.0, 60, "", 20),
        (20.0, 60, "no-cache, max-age=23", 23),
        (None, "often", "", 60),
        (None, 0, "", 60),
    ],
)
def test_the_pace(
    feeds: Feeds, published: Published, every: float | None, period: object, cache: str, least: float
) -> None:
    """It is that of the document, or what is asked for; never faster than caches make sense, however often it fails."""
    feeds.document(period=period, Cache_Control=cache)
    trigger = sup(feeds, every=every)  # type: ignore[arg-type]
    for _ in range(3):
        with running(trigger, published):
            wait(lambda: published.checkpoints)
            gevent.sleep(0)
    assert feeds.count("/sup.json") == 1
    assert least - 10 * PATIENCE < trigger._next - time.monotonic() <= least


def test_a_document_that_has_not_changed(feeds: Feeds, published: Published) -> None:
    """It is asked for by its ETag, and means what it meant, later."""
    feeds.page("/a", "a1")
    feeds.document(("a", "u1"), until=1000, ETag='W/"same"')
    with running(sup(feeds, "a"), published):
        wait(lambda: ("/sup.json", 'W/"same"') in feeds.conditions)
        looks(feeds)
    assert len(published) == 1
    assert json.loads(published.checkpoints[-1])["until"] > 1000


def test_a_packed_document(feeds: Feeds, published: Published) -> None:
    """gzip is taken, for feeds too."""
    feeds.packed = True
    feeds.page("/a", "a" * 1000)
    feeds.document(("a", "u1"))
    with running(sup(feeds, "a"), published):
        wait(lambda: published)
    assert published.texts == ["a" * 1000]


# What goes wrong.


ALARMS = [
    (404, "{}", "there is no SUP document at URL: it answers 404."),
    (403, "{}", "there is no SUP document at URL: it answers 403."),
    (200, "<html>", "URL is no SUP document: it is not JSON."),
    (200, "[" * 100_000, "URL is no SUP document: it is not JSON."),
    (200, "[]", 'URL is no SUP document: it has no list of "updates".'),
    (200, '{"updates": {}}', 'URL is no SUP document: it has no list of "updates".'),
    (200, '{"updates": [["a"]]}', "URL is no SUP document: ['a'] is not a pair of SUP-ID and update-id."),
    (200, '{"updates": [["a", null]]}', "URL is no SUP document: ['a', None] is not a pair of SUP-ID and update-id."),
]


@pytest.mark.parametrize(("status", "body", "sentence"), ALARMS)
def test_what_nobody_else_mends(feeds: Feeds, published: Published, status: int, body: str, sentence: str) -> None:
    """There is no document, or it is none: an alarm in one sentence."""
    url = feeds.page("/sup.json", body, status)
    with pytest.raises(Alarm) as alarm:
        sup(feeds, "a").run(published)
    assert str(alarm.value) == sentence.replace("URL", url)


@pytest.mark.parametrize("status", [500, 503, 429, 304])
def test_what_mends_itself(feeds: Feeds, published: Published, status: int) -> None:
    """It is tried again, not before the server wants that."""
    url = feeds.page("/sup.json", "{}", status, Retry_After="120")
    trigger = sup(feeds, "a")
    with pytest.raises(SourceFailed, match=rf"^{url} answers {status}\.$"):
        trigger.run(published)
    assert trigger._next - time.monotonic() > 100


def test_nobody_is_there(published: Published) -> None:
    """The sentence says why, and no password."""
    with serving() as feeds:
        pass
    where = feeds.url.removeprefix("http://")
    trigger = Sup("test", url=f"http://me:secret@{where}/sup.json?key=secret", ids={}, every=1)
    with pytest.raises(SourceFailed) as failure:
        trigger.run(published)
    assert str(failure.value) == f"http://{where}/sup.json can't be fetched: Connection refused."


def test_no_answer_comes(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says so."""
    monkeypatch.setattr(fetching, "SILENCE", 0.05)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/sup.json"
        with pytest.raises(SourceFailed, match=rf"^{url} can't be fetched: no answer in time\.$"):
            Sup("test", url=url, ids={}).run(published)


def test_redirects(feeds: Feeds, published: Published) -> None:
    """They are followed, but not for ever."""
    feeds.document(("a", "u1"))
    feeds.page("/a", "", 302, Location="/moved")
    feeds.page("/moved", "a1")
    feeds.page("/b", "", 302, Location="/b")
    feeds.page("/c", "", 500)
    with pytest.raises(SourceFailed) as failure:
        sup(feeds, "a", "b", "c").run(published)
    assert published.texts == ["a1"]
    assert str(failure.value) == (f"{feeds.url}/b can't be fetched: too many redirects. (1 more can't be had either)")


def test_a_name_that_nobody_knows(published: Published) -> None:
    """The sentence says so."""
    with pytest.raises(SourceFailed, match=r"^http://nowhere.invalid/sup.json can't be fetched: .{10,80}\.$"):
        Sup("test", url="http://nowhere.invalid/sup.json", ids={}, every=1).run(published)


def test_too_much(feeds: Feeds, published: Published) -> None:
    """More than is taken is not read to its end, packed or not; it is told, and not fetched again before it changes."""
    feeds.packed = True
    feeds.page("/a", bytes(10_000_000))
    feeds.document(("a", "u1"))
    trigger = sup(feeds, "a", most=1000)
    with pytest.raises(SourceFailed, match=rf"^{feeds.url}/a is larger than 1000 bytes\.$"):
        trigger.run(published)
    with running(trigger, published):
        looks(feeds)
    feeds.page("/sup.json", bytes(2_000_000))
    with pytest.raises(Alarm, match=r"/sup.json is larger than 1048576 bytes\.$"):
        trigger.run(published)
    assert (published, feeds.count("/a")) == ([], 1)


def test_more_than_the_server_takes(feeds: Feeds) -> None:
    """COMET_MAX_UPDATE is told as well."""

    class Small(Published):
        def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
            if updates:
                raise TooLarge("5 bytes; an update has at most 4 (COMET_MAX_UPDATE).")
            return super().__call__(updates, checkpoint)

    feeds.page("/a", "12345")
    feeds.document(("a", "u1"))
    with pytest.raises(SourceFailed, match="COMET_MAX_UPDATE"):
        sup(feeds, "a").run(Small())


def test_a_feed_that_is_another_or_none(feeds: Feeds, published: Published, caplog: pytest.LogCaptureFixture) -> None:
    """Each is told once, and nothing else is harmed."""
    feeds.page("/a", "a1", X_SUP_ID="http://there/sup.json#other")
    feeds.page("/b", "b1", X_SUP_ID="http://there/sup.json#b")
    for count in range(3):
        feeds.document(*((name, count) for name in ("a", "b", "gone")))
        with caplog.at_level(logging.WARNING), running(sup(feeds, "a", "b", "gone"), published):
            looks(feeds)
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        trigger = sup(feeds, "a", "b", "gone")
        for count in range(3, 6):
            feeds.document(*((name, count) for name in ("a", "b", "gone")))
            with running(trigger, published):
                looks(feeds)
    assert [record.getMessage() for record in caplog.records] == [
        f"comet: the trigger test: {feeds.url}/a says that its SUP-ID is 'other', not 'a'",
        f"comet: the trigger test: {feeds.url}/gone has nothing now (404)",
    ]


def test_what_rendering_refuses_is_not_lost(feeds: Feeds) -> None:
    """It is tried again with the next look, as soon as the template is mended."""

    class Rendering(Published):
        broken = True

        def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
            if updates and self.broken:
                raise SourceFailed("the template feed.html has no end.")
            return super().__call__(updates, checkpoint)

    published = Rendering()
    feeds.page("/a", "a1")
    feeds.document(("a", "u1"))
    trigger = sup(feeds, "a")
    with pytest.raises(SourceFailed, match="has no end"):
        trigger.run(published)
    published.broken = False
    with running(trigger, published):
        wait(lambda: published)
    assert told(published) == [("a", "a1", "a:u1")]


# Bodies.


@pytest.mark.parametrize(
    ("sent", "body", "type", "data"),
    [
        (None, b"x", "application/octet-stream", b"x"),
        ("text/plain", b"\xe9", "text/plain", b"\xe9"),
        ("text/html; charset=UTF-8", "é".encode(), "text/html; charset=UTF-8", "é".encode()),
        ("text/html; charset=us-ascii", b"x", "text/html; charset=us-ascii", b"x"),
        ("text/xml; charset=iso-8859-1", b"\xe9", "text/xml; charset=utf-8", "é".encode()),
        ('text/xml;charset="Windows-1252"; a=b', b"\x80", 'text/xml;charset="utf-8"; a=b', "€".encode()),
        ("application/xml; charset=iso-8859-1", b"\xe9", "application/xml; charset=iso-8859-1", b"\xe9"),
        ("text/plain; charset=nobody-knows", b"x", "application/octet-stream", b"x"),
        ("text/plain; charset=punycode", b"x", "application/octet-stream", b"x"),
        ("no type", b"x", "application/octet-stream", b"x"),
        ("text/" + "x" * 200, b"x", "application/octet-stream", b"x"),
    ],
)
def test_media_types(feeds: Feeds, published: Published, sent: str | None, body: bytes, type: str, data: bytes) -> None:
    """They are those of the feed; text becomes utf-8, and what has no type that holds is bytes."""
    feeds.page("/a", body, **({"Content_Type": sent} if sent else {}))
    feeds.document(("a", "u1"))
    with running(sup(feeds, "a"), published):
        wait(lambda: published)
    assert (published[0].type, published[0].data) == (type, data)


def test_a_long_or_odd_update_id(feeds: Feeds, published: Published) -> None:
    """The key is a hash of it."""
    for each in ("x" * 200, "\u2028", ""):
        feeds.page("/a", f"body {each}")
        feeds.document(("a", each))
        with running(sup(feeds, "a"), published):
            looks(feeds)
    assert [len(update.key or "") for update in published] == [64, 64, 2]


# What a document may be.


FRIENDFEED = """{"updated_time":"1970-01-01T00:01:40Z","since_time":"1970-01-01T01:00:30+01:00","period":60,
    "available_periods":{"60":"http://site/"},"updates":[["4762d33f","08tCo"],["100994c2","08tCs","more"]]}"""
STATUSNET = '{"updated_time":"1970-01-01T00:01:40+00:00","updates":[[17,42]],"period":15}'
ODD = '{"update_time":"1970-01-01T00:01:40","since_time":"then","updates":[["a","1"],["a","2"]],"period":1e9}'
SENSELESS = '{"updated_time":5,"updates":[],"period":"60"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FRIENDFEED, Document({"4762d33f": "08tCo", "100994c2": "08tCs"}, 100.0, 30.0, 60.0)),
        (STATUSNET, Document({"17": "42"}, 100.0, None, 15.0)),
        (ODD, Document({"a": "2"}, 100.0, None, 60.0)),
        (SENSELESS, Document({}, None, None, 60.0)),
    ],
)
def test_documents(text: str, expected: Document) -> None:
    """FriendFeed's of 2008, StatusNet's with numbers for ids, and what is left out or makes no sense is not said."""
    assert Document.parse(text.encode()) == expected


# What is configured.


def test_the_channel_of_another_comet() -> None:
    """Its SUP-ID tells that the feed is the channel of the same name below the same URL."""
    of_x, of_y = sup_id("", "x"), sup_id("/push", "y")
    assert Sup("t", url="https://me:pass@h:1/sup.json?seconds=15", ids={of_x: "x"}).feeds[0].url == (
        "https://me:pass@h:1/channels/x/latest"
    )
    assert Sup("t", url="https://h/push/sup.json", ids={of_y: "y"}).feeds[0].url == "https://h/push/channels/y/latest"


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("ftp://h/", {}, "url is 'ftp://h/'; it must be a URL such as https://example.org/sup.json."),
    ("http://", {}, "url is 'http://'; it must be"),
    ("http://h:99999/", {}, "url is 'http://h:99999/'; it must be"),
    ("//me:secret@h/?secret", {}, "url is '//h/'; it must be"),
    ("https://me:7/secret@h/sup.json", {"a": {"channel": "x", "feed": "https://me:se/secret@h/"}},
     "ids.a.feed is 'https://…@h/'; it must be"),
    ("http://me:secret@h/sup.json", {"4762d33f": "x"},
     'ids.4762d33f: its feed is not x of a comet at http://h/sup.json, so it must be named: {channel = "x", feed ='),
    ("http://h/other.json", {sup_id("", "x"): "x"}, "so it must be named"),
    ("http://h/s", {"a": {"channel": "x"}}, "ids.a is not right; it must be a channel, or {channel ="),
    ("http://h/s", {"a": 5}, "ids.a is not right"),
    ("http://h/s", {"a": {"channel": "-", "feed": "http://h/f"}}, "ids.a: '-' is not a channel name"),
    ("http://h/s", {"a": {"channel": 5, "feed": "http://secret@h/f"}}, "ids.a is not right"),
    ("http://h/s", {"a": {"channel": "x", "feed": "f"}}, "ids.a.feed is 'f'; it must be a URL"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "ids", "sentence"), WRONG)
def test_what_is_configured_wrong(url: str, ids: dict[str, Any], sentence: str) -> None:
    """One sentence that says what would be right, without passwords."""
    with pytest.raises(SettingsError) as error:
        Sup("t", url=url, ids=ids)
    assert sentence in str(error.value)
    assert "secret" not in str(error.value)


def test_urls_in_sentences() -> None:
    """What may be secret is left out, even of what is no URL."""
    assert shown("http://me:pass@h/p@th?key=1#x") == "http://h/p@th"
    assert shown("http://[::1/x\n?key") == "http://[::1/x\n"
