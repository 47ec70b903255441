"""Signed tokens against the real server: what gets in, what does not, how a stream ends, and what the logs show."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from tests.brokers.redis_server import RedisServer
from tests.jwts import OTHER, SECRET, ec_key, hs256, part, public, reader, rsa_key, token, writer
from tests.live.raw import Connection
from tests.live.server import KEY, Server
from tests.live.test_cli import typed
from tests.live.test_start import refusal
from tests.timing import until


OLD = "the-secret-of-last-year-which-is-still-good-for-now"
PRIVATE = '[channels."secret*"]\nprivate = true\n[channels."vault*"]\nprivate = true\n'
PEM = "tokens.pem"
#: Everything that a request carries.
FORMAT = "%(r)s %(s)s %(q)s %(f)s %({authorization}i)s %({cookie}i)s %({raw_uri}e)s %({query_string}e)s"

STREAMS = ["sse", "sse?envelope=1", "ndjson", "text", "html", "multipart", "iframe"]
WHAT = [*STREAMS, "poll", "jsonp", "latest", "info"]
#: Wires with room for what is no update.
ROOM = {"sse", "sse?envelope=1", "ndjson", "iframe"}
#: Those that take no cookie.
ROUND_CORS = {"iframe", "jsonp"}


def start(*arguments: str, **settings: object) -> Server:
    files = {"comet.toml": PRIVATE, PEM: f"{public(rsa_key())}\n{public(ec_key())}"}
    return Server(
        "--access-logfile", "-", "--access-logformat", FORMAT, *arguments,
        jwt_key=f"{SECRET},{OLD}", jwt_public_key=PEM, files=files, **settings,
    )  # fmt: skip


KINDS = {
    "1 worker": {},
    "1 worker, the plain way": {"direct_writes": 0},
    "2 workers": {"workers": 2, "broker": "sqlite:///comet.db"},
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with a private channel on which there is something."""
    with start(**request.param) as running:
        running.publish("secret", "<b>hello</b>", "text/html")
        good = {"Authorization": f"Bearer {reader('*')}"}

        def is_everywhere() -> bool:
            return all(running.get("/channels/secret/latest", headers=good).status_code == 200 for _ in range(8))

        until(is_everywhere, what="the update in all workers")
        yield running


def with_parameter(path: str, text: str) -> tuple[str, dict[str, str]]:
    return f"{path}{'&' if '?' in path else '?'}token={text}", {}


def with_header(path: str, text: str) -> tuple[str, dict[str, str]]:
    return path, {"Authorization": f"Bearer {text}"}


def with_cookie(path: str, text: str) -> tuple[str, dict[str, str]]:
    return path, {"Cookie": f"comet_token={text}"}


def ask(server: Server, path: str, headers: dict[str, str]) -> Connection:
    """A request, its headers read."""
    return Connection(server).get(path, *(f"{name}: {value}" for name, value in headers.items())).head()


@pytest.mark.parametrize("what", WHAT)
def test_a_private_channel(server: Server, what: str) -> None:
    """On every wire it is read with a token that grants it, whichever way that comes, and not without."""
    path = f"/channels/secret/{what}"
    expected = b'"stored"' if what == "info" else b"hello"
    for put in (with_parameter, with_header, with_cookie):
        if put is with_cookie and what in ROUND_CORS:
            continue
        for text in (reader("secret"), reader("sec*", key=OLD)):
            with ask(server, *put(path, text)) as connection:
                assert connection.status == 200
                connection.until(expected)
        with ask(server, *put(path, reader("other", "secre"))) as connection:
            assert connection.status == 403
            assert b"subscribe to secret" in connection.answer().body
    for headers in ({}, server.auth, {"Cookie": f"comet_token={reader('*')}", "Origin": "https://evil.example"}):
        with ask(server, path, headers) as connection:
            assert connection.status in (401, 403)
            assert b"hello" not in connection.answer().body


def unsigned(alg: str) -> str:
    return token({"subscribe": ["*"]}, header={"alg": alg}).rpartition(".")[0] + "."


def signed(payload: object) -> str:
    text = f"{part({'alg': 'HS256'})}.{part(payload)}"
    return f"{text}.{part(hs256(SECRET, text))}"


