"""Subscribing over HTTP: which wire, from where, with what headers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from comet.core.wire import INERT, WIRES
from comet.settings import Settings
from tests.views.client import AUTH, Client, Serve, assert_problem


TYPES = {
    "sse": "text/event-stream; charset=utf-8",
    "poll": "application/json",
    "ndjson": "application/x-ndjson",
    "text": "text/plain; charset=utf-8",
    "multipart": "multipart/x-mixed-replace; boundary=",
    "html": "text/html; charset=utf-8",
    "iframe": "text/html; charset=utf-8",
    "jsonp": "text/javascript; charset=utf-8",
}
ONE_SHOT = ("poll", "jsonp")
ID = re.compile(r"[0-9a-z]{6,}-(0|[1-9][0-9]{0,17})")


# Which wire.


@pytest.mark.parametrize(
    ("accept", "wire"),
    [
        ("text/event-stream", "sse"),
        ("TEXT/Event-Stream", "sse"),
        ("text/event-stream; charset=utf-8", "sse"),
        ("application/x-ndjson", "ndjson"),
        ("application/json", "poll"),
        ("multipart/x-mixed-replace", "multipart"),
        ("text/html", "html"),
        ("text/plain", "text"),
        ("*/*", "text"),
        ("text/*", "text"),
        ("image/avif,image/webp,*/*;q=0.8", "text"),
        ("application/xml", "text"),
        ("", "text"),
        (None, "text"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),
        ("application/json, text/plain, */*", "poll"),
        ("text/plain, application/json", "text"),
        ("*/*, application/json", "poll"),
        ("text/html;q=0.1, application/json;q=0.9", "poll"),
        ("text/html;q=0.1, */*;q=0.9", "text"),
        ("application/xml, application/json;q=0.5", "poll"),
        ("text/event-stream;q=0", "text"),
        ("text/event-stream;q=0, application/x-ndjson;q=0.001", "ndjson"),
        ("text/event-stream;q=2, application/json;q=nan", "text"),
        ("text/event-stream;q=0.5;x=y, text/html;level=1;q=0.4", "sse"),
        ("/, ;;;", "text"),
        ("\xff\xfe", "text"),
    ],
)  # fmt: skip
def test_the_wire_by_accept(client: Client, accept: str | None, wire: str) -> None:
    """The type that is wanted most decides, anything else is text; and caches are told what decided."""
    headers = {} if accept is None else {"Accept": accept}
    answer = client.ask("HEAD", "/channels/x", headers)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith(TYPES[wire])
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("wire", WIRES)
def test_the_wire_by_its_name(client: Client, wire: str) -> None:
    """An explicit wire does not depend on Accept."""
    for accept in ("*/*", "text/html", "application/json", "image/png"):
        answer = client.ask("HEAD", f"/channels/x/{wire}", {"Accept": accept})
        assert answer.headers["Content-Type"].startswith(TYPES[wire])
        assert "Vary" not in answer.headers


def test_an_error_of_a_negotiated_answer(client: Client) -> None:
    """It says too that Accept decided: another one would have been served."""
    answer = client.get("/channels/x,y", {"Accept": "multipart/x-mixed-replace"})
    assert_problem(answer, 400, "multipart", "one channel")
    assert answer.headers["Vary"] == "Accept"


# Headers.


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_headers_of_a_subscription(client: Client, wire: str, method: str) -> None:
    """Each wire says its type, where its answer begins, and that nobody may store or hold it back."""
    client.publish("x", "one")
    answer = client.ask(method, f"/channels/x/{wire}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith(TYPES[wire])
    assert ID.fullmatch(answer.headers["Comet-Cursor"])
    assert "Content-Length" not in answer.headers
    assert "Content-Encoding" not in answer.headers
    assert answer.headers.get("X-Accel-Buffering") == (None if wire in ONE_SHOT else "no")
    assert answer.headers.get("Content-Security-Policy") == (INERT if wire in ("html", "multipart") else None)
    assert answer.headers.get("Refresh") == ("2" if wire == "html" else None)
    assert "Set-Cookie" not in answer.headers
    if method == "HEAD":
        assert answer.data == b""
    answer.close()
    assert not client.comet.worker.controller.streams


@pytest.mark.parametrize("wire", WIRES)
def test_a_channel_that_does_not_exist_yet(client: Client, wire: str) -> None:
    """A subscription to it waits, and makes no channel."""
    answer = client.get(f"/channels/nobody/{wire}?timeout=1")
    assert answer.status_code == 200
    answer.close()
    assert_problem(client.get("/channels/nobody/info"), 404)
    assert client.get("/channels", AUTH).json == {"channels": []}


# What is asked for.

BAD_NAMES = [
    "", ",", "x,", ",x", "x,,y", "-x", ".x", "_x", "a b", "a+b", "*", "{x}:*", "x" * 129, "x" * 3000, "é", "\u05d0",
    "%00", "a%0d%0ab", "%ff", "%c0%80", "%zz", "%", "a%2", "%ed%a0%80", "%E2%80%AE", "open", "error", "message",
    "comet.x", "comet.", "x,open", "..", "a\\b", "a;b", "a'b", "<script>", ",".join("x" * n for n in range(1, 18)),
]  # fmt: skip


@pytest.mark.parametrize("names", [name for name in BAD_NAMES if name])
def test_a_bad_channel_name(client: Client, names: str) -> None:
    """It is 400 on every route that takes names, and the detail says what a name is."""
    for method, path in (("GET", ""), ("GET", "/sse"), ("GET", "/latest"), ("GET", "/info"), ("POST", "")):
        answer = client.ask(method, f"/channels/{names}{path}", AUTH, data=b"x" if method == "POST" else None)
        assert_problem(answer, 400)
        assert any(word in answer.text for word in ("not a channel name", "reserved", "1 to 16", "one channel"))
    assert_problem(client.ask("DELETE", f"/channels/{names}", AUTH), 400)


GOOD_NAMES = ["x", "0", "a._:@~-Z9", "x" * 128, "opens", "comet", "comets.x", "Open", "a%2Eb", "latest", "sse"]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_good_channel_name(client: Client, name: str) -> None:
    """It is taken as it is, percent-encoded or not."""
    assert client.post(f"/channels/{name}", "hello").status_code == 201
    (update,) = client.poll(name)["updates"]
    assert update["channel"] == name.replace("%2E", ".")


def test_several_channels(client: Client) -> None:
    """Up to 16, each once; separated by commas, encoded or not."""
    for name in "abc":
        client.publish(name, name)
    names = ",".join(f"n{number}" for number in range(13))
    assert [update["data"] for update in client.poll(f"a,b%2Cc,a,{names}")["updates"]] == ["a", "b", "c"]
    assert client.ask("HEAD", "/channels/" + ",".join("x" * n for n in range(1, 17)) + "/sse").status_code == 200


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("poll?timeout=0", "1 to 60 seconds"),
        ("poll?timeout=61", "1 to 60 seconds"),
        ("poll?timeout=-1", "1 to 60 seconds"),
        ("poll?timeout=nan", "1 to 60 seconds"),
        ("poll?timeout=", "1 to 60 seconds"),
        ("poll?timeout=1e1", "1 to 60 seconds"),
        ("jsonp?timeout=%D9%A3", "1 to 60 seconds"),
        ("poll?limit=0", "from 1 to 1000"),
        ("poll?limit=1001", "from 1 to 1000"),
        ("poll?limit=+5", "from 1 to 1000"),
        ("jsonp?limit=1.0", "from 1 to 1000"),
        ("poll?limit=" + "9" * 4400, "from 1 to 1000"),
        ("sse?last=-1", "a whole number from 0"),
        ("sse?last=", "a whole number from 0"),
        ("ndjson?last=1_0", "a whole number from 0"),
        ("text?last=%D9%A3", "a whole number from 0"),
        ("sse?envelope=yes", "1 or 0"),
        ("sse?envelope=", "1 or 0"),
        ("jsonp?callback=", "a JavaScript name"),
        ("jsonp?callback=alert(1)//", "a JavaScript name"),
        ("jsonp?callback=<script>", "a JavaScript name"),
        ("jsonp?callback=a.1", "a JavaScript name"),
        ("jsonp?callback=a..b", "a JavaScript name"),
        ("jsonp?callback=a%0A", "a JavaScript name"),
        ("jsonp?callback=%C3%A9", "a JavaScript name"),
        ("jsonp?callback=%ff", "a JavaScript name"),
        ("jsonp?callback=" + "a" * 65, "64 characters"),
        ("iframe?origin=null", "an origin such as"),
        ("iframe?origin=", "an origin such as"),
        ("iframe?origin=javascript:alert(1)", "an origin such as"),
        ("iframe?origin=http://localhost/", "an origin such as"),
        ("iframe?origin=http://a'b", "an origin such as"),
        ("iframe?origin=http://a%0Ab", "an origin such as"),
        ("iframe?origin=http://%C3%A9", "an origin such as"),
    ],
)
def test_a_bad_parameter(client: Client, path: str, words: str) -> None:
    """It is 400; the detail names the parameter, what came and what is taken."""
    name = path.partition("?")[2].partition("=")[0]
    assert_problem(client.get(f"/channels/x/{path}"), 400, f"{name}=", words)


@pytest.mark.parametrize(
    "path", ["sse?last=007", "sse?envelope=0", "text?callback=(", "sse?timeout=x", "sse?unknown=1"]
)
def test_a_parameter_of_another_wire(client: Client, path: str) -> None:
    """What a wire does not know it ignores."""
    assert client.ask("HEAD", f"/channels/x/{path}").status_code == 200


@pytest.mark.parametrize("callback", ["f", "$", "_", "a.b.c", "jQuery123_456", "a" * 64])
def test_jsonp(client: Client, callback: str) -> None:
    """The answer of poll as a script that calls the callback, and begins with a comment."""
    client.publish("x", "</script>\u2028")
    text = client.get(f"/channels/x/jsonp?callback={callback}").text
    assert text.startswith(f"/**/{callback}(") and text.endswith(");")
    answer = json.loads(text[len(callback) + 5 : -2])
    assert answer["updates"][0]["data"] == "</script>\u2028"
    assert "\u2028" not in text


def test_jsonp_without_a_callback(client: Client) -> None:
    """The name is callback then."""
    client.publish("x")
    assert client.get("/channels/x/jsonp").text.startswith("/**/callback({")


# Where it begins.


def ids(answer: Any) -> list[str]:
    return [update["id"] for update in answer["updates"]]


def test_without_a_cursor(serve: Serve) -> None:
    """The last COMET_REPLAY of each channel come first, in the order of their publishing."""
    client = serve(replay=2)
    published = [client.publish(name, name) for name in "aabbbac"]
    assert ids(client.poll("a,b,c")) == [published[place] for place in (1, 3, 4, 5, 6)]
    assert ids(client.poll("a")) == [published[1], published[5]]


@pytest.mark.parametrize(
    ("last", "count"), [("0", 0), ("1", 1), ("3", 3), ("5", 5), ("6", 5), ("9999999999", 5), ("9" * 5000, 5)]
)
def test_how_many_of_the_last(client: Client, last: str, count: int) -> None:
    """last=N gives so many of each channel; more than is kept is cut."""
    published = [client.publish("x", str(number)) for number in range(5)]
    assert ids(client.poll("x", f"last={last}")) == published[5 - count :]


def test_a_rule_says_how_many(serve: Serve) -> None:
    """A rule's replay stands in for COMET_REPLAY; last=N wins over both."""
    rules = Settings(replay=0, channels={}).rules
    assert rules["x"].replay == 0
    client = serve(replay=0)
    published = client.publish("x")
    assert ids(client.poll("x")) == []
    assert ids(client.poll("x", "last=1")) == [published]


