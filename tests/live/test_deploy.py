"""The proxies of ``deploy/``, each started for real: every wire comes through them, over HTTP/1.1 and over HTTP/2."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from comet.core.wire import WIRES
from tests.live import http2, raw
from tests.live.proxies import Caddy, HAProxy, Nginx, Proxy
from tests.live.server import Server
from tests.live.sites import Site
from tests.timing import until


PROXIES = (Nginx, HAProxy, Caddy)
STREAMS = ["sse", "sse?envelope=1", "ndjson", "text", "multipart", "html", "iframe"]
POLLS = ["poll", "jsonp"]
BEATS = {
    "sse": b"\n:\n",
    "sse?envelope=1": b"event: comet.beat",
    "ndjson": b" ",
    "html": b"<!-- -->",
    "iframe": b"<!-- -->",
}
#: Streams of one address that the server takes.
MOST = 20

#: Over HTTP/2 nginx holds a head back until a first byte follows it (its issue 864): on this wire, that of an update.
HELD_BACK = {("nginx", "2", "text")}


class Secure(raw.Connection):
    """HTTP/1.1 over TLS."""

    def __init__(self, to: Proxy, *, source: str = "127.0.0.1") -> None:
        super().__init__(to, source=source)
        self.sock = to.wrap(self.sock, "http/1.1")

    def leave(self) -> None:
        self.sock.close()


class Client:
    """Asks a proxy: each request on a connection of its own, or all on one by HTTP/2."""

    def __init__(self, proxy: Proxy, version: str, source: str = "127.0.0.1") -> None:
        self.proxy, self.version, self.source = proxy, version, source
        self._open = ExitStack()
        self._one = self._open.enter_context(http2.Connection(proxy, source=source)) if version == "2" else None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def held_back(self, wire: str) -> bool:
        return (self.proxy.name, self.version, wire) in HELD_BACK

    def get(self, path: str, *headers: str) -> Secure | http2.Exchange:
        if self._one is not None:
            return self._one.get(path, *headers)
        connection = self._open.enter_context(Secure(self.proxy, source=self.source))
        connection.get(path, *headers)
        return connection


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(heartbeat=0.3, trusted_proxies="127.0.0.1", streams_per_peer=MOST) as running:
        yield running


@pytest.fixture(scope="module", params=PROXIES, ids=lambda proxy: proxy.name)
def proxy(request: pytest.FixtureRequest, server: Server) -> Iterator[Proxy]:
    with request.param(server.port) as running:
        yield running


@pytest.fixture(params=["1.1", "2"])
def client(request: pytest.FixtureRequest, proxy: Proxy) -> Iterator[Client]:
    with Client(proxy, request.param) as ready:
        yield ready


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    """A channel of this test's own."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


@pytest.fixture
def subscribers(server: Server) -> Callable[[str], int]:
    """How many a channel has; 0 if nobody knows it."""
    return lambda channel: int(server.get(f"/channels/{channel}/info").json().get("subscribers", 0))


@pytest.mark.delivers
@pytest.mark.parametrize("wire", STREAMS)
def test_a_stream_comes_through_update_by_update(server: Server, client: Client, channel: str, wire: str) -> None:
    """Its head is there before anything was published, and each update before the next one is."""
    if client.held_back(wire):
        server.publish(channel, "the first byte")
    stream = client.get(f"/channels/{channel}/{wire}").head()
    assert stream.status == 200
    assert "content-length" not in stream.headers
    assert "content-encoding" not in stream.headers
    for number in range(3):
        server.publish(channel, f"update-{number}.")
        stream.until(f"update-{number}.".encode())
    server.publish(channel, "x" * 200_000 + "large.")
    stream.until(b"large.")


def test_nothing_is_compressed_whatever_a_client_takes(server: Server, client: Client, channel: str) -> None:
    """Updates come as they are, one by one, also to a browser that offers gzip."""
    for wire in STREAMS:
        server.publish(channel, f"to-{wire}.")
        stream = client.get(f"/channels/{channel}/{wire}", "Accept-Encoding: gzip, br, zstd")
        stream.until(f"to-{wire}.".encode())
        server.publish(channel, f"and-to-{wire}.")
        stream.until(f"and-to-{wire}.".encode())
        assert "content-encoding" not in stream.headers


@pytest.mark.parametrize("wire", POLLS)
def test_a_poll_comes_through(
    server: Server, client: Client, channel: str, wire: str, subscribers: Callable[[str], int]
) -> None:
    """It waits, and is answered when something comes."""
    known = server.publish(channel, "known")["id"]
    poll = client.get(f"/channels/{channel}/{wire}?since={known}")
    until(lambda: subscribers(channel) == 1)
    server.publish(channel, "at last")
    assert b"at last" in poll.answer().body
    assert poll.headers["comet-cursor"] == known