ALL = {"publish": ["*"], "subscribe": ["*"]}
#: What is no token, or one that fails.
BAD: dict[str, Callable[[], str]] = {
    "alg none": lambda: unsigned("none"),
    "alg None": lambda: unsigned("None"),
    "no signature": lambda: unsigned("HS256"),
    "alg none, signed": lambda: token(ALL, header={"alg": "none"}),
    "another algorithm": lambda: token(ALL, header={"alg": "HS512"}),
    "a list as algorithm": lambda: token(ALL, header={"alg": ["HS256"]}),
    "another key": lambda: token(ALL, key=OTHER),
    "the publish key": lambda: token(ALL, key=KEY),
    "the RSA key's text": lambda: token(ALL, key=public(rsa_key())),
    "the RSA key's text, as RS256": lambda: token(ALL, key=public(rsa_key()), header={"alg": "RS256"}),
    "the EC key's text": lambda: token(ALL, key=public(ec_key()).strip()),
    "its own key in the header": lambda: token(
        ALL, key=OTHER, header={"alg": "HS256", "jwk": {"kty": "oct", "k": part(OTHER.encode())}}
    ),
    "its own certificate in the header": lambda: token(
        ALL, key=OTHER, header={"alg": "RS256", "x5c": [part(b"x")], "x5u": "http://127.0.0.1:1/"}
    ),
    "something critical in the header": lambda: token(ALL, header={"alg": "HS256", "crit": ["x"], "x": True}),
    "a URL in the header": lambda: token(ALL, key=OTHER, header={"alg": "RS256", "jku": "http://127.0.0.1:1/"}),
    "a path in the header": lambda: token(ALL, key="", header={"alg": "HS256", "kid": "/dev/null"}),
    "a query in the header": lambda: token(ALL, key="x", header={"alg": "HS256", "kid": "' UNION SELECT 'x"}),
    "expired": lambda: token(ALL, expires=-2),
    "not yet valid": lambda: token(ALL, nbf=int(time.time()) + 100),
    "made tomorrow": lambda: token(ALL, iat=int(time.time()) + 86_400),
    "no end": lambda: token(ALL, expires=None),
    "a text as end": lambda: token(ALL, expires=None, exp="9999999999"),
    "another server's": lambda: token(ALL, aud="https://other.example"),
    "several other servers'": lambda: token(ALL, aud=["https://other.example", "https://app.example"]),
    "another issuer's": lambda: token(ALL, key=OTHER, iss="https://other.example"),
    "a text as grant": lambda: token({"publish": "*", "subscribe": "*"}),
    "a number as grant": lambda: token({"publish": [1], "subscribe": [1]}),
    "a nested grant": lambda: token({"publish": [["*"]], "subscribe": [["*"]]}),
    "an empty grant": lambda: token({"publish": [""], "subscribe": [""]}),
    "two stars": lambda: token({"publish": ["**"], "subscribe": ["**"]}),
    "a list": lambda: signed([ALL]),
    "deep": lambda: signed(b'{"a":' * 900),
    "a deep grant": lambda: signed(b'{"exp":9e9,"comet":{"subscribe":' + b"[" * 900 + b"]" * 900 + b"}}"),
    "encrypted": lambda: f"{part({'alg': 'dir', 'enc': 'A128GCM'})}.e30.e30.e30.e30",
    "two signatures": lambda: f"{token(ALL)}.{part(b'x')}",
    "a deep header": lambda: part(b'{"a":' * 900) + ".e30.e30",
    "garbage": lambda: "garbage",
    "dots": lambda: "..",
    "nothing": lambda: "",
}

#: What is genuine, and grants something else.
OTHERS = [
    {"publish": ["secre", "secret.*", "Secret", "ecret", "t"], "subscribe": ["secre", "secret.*", "Secret", "ecret"]},
    {"comet": ALL},
    {"Publish": ["*"], "Subscribe": ["*"]},
    {"admin": ["*"]},
    {},
]


@pytest.mark.parametrize("name", BAD)
def test_a_token_that_fails(server: Server, name: str) -> None:
    """It is 401 on every wire and for publishing, also where no token is needed; then the server serves as before."""
    text = BAD[name]()
    for put in (with_parameter, with_header):
        for path in (
            *(f"/channels/secret/{what}" for what in WHAT),
            "/channels/open.x/sse",
            "/channels/open.x,secret/poll",
        ):
            answer = _get(server, *put(path, text))
            assert answer.status_code == 401, (path, put)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert len(text) < 10 or text not in answer.text
    for put in (with_parameter, with_header, with_cookie):
        for path in ("/channels/open.x", "/channels/secret"):
            path, headers = put(path, text)
            assert requests.post(f"{server.url}{path}", b"forged", headers=headers, timeout=10).status_code == 401
    path, headers = with_header("/channels/secret/latest", reader("*"))
    assert _get(server, path, headers).text == "<b>hello</b>"


