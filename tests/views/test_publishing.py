"""Publishing and administration over HTTP."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from comet.brokers.memory import MemoryBroker
from comet.core.update import OwnUpdate, Update
from tests.views.client import AUTH, Client, Serve, assert_problem


ID = re.compile(r"[0-9a-z]{6,}-[1-9][0-9]{0,17}")


def newest(client: Client, channel: str = "x") -> Any:
    return client.poll(channel)["updates"][0]


# One update.


def test_an_update(client: Client) -> None:
    """The body is the data; the answer says its id and how many listen."""
    stream = client.stream("/channels/x/text")
    next(stream)
    answer = client.post("/channels/x", "hello")
    assert answer.status_code == 201
    assert answer.json is not None
    assert ID.fullmatch(answer.json["id"])
    assert answer.json == {"id": answer.json["id"], "channel": "x", "subscribers": 1}
    update = newest(client)
    assert (update["id"], update["data"], update["event"]) == (answer.json["id"], "hello", None)
    assert abs(update["time"] - round(update["time"], 3)) < 1e-9
    stream.close()


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)), "é\u2028\r\n\r\n".encode(), b"a=b&c=%20", b"{}"])
@pytest.mark.parametrize("sent", [None, "application/json", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_bytes_come_out_as_they_went_in(client: Client, data: bytes, sent: str | None) -> None:
    """Whatever the type: a body is never parsed. The default is text."""
    assert client.post("/channels/x", data, {"Content-Type": sent} if sent else {}).status_code == 201
    answer = client.get("/channels/x/latest")
    assert (answer.data, answer.headers["Content-Type"]) == (data, sent or "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    "media_type",
    [
        "text/html", "TEXT/HTML; Charset=UTF-8", 'text/plain;charset="utf-8"', "text/plain; charset=us-ascii",
        "application/json; charset=utf-16", "image/svg+xml", 'a/b; c="d e"', "x/" + "y" * 126, "",
    ],
)  # fmt: skip
def test_a_media_type(client: Client, media_type: str) -> None:
    """It is kept as it was said; an empty one is none."""
    assert client.post("/channels/x", "hello", {"Content-Type": media_type}).status_code == 201
    assert newest(client)["type"] == (media_type or "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("media_type", "status", "words"),
    [
        ("text/plain; charset=latin-1", 415, "'latin-1' is not served; send utf-8"),
        ("text/plain; charset=UTF-16", 415, "send utf-8"),
        ("text/html;charset=utf-7", 415, "send utf-8"),
        ('Text/html; charset="x-unknown"', 415, "send utf-8"),
        ("text/plain; charset=utf-8; charset=latin-1", 415, "send utf-8"),
        ("text/plain; charset=latin-1; charset=utf-8", 415, "send utf-8"),
        ("text/plain; charset*=utf-8''latin-1", 415, "send utf-8"),
        ("text", 400, "media type"),
        ("text/plain, text/html", 400, "media type"),
        ("text/plain; charset", 400, "media type"),
        ("text/é", 400, "media type"),
        ("text/plain\x0b", 400, "media type"),
        ("x/" + "y" * 127, 400, "128"),
    ],
)
def test_a_wrong_media_type(client: Client, media_type: str, status: int, words: str) -> None:
    """What is none is 400; text in another charset is 415, since subscribers would be told utf-8."""
    assert_problem(client.post("/channels/x", "hello", {"Content-Type": media_type}), status, words)
    assert_problem(client.get("/channels/x/info"), 404)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity", "", "gzip, gzip"])
def test_a_content_encoding(client: Client, encoding: str) -> None:
    """It is 415: nothing is unpacked here."""
    for path, media_type in (("/channels/x", "text/plain"), ("/channels", "application/x-ndjson")):
        answer = client.post(path, b"\x1f\x8b", {"Content-Encoding": encoding, "Content-Type": media_type})
        assert_problem(answer, 415, "Content-Encoding")


@pytest.mark.parametrize(
    ("query", "header", "event"),
    [
        ("?event=goal", None, "goal"),
        ("", "goal", "goal"),
        ("?event=a", "b", "a"),
        ("?event=a&event=b", None, "a"),
        ("?event=%C3%A9%20x", None, "é x"),
        ("", "é \U0001f600", "é \U0001f600"),
        ("?event=a%2Fb:c", None, "a/b:c"),
        ("?event=%25FF", None, "%FF"),
        ("?event=message", None, "message"),
        ("?event=" + "x" * 128, None, "x" * 128),
        ("?other=1", None, None),
    ],
)
def test_an_event_name(client: Client, query: str, header: str | None, event: str | None) -> None:
    """By the query, else by the header, which is UTF-8 too."""
    headers = {} if header is None else {"Comet-Event": header.encode().decode("latin-1")}
    assert client.post(f"/channels/x{query}", "x", headers).status_code == 201
    assert newest(client)["event"] == event


@pytest.mark.parametrize(
    "event",
    [
        "", "%20x", "x" * 129, "x" * 5000, "a%0Ab", "a%0Db", "a%0D%0Ab", "%00", "a%C2%85b", "%E2%80%A8", "%E2%80%A9",
        "%7F", "comet.gap", "open", "error", "%FF", "%C0%80", "%ED%A0%80", "%C2%A0x",
    ],
)  # fmt: skip
def test_a_wrong_event_name(client: Client, event: str) -> None:
    """What could be taken for something else is 400, by the query and by the header."""
    assert_problem(client.post(f"/channels/x?event={event}", "x"), 400)
    from urllib.parse import unquote_to_bytes

    raw = unquote_to_bytes(event).decode("latin-1")
    if not set(raw) & set("\r\n\0") and raw == raw.strip():
        for query in ("", "?event=right"):
            assert_problem(client.post(f"/channels/x{query}", "x", {"Comet-Event": raw}), 400)
    assert_problem(client.get("/channels/x/info"), 404)


# Idempotency keys.


def test_the_same_key_again(client: Client) -> None:
    """It publishes nothing and is answered with the first id, also when that update is long gone."""
    first = client.post("/channels/x", "one", {"Idempotency-Key": "k"})
    again = client.post("/channels/x", "two", {"Idempotency-Key": "k"})
    assert first.json is not None and (first.status_code, again.status_code) == (201, 200)
    assert again.json == {"id": first.json["id"], "channel": "x", "duplicate": True, "subscribers": 0}
    for _ in range(150):
        client.publish("x")
    assert client.poll("x", f"since={first.json['id']}")["gap"] is not None
    assert client.post("/channels/x", "three", {"Idempotency-Key": "k"}).json == again.json
    assert client.post("/channels/y", "one", {"Idempotency-Key": "k"}).status_code == 201
    assert client.post("/channels/x", "one", {"Idempotency-Key": "K"}).status_code == 201


@pytest.mark.parametrize("key", ["k", "k" * 128, 'a,b;"c" \\ d', "~!"])
def test_a_key(client: Client, key: str) -> None:
    """It is 1 to 128 printable ASCII characters."""
    assert client.post("/channels/x", "x", {"Idempotency-Key": key}).status_code == 201
    assert client.post("/channels/x", "x", {"Idempotency-Key": key}).status_code == 200


@pytest.mark.parametrize("key", ["", "k" * 129, "é", "a\tb", "\xff"])
def test_a_wrong_key(client: Client, key: str) -> None:
    """It is 400."""
    assert_problem(client.post("/channels/x", "x", {"Idempotency-Key": key}), 400, "1 to 128 printable ASCII")


# Sizes and numbers.


def test_the_largest_update(serve: Serve) -> None:
    """COMET_MAX_UPDATE is taken, one byte more is 413 and says how much is."""
    client = serve(max_update=1000)
    assert client.post("/channels/x", b"x" * 1000).status_code == 201
    assert_problem(client.post("/channels/x", b"x" * 1001), 413, "1001 bytes", "at most 1000")
    assert client.get("/channels/x/info").json["stored"] == 1  # type: ignore[index]


def test_more_channels_than_there_may_be(serve: Serve) -> None:
    """A new name beyond COMET_MAX_CHANNELS is 429 and says when to try again; subscribing to names costs none."""
    client = serve(max_channels=3)
    for number in range(200):
        client.get(f"/channels/unknown{number}/text").close()
    for name in "abc":
        assert client.post(f"/channels/{name}", "x").status_code == 201
    answer = client.post("/channels/d", "x")
    assert_problem(answer, 429, "3 channels exist already (COMET_MAX_CHANNELS)")
    assert answer.headers["Retry-After"] == "60"
    assert client.post("/channels/a", "x").status_code == 201
    batch = "\n".join(json.dumps({"channel": name, "data": "x"}) for name in "ad")
    assert_problem(client.post("/channels", batch, {"Content-Type": "application/x-ndjson"}), 429)
    assert client.get("/channels/a/info").json["stored"] == 2  # type: ignore[index]
    names = [entry["channel"] for entry in client.get("/channels", AUTH).json["channels"]]  # type: ignore[index]
    assert names == ["a", "b", "c"]


def test_the_broker_is_away(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and the detail says what a repetition needs."""
    from comet.core.errors import BrokerAway

    def publish(self: object, entries: object) -> None:
        raise BrokerAway("the broker is away; the update may have been accepted.", retry_after=3)

    monkeypatch.setattr(MemoryBroker, "publish", publish)
    answer = client.post("/channels/x", "x")
    assert_problem(answer, 503, "may have been accepted")
    assert answer.headers["Retry-After"] == "3"