@pytest.mark.parametrize("name", ["since", "Last-Event-ID"])
def test_a_cursor(client: Client, name: str) -> None:
    """What came after it follows, whatever last says; as a parameter or as the header of EventSource."""
    published = [client.publish("x", str(number)) for number in range(5)]
    query, headers = (f"&since={published[1]}", {}) if name == "since" else ("", {name: published[1]})
    answer = client.get(f"/channels/x/poll?timeout=1&last=1{query}", headers)
    assert answer.headers["Comet-Cursor"] == published[1]
    assert ids(answer.json) == published[2:]
    assert answer.json is not None and answer.json["gap"] is None


def test_two_cursors(client: Client) -> None:
    """The header wins: a browser that reconnects sends it beside the URL of its first request."""
    published = [client.publish("x", str(number)) for number in range(3)]
    answer = client.get(f"/channels/x/poll?since={published[0]}", {"Last-Event-ID": published[1]})
    assert ids(answer.json) == published[2:]


@pytest.mark.parametrize(("query", "headers"), [("since=", {}), ("since=", {"Last-Event-ID": ""})])
def test_an_empty_cursor(client: Client, query: str, headers: dict[str, str]) -> None:
    """It is none."""
    published = client.publish("x")
    answer = client.get(f"/channels/x/poll?{query}", headers).json
    assert answer is not None and ids(answer) == [published] and answer["gap"] is None