@pytest.mark.parametrize("grants", OTHERS, ids=str)
def test_a_token_that_grants_something_else(server: Server, grants: object) -> None:
    """It is 403 on every wire and for publishing, and the detail says what it would take."""
    text = token(grants)
    for what in WHAT:
        answer = _get(server, *with_parameter(f"/channels/secret/{what}", text))
        assert answer.status_code == 403, what
        assert '{"comet":{"subscribe":[…]}}' in answer.json()["detail"]
    for put in (with_parameter, with_header):
        path, headers = put("/channels/secret", text)
        answer = requests.post(f"{server.url}{path}", b"forged", headers=headers, timeout=10)
        assert answer.status_code == 403
        assert "secret" in answer.json()["detail"]
        path, headers = put("/channels/secret", token(ALL))
        assert requests.delete(f"{server.url}{path}", headers=headers, timeout=10).status_code == 403


#: A grant, a channel, and whether it is granted.
PATTERNS = [
    ("vault", "vault", True),
    ("vault", "vault2", False),
    ("vault", "vaul", False),
    ("vault*", "vault", True),
    ("vault*", "vault2", True),
    ("vault*", "Vault", False),
    ("vault.*", "vault", False),
    ("vault.*", "vault.x", True),
    ("*", "vault", True),
    ("*", "Vault", True),
]


@pytest.mark.parametrize(("pattern", "channel", "granted"), PATTERNS)
def test_what_a_pattern_grants(server: Server, pattern: str, channel: str, granted: bool) -> None:
    """That name and no longer one, or whatever begins so, letter by letter; but none of comet's own channels."""
    text = token({"publish": [pattern], "subscribe": [pattern]})
    path, headers = with_header(f"/channels/{channel}", text)
    status = requests.post(f"{server.url}{path}", b"x", headers=headers, timeout=10).status_code
    assert status == (201 if granted else 403)
    if channel.startswith("vault"):  # those are private
        status = requests.head(f"{server.url}{path}/sse", headers=headers, timeout=10).status_code
        assert status == (200 if granted else 403)
    for own in ("comet.revoked", "comet.x"):
        path, headers = with_header(f"/channels/{own}", text)
        assert requests.post(f"{server.url}{path}", b"x", headers=headers, timeout=10).status_code == 400
        assert _get(server, f"{path}/poll", headers).status_code == 400


def test_a_cookie_that_another_site_makes_a_browser_send(server: Server) -> None:
    """It is no credential there, for subscribing and for publishing; for jsonp and iframe it never is."""
    text = token(ALL)
    for foreign in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        headers = {"Cookie": f"comet_token={text}", **foreign}
        for what in (*STREAMS, "poll", "latest", "info"):
            assert _get(server, f"/channels/secret/{what}", headers).status_code == 403
        answer = requests.post(f"{server.url}/channels/secret", b"forged", headers=headers, timeout=10)
        assert answer.status_code == 403
        answer = requests.delete(f"{server.url}/tokens/x", headers=headers, timeout=10)
        assert answer.status_code == 403
        for what in ROUND_CORS:
            assert _get(server, f"/channels/open.x/{what}", headers).status_code == 403
    for what in ROUND_CORS:
        assert _get(server, f"/channels/secret/{what}", {"Cookie": f"comet_token={text}"}).status_code == 401
    assert _get(server, *with_header("/channels/secret/latest", text)).text == "<b>hello</b>"


def test_a_token_that_is_very_long(server: Server) -> None:
    """It is refused, by gunicorn or by comet, and the server serves on."""
    for size in (4000, 8000, 9000, 100_000):
        for text in (token(ALL, key=OTHER, sub="x" * size), "x" * size, "." * size, signed(b'{"a":' * size)):
            for put in (with_parameter, with_header, with_cookie):
                path, headers = put("/channels/secret/poll", text)
                with ask(server, path, headers) as connection:
                    assert connection.status in (400, 401, 414, 431), (size, put)
                    assert text[-100:] not in connection.answer().body.decode()
    assert _get(server, *with_header("/channels/secret/latest", token(ALL))).text == "<b>hello</b>"


def _get(server: Server, path: str, headers: dict[str, str]) -> requests.Response:
    return server.get(path, headers=headers)


