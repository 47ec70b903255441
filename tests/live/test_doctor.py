"""The doctor, as it is typed: it finds what is wrong with a proxy, and nothing where nothing is."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.live import proxies
from tests.live.foreign import Foreign
from tests.live.nginx import Nginx
from tests.live.raw import Connection
from tests.live.server import KEY, ROOT, Server, free_port
from tests.live.sites import Site
from tests.timing import PATIENCE


# What is late is held back: so nothing else may hold it up.
pytestmark = pytest.mark.alone


SOUND = 'proxy_http_version 1.1; proxy_set_header Connection "";'

#: Compressed for those who take it, and passed on when there is enough of it.
PACKED = """
    %s
    error_page 418 = @packed;
    if ($http_accept_encoding ~ gzip) { return 418; }
}
location @packed {
    %s
    gzip_types *;
    proxy_ignore_headers X-Accel-Buffering;
    proxy_pass http://127.0.0.1:PORT;
"""

#: What nginx is told, and the one check that is wrong then, with its fault.
BROKEN = {
    "buffering": (f"{SOUND} proxy_ignore_headers X-Accel-Buffering;", "streams", "buffering"),
    "buffering, HTTP/1.0": ("proxy_ignore_headers X-Accel-Buffering;", "streams", "buffering"),
    "gzip": (PACKED % (SOUND, SOUND), "streams, gzip", "packing"),
    "time-out": (f"{SOUND} proxy_read_timeout 1s;", "silence", "cut"),
    "longer time-out": (f"{SOUND} proxy_read_timeout 4s;", "silence", "cut"),
    "HTTP/1.0": ("", "HTTP to comet", "old requests"),
    "small headers": (
        SOUND + "} client_header_buffer_size 512; large_client_header_buffers 4 1k; location /unused {",
        *("long heads", "heads"),
    ),
    "a wall": (SOUND + "} location ~ /text$ { return 403;", "streams", "refused"),
    "small bodies": (f"{SOUND} client_max_body_size 128k;", "large bodies", "bodies"),
    "duplicate CORS": (f"{SOUND} add_header Access-Control-Allow-Origin *;", "other site", "cors twice"),
}

#: What has a time-out of a second then.
IMPATIENT: list[tuple[type[proxies.Proxy], dict[str, str]]] = [
    (proxies.HAProxy, {"timeout server 1h": "timeout server 1s"}),
    (proxies.Caddy, {"dial_timeout 2s": "dial_timeout 2s\nread_timeout 1s"}),
]

ORIGIN = "https://app.example"


@dataclass
class Examined:
    """How an examination has ended: its exit status, and what it said."""

    status: int
    said: str
    errors: str

    @property
    def document(self) -> dict[str, Any]:
        assert self.said, self.errors
        return dict(json.loads(self.said))

    @property
    def faults(self) -> dict[str, str]:
        """What is wrong: the fault of each check."""
        return {check["check"]: check["fault"] for check in self.document["checks"] if check["state"] == "wrong"}

    def check(self, name: str) -> dict[str, Any]:
        (found,) = [check for check in self.document["checks"] if check["check"] == name]
        return found


class Doctor:
    """``python -m comet doctor …``, started at once; ``end`` waits for it."""

    def __init__(self, url: str, *arguments: str, **settings: str) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
        environ |= {"PYTHONPATH": str(ROOT), **settings}
        command = [sys.executable, "-W", "error", "-m", "comet", "doctor", url, *arguments]
        self._process = subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def end(self) -> Examined:
        try:
            said, errors = self._process.communicate(timeout=60 * PATIENCE)
        finally:
            self._process.kill()
        return Examined(self._process.returncode, said, errors)


def examined(url: str, *arguments: str, **settings: str) -> Examined:
    return Doctor(url, *arguments, **settings).end()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(heartbeat=2, allowed_origins=ORIGIN) as running:
        yield running


@pytest.fixture(scope="module")
def found(server: Server) -> Iterator[dict[str, Examined]]:
    """What was found on each path. All are examined at the same time: mostly an examination waits."""
    key, site = {"COMET_PUBLISH_KEY": KEY}, ["--json", "--origin", ORIGIN]
    with ExitStack() as stack:
        started = {
            "comet itself": Doctor(server.url, *site, **key),
            "no key": Doctor(server.url, *site),
        }
        for name, (more, *_) in BROKEN.items():
            nginx = stack.enter_context(Nginx(server.port, more.replace("PORT", str(server.port))))
            started[name] = Doctor(nginx.url, *site, **key)
            if name == "buffering":
                started["buffering, no key"] = Doctor(nginx.url, *site)
        for kind in (proxies.Nginx, proxies.HAProxy, proxies.Caddy):
            proxy = stack.enter_context(kind(server.port))
            started[kind.name] = Doctor(proxy.url, *site, **key, SSL_CERT_FILE=proxy.certificate)
        for kind, changes in IMPATIENT:
            proxy = stack.enter_context(kind(server.port, **changes))
            started[f"impatient {kind.name}"] = Doctor(proxy.url, *site, SSL_CERT_FILE=proxy.certificate)
        usual = stack.enter_context(Server())
        nginx = stack.enter_context(Nginx(usual.port, f"{SOUND} proxy_read_timeout 5s;"))
        started["5 seconds"] = Doctor(nginx.url)
        yield {name: doctor.end() for name, doctor in started.items()}


@pytest.mark.parametrize("path", ["comet itself", "no key", "nginx", "haproxy", "caddy"])
def test_a_sound_path(found: dict[str, Examined], path: str) -> None:
    """Nothing is wrong, and there is nothing that could not be measured."""
    done = found[path]
    assert {check["check"]: check["seen"] for check in done.document["checks"] if check["state"] != "ok"} == {}
    assert (done.status, done.errors, done.document["ok"]) == (0, "", True)


@pytest.mark.parametrize("path", ["nginx", "haproxy", "caddy"])
def test_what_stands_in_deploy_has_all_there_is(found: dict[str, Examined], path: str) -> None:
    """HTTP/2 to browsers, HTTP/1.1 to comet, and comet is told whose request it is."""
    done = found[path]
    assert done.check("HTTP to clients")["seen"] == "HTTP/2"
    assert done.check("HTTP to comet")["seen"] == "HTTP/1.1"
    assert done.check("connection")["seen"].count("TLSv1.3") == 1
    assert "X-Forwarded-For reaches comet" in done.check("client's address")["seen"]


@pytest.mark.parametrize("broken", [name for name in BROKEN if name != "buffering, HTTP/1.0"])
def test_a_fault_is_found_and_no_other(found: dict[str, Examined], broken: str) -> None:
    """By its name, with what to change, and with the exit status 1."""
    _, check, fault = BROKEN[broken]
    done = found[broken]
    assert done.faults == {check: fault}
    assert done.check(check)["change"]["nginx"]
    assert (done.status, done.errors, done.document["ok"]) == (1, "", False)


@pytest.mark.parametrize("proxy", ["haproxy", "caddy"])
def test_an_impatient_proxy(found: dict[str, Examined], proxy: str) -> None:
    """Its time-out is found, whatever it is called."""
    done = found[f"impatient {proxy}"]
    assert done.faults == {"silence": "cut"}
    assert done.status == 1


def test_two_faults_at_once(found: dict[str, Examined]) -> None:
    """Each is found; what one of them hides is not measured, and not wrong."""
    done = found["buffering, HTTP/1.0"]
    assert done.faults == {"streams": "buffering", "HTTP to comet": "old requests"}
    assert {done.check(name)["state"] for name in ("streams, gzip", "silence")} == {"not measured"}


def test_without_a_key_buffering_is_found_too(found: dict[str, Examined]) -> None:
    """By how streams begin."""
    assert found["buffering, no key"].faults == {"streams": "buffering"}
    assert "COMET_PUBLISH_KEY is not set here" in found["no key"].check("streams")["seen"]


def test_nothing_stays_behind(server: Server, found: dict[str, Examined]) -> None:
    """What the doctor has published to is deleted."""
    assert found
    channels = server.get("/channels", headers=server.auth).json()["channels"]
    assert [channel["channel"] for channel in channels if channel["stored"] or channel["subscribers"]] == []


def test_a_read_time_out_of_five_seconds(found: dict[str, Examined]) -> None:
    """With comet's own heartbeat of 15 seconds; the report says how long it took, and what to write where."""
    done = found["5 seconds"]
    assert done.status == 1
    text = " ".join(done.said.split())
    cut = re.search(
        r"cuts a silent stream after (\d+\.\d) s; comet is silent for up to 15 s \(COMET_HEARTBEAT\)\.", text
    )
    late = re.search(r"A poll that was to wait for 25 s was answered 504 after (\d+\.\d) s, too\.", text)
    assert cut and late
    assert 5 <= float(cut[1]) < 15 and 5 <= float(late[1]) < 25  # not much longer, where the machine is not slow
    assert "\n   nginx    proxy_read_timeout 1h;\n   HAProxy  timeout server 1h and timeout client 1h\n" in done.said
    assert "One fault was found." in done.said


@pytest.mark.parametrize(
    ("version", "headers", "says"),
    [
        ("1.1", [], "HTTP/1.1"),
        ("1.0", [], "HTTP/1.0"),
        ("1.1", ["X-Forwarded-For: 192.0.2.1"], "HTTP/1.1, forwarded"),
        ("1.1", ["Forwarded: for=192.0.2.1"], "HTTP/1.1, forwarded"),
    ],
)
def test_healthz_tells_how_a_request_has_come(server: Server, version: str, headers: list[str], says: str) -> None:
    """Nothing else on a path through proxies shows how the last of them asks."""
    with Connection(server) as connection:
        connection.get("/healthz", *headers, version=version).answer()
        assert connection.headers["comet-reached-by"] == says


# Who may, and what is not comet.


def test_an_app_that_has_comet_below_a_path() -> None:
    """There it is found, under any configuration of gunicorn that can hold streams; elsewhere the path is missed."""
    with Foreign("plain:app", "-k", "gevent", heartbeat=0.3) as app, Foreign("plain:app", "-k", "gthread") as threads:
        doctors = [Doctor(url, "--json") for url in (f"{app.url}/comet", app.url, f"{threads.url}/comet")]
        below, beside, thread = [doctor.end() for doctor in doctors]
    assert {check["state"] for check in below.document["checks"]} == {"ok"}
    assert "nothing is compressed" in below.check("streams, gzip")["seen"]
    assert "If comet is mounted below a path, the URL needs it." in beside.check("comet")["sentence"]
    assert thread.faults == {"streams": "not ready"}
    assert "Start it with: gunicorn -k gevent" in thread.check("streams")["sentence"]


def test_a_channel_of_ones_own_by_a_token() -> None:
    """Where everything is private a token that grants both shows everything."""
    private = {"comet.toml": '[channels."*"]\nprivate = true\n'}
    with Server(files=private, heartbeat=0.3, jwt_key="k" * 32) as server:
        command = [sys.executable, "-m", "comet", "token", "--publish", "*", "--subscribe", "*"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "COMET_JWT_KEY": "k" * 32}
        token = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip()
        shown, refused = Doctor(server.url, "--json", "--token", token), Doctor(server.url, "--json")
        done = shown.end()
        assert {check["state"] for check in done.document["checks"]} == {"ok"}
        assert token not in done.said
        done = refused.end()
    states = {check["check"]: check["state"] for check in done.document["checks"]}
    assert {name for name, state in states.items() if state == "not measured"} == {
        "streams",
        "streams, gzip",
        "silence",
        "long poll",
    }
    assert done.status == 0


def test_what_is_not_comet() -> None:
    """It is said in a sentence, with the exit status 1, and nothing else is measured."""
    with Site() as site, Nginx(free_port()) as nginx, Nginx(free_port(), "return 302 https://a.example/;") as leading:
        doctors = [Doctor(url) for url in (site.origin, nginx.url, leading.url)]
        stranger, nobody, elsewhere = [doctor.end() for doctor in doctors]
    assert "is not comet: GET /healthz is 404" in " ".join(stranger.said.split())
    assert "comet does not answer it: GET /healthz is 502" in " ".join(nobody.said.split())
    assert f"{leading.url} leads to https://a.example/: examine that." in elsewhere.said
    assert [done.status for done in (stranger, nobody, elsewhere)] == [1, 1, 1]
    assert all("streams" not in done.said for done in (stranger, nobody, elsewhere))


def test_a_server_that_can_not_be_reached(server: Server) -> None:
    """One sentence on standard error, and the exit status 2."""
    port = free_port()
    with proxies.Nginx(server.port) as untrusted:
        rows = [
            (f"http://127.0.0.1:{port}", f"nothing listens at 127.0.0.1:{port}."),
            ("http://no..where", "the name no..where is not known."),  # nobody needs to be asked
            (server.url.replace("http:", "https:"), "does not speak TLS as it should"),
            (untrusted.url, f"the certificate of localhost:{untrusted.port} can't be trusted: self"),
            ("push.example", "'push.example' is not the URL of a server"),
            ("http://me@push.example", "a URL with a user's name in it is not taken"),
        ]
        doctors = [Doctor(url) for url, _ in rows]
        for doctor, (_, sentence) in zip(doctors, rows, strict=True):
            done = doctor.end()
            assert (done.status, done.said, done.errors.count("\n")) == (2, "", 1)
            assert done.errors.startswith("comet: ") and sentence in done.errors


def test_how_long_to_watch(server: Server) -> None:
    """So long, and not longer: what takes more is not measured, and the status is that of what was."""
    server.publish("orders", "before")
    done = examined(server.url, "--json", "--seconds", "1", "--channel", "orders")
    assert "watched for 1 s only, and a heartbeat takes 2" in done.check("silence")["seen"]
    assert done.status == 0
    assert server.get("/channels/orders/info").json()["stored"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seconds", "0"], "--seconds 0 is no time to watch: it takes 1 to 3600."),
        (["--channel", "a/b"], "'a/b' is not a channel name: "),
        (["--token", "a\nb"], "--token has characters in it that no header can carry."),
        (["--origin", "https://bücher.example"], "--origin has characters in it that no header can carry."),
    ],
    ids=["seconds", "channel", "token", "origin"],
)
def test_what_can_not_be_right_is_refused(arguments: list[str], sentence: str) -> None:
    """In one sentence, with the exit status 2, before anything is asked for."""
    done = examined("http://push.example", *arguments)
    assert (done.status, done.said, done.errors.count("\n")) == (2, "", 1)
    assert done.errors.startswith(f"comet: {sentence}")


def test_on_a_terminal_it_says_how_far_it_is(server: Server) -> None:
    """In one line that is gone in the end."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "comet", "doctor", server.url, "--seconds", "2"], environ)
    said = b"".join(iter(lambda: _read(fd), b"")).decode()
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert said.startswith("\rmeasuring: 0 of 2 s\rmeasuring: ")
    assert said.partition("\r\x1b[K")[2].startswith(server.url)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65_536)
    except OSError:
        return b""  # the terminal's other end is closed
