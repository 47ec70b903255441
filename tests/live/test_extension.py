"""The extension in somebody else's app, under the real servers."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
import requests

from tests.live.foreign import TWO_LINES, FlaskRun, Foreign
from tests.live.readers import READERS, Item, Reader, Seen
from tests.live.server import Server
from tests.timing import PATIENCE, until


TIMEOUT = 20 * PATIENCE


class Stream:
    """A response that is read as its wire is read."""

    def __init__(self, response: requests.Response, wire: str) -> None:
        self.response = response
        self.reader: Reader = READERS[wire][0]()
        self._pieces = response.iter_content(None)
        self._items: list[Item] = []

    def next(self) -> str:
        """The data of the next update."""
        while not self._items:
            piece = next(self._pieces, None)
            self._items += self.reader.finish() if piece is None else self.reader.feed(piece)
            assert piece is not None or self._items, "it ended"
        item = self._items.pop(0)
        assert isinstance(item, Seen)
        return item.data

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.response.close()


def detail(answer: requests.Response) -> str:
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    return str(answer.json()["detail"])


# Servers.


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    """The plain app under ``gunicorn -k gevent``, without a line of ours in its configuration."""
    with Foreign("plain:app", "-k", "gevent") as server:
        yield server


def test_without_any_configuration_streams_run(plain: Server) -> None:
    """The first request has started what runs in the background."""
    with plain.get("/comet/channels/ticks/text", stream=True) as stream:
        lines = stream.iter_lines()
        first, second = next(lines), next(lines)
    assert re.fullmatch(rb"tick \d+", first) and first != second


@pytest.mark.parametrize("way", ["publish", "thread", "native", "pool"])
def test_every_place_of_a_program_may_publish(plain: Server, way: str) -> None:
    """A view, a greenlet, a thread of the operating system, one of gevent's pool: a waiting stream gets it."""
    with Stream(plain.get(f"/comet/channels/{way}/sse", stream=True), "sse") as stream:
        id = plain.get(f"/{way}/{way}/hello").text
        assert stream.next() == "hello"
        assert stream.reader.cursor == id


def test_a_view_may_wait_for_an_update(plain: Server) -> None:
    """``comet.subscribe`` blocks its own greenlet and nothing else."""
    until(lambda: plain.get("/inside").json()["streams"] == 0, what="the end of other tests' streams")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(plain.get, "/first/waits", timeout=TIMEOUT)
        until(lambda: plain.get("/inside").json()["streams"] == 1)
        plain.get("/publish/waits/hello")
        assert waiting.result().text == "hello"
    assert plain.get("/inside").json()["streams"] == 0


SERVERS = [
    pytest.param(Foreign, ["-k", "sync"], id="sync"),
    pytest.param(Foreign, ["-k", "gthread", "--threads", "8"], id="gthread"),
    pytest.param(FlaskRun, [], id="flask run"),
]


@pytest.mark.parametrize(("kind", "arguments"), SERVERS)
@pytest.mark.parametrize("app", ["plain", "patching"])
def test_a_server_that_can_not_hold_streams_says_which_one_can(
    app: str, kind: type[Foreign | FlaskRun], arguments: list[str]
) -> None:
    """Each stream would take a thread or the process: 503 with one command. All else works."""
    if app == "patching" and kind is Foreign:
        # Patched after its start a gthread worker serves nothing at all, with comet or without.
        arguments = [*arguments, "--preload"]
    with kind(f"{app}:app", *arguments) as server:
        assert server.get("/").text.startswith("the app's own page")
        for wire in ("sse", "poll", "html"):
            answer = server.get(f"/comet/channels/ticks/{wire}?timeout=1")
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "60"
            assert detail(answer).endswith("Start it with: gunicorn -k gevent tests.live.apps.plain:app")
        for way in ("publish", "thread", "native", "pool"):
            id = server.get(f"/{way}/a/{way}").text
            latest = server.get("/comet/channels/a/latest")
            assert (latest.text, latest.headers["ETag"]) == (way, f'"{id}"')