def test_publishing(server: Server) -> None:
    """With a token that grants it, by each kind of key."""
    import jwt

    claims = {"comet": {"publish": ["orders*"]}, "exp": int(time.time()) + 60}
    tokens = [
        writer("orders*"),
        writer("orders.eu", key=OLD),
        jwt.encode(claims, rsa_key(), "RS256"),
        jwt.encode(claims, ec_key(), "ES256"),
    ]
    for text in tokens:
        for put in (with_parameter, with_header, with_cookie):
            path, headers = put("/channels/orders.eu", text)
            assert requests.post(f"{server.url}{path}", b"x", headers=headers, timeout=10).status_code == 201
        path, headers = with_header("/channels/order", text)
        assert requests.post(f"{server.url}{path}", b"x", headers=headers, timeout=10).status_code == 403


def test_the_token_of_a_stream_ends(server: Server) -> None:
    """Its stream is told before, where there is room for it, and ends properly; a poll is answered. Who has a longer
    token is told nothing and goes on."""
    short, long = reader("secret", expires=5), reader("secret", expires=600)
    with ExitStack() as stack:
        connections = {}
        for what in STREAMS:
            connections[what] = stack.enter_context(Connection(server, seconds=20))
            connections[what].get(*with_parameter(f"/channels/secret/{what}", short)[:1])
        cursor = _get(server, *with_header("/channels/secret/poll", short)).json()["cursor"]
        poll = stack.enter_context(Connection(server, seconds=20))
        poll.get(f"/channels/secret/poll?timeout=60&since={cursor}&token={short}")
        lasting = stack.enter_context(Connection(server, seconds=20)).get(f"/channels/secret/sse?token={long}")
        for what, connection in connections.items():
            assert b"hello" in connection.until(b"hello").answer().body
            assert connection.response.complete, what
            told = [int(seconds) for seconds in re.findall(rb'expiring\\?":(\d+)', connection.body)]
            if what in ROOM:
                assert told[-1] == 0
                assert 0 < told[0] <= 5
                assert len(told) == 2
            else:
                assert told == []
        assert time.time() >= json.loads(_claims(short))["exp"]
        assert json.loads(poll.answer().body) == {"updates": [], "cursor": cursor, "gap": None, "closed": []}
        assert _get(server, *with_parameter("/channels/secret/sse", short)).status_code == 401
        server.publish("secret", "<b>hello</b>", "text/html", **{"Comet-Event": "later"})
        assert b"expiring" not in lasting.until(b"later").body


def _claims(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text.split(".")[1] + "===")


def test_a_stream_that_needs_no_token(server: Server) -> None:
    """On a public channel it goes on when the token that came with it ends."""
    text, connection = until(lambda: _let_in(server), what="a token that was still good")
    with connection:
        until(lambda: time.time() > json.loads(_claims(text))["exp"] + 1.5)
        server.publish("open.y", "still here")
        assert b"expiring" not in connection.until(b"still here").body


def _let_in(server: Server) -> tuple[str, Connection] | None:
    """A stream with a token that ends soon; None: it has ended before it was looked at."""
    text = reader("*", expires=2)
    connection = Connection(server).get(f"/channels/open.y/sse?token={text}").head()
    if connection.status == 200:
        return text, connection
    connection.sock.close()
    return None


# Revoking.


def revoke(server: Server, jti: str) -> None:
    assert requests.delete(f"{server.url}/tokens/{jti}", headers=server.auth, timeout=10).status_code == 204


def is_good(server: Server, text: str) -> bool:
    """Whether this token counts; if not, it was revoked."""
    answer = _get(server, *with_header("/channels/secret/latest", text))
    if answer.status_code == 401:
        assert "the token has been revoked" in answer.json()["detail"]
    return answer.status_code != 401