def test_silence_ends_no_stream(server: Server, client: Client, channel: str) -> None:
    """Every wire outlives three heartbeats, and those that beat show each one by itself; then all of them go on."""
    streams = {wire: client.get(f"/channels/{channel}/{wire}") for wire in STREAMS}
    picture = client.get(f"/channels/{channel}-picture/multipart")
    server.publish(f"{channel}-picture", b"<svg/>", "image/svg+xml")
    for _ in range(3):
        for wire, beat in BEATS.items():
            streams[wire].until(beat)
            streams[wire].body = b"\n"
        picture.until(b"<svg/>")
        picture.body = b""
    server.publish(channel, "after all.")
    for stream in streams.values():
        stream.until(b"after all.")


@pytest.mark.parametrize("wire", [*STREAMS, *POLLS])
def test_a_client_that_leaves_is_noticed(
    server: Server, client: Client, channel: str, wire: str, subscribers: Callable[[str], int]
) -> None:
    """At once, though nothing is written; by HTTP/2 also when the connection stays, with a stream of another page."""
    stays = client.get(f"/channels/{channel}-stays/sse").head()
    cursor = server.publish(channel, "hello")["id"]
    stream = client.get(f"/channels/{channel}/{wire}{'&' if '?' in wire else '?'}since={cursor}")
    until(lambda: subscribers(channel) == 1)
    stream.leave()
    until(lambda: subscribers(channel) == 0)
    server.publish(f"{channel}-stays", "goes on")
    stays.until(b"goes on")


@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire not in POLLS])
def test_a_channel_ends_properly(server: Server, client: Client, channel: str, wire: str) -> None:
    """The proxy passes the end on as an end, not as a broken connection."""
    server.publish(channel, "hello")
    stream = client.get(f"/channels/{channel}/{wire}").until(b"hello")
    assert requests.delete(f"{server.url}/channels/{channel}", headers=server.auth, timeout=10).status_code == 204
    stream.answer()
    assert stream.complete if isinstance(stream, http2.Exchange) else stream.response.complete


def test_resuming(server: Server, client: Client, channel: str) -> None:
    """Cursors and their headers pass, and so does what was not modified."""
    first = server.publish(channel, "one")["id"]
    second = server.publish(channel, "two")["id"]
    answer = client.get(f"/channels/{channel}/poll", f"Last-Event-ID: {first}").answer()
    assert answer.headers["comet-cursor"] == first
    assert [update["id"] for update in json.loads(answer.body)["updates"]] == [second]
    latest = client.get(f"/channels/{channel}/latest").answer()
    assert (latest.body, latest.headers["etag"]) == (b"two", f'"{second}"')
    assert client.get(f"/channels/{channel}/latest", f'If-None-Match: "{second}"').head().status == 304


def test_long_requests_come_through(client: Client, server: Server) -> None:
    """Sixteen long names, a token and a cookie as long as comet takes them; what is longer comet refuses itself."""
    names = ",".join(f"{number:02}".ljust(128, "n") for number in range(16))
    path = f"/channels/{names}/poll?timeout=1&since=garbage&more="
    path = path.ljust(8190 - len("GET  HTTP/1.1"), "m")
    answer = client.get(path, "Cookie: a=" + "c" * 8000).head()
    assert answer.status == 200
    for longer in client.get(path + "m" * 200), client.get("/channels/a/latest", "Cookie: a=" + "c" * 8300):
        assert longer.head().status in (400, 414, 431)


def test_publishing(server: Server, proxy: Proxy, channel: str) -> None:
    """With the key it is taken; a refusal comes through as it was said."""
    post = partial(requests.post, verify=proxy.certificate, timeout=10)
    url = f"{proxy.url}/channels/{channel}"
    assert post(url, b"hello", headers=server.auth).status_code == 201
    batch = b"".join(b'{"channel":"%b","data":"%b"}\n' % (channel.encode(), b"x" * 100_000) for _ in range(60))
    headers = {**server.auth, "Content-Type": "application/x-ndjson"}
    assert post(f"{proxy.url}/channels", batch, headers=headers).status_code == 201
    for refused, status in (
        (post(url, b"hello"), 401),
        (post(url, b"x" * 300_000, headers=server.auth), 413),
        (post(f"{url}/sse", b"x" * 300_000, headers=server.auth), 405),
        (post(f"{proxy.url}/nowhere", b"x" * 300_000), 404),
    ):
        assert refused.status_code == status
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.json()["status"] == status


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_streams_are_limited_by_the_address_that_the_proxy_has_seen(proxy: Proxy, version: str) -> None:
    """Whatever its client says of itself: neither does it pass for another, nor is another limited for it."""
    network = f"127.{PROXIES.index(type(proxy)) + 1}.{version[0]}"  # nobody's streams of before are counted
    with Client(proxy, version, f"{network}.8") as greedy, Client(proxy, version, f"{network}.9") as other:
        forged = [f"{name}{network}.9" for name in ("X-Forwarded-For: ", "Forwarded: for=", "X-Real-IP: ")]
        streams = [greedy.get("/channels/x/sse", *forged).head() for _ in range(MOST)]
        assert {stream.status for stream in streams} == {200}
        refused = greedy.get("/channels/x/sse", *forged).answer()
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert json.loads(refused.body)["status"] == 429
        assert other.get("/channels/x/sse").head().status == 200


