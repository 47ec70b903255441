"""Who may publish and administer: the key, and COMET_OPEN on one's own machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.nginx import Nginx
from tests.live.raw import Connection, Listening
from tests.live.server import KEY, Server


WRITES = [
    ("POST", "/channels/x", b"hello", 201),
    ("POST", "/channels", b'{"channel":"x","data":"hello"}', 201),
    ("GET", "/channels", b"", 200),
    ("DELETE", "/channels/x", b"", 204),
]

PRIVATE = """
[channels."secret"]
private = true
"""


def ask(to: Listening, method: str, path: str, body: bytes = b"", *headers: str) -> Connection:
    """One request as a program of this machine sends it; ``headers`` beside the least, or instead of the Host."""
    host = [] if any(header.lower().startswith("host:") for header in headers) else [f"Host: 127.0.0.1:{to.port}"]
    lines = [
        f"{method} {path} HTTP/1.1",
        *host,
        *headers,
        f"Content-Type: {'application/x-ndjson' if path == '/channels' else 'text/plain'}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    ]
    with Connection(to) as connection:
        return connection.send("\r\n".join(lines).encode("latin-1") + body).end()


def start(folder: Path, workers: int, **settings: object) -> Server:
    (folder / "comet.toml").write_text(PRIVATE)
    broker = f"sqlite:///{folder}/log.db" if workers > 1 else "memory"
    return Server(config=folder / "comet.toml", workers=workers, broker=broker, **settings)


@pytest.fixture(scope="module", params=[1, 2], ids=["1 worker", "2 workers"])
def closed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Neither a key nor COMET_OPEN."""
    with start(tmp_path_factory.mktemp("closed"), request.param, publish_key=None) as server:
        yield server


@pytest.fixture(scope="module", params=[(None, 1), (KEY, 2)], ids=["no key, 1 worker", "a key, 2 workers"])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """COMET_OPEN, alone and beside a key."""
    key, workers = request.param
    with start(tmp_path_factory.mktemp("opened"), workers, open=1, publish_key=key) as server:
        yield server


@pytest.mark.parametrize(("method", "path", "body", "_"), WRITES)
def test_nothing_is_set(closed: Server, method: str, path: str, body: bytes, _: int) -> None:
    """From this machine and through a bare proxy_pass alike it is 401, and the detail names what to set."""
    with Nginx(closed.port) as nginx:
        for to in (closed, nginx):
            for headers in ((), (f"Authorization: Bearer {KEY}",), ("Authorization: Bearer ",)):
                answer = ask(to, method, path, body, *headers)
                assert answer.status == 401
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert b"COMET_PUBLISH_KEY" in answer.body
                assert headers or b"COMET_OPEN=1" in answer.body


#: a header, what the detail names; None: the request passes
ASKING = [
    ((), None),
    (("Host: localhost",), None),
    (("Host: LOCALHOST:1",), None),
    (("Host: [::1]:4071",), None),
    (("Host: 127.9.9.9",), None),
    (("Host: localhost", "Origin: http://localhost"), None),
    (("Host: localhost:81", "Origin: https://localhost:81"), None),
    (("Sec-Fetch-Site: same-origin",), None),
    (("Sec-Fetch-Site: none",), None),
    # A name that a foreign page's owner lets point to this machine.
    (("Host: rebound.example",), "Host"),
    (("Host: localhost.rebound.example",), "Host"),
    (("Host: 127.0.0.1.rebound.example:80",), "Host"),
    (("Host: localhost@rebound.example",), "Host"),
    (("Host: rebound.example@localhost",), "Host"),
    (("Host: 192.0.2.1",), "Host"),
    (("Host: 0.0.0.0",), "Host"),
    (("Host: [::1",), "Host"),
    (("Host: ::1",), "Host"),
    (("Host: ",), "Host"),
    (("Host: localhost.",), "Host"),
    (("Host: rebound.example", "Origin: http://rebound.example"), "Host"),
    # A page of another site, or of another port of this machine.
    (("Origin: https://evil.example",), "evil.example"),
    (("Origin: null",), "null"),
    (("Origin: ",), "a page of"),
    (("Origin: http://127.0.0.1:1",), "127.0.0.1:1"),
    (("Host: localhost", "Origin: http://127.0.0.1"), "a page of"),
    (("Sec-Fetch-Site: cross-site",), "Sec-Fetch-Site"),
    (("Sec-Fetch-Site: same-site",), "Sec-Fetch-Site"),
    (("Sec-Fetch-Site: none, none",), "Sec-Fetch-Site"),
    # Somebody else's request, handed on.
    (("Forwarded: for=192.0.2.1",), "Forwarded"),
    (("X-Forwarded-For: 127.0.0.1",), "X-Forwarded-For"),
    (("X-Forwarded-Host: localhost",), "X-Forwarded-Host"),
    (("X-Forwarded-Proto: http",), "X-Forwarded-Proto"),
    (("X-Forwarded-Anything: 1",), "X-Forwarded-Anything"),
    (("x-real-ip: 127.0.0.1",), "X-Real-Ip"),
    (("Via: 1.1 proxy",), "Via"),
    (("Via: ",), "Via"),
    (("CF-Connecting-IP: 192.0.2.1",), "Cf-Connecting-Ip"),
    (("CF-Ray: 1",), "Cf-Ray"),
]