def test_a_token_is_revoked(server: Server) -> None:
    """Its streams, on whichever worker, are told that it has ended, where there is room for it, and end properly;
    waiting polls are answered; from then on it is 401 for everything. Nobody else notices."""
    text, other = token(ALL, jti="revoked.1"), token(ALL, jti="revoked.2")
    cursor = _get(server, *with_header("/channels/secret/poll", text)).json()["cursor"]
    with ExitStack() as stack:

        def connect(path: str, held: str) -> Connection:
            connection = stack.enter_context(Connection(server, seconds=20))
            connection.get(with_parameter(f"/channels/secret/{path}", held)[0])
            return connection if path.startswith("poll") else connection.until(b"hello")

        streams = [(what, connect(what, text)) for what in (*STREAMS, *STREAMS)]
        polls = [connect(f"poll?timeout=60&since={cursor}", text) for _ in range(6)]
        lasting = [connect(what, other) for what in STREAMS]
        revoke(server, "revoked.1")
        for what, connection in streams:
            connection.answer()
            assert connection.response.complete, what
            assert (b'expiring\\":0' in connection.body or b'expiring":0' in connection.body) is (what in ROOM)
        for connection in polls:
            assert json.loads(connection.answer().body)["updates"] == []
        for _ in range(8):
            assert not is_good(server, text)
        for put in (with_parameter, with_header, with_cookie):
            path, headers = put("/channels/orders", text)
            assert requests.post(f"{server.url}{path}", b"x", headers=headers, timeout=10).status_code == 401
        for what in WHAT:
            assert _get(server, *with_parameter(f"/channels/open.x/{what}", text)).status_code == 401
        assert is_good(server, other)
        server.publish("secret", "<b>hello</b>, and on", "text/html")
        for connection in lasting:
            assert b"expiring" not in connection.until(b"and on").body
    server.publish("secret", "<b>hello</b>", "text/html")


def test_a_worker_that_has_revoked_a_token(server: Server) -> None:
    """It knows so before it answers; and to revoke it once more is no mistake."""
    for number in range(10):
        jti = f"at.once.{number}"
        path, headers = with_header("/channels/secret/latest", reader("secret", jti=jti))
        with requests.Session() as kept:  # one connection: one worker
            assert kept.get(server.url + path, headers=headers, timeout=10).status_code == 200
            for _ in range(2):
                answer = kept.delete(f"{server.url}/tokens/{jti}", headers=server.auth, timeout=10)
                assert (answer.status_code, answer.content) == (204, b"")
                assert kept.get(server.url + path, headers=headers, timeout=10).status_code == 401


BROKERS = ["sqlite", "redis"]


@pytest.mark.parametrize("broker", BROKERS)
def test_the_workers_are_started_anew(broker: str, tmp_path: Path) -> None:
    """What was revoked stays so, from the first request on, although they were killed as soon as it was accepted."""
    with ExitStack() as stack:
        url = "sqlite:///comet.db"
        if broker == "redis":
            redis = RedisServer(tmp_path).start()
            stack.callback(redis.kill)
            url = redis.url
        server = stack.enter_context(start(workers=2, broker=url))
        text, other = reader("secret", jti="x"), reader("secret", jti="y")
        assert is_good(server, text)
        revoke(server, "x")
        server.kill()
        server.spawn()
        until(server.is_up, seconds=20)
        assert not any(is_good(server, text) for _ in range(8))
        assert all(is_good(server, other) for _ in range(8))


def test_no_token_stands_in_a_log(server: Server) -> None:
    """Whatever its format, whatever the request: served, refused, broken, or with a page's address."""
    good, bad = reader("secret", sub="good"), reader("secret", key=OTHER, sub="bad")
    revoked = reader("secret", jti="logged")
    revoke(server, "logged")
    attacks = [text for make in BAD.values() if (text := make()).startswith("eyJ")]
    for text in (good, bad, revoked, *attacks):
        for put in (with_parameter, with_header, with_cookie):
            path, headers = put("/channels/secret/poll", text)
            answer = _get(server, path, {**headers, "Referer": f"{server.url}/page?last=1&token={text}"})
            assert not shows(answer.text, text)
    for text in (good, bad, revoked):
        for path in (f"/channels/{text}/sse", f"/?%74oken={text}", f"/channels/x/sse?since={text}&tok={text}"):
            with ask(server, path, {}) as connection:
                # A stream says what cursor it was asked for.
                assert connection.status == 200 or not shows(connection.answer().body.decode(), text)
        for raw in (
            f"GET /channels/x?token={text} HTTP/9.9\r\n\r\n",
            f"GET /channels/x?token={text} and more HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GE<T /channels/x?token={text} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET /channels/x HTTP/1.1\r\nHost: x\r\nBad Header {text}: x\r\n\r\n",
        ):
            with Connection(server) as connection:
                connection.send(raw.encode()).end()
    until(lambda: "since=…&tok=…" in server.log(), what="the access log of the streams")
    log = server.log()
    assert "/channels/secret/poll?token=…" in log
    assert "Bearer …" in log
    assert "comet_token=…" in log
    assert "Invalid request" in log
    assert not [text for text in (good, bad, revoked, *attacks) if shows(log, text)]


def shows(told: str, text: str) -> bool:
    """Whether any part of a token stands there. A log that goes on cuts none short."""
    return any(piece[:30] in told for piece in text.split(".") if len(piece) > 20)