def test_the_command_that_is_named_works() -> None:
    """It is a line to type; also for an app that is made by a factory, where the routes are elsewhere."""
    with Foreign("factory:create_app()", "-k", "sync") as server:
        said = detail(server.get("/push/channels/a/sse"))
    command = shlex.split(said.rpartition("Start it with: ")[2])
    assert command[0] == "gunicorn"
    server = Foreign("", *command[1:-1])
    server.app = command[-1]
    with server, server.get("/push/channels/a/sse", stream=True) as stream:
        assert stream.status_code == 200


def test_several_workers_without_a_shared_broker_are_refused() -> None:
    """What one publishes the others never see: publishing and subscribing say so, and the app's own pages work."""
    with Foreign("plain:app", "-k", "gevent", "-w", "2") as server:
        sentence = "Several workers can't share the memory broker: what one publishes the others never see."
        assert server.get("/").text.startswith("the app's own page")
        for wire in ("sse", "poll"):
            answer = server.get(f"/comet/channels/a/{wire}")
            assert answer.status_code == 503 and detail(answer).startswith(sentence)
        answer = requests.post(f"{server.url}/comet/channels/a", b"hello", headers=server.auth, timeout=TIMEOUT)
        assert answer.status_code == 503 and detail(answer).startswith(sentence)
        assert server.get("/publish/a/hello").status_code == 500
        assert f"comet.core.errors.WrongServer: {sentence}" in server.log()


REFUSED = [
    (["-k", "gevent", "-w", "2"], {}, "comet: 2 workers can't share the memory broker"),
    (["-k", "sync"], {}, "comet: the worker class sync can't hold streams"),
    (["-k", "gthread"], {}, "comet: the worker class gthread can't hold streams"),
    (["-k", "gevent", "-b", "0.0.0.0:0"], {"open": 1}, "comet: COMET_OPEN is on and gunicorn's bind is '0.0.0.0:0'"),
]