def test_a_stranger_does_not_say_where_a_request_goes(client: Client) -> None:
    """Servers like gunicorn believe a proxy's PATH_INFO and SCRIPT_NAME: those of a stranger do nothing."""
    for name in ("PATH_INFO", "SCRIPT_NAME"):
        answer = client.get("/healthz", f"{name}: /nowhere").answer()
        assert (answer.status, answer.body.strip()) == (200, b"ok")


def test_comet_knows_its_address(client: Client) -> None:
    """Under https, and by the name that the browser has asked for."""
    answer = client.get("/sup.json").answer()
    assert json.loads(answer.body)["available_periods"]["60"].startswith("https://localhost")


def test_no_token_stands_in_a_proxy_s_log(client: Client) -> None:
    """What was asked is noted, without its query."""
    where = f"/nowhere-{client.proxy.name}"
    client.get(f"{where}?token=confidential", "Referer: https://x/?token=confidential").answer()
    until(lambda: where in client.proxy.log())
    assert "confidential" not in client.proxy.log()


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    """With path and query."""
    url = f"http://localhost:{proxy.plain}/channels/a/sse?last=1"
    answer = requests.get(url, allow_redirects=False, timeout=10)
    assert answer.status_code in (301, 308)
    assert answer.headers["Location"].startswith("https://localhost")
    assert answer.headers["Location"].endswith("/channels/a/sse?last=1")


class Load:
    """Three who read, publish and follow a channel through a proxy, until told to stop. ``read`` has what came."""

    def __init__(self, server: Server, proxy: Proxy) -> None:
        self.server, self.proxy = server, proxy
        self.channel = f"load-{proxy.name}"
        self.read: list[int] = []
        self.published = ["the first"]
        self.seen: list[str] = []
        self.stopped = threading.Event()
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._reads, self._publishes, self._follows)
        ]

    def __enter__(self) -> Load:
        self.cursor = self.server.publish(self.channel, "before")["id"]
        self.server.publish(self.channel, self.published[0])
        latest = f"/channels/{self.channel}/latest"
        until(lambda: all(self.server.get(latest).ok for _ in range(20)), what="what every worker has come to know")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped.set()
        for thread in self._threads:
            thread.join(40)  # who follows would wait for ever for what was lost

    def _asking(self) -> Callable[..., requests.Response]:
        """Asks on one connection for as long as that lasts; the status 0 is no answer at all."""
        session = requests.Session()
        where = f"{self.proxy.url}/channels/{self.channel}"

        def ask(method: str, path: str = "", **more: Any) -> requests.Response:
            try:
                return session.request(method, where + path, verify=self.proxy.certificate, timeout=20, **more)
            except requests.ConnectionError:
                nothing = requests.Response()
                nothing.status_code = 0
                return nothing

        return ask

    def _reads(self) -> None:
        ask = self._asking()
        while not self.stopped.wait(0.05):
            self.read.append(ask("GET", "/latest").status_code)

    def _publishes(self) -> None:
        ask, number = self._asking(), 0
        while not self.stopped.wait(0.05):
            number += 1
            headers = {**self.server.auth, "Idempotency-Key": str(number)}
            # Whoever is refused by a worker that stops, or hears nothing, says the same again.
            until(partial(self._is_taken, ask, str(number), headers), seconds=40)
            self.published.append(str(number))
        self.server.publish(self.channel, "the last")
        self.published.append("the last")

    def _is_taken(self, ask: Callable[..., requests.Response], data: str, headers: dict[str, str]) -> bool:
        return ask("POST", data=data, headers=headers).status_code in (200, 201)

    def _follows(self) -> None:
        ask = self._asking()
        while self.seen[-1:] != ["the last"]:
            answer = ask("GET", "/poll", params={"since": self.cursor})
            if answer.status_code in (0, 502, 503):
                continue  # a worker that stops says so, and every client comes back
            assert answer.status_code == 200, answer.text
            assert answer.json()["gap"] is None
            self.cursor = answer.json()["cursor"]
            self.seen += [update["data"] for update in answer.json()["updates"]]