BAD_CURSORS = [
    "7" * 4000, "9" * 4400, "-1", "9" * 20, "nan", "%D9%A3", "+", "$", "*", "0-0", "1.5-1",
    "../../etc/passwd", "' OR 1=1--", "0,13,[9]]", "," * 256, "null", "%FF", "%00", "%0A", "a%09b", "earliest", "%23x",
    "EPOCH-01", "EPOCH-", "-5", "EPOCH--1", "EPOCH-9999999999999999999", "EPOCH-%D9%A3", "EPOCH-1%20", "%20EPOCH-1",
]  # fmt: skip


@pytest.mark.parametrize("cursor", BAD_CURSORS)
def test_a_cursor_that_is_none(client: Client, cursor: str) -> None:
    """It is a gap, never an error: all that is kept follows, and a cursor that can be used."""
    published = [client.publish("x", str(number)) for number in range(3)]
    epoch = published[0].partition("-")[0]
    answer = client.poll("x", f"since={cursor.replace('EPOCH', epoch)}")
    assert ids(answer) == published
    assert answer["gap"]["reason"] == "unknown"
    assert answer["gap"]["first"] == published[0]
    assert len(answer["gap"]["since"]) <= 64
    assert answer["cursor"] == published[-1]


@pytest.mark.parametrize(
    ("sent", "quoted"),
    [
        ("x", "x"),
        ("x" * 7000, "x" * 64),
        ("é".encode().decode("latin-1"), "é"),
        ("\xff\xfe", "\xff\xfe"),
        ("a\tb", "a\tb"),
        ('"\u00a0', '"\u00a0'),
    ],
)
def test_a_header_that_is_no_cursor(client: Client, sent: str, quoted: str) -> None:
    """The gap quotes it as it was sent, up to 64 characters; bytes that are not UTF-8 one by one."""
    published = client.publish("x")
    answer = client.get("/channels/x/poll", {"Last-Event-ID": sent}).json
    assert answer is not None
    assert answer["gap"] == {"since": quoted, "first": published, "reason": "unknown"}


