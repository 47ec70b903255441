"""The extension in Python: an app, its Comet, and everything that a program calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import gevent
import pytest
from flask import Flask, g, request, session
from flask.testing import FlaskClient
from gevent import monkey

from comet import Comet, Gap, Update
from comet import worker as worker_module
from comet.brokers.memory import MemoryBroker
from comet.core.errors import (
    BadRequest,
    BrokerAway,
    Full,
    NotFound,
    SettingsError,
    Stopping,
    TooLarge,
    TooManyChannels,
    WrongServer,
)
from comet.core.update import is_own
from comet.settings import Settings
from comet.views import server
from tests.timing import PATIENCE, until


class Program:
    """An app with a Comet, whose background greenlets end with the test."""

    def __init__(self, **settings: Any) -> None:
        self.app = Flask("program")
        self.app.secret_key = "for the tests"
        self.comet = Comet(self.app, settings=Settings(**{"max_streams": 10, **settings}))
        self.client = self.app.test_client()

    def collect(self, *channels: str, **options: Any) -> tuple[list[str], gevent.Greenlet]:
        """Subscribe in a greenlet of its own."""
        got: list[str] = []
        updates = self.comet.subscribe(*channels, **options)
        greenlet = gevent.spawn(lambda: got.extend(update.data.decode() for update in updates))
        gevent.sleep(0)
        return got, greenlet


@pytest.fixture
def make() -> Iterator[Callable[..., Program]]:
    made: list[Program] = []

    def program(**settings: Any) -> Program:
        made.append(Program(**settings))
        return made[-1]

    yield program
    for each in made:
        each.comet.worker.stop()


@pytest.fixture
def program(make: Callable[..., Program]) -> Program:
    return make()


def wait(state: Callable[[], object]) -> None:
    until(state, sleep=gevent.sleep)


# Being at home in an app.


def test_an_app_factory_binds_it_later() -> None:
    """``Comet().init_app(app)``, with the routes where they are wanted."""
    comet = Comet(url_prefix="/push")
    app = Flask("factory")
    comet.init_app(app)
    assert app.extensions["comet"] is comet
    assert app.test_client().get("/push/healthz").text == "ok\n"
    assert app.test_client().get("/comet/healthz").status_code == 404


def test_without_a_prefix_the_routes_are_at_the_root() -> None:
    """As in the stand-alone server."""
    app = Flask("root")
    Comet(app, url_prefix=None)
    assert app.test_client().get("/healthz").text == "ok\n"


def test_an_app_has_one_comet(program: Program) -> None:
    """A second one would take the routes of the first: the sentence says which to use."""
    with pytest.raises(RuntimeError, match="this app has a Comet already"):
        Comet(program.app)


def test_apps_of_one_comet_share_its_channels(program: Program) -> None:
    """As the apps do that a factory makes for each test."""
    other = Flask("other")
    program.comet.init_app(other)
    program.comet.publish("a", "hello")
    for app in (program.app, other):
        assert app.test_client().get("/comet/channels/a/latest").text == "hello"


def test_a_wrong_setting_stops_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is made, with the sentence of the setting."""
    monkeypatch.setenv("COMET_HEARTBEAT", "often")
    with pytest.raises(SettingsError, match="COMET_HEARTBEAT is 'often'"):
        Comet()


def test_a_broker_may_be_handed_over() -> None:
    """Then that is where the log lives."""
    broker = MemoryBroker()
    comet = Comet(broker=broker)
    comet.publish("a", "hello")
    assert broker.log.head == 1


def test_the_tests_of_an_app_need_no_server(program: Program) -> None:
    """Flask's test client reads streams, and what they leave is nothing."""
    with program.client.get("/comet/channels/a/text", buffered=False) as answer:
        pieces = iter(answer.response)
        assert next(pieces) == b""  # the headers
        program.comet.publish("a", "hello")
        assert next(pieces) == b"hello\n"
        assert len(program.comet.worker.controller.streams) == 1
    assert not program.comet.worker.controller.streams