# Batches.


def batch(client: Client, body: str | bytes, media_type: str = "application/x-ndjson") -> Any:
    return client.post("/channels", body, {"Content-Type": media_type})


def test_a_batch(client: Client) -> None:
    """A line each; what a line does not say is as it is for one update."""
    lines = [
        '{"channel":"x","data":"one"}',
        "",
        '{"channel":"y","data":"{}","type":"application/json","event":"goal","key":"k"}\r',
        ' {"channel":"x","data":"/w==","encoding":"base64","type":"image/png","event":null,"key":null} ',
        '{"channel":"y","data":"again","key":"k"}',
        '{"channel":"x","data":"\\u00e9\\u2028"}',
    ]
    answer = batch(client, "\n".join(lines) + "\n")
    assert answer.status_code == 201
    updates = client.poll("x,y", "last=9")["updates"]
    assert answer.json == {"count": 4, "duplicates": 1, "first": updates[0]["id"], "last": updates[3]["id"]}
    assert [(update["channel"], update["data"], update["type"], update["event"]) for update in updates] == [
        ("x", "one", "text/plain; charset=utf-8", None),
        ("y", "{}", "application/json", "goal"),
        ("x", "/w==", "image/png", None),
        ("x", "é\u2028", "text/plain; charset=utf-8", None),
    ]
    assert updates[2]["encoding"] == "base64"