def test_cursors_of_other_times(client: Client) -> None:
    """Another epoch and a place ahead of the log are gaps, each by its name."""
    epoch, seq = client.publish("x").split("-")
    assert client.poll("x", f"since=zzzzzzzz-{seq}")["gap"]["reason"] == "epoch"
    assert client.poll("x", f"since={epoch}-{int(seq) + 1}")["gap"]["reason"] == "future"
    assert client.poll("x", f"since={epoch}-{'9' * 18}")["gap"]["reason"] == "future"


@pytest.mark.parametrize("wire", ["poll", "sse", "ndjson", "jsonp", "iframe"])
@pytest.mark.parametrize("query", ["", "last=2", "since=nonsense", "since=zzzzzzzz-1", "since=FIRST", "since=FUTURE"])
def test_resuming_from_where_an_answer_begins(client: Client, wire: str, query: str) -> None:
    """Who comes back with Comet-Cursor gets at least what the answer gave, its gap too."""
    published = [client.publish(name, name) for name in "xyxyx"]
    epoch, seq = published[-1].split("-")
    query = query.replace("FIRST", published[0]).replace("FUTURE", f"{epoch}-{int(seq) + 5}")
    first = client.poll("x,y", query)
    answer = client.get(f"/channels/x,y/{wire}?{query}")
    again = client.poll("x,y", f"since={answer.headers['Comet-Cursor']}")
    answer.close()
    assert set(ids(first)) <= set(ids(again))
    assert (first["gap"] is None) or (again["gap"] is not None)