def test_a_request_of_a_test_starts_nothing(program: Program) -> None:
    """Only a stream does: the app's own tests see no greenlets of ours."""
    program.client.get("/comet/healthz")
    program.comet.publish("a", "hello")
    assert not program.comet.worker.started


def test_the_command_that_serves_the_app_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """MODULE:NAME; a factory by the names that Flask knows; the file of a script that was run."""
    module = ModuleType("some_program")
    monkeypatch.setitem(sys.modules, "some_program", module)
    app = Flask("some_program")
    comet = Comet(app)
    assert server.command(comet.worker, app) == "gunicorn -k gevent some_program:app"
    module.make_app = lambda: app  # type: ignore[attr-defined]
    assert server.command(comet.worker, app) == "gunicorn -k gevent 'some_program:make_app()'"
    module.web = app  # type: ignore[attr-defined]
    assert server.command(comet.worker, app) == "gunicorn -k gevent some_program:web"
    app.import_name = "__main__"
    assert server.command(comet.worker, app).startswith("gunicorn -k gevent ")
    assert "__main__" not in server.command(comet.worker, app)
    comet.worker.embedded = False
    assert server.command(comet.worker, app) == "python -m comet serve"


# Publishing.


def test_publish_returns_the_update_with_its_place(program: Program) -> None:
    """Id, time and all; what was not said has its default."""
    before = time.time()
    update = program.comet.publish("scores", "<b>2:1</b>", type="text/html", event="goal")
    assert isinstance(update, Update)
    assert (update.channel, update.data, update.type, update.event) == ("scores", b"<b>2:1</b>", "text/html", "goal")
    assert update.id == f"{update.epoch}-1" and before <= update.time <= time.time()
    second = program.comet.publish("other", {"a": [1, "é"]})
    assert (second.id, second.type, second.data) == (
        f"{update.epoch}-2",
        "application/json",
        '{"a":[1,"é"]}'.encode(),
    )


def test_the_same_key_publishes_nothing_and_returns_the_first_id(program: Program) -> None:
    """For each channel."""
    first = program.comet.publish("a", "once", key="k")
    assert program.comet.publish("a", "twice", key="k").id == first.id
    assert program.comet.publish("b", "other", key="k").id != first.id
    assert program.client.get("/comet/channels/a/latest").text == "once"


@pytest.mark.parametrize(
    ("channel", "data", "options", "says"),
    [
        ("no spaces", "x", {}, "no spaces"),
        ("comet.mine", "x", {}, "comet.mine"),
        ("a", "x", {"type": "text"}, "text"),
        ("a", "x", {"event": "open"}, "open"),
        ("a", "x", {"key": ""}, "key"),
        ("a", "\ud800", {}, "lone surrogate"),
        ("a", {1, 2}, {}, "a set can't be published"),
        ("a", float("nan"), {}, "a float can't be published"),
    ],
)
def test_what_can_not_be_published_is_a_bad_request(
    program: Program, channel: str, data: object, options: dict[str, str], says: str
) -> None:
    """And nothing of it is."""
    with pytest.raises(BadRequest, match=says):
        program.comet.publish(channel, data, **options)
    assert program.comet.worker.controller.log.head == 0


def test_limits_hold_for_programs_too(make: Callable[..., Program]) -> None:
    """COMET_MAX_UPDATE and COMET_MAX_CHANNELS."""
    program = make(max_update=10, max_channels=2)
    program.comet.publish("a", "x" * 10)
    program.comet.publish("b", "x")
    with pytest.raises(TooLarge, match=r"11 bytes; an update has at most 10 \(COMET_MAX_UPDATE\)"):
        program.comet.publish("a", "x" * 11)
    with pytest.raises(TooManyChannels):
        program.comet.publish("c", "x")


def test_the_end_of_a_greenlet_may_publish(program: Program) -> None:
    """Its callbacks run in the hub, which can't pause for others, however long it has worked."""
    program.comet.start()
    errors: list[object] = []
    done: list[str] = []

    def publish(source: object) -> None:
        time.sleep(0.02)  # the hub has not turned for long
        try:
            done.append(program.comet.publish("a", "x").id)
        except BaseException as error:
            errors.append(error)

    gevent.spawn(lambda: None).link(publish)
    wait(lambda: done or errors)
    assert not errors