@pytest.mark.parametrize(("headers", "named"), ASKING)
def test_open_on_ones_own_machine(opened: Server, headers: tuple[str, ...], named: str | None) -> None:
    """A clean request passes; anything that another machine or another site may have sent is 403, and says why."""
    for method, path, body, status in WRITES:
        if method == "DELETE" and named is None:
            opened_first = ask(opened, "POST", "/channels/x", b"x")
            assert opened_first.status == 201
        answer = ask(opened, method, path, body, *headers)
        if named is None:
            assert answer.status == status, answer.body
        else:
            assert answer.status == 403, answer.body
            assert answer.headers["content-type"] == "application/problem+json"
            assert named.encode() in answer.body


@pytest.mark.parametrize("credential", ["Bearer wrong", "Bearer ", "Basic dDp0", "", KEY])
def test_a_wrong_credential_on_an_open_server(opened: Server, credential: str) -> None:
    """What is presented and fails is 401, however open the server is."""
    for method, path, body, _ in WRITES:
        assert ask(opened, method, path, body, f"Authorization: {credential}").status == 401


def test_the_key_on_an_open_server(opened: Server) -> None:
    """It stays what it is: whoever has it may come from anywhere; where none is set, it fails."""
    status = 201 if opened.settings["publish_key"] else 401
    for headers in ((), ("Host: push.example", "X-Forwarded-For: 192.0.2.1", "Origin: https://app.example")):
        answer = ask(opened, "POST", "/channels/x", b"x", f"Authorization: Bearer {KEY}", *headers)
        assert answer.status == status


@pytest.mark.parametrize("what", ["", "/sse", "/poll", "/latest", "/info", "/multipart", "/jsonp"])
def test_a_private_channel(closed: Server, opened: Server, what: str) -> None:
    """It stays closed, with COMET_OPEN and to the key: it takes a token to subscribe."""
    for server in (closed, opened):
        for headers in ((), (f"Authorization: Bearer {KEY}",)):
            for names in ("secret", "x,secret"):
                answer = ask(server, "GET", f"/channels/{names}{what}", b"", *headers)
                assert answer.status == (400 if "," in names and what in ("/latest", "/info") else 401)
                assert answer.headers["content-type"] == "application/problem+json"


def test_open_is_told_at_the_start(opened: Server) -> None:
    """The log says that a proxy on this machine would defeat it."""
    assert "COMET_OPEN is on" in opened.log()
    assert "proxy on this machine" in opened.log()


def test_an_absolute_target_with_a_foreign_host(opened: Server) -> None:
    """The host that counts must be local; a target that says another changes nothing."""
    with Connection(opened) as connection:
        connection.send(
            b"POST http://evil.example/channels/x HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1\r\n\r\nx"
        ).answer()
        assert connection.status == 403