def test_a_long_answer(client: Client) -> None:
    """A poll ends at ``limit`` updates, 100 if it is not said; its cursor is its last update, and the rest follows."""
    published = [client.publish("x", "x") for _ in range(90)] + [client.publish("x", "y") for _ in range(10)]
    start = f"{published[0].partition('-')[0]}-0"
    first = client.poll("x", f"since={start}&limit=70")
    assert (ids(first), first["cursor"]) == (published[:70], published[69])
    assert ids(client.poll("x", f"since={first['cursor']}")) == published[70:]
    one = client.poll("x", f"since={start}&limit=1")
    assert (ids(one), one["cursor"]) == (published[:1], published[0])


def test_a_limit_without_a_cursor(client: Client) -> None:
    """Nothing of what was asked for is left out: what one answer had no room for is in the next."""
    published = [client.publish("x", str(number)) for number in range(10)]
    answer = client.poll("x", "last=8&limit=3")
    got = ids(answer)
    while answer["updates"]:
        answer = client.poll("x", f"since={answer['cursor']}&limit=3")
        got += ids(answer)
    assert got == published[2:]


def test_a_large_answer(serve: Serve) -> None:
    """A poll ends at about 1 MiB, and the rest follows; one update is always in it."""
    client = serve(history_bytes=1 << 24)
    published = [client.publish("x", "x" * 250_000) for _ in range(9)]
    got: list[str] = []
    cursor = f"{published[0].partition('-')[0]}-0"
    for _ in range(3):
        answer = client.get(f"/channels/x/poll?since={cursor}")
        assert len(answer.data) < 1_400_000
        assert answer.json is not None
        got += ids(answer.json)
        cursor = answer.json["cursor"]
    assert got == published


def test_nothing_to_tell(client: Client) -> None:
    """A poll ends after its timeout, empty, with the head as its cursor."""
    published = client.publish("x")
    answer = client.poll("x", f"since={published}")
    assert answer == {"updates": [], "cursor": published, "gap": None, "closed": []}
    client.publish("other")
    assert client.poll("x", f"since={published}&timeout=1")["updates"] == []


# The first bytes.


@pytest.mark.parametrize(
    ("wire", "opening"),
    [
        ("sse", rb":comet\nretry: (2\d{3}|3\d{3}|4000)\n"),
        (
            "sse?envelope=1",
            rb'id: [0-9a-z]+-0\nretry: (2\d{3}|3\d{3}|4000)\nevent: comet.beat\ndata: {"heartbeat":60}\n\n',
        ),
        ("ndjson", rb" "),
        ("text", rb""),
        ("multipart", rb"--comet-[0-9a-f]{32}\r\n"),
        ("html", rb"<!doctype html>.*<body>.*\n"),
        ("iframe", rb"<!doctype html>.*<body>\n"),
    ],
)
def test_the_first_bytes_of_a_stream(client: Client, wire: str, opening: bytes) -> None:
    """They leave at once, before any update: the preamble, or nothing where the wire has none."""
    stream = client.stream(f"/channels/x/{wire}")
    assert re.fullmatch(opening, next(stream), re.DOTALL)
    stream.close()
    assert not client.comet.worker.controller.streams


def test_what_is_there_comes_with_the_first_bytes(client: Client) -> None:
    """What is ready goes out in one write."""
    published = client.publish("x", "hello", event="greeting")
    stream = client.stream("/channels/x/sse")
    assert next(stream).endswith(f"\nid: {published}\nevent: greeting\ndata: hello\n\n".encode())
    stream.close()


# The end of a channel.