def test_a_reload_loses_nothing_behind_a_proxy() -> None:
    """Whoever asks while the workers are exchanged is answered, and whoever follows gets everything, once."""
    server = Server(workers=2, broker="sqlite:///log.db", drain_seconds=1, history=100_000, trusted_proxies="127.0.0.1")
    with server, ExitStack() as stack:
        loads = [stack.enter_context(Load(server, stack.enter_context(proxy(server.port)))) for proxy in PROXIES]
        until(lambda: all(len(load.seen) > 5 for load in loads), seconds=40)
        old = set(server.workers())
        server.signal(signal.SIGHUP)
        until(lambda: not old & set(server.workers()) and len(server.workers()) == 2, seconds=40)
        counts = [len(load.seen) for load in loads]
        until(lambda: all(len(load.seen) > count + 5 for load, count in zip(loads, counts, strict=True)), seconds=40)
    for load in loads:
        assert load.seen == load.published
        assert set(load.read) == {200}, load.proxy.name


def of_two_hosts(kind: type[Proxy], one: int, two: int) -> dict[str, str]:
    """What docs/scaling.md has changed in the files."""
    servers = f"server one 127.0.0.1:{one}\n server two 127.0.0.1:{two}\n"
    return {
        Nginx: {
            r"server [\d.:]+ max_fails=0;$": f"server 127.0.0.1:{one};",
            r"server [\d.:]+ max_fails=0;  #.*": f"server 127.0.0.1:{two};",
        },
        HAProxy: {
            "server one .*": servers,
            "server otherwise .*": "option allbackups\n"
            f"server one-even-so 127.0.0.1:{one} no-check backup\n"
            f"server two-even-so 127.0.0.1:{two} no-check backup\n",
        },
        Caddy: {
            r"reverse_proxy [\d.:]+ {": f"reverse_proxy 127.0.0.1:{one} 127.0.0.1:{two} {{\n"
            "lb_policy least_conn\nhealth_uri /readyz\nhealth_interval 2s\n",
        },
    }[kind]  # type: ignore[index]


def test_a_host_of_two_goes(tmp_path: Path) -> None:
    """Who asks is answered by the other, at once, behind each proxy; who follows comes back to it with a cursor."""
    broker = f"sqlite:///{tmp_path}/log.db"
    with Server(broker=broker, drain_seconds=1) as one, Server(broker=broker) as two, ExitStack() as stack:
        first = one.publish("a", "one")["id"]
        proxies = [stack.enter_context(kind(one.port, **of_two_hosts(kind, one.port, two.port))) for kind in PROXIES]
        clients = [stack.enter_context(Client(proxy, "2")) for proxy in proxies]
        for client in clients:
            client.get("/channels/a/sse").until(b"one")
        one.signal(signal.SIGTERM)
        assert one.wait() == 0
        second = two.publish("a", "two")["id"]
        for client in clients:
            assert {client.get("/channels/a/latest").answer().status for _ in range(6)} == {200}
            answer = client.get(f"/channels/a/poll?since={first}").answer()
            assert [update["id"] for update in json.loads(answer.body)["updates"]] == [second]


def test_a_full_server_answers_through_haproxy() -> None:
    """Health checks have it sent nothing, if another is ready; it is not: so it tells an EventSource when to come back,
    which would give up for good on what HAProxy says."""
    with Server(max_streams=1) as server, HAProxy(server.port, **{"inter 2s": "inter 100ms"}) as proxy:
        with Client(proxy, "2") as client:
            until(lambda: proxy.states()["one"])
            client.get("/channels/x/sse").head()
            until(lambda: not proxy.states()["one"])
            answer = client.get("/channels/x/sse", "Accept: text/event-stream").answer()
            assert (answer.status, answer.body[:6]) == (200, b"retry:")
        until(lambda: proxy.states()["one"])


CHALLENGE = "/.well-known/acme-challenge/token"


def test_a_certificate_is_renewed_through_nginx(server: Server) -> None:
    """What the authority asks for by plain HTTP is read from the folder where certbot lays it."""
    with Nginx(server.port) as proxy:
        file = proxy.path(f"www{CHALLENGE}")
        file.parent.mkdir(parents=True)
        file.write_text("answer")
        assert requests.get(f"http://localhost:{proxy.plain}{CHALLENGE}", timeout=10).text == "answer"


def test_a_certificate_is_renewed_through_haproxy(server: Server) -> None:
    """What the authority asks for by plain HTTP is answered by certbot, at a port of its own."""
    with Site() as certbot:
        certbot.answers[CHALLENGE] = 200, {}, b"answer"
        with HAProxy(server.port, **{"server certbot .*": f"server certbot {certbot.origin[7:]}"}) as proxy:
            assert requests.get(f"http://localhost:{proxy.plain}{CHALLENGE}", timeout=10).text == "answer"