def test_a_batch_of_nothing_new(client: Client) -> None:
    """Its ids are those that were given the first time."""
    line = '{"channel":"x","data":"one","key":"k"}'
    first = batch(client, line).json
    assert batch(client, f"{line}\n{line}").json == {**first, "count": 0, "duplicates": 2}


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("x", 400, "not JSON"),
        ("[]", 400, "not a JSON object"),
        ('"x"', 400, "not a JSON object"),
        ("NaN", 400, "not a JSON object"),
        ("{", 400, "not JSON"),
        ('{"channel":"x","data":"a"} {}', 400, "not JSON"),
        ("[" * 20_000, 400, "not JSON"),
        ("[" * 20_000 + "]" * 20_000, 400, ""),
        ('{"channel":' * 20_000, 400, "not JSON"),
        ('{"data":' + "9" * 6000 + "}", 400, ""),
        ('{"channel":"x"}', 400, "channel and data are both needed"),
        ('{"data":"x"}', 400, "channel and data are both needed"),
        ('{"channel":"x","data":null}', 400, "data must be a string"),
        ('{"channel":"x","data":{"a":1}}', 400, "data must be a string; JSON goes into data as text"),
        ('{"channel":"x","data":1}', 400, "data must be a string"),
        ('{"channel":["x"],"data":"a"}', 400, "channel must be a string"),
        ('{"channel":"x","data":"a","event":7}', 400, "event must be a string"),
        ('{"channel":"x","data":"a","tpye":"text/html"}', 400, "'tpye' is not a field"),
        ('{"channel":"a b","data":"a"}', 400, "not a channel name"),
        ('{"channel":"\\ud800","data":"a"}', 400, "not a channel name"),
        ('{"channel":"open","data":"a"}', 400, "reserved"),
        ('{"channel":"x","data":"\\ud800"}', 400, "lone surrogate"),
        ('{"channel":"x","data":"a","event":"a\\nb"}', 400, "event name"),
        ('{"channel":"x","data":"a","event":""}', 400, "event name"),
        ('{"channel":"x","data":"a","event":"\\ud800"}', 400, "event name"),
        ('{"channel":"x","data":"a","key":""}', 400, "idempotency key"),
        ('{"channel":"x","data":"a","key":"é"}', 400, "idempotency key"),
        ('{"channel":"x","data":"a","type":"text"}', 400, "media type"),
        ('{"channel":"x","data":"a","type":""}', 400, "media type"),
        ('{"channel":"x","data":"a","type":"a/b\\r\\nX: y"}', 400, "media type"),
        ('{"channel":"x","data":"a","type":"text/plain; charset=latin-1"}', 415, "send utf-8"),
        ('{"channel":"x","data":"a","encoding":"hex"}', 400, "base64 is the only one"),
        ('{"channel":"x","data":"a","encoding":"base64"}', 400, "not base64"),
        ('{"channel":"x","data":"é===","encoding":"base64"}', 400, "not base64"),
        ('{"channel":"x","data":"' + "a" * 1001 + '"}', 413, "1001 bytes; an update has at most 1000"),
        (b'{"channel":"x","data":"\xff"}', 400, "not UTF-8"),
        (b'{"channel":"x","data":"\xed\xa0\x80"}', 400, "not UTF-8"),
        ('\ufeff{"channel":"x","data":"a"}', 400, "not JSON"),
        ("\0", 400, "not JSON"),
        ("\x0c", 400, ""),
    ],
)
def test_a_wrong_line(serve: Serve, line: str | bytes, status: int, words: str) -> None:
    """Its number is told, and nothing of the batch is published."""
    client = serve(max_update=1000)
    good = b'{"channel":"x","data":"good"}\n'
    wrong = line.encode() if isinstance(line, str) else line
    answer = batch(client, good + b"\r\n" + good + wrong + b"\n" + good)
    assert_problem(answer, status, "line 4", words)
    assert_problem(client.get("/channels/x/info"), 404)