@pytest.mark.parametrize(
    ("wire", "told"),
    [
        ("sse", b'id: CLOSED\nevent: comet.closed\ndata: {"closed":"x"}\n\n'),
        ("sse?envelope=1", b'id: CLOSED\nevent: comet.closed\ndata: {"closed":"x"}\n\n'),
        ("ndjson", b'{"closed":"x"}\n'),
        ("iframe", b'<script>parent.postMessage("{\\"closed\\":\\"x\\"}","http://localhost")</script>\n'),
        ("text", b""),
        ("html", b""),
    ],
)
def test_a_channel_is_deleted_under_a_stream(client: Client, wire: str, told: bytes) -> None:
    """The stream gets what came before, is told, in this order, and ends; what comes later it does not get."""
    stream = client.stream(f"/channels/y,x/{wire}")
    next(stream)
    for name in "xy":
        client.publish(name, f"before-{name}")
    text = next(stream)
    assert text.index(b"before-x") < text.index(b"before-y")
    assert client.ask("DELETE", "/channels/x", AUTH).status_code == 204
    epoch, seq = client.publish("y", "after").split("-")
    closed = f"{epoch}-{int(seq) - 1}"
    assert b"".join(stream) == told.replace(b"CLOSED", closed.encode())
    assert not client.comet.worker.controller.streams


def test_a_channel_is_deleted_under_a_picture(client: Client) -> None:
    """multipart just ends: it shows the present, and has nothing to tell with."""
    stream = client.stream("/channels/x/multipart")
    next(stream)
    client.publish("x", "before")
    client.comet.delete("x")
    assert b"".join(stream) == b""


@pytest.mark.parametrize("wire", ONE_SHOT)
def test_a_channel_is_deleted_under_a_poll(client: Client, wire: str) -> None:
    """The answer names it, and its cursor lies behind the end: asked again, it waits for a new channel of the name."""
    published = client.publish("x")
    client.comet.delete("x")
    text = client.get(f"/channels/x,y/{wire}?since={published}").text
    answer = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert (answer["updates"], answer["closed"], answer["gap"]) == ([], ["x"], None)
    assert client.poll("x,y", f"since={answer['cursor']}")["closed"] == []
    again = client.publish("x")
    assert ids(client.poll("x,y", f"since={answer['cursor']}")) == [again]


# Rules.


def test_rules_from_a_file(serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """What a channel keeps and replays, whether it conflates and is private: the longest match decides."""
    from comet.settings import load

    (tmp_path / "comet.toml").write_text(
        """
        [channels."orders"]
        history = 3
        replay = 2
        [channels."orders.*"]
        replay = 0
        [channels."ticker.*"]
        conflate = true
        [channels."secret"]
        private = true
        """
    )
    monkeypatch.chdir(tmp_path)
    client = serve(channels=load({}).channels)
    orders = [client.publish("orders", str(number)) for number in range(5)]
    assert ids(client.poll("orders")) == orders[-2:]
    assert ids(client.poll("orders", "last=9")) == orders[-3:]
    assert client.poll("orders", f"since={orders[0]}")["gap"]["reason"] == "trimmed"
    client.publish("orders.eu")
    assert ids(client.poll("orders.eu")) == []
    ticks = [client.publish("ticker.a", str(number)) for number in range(5)]
    assert ids(client.poll("ticker.a", f"since={ticks[0]}&last=3")) == ticks[-1:]
    client.publish("secret")
    names = [entry["channel"] for entry in client.get("/channels", AUTH).json["channels"]]  # type: ignore[index]
    assert names == ["orders", "orders.eu", "secret", "ticker.a"]
    for path in ("", "/sse", "/poll", "/jsonp", "/latest", "/info", ",orders/sse"):
        answer = client.get(f"/channels/secret{path}", AUTH)
        assert_problem(answer, 401, "private")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_declared_channel(serve: Serve) -> None:
    """It exists before anything is published to it; one that matches a prefix only does not."""
    client = serve(channels={"orders": Settings().rules.default, "x*": Settings().rules.default})
    assert client.get("/channels/orders/info").json == {
        "channel": "orders", "first": None, "last": None, "time": None, "stored": 0, "bytes": 0, "subscribers": 0,
    }  # fmt: skip
    assert_problem(client.get("/channels/xyz/info"), 404, "never published to nor declared")
    assert_problem(client.get("/channels/orders/latest"), 404, "nothing is kept")
    assert client.ask("DELETE", "/channels/orders", AUTH).status_code == 204
