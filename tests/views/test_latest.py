"""``latest`` and ``info``: the polite way to pull."""

from __future__ import annotations

import pytest

from comet.core.wire import INERT
from tests.views.client import AUTH, Client, assert_problem


@pytest.mark.parametrize(
    ("data", "sent", "served"),
    [
        (b"hello", "text/plain", "text/plain; charset=utf-8"),
        (b"hello", "text/plain;charset=UTF-8", "text/plain;charset=UTF-8"),
        (b"hello", "text/html; charset=us-ascii", "text/html; charset=us-ascii"),
        ("é\u2028\r".encode(), "text/html", "text/html; charset=utf-8"),
        (b"{}", "application/json", "application/json"),
        (b"<svg/>", "image/svg+xml", "image/svg+xml"),
        (bytes(range(256)), "application/octet-stream", "application/octet-stream"),
        (b"", "image/png", "image/png"),
    ],
)
def test_the_newest_update(client: Client, data: bytes, sent: str, served: str) -> None:
    """It comes as itself: its bytes, its type, its id as ETag; and nothing in it may run."""
    client.publish("x", b"older")
    published = client.publish("x", data, type=sent)
    answer = client.get("/channels/x/latest")
    assert answer.status_code == 200
    assert answer.data == data
    assert answer.headers["Content-Type"] == served
    assert answer.headers["ETag"] == f'"{published}"'
    assert answer.headers["Content-Length"] == str(len(data))
    assert answer.headers["Content-Security-Policy"] == INERT
    head = client.ask("HEAD", "/channels/x/latest")
    assert (head.status_code, head.data, head.headers["Content-Length"]) == (200, b"", str(len(data)))
    assert head.headers["ETag"] == f'"{published}"'


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('"{id}"', 304),
        ('W/"{id}"', 304),
        ('"a", W/"{id}" , "b"', 304),
        ("*", 304),
        ('"{id}x"', 200),
        ('"abcdef-1"', 200),
        ("", 200),
        ('"', 200),
        ('"\xff"', 200),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_asking_whether_it_changed(client: Client, method: str, condition: str, status: int) -> None:
    """If-None-Match with its id, weak or strong, is 304 without a body; with any other it is the update."""
    published = client.publish("x", "hello")
    answer = client.ask(method, "/channels/x/latest", {"If-None-Match": condition.format(id=published)})
    assert answer.status_code == status
    assert answer.headers["ETag"] == f'"{published}"'
    assert answer.data == (b"hello" if status == 200 and method == "GET" else b"")


def test_a_range_is_asked_for(client: Client) -> None:
    """It gets the whole."""
    client.publish("x", "hello")
    answer = client.get("/channels/x/latest", {"Range": "bytes=1-2"})
    assert (answer.status_code, answer.data) == (200, b"hello")


def test_nothing_is_kept(client: Client) -> None:
    """It is 404 before the first update and after the end."""
    assert_problem(client.get("/channels/x/latest"), 404, "nothing is kept of x")
    client.publish("x")
    client.comet.delete("x")
    assert_problem(client.get("/channels/x/latest", {"If-None-Match": "*"}), 404)


def test_info(client: Client) -> None:
    """What is kept and who listens; nulls where nothing is kept."""
    assert_problem(client.get("/channels/x/info"), 404, "x was never published to nor declared")
    first, last = client.publish("x", "12"), client.publish("x", "345")
    stream = client.stream("/channels/x/text")
    next(stream)
    answer = client.get("/channels/x/info")
    assert answer.headers["Content-Type"] == "application/json"
    told = dict(answer.json or {})
    assert told.pop("time") == client.poll("x")["updates"][-1]["time"]
    assert told == {"channel": "x", "first": first, "last": last, "stored": 2, "bytes": 5, "subscribers": 1}
    assert client.get("/channels", AUTH).json == {"channels": [answer.json]}
    stream.close()
    client.comet.delete("x")
    assert client.get("/channels/x/info").json in (
        {"channel": "x", "first": None, "last": None, "time": None, "stored": 0, "bytes": 0, "subscribers": 0},
        {"type": "about:blank", "title": "Not Found", "status": 404,
         "detail": "x was never published to nor declared."},
    )  # fmt: skip


@pytest.mark.parametrize("what", ["latest", "info"])
def test_several_channels(client: Client, what: str) -> None:
    """It is about one."""
    assert_problem(client.get(f"/channels/x,y/{what}"), 400, "one channel")
