"""Attacks by many, by half, and under other names: with one worker, and with two on one file. After each it serves.

Bad input in single requests is in ``test_hardening.py``; its tables are run here against two workers.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
import requests

from tests.jwts import SECRET, writer
from tests.live.raw import Connection
from tests.live.server import Server
from tests.live.test_hardening import AUTH, BODIES, CHUNKED, FORGED, FRAMING, NDJSON, URLS, get, post, with_length
from tests.timing import PATIENCE, until


WRITE_TIMEOUT = 1
#: Streams of one address in one worker, and updates a second of one publisher.
MOST = 4
RATE = 1000
#: The one proxy that is believed; requests come from 127.0.0.1 else.
PROXY = "127.0.0.2"

_numbers = count()


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings: dict[str, object] = {"workers": 1}
    if request.param == "sqlite":
        settings = {"workers": 2, "broker": f"sqlite:///{tmp_path_factory.mktemp('attacks')}/log.db"}
    with Server(
        heartbeat=1,
        write_timeout=WRITE_TIMEOUT,
        poll_timeout=1,
        max_update=4_000_000,
        open=1,
        trusted_proxies=PROXY,
        streams_per_peer=MOST,
        publish_rate=RATE,
        jwt_key=SECRET,
        **settings,
    ) as running:
        until(lambda: len(running.workers()) == settings["workers"], what="all workers")
        yield running
        assert "Traceback" not in running.log(), running.log()


def assert_serves(server: Server) -> None:
    """What is published arrives, whichever worker is asked; and nothing was forged."""
    song = f"song {next(_numbers)}"
    last = server.publish("canary", song)["id"]
    until(lambda: server.get("/channels/canary/latest").headers.get("ETag") == f'"{last}"')
    for forged in ("forged", "f", "b"):
        assert server.get(f"/channels/{forged}/info").status_code == 404


def somebody() -> str:
    """An address that nobody has had before, as the proxy names it."""
    number = next(_numbers)
    return f"X-Forwarded-For: 10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def held(server: Server) -> int:
    """Connections that the server has not closed: established, or closed by the other side only."""
    mine, count = f":{server.port:04X}", 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        count += local.endswith(mine) and state in ("01", "08")
    return count


def resident(server: Server) -> int:
    """Bytes of memory that the workers have."""
    pages = (int(Path(f"/proc/{worker}/statm").read_text().split()[1]) for worker in server.workers())
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def it_serves(server: Server) -> Iterator[None]:
    """After each attack; and no connection is left."""
    assert_serves(server)
    yield
    assert_serves(server)
    until(lambda: held(server) == 0, what="the end of all connections")


# Under other names.

FORWARDING = [
    "Forwarded: for=127.0.0.1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: localhost",
    "X-Forwarded-Anything: x", "X-Real-IP: 127.0.0.1", "Via: 1.1 proxy", "CF-Connecting-IP: 127.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("source", ["127.0.0.1", PROXY])
def test_an_open_server_is_asked_through_a_proxy(server: Server, source: str) -> None:
    """Whoever was forwarded needs the key, from wherever it says to come, also through the proxy that is believed."""
    for header in FORWARDING:
        with Connection(server, source=source) as connection:
            connection.get("/channels/forged", header, "Content-Length: 0", "Connection: close", method="POST").answer()
            assert connection.status == 403, header
            assert header.partition(":")[0].lower() in connection.body.decode().lower()


def open_until_refused(server: Server, stack: ExitStack, source: str, *headers: Callable[[], str]) -> Connection:
    """Open streams until one is refused, and give that. As many as both workers hold must have been let in."""
    for number in range(MOST * len(server.workers()) + 1):
        connection = stack.enter_context(Connection(server, source=source))
        connection.get("/channels/quiet/ndjson", *(header() for header in headers)).head()
        if connection.status == 429:
            assert number >= MOST
            return connection.answer()
        assert connection.status == 200
    raise AssertionError("nobody was refused")


STRANGERS = {
    "no header": [],
    "another address each time": [somebody],
    "a trusted one": [lambda: f"X-Forwarded-For: {PROXY}"],
    "several headers": [somebody, somebody],
    "underscores": [lambda: somebody().replace("-For", "_For").replace("X-", "X_")],
    "Forwarded": [lambda: somebody().replace("X-Forwarded-For: ", "Forwarded: for=")],
    "X-Real-IP": [lambda: somebody().replace("X-Forwarded-For", "X-Real-IP")],
}


def test_strangers_with_the_headers_of_a_proxy(server: Server) -> None:
    """Whatever they write, they are who the connection comes from; and when they leave, others find their places."""
    for place, (what, headers) in enumerate(STRANGERS.items()):
        source = f"127.0.1.{place + 1}"
        with ExitStack() as stack:
            refused = open_until_refused(server, stack, source, *headers)
            assert f"the address {source} has {MOST} streams".encode() in refused.body, what
            assert b"COMET_STREAMS_PER_PEER" in refused.body
            assert refused.headers["content-type"] == "application/problem+json"
            assert int(refused.headers["retry-after"]) > 0


def test_addresses_made_up_before_a_proxy(server: Server) -> None:
    """The proxy appends whom it saw: that one counts, whatever stands before; and everybody else is let in."""
    with ExitStack() as stack:
        one = "203.0.113.7"

        def through() -> str:
            return f"{somebody()}, {one}"

        # A header with underscores looks the same to WSGI, and a proxy may pass it on.
        refused = open_until_refused(server, stack, PROXY, through, lambda: "X_Forwarded_For: 198.51.100.1")
        assert f"the address {one} has".encode() in refused.body
        for _ in range(2 * MOST):
            with Connection(server, source=PROXY) as connection:
                assert connection.get("/channels/quiet/ndjson", somebody()).head().status == 200


def test_an_event_source_beyond_its_limit(server: Server) -> None:
    """It is told when to come back, by a status at which it does."""
    with ExitStack() as stack:
        address = somebody()
        open_until_refused(server, stack, PROXY, lambda: address)
        answers = []
        for _ in range(MOST * len(server.workers())):
            connection = stack.enter_context(Connection(server, source=PROXY))
            answers.append(connection.get("/channels/quiet/sse", address, "Accept: text/event-stream").head())
            if answers[-1].headers.get("content-length"):
                break  # a stream would have none
        refused = answers[-1].answer()
        assert refused.status == 200
        assert refused.body.startswith(b"retry: ")


def vanish(connection: Connection) -> None:
    """By RST."""
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sock.close()


def half_close(connection: Connection) -> None:
    connection.sock.shutdown(socket.SHUT_WR)
    connection.end()


def cut_while_reading(connection: Connection) -> None:
    connection.head()
    vanish(connection)


def sent_on(connection: Connection) -> None:
    """One that asks for more before the first has ended."""
    connection.head()
    connection.send(get(b"/channels/quiet/ndjson"))
    connection.sock.close()


ENDLESS = ("sse", "ndjson", "text", "html", "multipart", "iframe")
EVERY = (*ENDLESS, "poll", "jsonp")

#: How, and on which wires: a poll's first byte is its answer.
LEAVING: dict[str, tuple[Callable[[Connection], object], tuple[str, ...]]] = {
    "FIN before the first byte": (lambda connection: connection.sock.close(), EVERY),
    "RST before the first byte": (vanish, EVERY),
    "FIN": (lambda connection: connection.head().sock.close(), ENDLESS),
    "RST": (cut_while_reading, ENDLESS),
    "half a close": (half_close, EVERY),
    "asks for more": (sent_on, ENDLESS),
}


def test_streams_that_vanish_in_every_way(server: Server) -> None:
    """Each gives its place back: on each wire more come and go than an address may have."""
    for what, (leave, wires) in LEAVING.items():
        address = somebody()
        for number in range(2 * MOST * len(server.workers())):
            with Connection(server, source=PROXY) as connection:
                leave(connection.get(f"/channels/quiet/{wires[number % len(wires)]}", address))
        assert_has_room(server, address, what)


def assert_has_room(server: Server, address: str, what: str) -> None:
    """All places of an address are free again."""

    def opens() -> bool:
        with ExitStack() as stack:
            for _ in range(MOST):
                connection = stack.enter_context(Connection(server, source=PROXY))
                if connection.get("/channels/quiet/ndjson", address).head().status != 200:
                    return False
        return True

    until(opens, what=what)


def test_streams_that_end(server: Server) -> None:
    """Deleted, asked for by HEAD, answered, or refused: each gives its place back."""
    address = somebody()
    for _ in range(MOST):
        server.publish("doomed", "x")
        with Connection(server, source=PROXY) as stream, Connection(server, source=PROXY) as other:
            stream.get("/channels/doomed/ndjson", address).until(b"doomed")
            other.get("/channels/doomed/ndjson", address, method="HEAD").head()
            assert other.status == 200
            assert requests.delete(f"{server.url}/channels/doomed", headers=server.auth, timeout=10).status_code == 204
            stream.end()
    with Connection(server, source=PROXY) as connection:
        for number in range(2 * MOST):
            path = ("/channels/canary/poll", "/channels/canary/poll?timeout=x", "/channels/-/poll")[number % 3]
            connection.get(path, address).answer()
            if connection.over or connection.headers.get("connection") == "close":
                break
            assert connection.status in (200, 400)
    assert_has_room(server, address, "streams that ended")


def test_a_publisher_who_floods(server: Server) -> None:
    """A batch of five times its rate passes once; then it is told when to come back, whatever worker it meets. Others
    publish meanwhile."""
    flood = f"Authorization: Bearer {writer('flood', jti='flood')}\r\n".encode()
    lines = b'{"channel":"flood","data":"x"}\n' * (5 * RATE)
    raw = with_length(b"/channels", NDJSON, body=lines).replace(AUTH, flood)
    statuses = []
    while not statuses or statuses[-1] != 429:
        assert len(statuses) <= len(server.workers()), statuses
        with Connection(server) as connection:
            connection.send(raw).answer()
            statuses.append(connection.status)
    assert b"COMET_PUBLISH_RATE" in connection.body
    assert 1 <= int(connection.headers["retry-after"]) <= 5
    assert set(statuses[:-1]) == {201}
    assert_serves(server)
    until(lambda: server.get("/channels/flood/latest").text == "x")


# By half.


class Half:
    """One who begins and does not finish. ``drip`` is what it sends of a byte at a time, for ever."""

    def __init__(self, server: Server, kind: str) -> None:
        self.begin, self.drip, self.statuses = KINDS[kind]
        self.kind = kind
        self.connection = Connection(server)
        self.text = b""
        self.ended = self.dripped = 0.0
        self.connection.sock.sendall(self.begin)
        self.connection.sock.setblocking(False)

    def __enter__(self) -> Half:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.sock.close()

    def turn(self, now: float) -> None:
        """Take what has come, and send another byte when it is time."""
        try:
            if text := self.connection.sock.recv(65_536):
                self.text += text
            else:
                self.ended = now
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended = now
        if self.drip and not self.ended and now > self.dripped + PACE:
            self.dripped = now
            try:
                self.connection.sock.send(self.drip)
            except OSError:
                pass  # what comes back, if anything, is still to be read

    @property
    def last_status(self) -> int:
        """Of its last answer; 0: there was none."""
        place = self.text.rfind(b"HTTP/1.1 ")
        return int(self.text[place + 9 : place + 12]) if place >= 0 else 0


HEAD = b"GET /channels/x/poll HTTP/1.1\r\nHost: x\r\n"
LONG, LONGER = b"Content-Length: 100", b"Content-Length: 1000"
#: What is sent, what goes on dripping, and the statuses it may end with (0: it is closed without a word).
KINDS: dict[str, tuple[bytes, bytes, set[int]]] = {
    "nothing": (b"", b"", {0}),
    "a byte": (HEAD[:1], b"", {408}),
    "half a line": (HEAD[:9], b"", {408}),
    "half a head": (HEAD + b"X: y", b"", {408}),
    "a line that drips": (b"GET /", b"x", {408}),
    "a head that drips": (HEAD + b"X: ", b"y", {408}),
    "lines that drip": (HEAD, b"X: y\r\n", {408}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", {408}),
    "an empty line": (b"\r\n", b"", {0}),
    "an idle connection": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"", {200}),
    "half a second request": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD, b"", {408}),
    "half a body": (post(b"/channels/b", LONG, body=b"x"), b"", {408}),
    "no body": (post(b"/channels/b", LONG), b"", {408}),
    "half a batch": (post(b"/channels", NDJSON, LONG, body=b'{"channel":"b",'), b"", {408}),
    "half a chunk": (post(b"/channels/b", CHUNKED, body=b"5\r\nx"), b"", {408}),
    "a body that drips": (post(b"/channels/b", LONGER, body=b"x"), b"x", {408}),
    "a chunk that drips": (post(b"/channels/b", CHUNKED, body=b"400\r\n"), b"x", {408}),
    "half a body that nobody reads": (
        get(b"/healthz").replace(b"Connection: close", LONG) + b"x", b"", {200}),
    "a body that nobody reads, and drips": (
        get(b"/healthz").replace(b"Connection: close", LONG) + b"x", b"x", {200}),
    "half a body without the key": (
        post(b"/channels/b", b"Origin: http://evil.example", LONG, body=b"x", key=False), b"", {403}),
}  # fmt: skip
MANY = 60
#: Seconds between two bytes of what drips.
PACE = 0.1
#: Seconds: gunicorn's keep-alive time, or COMET_WRITE_TIMEOUT and what 1,024 bytes may take, and some more.
BOUND = 8.0


@pytest.mark.alone
def test_half_requests(server: Server) -> None:
    """60 of each kind who begin and do not finish hold up nobody, and each ends in bounded time with its answer."""
    with ExitStack() as stack:
        halves = [stack.enter_context(Half(server, kind)) for kind in KINDS for _ in range(MANY)]
        left, served = list(halves), 0
        deadline = time.monotonic() + BOUND * PATIENCE
        while left and time.monotonic() < deadline:
            for half in left:
                half.turn(time.monotonic())
            left = [half for half in left if not half.ended]
            assert_serves(server)
            served += len(left) >= MANY
        assert not left, {half.kind for half in left}
        assert served >= 3, "nobody was served while they were there"
        assert not {(half.kind, half.last_status) for half in halves if half.last_status not in half.statuses}


# By many.


def lazy(server: Server, path: str, address: str) -> socket.socket:
    """One that asks and never reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.bind((PROXY, 0))
    sock.connect(("127.0.0.1", server.port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{address}\r\n\r\n".encode())
    return sock


@pytest.mark.parametrize("wire", ["ndjson", "latest"])
def test_readers_who_never_read(server: Server, wire: str) -> None:
    """20 who take nothing of 20 × 200 kB, or of one answer of 4 MB, hold up nobody, and are cut."""
    server.publish("lazy", "x" * 3_900_000)
    addresses = [somebody() for _ in range(20 // MOST)]
    sockets = [lazy(server, f"/channels/lazy/{wire}", address) for address in addresses for _ in range(MOST)]
    until(lambda: held(server) == 20)
    with Connection(server) as reader:
        reader.get("/channels/lazy/ndjson?last=0").head()
        for number in range(20):
            server.publish("lazy", f"{number}." + "x" * 200_000)
            reader.until(b'"data":"%d.' % number)
            reader.body = b""
        until(lambda: held(server) <= 1, seconds=WRITE_TIMEOUT * 5 + 5, what="all of them cut")
    for sock in sockets:
        sock.close()
    for address in addresses:
        assert_has_room(server, address, "who never read")


# In one request.


@pytest.mark.parametrize("server", ["sqlite"], indirect=True)
@pytest.mark.parametrize("table", [FRAMING, URLS, BODIES], ids=["framing", "urls", "bodies"])
def test_bad_input_to_two_workers(server: Server, table: dict[str, tuple[bytes, int]]) -> None:
    """It is refused as by one, and nothing of it is published by any."""
    for what, (raw, *statuses) in table.items():
        with Connection(server) as connection:
            connection.send(raw + (FORGED if table is FRAMING else b"")).head()
            # With COMET_OPEN, which lets others in, some are refused in other words.
            assert connection.status in (*statuses, *(403 for status in statuses if status == 401)), what


BOMB = gzip.compress(b"\0" * 10 * 1_048_576, 9) * 20
BOMBS = {
    "gzip": (b"Content-Encoding: gzip",),
    "several times": (b"Content-Encoding: gzip, gzip, deflate",),
    "x-gzip": (b"Content-Encoding: x-gzip",),
    "zstd": (b"Content-Encoding: zstd",),
}


def test_bombs(server: Server) -> None:
    """Nothing is unpacked, whatever it calls itself: memory does not grow."""
    before = resident(server)
    for path, more in ((b"/channels/b", b"X: y"), (b"/channels", NDJSON)):
        for headers in BOMBS.values():
            with Connection(server) as connection:
                assert connection.send(with_length(path, more, *headers, body=BOMB)).answer().status == 415
        with Connection(server) as connection:
            chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BOMB), BOMB)
            raw = post(path, more, b"Transfer-Encoding: gzip, chunked", body=chunks)
            assert connection.send(raw).answer().status in (400, 415, 501)
    assert resident(server) < before + 20 * 1_048_576


CALLBACKS = [
    "alert(1)//", "%3Cscript%3E", "a;b", "a%20b", "a%0ab", "a%0d%0aX-Forged:%20y", "*/a", "a/**/", "a=b", "a[0]",
    "a..b", ".a", "a.", "1a", "", "a%00", "a%E2%80%A8", "%C3%A4", "a" * 65, "CWSMIKI0hCD0Up0IZUnnnnnnnnnnnnnnnnnnnn%3D",
    "a%22", "`a`", "a${b}", "a-->",
]  # fmt: skip
ORIGINS = [
    "%22%3C/script%3E%3Cscript%3Ealert(1)", "javascript:alert(1)", "null", "", "https://", "https://a.example/path",
    "https://a.example%0d%0aX-Forged:%20y", "https://a@evil.example", "data:text/html,x", "https://a.example%22,1)//",
]  # fmt: skip


def test_injection_by_callback_and_origin(server: Server) -> None:
    """What is no name and no origin is refused, in an answer that no browser takes for a script or a page."""
    refused = [f"jsonp?callback={callback}" for callback in CALLBACKS] + [f"iframe?origin={each}" for each in ORIGINS]
    for what in refused:
        with Connection(server) as connection:
            connection.get(f"/channels/canary/{what}", "Connection: close").answer()
            assert connection.status == 400, what
            assert connection.headers["content-type"] == "application/problem+json"
            assert connection.headers["x-content-type-options"] == "nosniff"
            assert "x-forged" not in connection.headers


NASTY = "</script><script>alert(1)</script><!--<script>\u2028\u2029]]>*/alert(2)/*'\"\\"


def test_injection_by_data(server: Server) -> None:
    """What is published ends no script and begins none; and is whole where it arrives."""
    server.publish("nasty", NASTY)
    with Connection(server) as connection:
        page = connection.get("/channels/nasty/iframe?origin=http://localhost").until(b"alert(2)").body
    assert page.count(b"<script>") == page.count(b"</script>") == 1
    assert b"<!--" not in page
    with Connection(server) as connection:
        script = connection.get("/channels/nasty/jsonp?callback=f").answer().body.decode()
    assert "\u2028" not in script
    assert connection.headers["x-content-type-options"] == "nosniff"
    assert connection.headers["content-type"].startswith("text/javascript")
    told = json.loads(script.removeprefix("/**/f(").removesuffix(");"))
    assert [update["data"] for update in told["updates"]] == [NASTY]