@pytest.mark.parametrize("body", ["", "\n", " \r\n\t\n"])
def test_an_empty_batch(client: Client, body: str) -> None:
    """It is 400."""
    assert_problem(batch(client, body), 400, "no line")


@pytest.mark.parametrize(
    ("media_type", "words"),
    [
        ("application/json", "this is application/json"),
        ("text/plain", "application/x-ndjson"),
        ("multipart/form-data", "application/x-ndjson"),
        ("", "untyped"),
        ("application/x-ndjson; charset=utf-16", "send utf-8"),
    ],
)
def test_a_batch_of_another_type(client: Client, media_type: str, words: str) -> None:
    """It is 415, and the detail says which type is taken."""
    assert_problem(batch(client, "{}", media_type), 415, words)


def test_a_batch_with_parameters_in_its_type(client: Client) -> None:
    """utf-8 is what it is anyway."""
    assert batch(client, '{"channel":"x","data":"a"}', "Application/X-NDJSON; charset=UTF-8").status_code == 201


def test_the_largest_batch(client: Client) -> None:
    """8 MiB are taken, more is 413."""
    line = json.dumps({"channel": "x", "data": "x" * 262_000}) + "\n"
    body = line * (8 * 1_048_576 // len(line))
    assert batch(client, body + " " * (8 * 1_048_576 - len(body))).status_code == 201
    assert_problem(batch(client, body + " " * (8 * 1_048_576 - len(body) + 1)), 413, "at most 8388608")


# The end of a channel, and the list.


def test_a_channel_is_deleted(client: Client) -> None:
    """Its history is gone; a new channel of the name begins behind it."""
    published = client.publish("x")
    answer = client.ask("DELETE", "/channels/x", AUTH)
    assert (answer.status_code, answer.data) == (204, b"")
    assert "Content-Type" not in answer.headers or not answer.headers["Content-Type"].startswith("application/json")
    assert_problem(client.get("/channels/x/latest"), 404)
    assert client.ask("DELETE", "/channels/x", AUTH).status_code in (204, 404)
    again = client.publish("x")
    assert [update["id"] for update in client.poll("x", "last=9")["updates"]] == [again]
    assert client.poll("x", f"since={published}")["gap"]["reason"] == "trimmed"


def test_an_unknown_channel_is_deleted(client: Client) -> None:
    """It is 404, whoever waits for it."""
    stream = client.stream("/channels/x/text")
    next(stream)
    assert_problem(client.ask("DELETE", "/channels/x", AUTH), 404, "there is no channel x")
    stream.close()


def test_the_list(client: Client) -> None:
    """All channels, by their names."""
    for name in ("b", "a", "c"):
        client.publish(name, name)
    answer = client.get("/channels", AUTH).json
    assert answer is not None
    assert [(entry["channel"], entry["stored"]) for entry in answer["channels"]] == [("a", 1), ("b", 1), ("c", 1)]
    assert client.ask("HEAD", "/channels", AUTH).data == b""


WRONG_KEYS = [
    "Bearer wrong",
    "Bearer",
    "Bearer ",
    "",
    "test-key",
    "Basic dDp0",
    "Bearer test-key,x",
    "Bearer é",
    "\xff",
]
GUARDED = [("POST", "/channels/x"), ("POST", "/channels"), ("DELETE", "/channels/x"), ("GET", "/channels")]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("header", WRONG_KEYS)
def test_a_credential_that_fails(serve: Serve, method: str, path: str, header: str) -> None:
    """It is 401 with what would be right, with COMET_OPEN too."""
    for client in (serve(), serve(open=True)):
        answer = client.ask(method, path, {"Authorization": header})
        assert_problem(answer, 401, "COMET_PUBLISH_KEY" if header.startswith("Bearer") else "Authorization: Bearer KEY")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="comet"'


def test_several_keys(serve: Serve) -> None:
    """Each of them is enough; the scheme's letters may be small."""
    client = serve(publish_key=("one", "two"))
    for header in ("Bearer one", "bearer two", "Bearer  two"):
        assert client.ask("POST", "/channels/x", {"Authorization": header}, data=b"x").status_code == 201
    assert_problem(client.ask("POST", "/channels/x", {"Authorization": "Bearer one,two"}, data=b"x"), 401)


def test_no_key_at_all(serve: Serve) -> None:
    """It is 401, and the detail names what to set."""
    client = serve(publish_key=())
    assert_problem(client.ask("POST", "/channels/x", data=b"x"), 401, "COMET_PUBLISH_KEY", "COMET_OPEN=1")
    assert_problem(client.ask("POST", "/channels/x", AUTH, data=b"x"), 401)


def test_channels_of_comets_own_are_not_listed(client: Client) -> None:
    """Nobody can do anything with them."""
    client.comet.worker.publish([OwnUpdate("comet.x", b"1"), Update("x", b"1")])
    listed = client.get("/channels", headers=AUTH).json
    assert listed is not None
    assert [each["channel"] for each in listed["channels"]] == ["x"]
    assert_problem(client.get("/channels/comet.x/poll"), 400)
