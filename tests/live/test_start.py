"""The start: what is configured wrongly ends it with one sentence, and signals can't undo what was refused."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.live.clients import Subscriber
from tests.live.server import Server
from tests.timing import until


def refusal(server: Server) -> str:
    """Start it; return what it says. It must end by itself, with a status that says so."""
    try:
        server.spawn()
        assert server.wait() not in (0, None)
        return server.log()
    finally:
        server.__exit__()


WRONG_SETTINGS = [
    ({"heartbeat": "soon"}, ["COMET_HEARTBEAT", "'soon'", "a number"]),
    ({"heartbeat": "-1"}, ["COMET_HEARTBEAT", "'-1'", "0.1"]),
    ({"history": "0"}, ["COMET_HISTORY", "0", "whole number"]),
    ({"history": "1.5"}, ["COMET_HISTORY", "1.5", "whole number"]),
    ({"history": "1" * 5000}, ["COMET_HISTORY", "whole number"]),
    ({"demo": "yes"}, ["COMET_DEMO", "'yes'", "0 or 1"]),
    ({"bind": "nowhere"}, ["COMET_BIND", "'nowhere'", "127.0.0.1:4071"]),
    ({"broker": "mysql://x"}, ["COMET_BROKER", "mysql://x", "memory"]),
    ({"allowed_origins": "https://a.example/path"}, ["COMET_ALLOWED_ORIGINS", "https://a.example/path", "origin"]),
    ({"config": "/nowhere/comet.toml"}, ["COMET_CONFIG", "/nowhere/comet.toml"]),
    ({"workers": "2"}, ["2 workers", "memory", "sqlite", "redis"]),
    ({"broker": "sqlite:////nowhere/log.db"}, ["COMET_BROKER", "/nowhere/log.db can't be opened"]),
    ({"broker": "sqlite:////nowhere/log.db", "workers": 4}, ["COMET_BROKER", "/nowhere/log.db can't be opened"]),
    ({"open": "1", "bind": "0.0.0.0:0"}, ["COMET_OPEN", "COMET_BIND", "0.0.0.0:0"]),
    ({"open": "1", "bind": "[::]:0"}, ["COMET_OPEN", "COMET_BIND", "[::]:0"]),
    ({"open": "1", "bind": "unix:comet.sock"}, ["COMET_OPEN", "COMET_BIND", "unix:comet.sock"]),
]


@pytest.mark.parametrize(("settings", "words"), WRONG_SETTINGS, ids=lambda value: str(value)[:40])
def test_a_wrong_setting_ends_the_start_with_one_sentence(settings: dict[str, str], words: list[str]) -> None:
    """It names the key, the value and what is allowed, and there is no trace."""
    said = refusal(Server(**settings))
    assert "Traceback" not in said
    (sentence,) = [line for line in said.splitlines() if "comet: " in line]
    assert all(word in sentence for word in words), sentence


WRONG_ARGUMENTS = [
    (["-w", "2"], ["2 workers", "memory", "sqlite", "redis"]),
    (["-k", "sync"], ["sync", "gunicorn -k gevent"]),
    (["-k", "gthread"], ["gthread", "gunicorn -k gevent"]),
    (["-k", "gthread", "--threads", "8"], ["gthread", "gunicorn -k gevent"]),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG_ARGUMENTS, ids=str)
def test_what_gunicorn_is_told_wrongly_ends_the_start_too(arguments: list[str], words: list[str]) -> None:
    """Options on its command line beat the configuration: they are looked at all the same."""
    said = refusal(Server(*arguments))
    assert "Traceback" not in said
    (sentence,) = [line for line in said.splitlines() if "comet: " in line]
    assert all(word in sentence for word in words), sentence


def test_open_with_a_bind_beyond_loopback_on_the_command_line_is_refused() -> None:
    """gunicorn's own ``-b`` beats COMET_BIND."""
    said = refusal(Server("-b", "0.0.0.0:0", open=1))
    assert "Traceback" not in said
    assert "COMET_OPEN" in said and "0.0.0.0:0" in said


def test_a_setting_of_the_file_is_refused_with_the_file_s_name(tmp_path: Path) -> None:
    """The sentence says where to look."""
    file = tmp_path / "comet.toml"
    file.write_text('[comet]\nhistory = "many"\n')
    said = refusal(Server(config=file))
    assert "history" in said and str(file) in said and "'many'" in said and "Traceback" not in said


def test_an_unknown_setting_is_warned_about_with_the_nearest_name() -> None:
    """The server starts all the same."""
    with Server(heartbeet=3) as server:
        assert "COMET_HEARTBEET" in server.log() and "Did you mean COMET_HEARTBEAT?" in server.log()


def test_the_start_says_that_open_is_on_and_what_defeats_it() -> None:
    """Everybody on this machine may publish: that belongs before somebody's eyes."""
    with Server(open=1) as server:
        until(lambda: "COMET_OPEN" in server.log() and "proxy" in server.log())


def test_a_signal_does_not_make_a_second_worker() -> None:
    """TTIN asks gunicorn for one more. What the one publishes the other would never see: it is refused, and the
    streams go on."""
    with Server() as server:
        workers = server.workers()
        server.publish("one", "")
        with Subscriber(server, "ndjson", "one", last=0).open() as stream:
            for count in (1, 2, 3):
                server.signal(signal.SIGTTIN)
                until(lambda: server.log().count("workers can't share the memory broker") == count)  # noqa: B023
                server.signal(signal.SIGTTOU)
                server.publish("one", "")
                assert server.workers() == workers
            stream.until(lambda it: len(it.seen) == 3)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.log().count("Booting worker") == 1