@pytest.mark.parametrize(("arguments", "settings", "sentence"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_with_the_two_lines_a_wrong_start_is_stopped(
    arguments: list[str], settings: dict[str, int], sentence: str
) -> None:
    """gunicorn ends with the sentence in its log, and no trace of ours."""
    server = Foreign("plain:app", *arguments, lines=TWO_LINES, **settings)
    try:
        server.spawn()
        assert server.wait() != 0
        assert sentence in server.log()
        assert "worker.py" not in server.log()  # gunicorn's own trace of two failing workers is not ours to stop
    finally:
        server.__exit__()


def test_a_second_worker_that_a_signal_asks_for_is_refused_by_one_line_more() -> None:
    """gunicorn's master alone sees it coming."""
    lines = f"{TWO_LINES}\nfrom comet.serving import nworkers_changed\n"
    with Foreign("plain:app", "-k", "gevent", lines=lines) as server:
        server.signal(signal.SIGTTIN)
        until(lambda: "2 workers can't share the memory broker" in server.log())
        # One of the two goes, and takes its time; then nothing is refused.
        until(lambda: len(server.workers()) == 1, seconds=20)
        until(lambda: _up(server, "/comet/channels/a/poll?timeout=1"), seconds=20)


def test_with_the_two_lines_streams_are_drained() -> None:
    """On TERM each stream gets its goodbye and its proper end."""
    with Foreign("plain:app", "-k", "gevent", lines=TWO_LINES, drain_seconds=0.2) as server:
        with server.get("/comet/channels/a/sse", stream=True) as stream:
            pieces = stream.iter_content(None)
            opening = next(pieces)
            server.signal(signal.SIGTERM)
            goodbye = b"".join(pieces)  # raises if it is cut
        assert b"retry:" in opening and b"retry:" in goodbye
        assert server.wait() == 0


@pytest.mark.parametrize("lines", ["", TWO_LINES], ids=["alone", "with the two lines"])
def test_a_preloaded_app_gives_each_worker_an_epoch_of_its_own(lines: str) -> None:
    """The log is forked with the app, and no id may be given out twice."""
    with Foreign("plain:app", "-k", "gevent", "--preload", lines=lines) as server:
        epochs = []
        for _ in range(2):
            until(lambda: _up(server), seconds=20)
            epochs.append(server.get("/publish/a/hello").text.partition("-")[0])
            with server.get("/comet/channels/ticks/text", stream=True) as stream:
                assert next(stream.iter_lines()).startswith(b"tick")
            (worker,) = server.workers()
            os.kill(worker, signal.SIGKILL)
            until(lambda worker=worker: worker not in server.workers())  # type: ignore[misc]
        assert epochs[0] != epochs[1]


def _up(server: Server, path: str = "/") -> bool:
    try:
        return server.get(path).ok
    except requests.RequestException:
        return False


# An app with a login, CSRF protection and compression.


@pytest.fixture(scope="module")
def app() -> Iterator[Server]:
    """Its CSRF protection covers our routes too."""
    with Foreign("login:app", "-k", "gevent", lines=TWO_LINES) as server:
        yield server


@pytest.fixture(scope="module")
def exempt() -> Iterator[Server]:
    """Its CSRF protection leaves our routes to us: ``csrf.exempt(comet.blueprint)``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_EXEMPT", "1")
        server = Foreign("login:app", "-k", "gevent", lines=TWO_LINES).__enter__()
    # The one without it may be started only now.
    try:
        yield server
    finally:
        server.__exit__()


def login(server: Server, user: str) -> requests.Session:
    """A browser in which somebody has logged in. It accepts compressed answers."""
    session = requests.Session()
    assert "gzip" in session.headers["Accept-Encoding"]
    session.post(f"{server.url}/login", {"user": user}, timeout=TIMEOUT).raise_for_status()
    return session


WIRES = sorted(READERS)
#: Those that go round CORS: other sites can make a browser ask for them, with its cookies.
ROUND_CORS = {"jsonp", "iframe"}


@pytest.mark.parametrize("what", [*(READERS[wire][1] for wire in WIRES), "latest", "info", ""])
def test_a_stranger_is_refused_on_every_wire(app: Server, what: str) -> None:
    """403 that says whose decision it was, before anything is said of the channel."""
    answer = app.get(f"/comet/channels/news/{what}".rstrip("/"))
    assert answer.status_code == 403
    assert detail(answer) == "you may not subscribe to news: the application's authorize said no."


DATA = [
    '<b>2:1</b> & "quotes" \\ é 漢字 \u2028',
    "x" * 3000,  # a compressor would take it, and keep it
    "short",
]


@pytest.mark.parametrize("wire", sorted(set(WIRES) - ROUND_CORS))
def test_the_user_gets_updates_byte_for_byte_while_answers_are_compressed(exempt: Server, wire: str) -> None:
    """Whatever the app's compressor does: each update at once, and as it was published."""
    channel = f"exact-{wire}"
    url = f"{exempt.url}/comet/channels/{channel}/{READERS[wire][1]}{'&' if '?' in READERS[wire][1] else '?'}"
    with login(exempt, "viewer") as session:

        def ask(last: int) -> Stream:
            return Stream(session.get(f"{url}last={last}", stream=True, timeout=TIMEOUT), wire)

        if wire == "poll":
            for text in DATA:
                publish(exempt, channel, text, headers=exempt.auth)
                with ask(1) as answer:
                    assert answer.next() == text
                    assert "Content-Encoding" in answer.response.headers
        else:
            with ask(0) as stream:
                for text in DATA:
                    publish(exempt, channel, text, headers=exempt.auth)
                    assert stream.next() == text


def test_the_newest_update_is_itself_although_it_is_compressed(exempt: Server) -> None:
    """Text travels compressed and arrives exact; what is no text is left alone; its ETag still answers 304."""
    with login(exempt, "viewer") as session:
        for data, media_type in ((DATA[0].encode() * 50, "text/html"), (bytes(range(256)) * 9, "image/png")):
            publish(exempt, "itself", data, headers={**exempt.auth, "Content-Type": media_type})
            answer = session.get(f"{exempt.url}/comet/channels/itself/latest", timeout=TIMEOUT)
            assert answer.content == data
            assert ("Content-Encoding" in answer.headers) is (media_type == "text/html")
            again = session.get(answer.url, headers={"If-None-Match": answer.headers["ETag"]}, timeout=TIMEOUT)
            assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("wire", sorted(ROUND_CORS))
def test_what_goes_round_cors_takes_no_cookie_as_credential(exempt: Server, wire: str) -> None:
    """Another site's page can make the user's browser ask for it: the login counts for nothing, a ticket does."""
    publish(exempt, wire, DATA[1], headers=exempt.auth)
    with login(exempt, "viewer") as session:
        url = f"{exempt.url}/comet/channels/{wire}/{wire}"
        assert session.get(url, timeout=TIMEOUT).status_code == 403
        with Stream(session.get(f"{url}?ticket=let-me-in", stream=True, timeout=TIMEOUT), wire) as stream:
            assert stream.next() == DATA[1]


def test_authorize_decides_for_each_channel(app: Server) -> None:
    """It is told all names of a request, and its no is for all of them."""
    with login(app, "viewer") as session:
        url = f"{app.url}/comet/channels"
        assert session.get(f"{url}/news/text?last=0", stream=True, timeout=TIMEOUT).status_code == 200
        assert session.get(f"{url}/news,secret/text?last=0", timeout=TIMEOUT).status_code == 403


# Publishing with the session.


def publish(
    server: Server, channel: str, data: str | bytes = "hello", *, by: requests.Session | None = None, **options: object
) -> requests.Response:
    body = data.encode() if isinstance(data, str) else data
    headers = {"Content-Type": "text/plain", **options.pop("headers", {})}  # type: ignore[dict-item]
    return (by or requests).post(
        f"{server.url}/comet/channels/{channel}",
        body,
        headers=headers,
        timeout=TIMEOUT,
        **options,  # type: ignore[arg-type]
    )


def own_page(server: Server) -> dict[str, str]:
    """What a browser says of a page of this server."""
    return {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}


def test_the_apps_own_page_publishes_with_the_session(exempt: Server) -> None:
    """The app's routes for publishing need no CSRF token: comet itself refuses other sites' pages."""
    with login(exempt, "editor") as session:
        assert publish(exempt, "news", by=session, headers=own_page(exempt)).status_code == 201
        assert publish(exempt, "news", by=session).status_code == 201  # not a browser


FOREIGN_PAGES = [
    {"Origin": "https://evil.example"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("headers", FOREIGN_PAGES, ids=str)
def test_a_page_of_another_site_can_not_publish_with_the_session(exempt: Server, headers: dict[str, str]) -> None:
    """Its browser sends the cookie, and says where the page is from."""
    with login(exempt, "editor") as session:
        answer = publish(exempt, "news", by=session, headers=headers)
    assert answer.status_code == 403
    assert "only pages of this server may" in detail(answer)


def test_without_the_exemption_a_csrf_token_is_needed(app: Server) -> None:
    """Of everybody, scripts with the key too: the app's protection comes first, and its no is ours in form."""
    with login(app, "editor") as session:
        token = session.get(f"{app.url}/token", timeout=TIMEOUT).text
        with_token = {**own_page(app), "X-CSRFToken": token}
        assert publish(app, "news", by=session, headers=with_token).status_code == 201
        for answer in (publish(app, "news", by=session), publish(app, "news", headers=app.auth)):
            assert answer.status_code == 400
            assert detail(answer) == "The CSRF token is missing."


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
def test_a_body_that_a_hook_has_read_is_published_all_the_same(exempt: Server, chunked: bool) -> None:
    """Flask has kept it; but it must not be larger than an update."""
    headers = {**exempt.auth, "X-Read": "1", "Content-Type": "text/plain"}
    for data, status in ((DATA[1].encode(), 201), (b"x" * 262_145, 413)):
        body = iter([data]) if chunked else data
        answer = requests.post(f"{exempt.url}/comet/channels/read", body, headers=headers, timeout=TIMEOUT)
        assert answer.status_code == status, answer.text
    with login(exempt, "viewer") as session:
        assert session.get(f"{exempt.url}/comet/channels/read/latest", timeout=TIMEOUT).text == DATA[1]


def test_a_form_is_read_by_csrf_protection_and_the_answer_says_so(app: Server) -> None:
    """It looks for its token in there; with the exemption the body comes through."""
    with login(app, "editor") as session:
        token = session.get(f"{app.url}/token", timeout=TIMEOUT).text
        form = {"X-CSRFToken": token, "Content-Type": "application/x-www-form-urlencoded"}
        answer = publish(app, "news", "a=1", by=session, headers=form)
    assert answer.status_code == 400
    assert detail(answer) == "the body ended after 0 of 3 bytes, or the application has read it as a form."


def test_who_may_publish_is_authorizes_decision(exempt: Server) -> None:
    """Neither a stranger nor a user who only reads."""
    said = "you may not publish: the application's authorize said no."
    with login(exempt, "viewer") as session:
        for answer in (publish(exempt, "news"), publish(exempt, "news", by=session)):
            assert (answer.status_code, detail(answer)) == (403, said)


def test_the_key_publishes_beside_the_session(exempt: Server) -> None:
    """A script has no login; a wrong key is 401, whoever is logged in."""
    assert publish(exempt, "news", headers=exempt.auth).status_code == 201
    with login(exempt, "editor") as session:
        answer = publish(exempt, "news", by=session, headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, detail(answer)) == (401, "the bearer key is not one of COMET_PUBLISH_KEY.")


def test_a_credential_of_the_apps_own_is_authorizes_to_judge(exempt: Server) -> None:
    """A password in the same header is no key that failed; but one that authorize does not take either is 401."""
    assert publish(exempt, "news", auth=("somebody", "pass")).status_code == 201
    assert publish(exempt, "news", auth=("somebody", "wrong")).status_code == 401


def test_administration_is_an_action_of_its_own(exempt: Server) -> None:
    """An editor may publish, not delete; the key may."""
    publish(exempt, "gone", headers=exempt.auth)
    url = f"{exempt.url}/comet/channels/gone"
    with login(exempt, "editor") as session:
        assert session.delete(url, timeout=TIMEOUT).status_code == 403
        assert session.get(f"{exempt.url}/comet/channels", timeout=TIMEOUT).status_code == 403
    assert requests.delete(url, headers=exempt.auth, timeout=TIMEOUT).status_code == 204


# The rest of the app.


def test_a_page_that_the_app_does_not_have_is_the_apps_own_404(app: Server) -> None:
    """Below our prefix too, where no route of ours is; a channel without an update is ours."""
    for path in ("/nowhere", "/comet", "/comet/nowhere", "/channels/news/sse"):
        answer = app.get(path)
        assert (answer.status_code, answer.text) == (404, "the app's own 404")
    assert app.get("/boom").text == "the app's own 500"
    with login(app, "viewer") as session:
        answer = session.get(f"{app.url}/comet/channels/never/latest", timeout=TIMEOUT)
        assert (answer.status_code, detail(answer)) == (404, "nothing is kept of never.")


def test_the_apps_hooks_see_our_answers(app: Server) -> None:
    """Headers that it adds, and a CORS policy of its own, are on streams and on errors."""
    with login(app, "viewer") as session:
        stream = session.get(f"{app.url}/comet/channels/news/sse", stream=True, timeout=TIMEOUT)
        stream.close()
    for answer in (stream, app.get("/comet/channels/news/sse"), app.get("/comet/healthz")):
        assert answer.headers["X-App"] == "mine"
        assert answer.headers["Access-Control-Allow-Origin"] == "https://partner.example"


def test_a_hook_that_answers_itself_comes_first(app: Server) -> None:
    """An app that sends strangers to its login does that here too."""
    answer = app.get("/comet/channels/news/sse?wall=1", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")
    with login(app, "viewer") as session:
        stream = session.get(f"{app.url}/comet/channels/news/sse?wall=1", stream=True, timeout=TIMEOUT)
        assert stream.status_code == 200
        stream.close()


@pytest.mark.parametrize("wire", WIRES)
def test_answers_that_never_begin_leave_nothing_behind(app: Server, wire: str) -> None:
    """HEAD, and a hook of the app that fails after us: no subscription, no descriptor."""
    until(lambda: app.get("/inside").json()["streams"] == 0)
    before = app.get("/inside").json()["files"]
    path = READERS[wire][1]
    query = urlencode({"ticket": "let-me-in", "timeout": 1})
    url = f"{app.url}/comet/channels/news/{path}{'&' if '?' in path else '?'}{query}"
    with requests.Session() as session:
        for _ in range(5):
            begin_nothing(session, url)
    until(lambda: app.get("/inside").json() == {"streams": 0, "files": before})


def begin_nothing(session: requests.Session, url: str) -> None:
    """Keep none of the answers: they would keep the connection."""
    head = session.head(url, timeout=TIMEOUT)
    assert (head.status_code, head.content) == (200, b"")
    assert "Comet-Cursor" in head.headers
    answer = session.get(f"{url}&break=1", timeout=TIMEOUT)
    assert (answer.status_code, answer.text) == (500, "the app's own 500")