# From a real thread.


def native(call: Callable[[], object]) -> Callable[[], object]:
    """Run a call in a thread of the operating system. Returns what tells its result, or the error, once it is there."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    monkey.get_original("_thread", "start_new_thread")(run, ())
    return lambda: results[0] if results else None


def test_a_real_thread_publishes_to_those_who_wait(program: Program) -> None:
    """The hub's thread does it, and the thread gets the update with its id."""
    program.comet.start()
    got, _ = program.collect("a", last=0)
    result = native(lambda: program.comet.publish("a", "hello").id)
    wait(lambda: got == ["hello"] and result())
    assert result() == program.comet.worker.controller.log.rings["a"].newest.id  # type: ignore[union-attr]


def test_many_real_threads_publish_at_once(program: Program) -> None:
    """Nothing is lost, and every id is given out once."""
    program.comet.start()
    got, _ = program.collect("a", last=0)
    results = [
        native(lambda n=n: [program.comet.publish("a", f"{n}-{m}").id for m in range(20)])  # type: ignore[misc]
        for n in range(8)
    ]
    wait(lambda: len(got) == 160 and all(result() for result in results))
    ids = [id for result in results for id in result()]  # type: ignore[attr-defined]
    assert len(set(ids)) == 160
    assert sorted(got) == sorted(f"{n}-{m}" for n in range(8) for m in range(20))


def test_an_error_reaches_the_real_thread(make: Callable[..., Program]) -> None:
    """As it would reach a greenlet."""
    program = make(max_channels=1)
    program.comet.start()
    program.comet.publish("a", "x")
    result = native(lambda: program.comet.publish("b", "x"))
    wait(result)
    assert isinstance(result(), TooManyChannels)


def test_before_the_start_real_threads_publish_one_after_the_other(program: Program) -> None:
    """There is no hub yet that could do it for them; a server of threads never has one."""
    results = [
        native(lambda: [program.comet.publish("a", "x").seq for _ in range(50)])  # type: ignore[misc]
        for _ in range(8)
    ]
    until(lambda: all(result() for result in results))
    assert sorted(seq for result in results for seq in result()) == list(range(1, 401))  # type: ignore[attr-defined]