@pytest.mark.parametrize(("broker", "workers"), [("memory", 1), ("sqlite:///log.db", 2)])
def test_the_keys_are_changed(broker: str, workers: int) -> None:
    """After a reload without the old key its tokens are 401, and those of the new one are good, as before."""
    rules = '[channels."*"]\nprivate = true\n'
    files = {"comet.toml": f'[comet]\njwt_key = ["{SECRET}", "{OLD}"]\n{rules}'}
    with Server(files=files, broker=broker, workers=workers, drain_seconds=0) as server:
        until(lambda: len(server.workers()) == workers, what="all workers")
        server.publish("a", "x")
        old, new = (with_header("/channels/a/info", reader("a", key=key)) for key in (OLD, SECRET))
        until(lambda: [_get(server, *each).status_code for each in (old, new)] == [200, 200])
        server.file("comet.toml").write_text(f'[comet]\njwt_key = "{SECRET}"\n{rules}')
        server.signal(signal.SIGHUP)
        until(lambda: all(_is_refused(server, *old) for _ in range(8)), seconds=20, what="the new workers")
        path, headers = new
        assert _get(server, path, {"Authorization": "Bearer x"}).status_code == 401
        assert _get(server, path, headers).status_code in (200, 404)  # the log in memory began anew


def _is_refused(server: Server, path: str, headers: dict[str, str]) -> bool:
    try:
        return _get(server, path, headers).status_code == 401
    except requests.ConnectionError:
        return False  # one worker hands over to another


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"jwt_key": "short"}, ["COMET_JWT_KEY", "32 bytes"]),
        ({"jwt_public_key": "nowhere.pem"}, ["COMET_JWT_PUBLIC_KEY", "nowhere.pem"]),
        ({"jwt_public_key": public(ec_key(ec.SECP384R1))}, ["COMET_JWT_PUBLIC_KEY", "P-256"]),
    ],
    ids=["short", "no file", "P-384"],
)
def test_a_key_that_is_of_no_use_ends_the_start(settings: dict[str, str], words: list[str]) -> None:
    """With one sentence that names the variable, and not the key."""
    said = refusal(Server(**settings))
    assert "Traceback" not in said
    (sentence,) = [line for line in said.splitlines() if "comet: " in line]
    assert all(word in sentence for word in words), sentence
    assert "'short'" not in sentence


# python -m comet token


def test_a_token_from_the_command_line(server: Server) -> None:
    """It grants what was asked for, for as long."""
    made = typed(
        "token", "--publish", "secret", "--subscribe", "sec*", "--subscribe", "x", "--expires", "2m", jwt_key=SECRET
    )
    assert (made.returncode, made.stderr) == (0, "")
    claims = json.loads(_claims(made.stdout))
    assert claims["comet"] == {"publish": ["secret"], "subscribe": ["sec*", "x"]}
    assert 100 < claims["exp"] - time.time() <= 121
    assert _get(server, *with_header("/channels/secret/latest", made.stdout.strip())).status_code == 200


def test_a_token_with_its_name(server: Server) -> None:
    """With ``--json`` it is told by what name it can be revoked."""
    made = typed("token", "--subscribe", "secret", "--json", jwt_key=SECRET)
    assert (made.returncode, made.stderr) == (0, "")
    told = json.loads(made.stdout)
    assert json.loads(_claims(told["token"]))["jti"] == told["jti"]
    assert _get(server, *with_header("/channels/secret/latest", told["token"])).status_code == 200
    revoke(server, told["jti"])
    until(lambda: not is_good(server, told["token"]), what="the revocation")


@pytest.mark.parametrize(
    ("arguments", "key", "words"),
    [
        (["--subscribe", "*"], None, "COMET_JWT_KEY is not set"),
        ([], SECRET, "grant nothing"),
        (["--subscribe", "a*b"], SECRET, "a*b"),
        (["--publish", ""], SECRET, "channel"),
        (["--subscribe", "*", "--expires", "tomorrow"], SECRET, "'tomorrow'"),
        (["--subscribe", "*", "--expires", "0s"], SECRET, "'0s'"),
        (["--subscribe", "*"], "short", "32 bytes"),
    ],
    ids=str,
)
def test_a_token_that_is_not_made(arguments: list[str], key: str | None, words: str) -> None:
    """What can't be right is refused in one sentence."""
    made = typed("token", *arguments, **({"jwt_key": key} if key else {}))
    assert made.returncode == 2
    assert made.stdout == ""
    assert words in made.stderr
    assert made.stderr.count("\n") == 1