def test_a_thread_does_not_wait_for_ever_for_a_hub_that_stands_still(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told that the update may be published yet: with a key a repetition is safe."""
    monkeypatch.setattr(worker_module, "HANDOVER", 0.05)
    program.comet.start()
    result = native(lambda: program.comet.publish("a", "x", key="k"))
    until(result)  # sleeps for real: the hub of this thread stands still
    assert isinstance(result(), BrokerAway)
    wait(lambda: program.comet.worker.controller.log.head == 1)


def test_a_real_thread_can_not_subscribe(program: Program) -> None:
    """Its greenlets belong to another hub: it is told at once, whether or not anything runs yet."""
    for _ in range(2):
        result = native(lambda: program.comet.subscribe("a"))
        wait(result)
        assert isinstance(result(), RuntimeError)
        assert "from a real thread only publish" in str(result())
        program.comet.start()


# Subscribing.


def test_subscribe_begins_with_the_newest_and_goes_on(program: Program) -> None:
    """What COMET_REPLAY says, then what comes; updates as they were published."""
    program.comet.publish("a", "old")
    newest = program.comet.publish("a", "newest", event="e", type="text/html")
    updates = program.comet.subscribe("a")
    assert next(updates) == newest
    gevent.spawn(program.comet.publish, "a", "next")
    assert next(updates).data == b"next"


def test_the_place_is_taken_when_subscribe_is_called(program: Program) -> None:
    """What is published before the first ``next`` is not missed."""
    program.comet.publish("a", "before")
    updates = program.comet.subscribe("a", last=0)
    program.comet.publish("a", "between")
    assert next(updates).data == b"between"


def test_subscribe_resumes_after_a_cursor(program: Program) -> None:
    """Everything after it, once and in order, over several channels."""
    first = program.comet.publish("a", "1")
    for n, channel in enumerate("abcab", 2):
        program.comet.publish(channel, str(n))
    updates = program.comet.subscribe("a", "b", "a", since=first.id)
    assert [next(updates).data for _ in range(4)] == [b"2", b"3", b"5", b"6"]


def test_a_gap_is_told(make: Callable[..., Program]) -> None:
    """Before the first update after it, to whom it is told; garbage is a gap and no error."""
    program = make(history=2)
    first = program.comet.publish("a", "1")
    for n in range(2, 6):
        program.comet.publish("a", str(n))
    for since, reason in ((first.id, "trimmed"), ("garbage", "unknown")):
        gaps: list[Gap] = []
        updates = program.comet.subscribe("a", since=since, on_gap=gaps.append)
        assert next(updates).data == b"4"
        assert [(gap.since, gap.reason) for gap in gaps] == [(since, reason)]
        assert next(program.comet.subscribe("a", since=since)).data == b"4"  # nobody is told


def test_a_bad_name_is_told_at_once(program: Program) -> None:
    """Not at the first ``next``, where nobody looks for it."""
    with pytest.raises(BadRequest):
        program.comet.subscribe("no spaces")
    with pytest.raises(ValueError, match="at least one channel"):
        program.comet.subscribe()


def test_deleting_a_channel_ends_its_subscribers(program: Program) -> None:
    """And forgets its history; a channel that is not there is NotFound."""
    program.comet.publish("a", "x")
    got, reader = program.collect("a", "b")
    wait(lambda: got == ["x"])
    program.comet.delete("a")
    reader.get(timeout=10 * PATIENCE)
    assert program.client.get("/comet/channels/a/latest").status_code == 404
    with pytest.raises(NotFound):
        program.comet.delete("never")


def test_a_subscriber_that_stops_reading_leaves_nothing_behind(program: Program) -> None:
    """Whether it closes, is killed, or never begins."""
    streams = program.comet.worker.controller.streams
    updates = program.comet.subscribe("a", last=0)
    program.comet.publish("a", "x")
    next(updates)
    assert len(streams) == 1
    updates.close()  # type: ignore[attr-defined]
    _, reader = program.collect("a")
    wait(lambda: len(streams) == 1)
    reader.kill()
    program.comet.subscribe("a")
    assert not streams


def test_subscribers_in_the_program_count_as_streams(make: Callable[..., Program]) -> None:
    """Beyond COMET_MAX_STREAMS there is no room for them either."""
    program = make(max_streams=1)
    program.collect("a", last=0)
    wait(lambda: program.comet.worker.controller.streams)
    with pytest.raises(Full):
        next(program.comet.subscribe("a"))


def test_a_drain_ends_subscribers(program: Program) -> None:
    """The worker stops: the generator ends, and nothing new begins."""
    _, reader = program.collect("a")
    wait(lambda: program.comet.worker.controller.streams)
    program.comet.worker.controller.drain(0)
    reader.get(timeout=10 * PATIENCE)
    with pytest.raises(Stopping):
        next(program.comet.subscribe("a"))


# Several processes.


@pytest.mark.parametrize("path", ["/comet/channels/a/sse", "/comet/channels/a/poll"])
def test_several_processes_are_refused_from_the_first_request_on(
    program: Program, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What the server says of itself counts; the log says it once."""
    several = {"wsgi.multiprocess": True}
    for _ in range(2):
        answer = program.client.get(path, environ_overrides=several)
        assert answer.status_code == 503
        assert "Several workers can't share the memory broker" in answer.get_json()["detail"]
    with pytest.raises(WrongServer):
        program.comet.publish("a", "x")
    with pytest.raises(WrongServer):
        program.comet.subscribe("a")
    assert caplog.text.count("Several workers") == 1


# The tick.


def test_every_publishes_what_the_function_returns(program: Program) -> None:
    """Once it is started; the function itself stays as it was."""
    values = iter(["1", "1", b"\x00", {"n": 1}, None, Update("b", b"own", "text/html")])

    @program.comet.every(0.001, channel="a", event="tick", always=True)
    def tick() -> object:
        return next(values, None)

    gevent.sleep(0.01)
    assert tick() == "1"
    program.comet.start()
    log = program.comet.worker.controller.log
    wait(lambda: log.head == 4)
    seen = [(u.data, u.type, u.event) for u in log.rings["a"]]
    assert seen == [
        (b"1", "text/plain; charset=utf-8", "tick"),
        (b"\x00", "application/octet-stream", "tick"),
        (b'{"n":1}', "application/json", "tick"),
    ]
    assert [(u.data, u.type, u.event) for u in log.rings["b"]] == [(b"own", "text/html", None)]


def test_every_repeats_only_if_told_to(program: Program) -> None:
    """An unchanged result is no news."""
    calls = {"once": 0, "again": 0}

    def counting(name: str) -> Callable[[], str]:
        def call() -> str:
            calls[name] += 1
            return "same"

        return call

    program.comet.every(0.001, channel="once", always=True)(counting("once"))
    program.comet.every(0.001, channel="again", repeat=True, always=True)(counting("again"))
    program.comet.start()
    wait(lambda: min(calls.values()) > 5)
    rings = program.comet.worker.controller.log.rings
    assert len(rings["once"]) == 1 and len(rings["again"]) >= 5


def test_functions_of_one_name_are_triggers_of_their_own(program: Program) -> None:
    """Workers run triggers in turn by their names: of two with one name, the one that falls asleep would give away the
    turn of the other."""
    for channel in ("a", "b", "a", "a"):
        program.comet.every(3600, channel=channel)(lambda: "x")
    names = [state.name for state in program.comet.worker.triggers.states if not is_own(state.name)]
    begin = names[0]
    assert begin.endswith("<lambda> (a)")
    assert names == [begin, f"{begin[:-3]}(b)", f"{begin} 2", f"{begin} 3"]


def test_every_starts_at_once_when_the_others_run(program: Program) -> None:
    """A program may add a tick at any time."""
    program.comet.start()
    program.comet.every(3600, channel="late", type="text/html")(lambda: "<b>now</b>")
    wait(lambda: program.client.get("/comet/channels/late/latest").text == "<b>now</b>")


def test_every_sleeps_while_nobody_watches(program: Program) -> None:
    """It runs at once for the first subscriber, and for who asks for the newest update."""
    calls = {"a": 0, "b": 0, "always": 0}

    def counting(name: str) -> Callable[[], int]:
        def call() -> int:
            calls[name] += 1
            return calls[name]

        return call

    for name in calls:
        program.comet.every(0.001, channel=name, always=name == "always")(counting(name))
    program.comet.start()
    wait(lambda: calls["always"] > 50)
    assert (calls["a"], calls["b"]) == (0, 0)
    got, greenlet = program.collect("a")
    wait(lambda: len(got) > 5)
    assert got[:2] == ["1", "2"]
    assert program.client.get("/comet/channels/b/latest").text == "1"
    greenlet.kill()


def test_a_tick_that_fails_is_tried_again(program: Program, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the function and its channel."""
    results: list[object] = []

    @program.comet.every(3600, channel="a")
    def flaky() -> str:
        results.append(1)
        if len(results) == 1:
            raise ValueError("not yet")
        return "well"

    program.comet.start()
    wait(lambda: program.client.get("/comet/channels/a/latest").text == "well")
    assert "test_extension:test_a_tick_that_fails_is_tried_again.<locals>.flaky (a) failed" in caplog.text
    assert "ValueError: not yet" in caplog.text


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_every_takes_a_positive_number(program: Program, seconds: float) -> None:
    """A mistake is told where it is made."""
    with pytest.raises(ValueError, match="it takes a positive number"):
        program.comet.every(seconds, channel="a")
    with pytest.raises(BadRequest):
        program.comet.every(1, channel="no spaces")


# authorize.


@pytest.fixture
def asked(program: Program) -> list[tuple[object, ...]]:
    """What ``authorize`` was asked; it says yes to whoever is logged in."""
    questions: list[tuple[object, ...]] = []

    @program.comet.authorize
    def allowed(action: str, channels: list[str]) -> bool:
        questions.append((action, channels, request.path, g.get("hook")))
        return "user" in session

    @program.app.before_request
    def hook() -> None:
        g.hook = session.get("user", "nobody")

    return questions


def login(client: FlaskClient) -> None:
    with client.session_transaction() as opened:
        opened["user"] = "ann"


ROUTES = [
    ("GET", "/comet/channels/a,b/poll?timeout=1", "subscribe", ["a", "b"]),
    ("GET", "/comet/channels/a/latest", "subscribe", ["a"]),
    ("GET", "/comet/channels/a/info", "subscribe", ["a"]),
    ("POST", "/comet/channels/a", "publish", ["a"]),
    ("DELETE", "/comet/channels/a", "admin", ["a"]),
    ("GET", "/comet/channels", "admin", []),
]


@pytest.mark.parametrize(("method", "path", "action", "channels"), ROUTES, ids=[f"{r[0]} {r[1]}" for r in ROUTES])
def test_authorize_is_asked_inside_the_request(
    program: Program,
    asked: list[tuple[object, ...]],
    method: str,
    path: str,
    action: str,
    channels: list[str],
) -> None:
    """With the session and whatever the app's hooks have set; its no is 403, its yes lets in."""
    program.comet.publish("a", "x")
    answer = program.client.open(path, method=method, data=b"y")
    assert answer.status_code == 403
    assert answer.mimetype == "application/problem+json"
    login(program.client)
    assert program.client.open(path, method=method, data=b"y").status_code in (200, 201, 204)
    clean = path.partition("?")[0]
    assert asked == [(action, channels, clean, "nobody"), (action, channels, clean, "ann")]


def test_a_batch_is_asked_for_all_its_channels(program: Program, asked: list[tuple[object, ...]]) -> None:
    """A line for a channel that is not allowed refuses the whole batch."""
    login(program.client)
    body = b'{"channel":"b","data":"1"}\n{"channel":"a","data":"2"}\n{"channel":"b","data":"3"}\n'
    answer = program.client.post("/comet/channels", data=body, content_type="application/x-ndjson")
    assert answer.status_code == 201
    assert asked[-1][:2] == ("publish", ["a", "b"])


@pytest.mark.parametrize("wire", ["jsonp", "iframe"])
def test_where_cookies_are_no_credential_the_hooks_see_none(
    program: Program, asked: list[tuple[object, ...]], wire: str
) -> None:
    """``authorize`` and the app's hooks run as if the browser had sent no cookie."""
    login(program.client)
    assert program.client.get(f"/comet/channels/a/{wire}").status_code == 403
    assert asked == [("subscribe", ["a"], f"/comet/channels/a/{wire}", "nobody")]
    assert program.client.get("/comet/channels/a/info").status_code == 404  # and the login is still there


def test_a_hook_that_turns_strangers_away_does_so_where_cookies_are_no_credential(program: Program) -> None:
    """Its answer is not given for us: it is a no."""
    program.comet.authorize(lambda action, channels: True)

    @program.app.before_request
    def wall() -> str | None:
        return None if "user" in session else "log in first"

    login(program.client)
    assert program.client.get("/comet/channels/a/jsonp?timeout=1").status_code == 403
    assert program.client.get("/comet/channels/a/poll?timeout=1").status_code == 200


def test_without_authorize_everybody_subscribes_and_nobody_publishes(program: Program) -> None:
    """The detail says how to change that."""
    assert program.client.get("/comet/channels/a/poll?timeout=1").status_code == 200
    answer = program.client.post("/comet/channels/a", data=b"x")
    assert answer.status_code == 401
    assert "COMET_PUBLISH_KEY" in answer.get_json()["detail"]


def test_an_error_in_authorize_is_the_apps_own(program: Program) -> None:
    """Its handler answers, and nobody is let in."""
    program.app.register_error_handler(ZeroDivisionError, lambda error: ("the app's own", 500))
    program.comet.authorize(lambda action, channels: bool(1 / 0))
    answer = program.client.get("/comet/channels/a/sse")
    assert (answer.status_code, answer.text) == (500, "the app's own")
