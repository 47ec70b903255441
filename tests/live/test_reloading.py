"""Reloading: HUP with what can't be loaded leaves everything as it was, and says why; once it is right, it counts."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import requests

from tests.live.clients import Subscriber
from tests.live.server import Server
from tests.timing import until


class ByCommand(Server):
    """Started by ``python -m comet serve``."""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "comet", "serve"]


TRIGGER = """
[[triggers]]
name = "ticks"
kind = "timer"
channel = "ticks"
every = 0.1
"""

#: What is added to comet.toml, and what the log says of it.
WRONG = {
    "no TOML": ("[comet\n", ["comet.toml is not TOML"]),
    "a wrong value": ("heartbeat = 'soon'", ["heartbeat in comet.toml is 'soon'", "a number of seconds"]),
    "too many workers": ("workers = 2", ["2 workers can't share the memory broker"]),
    "a module that is not there": (TRIGGER + 'call = "nowhere:tick"', ["nowhere"]),
    "a module that is broken": (TRIGGER + 'call = "broken:tick"', ["broken"]),
    "a broker that can not be used": ('broker = "sqlite:////nowhere/log.db"', ["/nowhere/log.db can't be opened"]),
    "a template that is not there": (TRIGGER + 'call = "time:time"\ntemplate = "nowhere.html"', ["nowhere.html"]),
}


def write(server: Server, more: str = "", *, bind: str = "", max_update: int = 1000) -> None:
    """Write its comet.toml."""
    bind = bind or f"127.0.0.1:{server.port}"
    server.file("comet.toml").write_text(f'[comet]\nbind = "{bind}"\nmax_update = {max_update}\n{more}')


def make(kind: type[Server], **settings: object) -> Server:
    """One that is configured by its file."""
    server = kind(files={"broken.py": "def tick(:\n"}, drain_seconds=0, bind=None, **settings)
    write(server)
    return server


def refused(server: Server) -> str:
    """Send HUP; return what the log says once it was refused."""
    before = server.log().count("nothing was reloaded")
    server.signal(signal.SIGHUP)
    until(lambda: server.log().count("nothing was reloaded") > before, seconds=20, what="the refusal")
    return [line for line in server.log().splitlines() if "nothing was reloaded" in line][-1]


def status(server: Server, size: int) -> int:
    """Of publishing so many bytes; 0: a worker hands over."""
    try:
        answer = requests.post(f"{server.url}/channels/x", "x" * size, headers=server.auth, timeout=10)
        return answer.status_code
    except requests.ConnectionError:
        return 0


def assert_reloads(server: Server) -> None:
    """What is right counts, and the server is well."""
    write(server, max_update=2000)
    server.signal(signal.SIGHUP)
    until(lambda: status(server, 2000) == 201, seconds=20, what="the new settings")
    until(lambda: status(server, 2001) == 413)
    assert server.runs


def test_what_can_not_be_loaded() -> None:
    """It is logged in one sentence; workers, streams and settings stay. Once it is right, it counts."""
    with make(Server) as server:
        workers = server.workers()
        with Subscriber(server, "ndjson", "x", last=0).open() as subscriber:
            for what, (more, words) in WRONG.items():
                write(server, more)
                sentence = refused(server)
                assert all(word in sentence for word in words), (what, sentence)
            write(server, bind="192.0.2.1:4071")
            assert "can't listen on 192.0.2.1:4071" in refused(server)
            assert "SettingsError" not in server.log()
            assert server.workers() == workers
            last = server.publish("x", "still here")["id"]
            subscriber.until(lambda it: it.cursor == last)
        assert_reloads(server)


def test_what_only_a_worker_would_refuse() -> None:
    """Its app can be loaded, and does not go with what gunicorn's own command line says."""
    server = make(Server)
    server.arguments = ("--bind", f"127.0.0.1:{server.port}", "--bind", "unix:beside")
    with server:
        workers = server.workers()
        write(server, "open = true")
        assert "COMET_OPEN is on and gunicorn's bind is 'unix:beside'" in refused(server)
        assert server.workers() == workers
        assert_reloads(server)


def test_a_worker_that_dies_while_the_file_is_wrong() -> None:
    """Whatever comes in its place has the settings of the others, and the master still knows them."""
    with make(Server) as server:
        write(server, "heartbeat = 'soon'", max_update=1)
        assert "'soon'" in refused(server)
        server.signal(signal.SIGTTIN)
        until(lambda: "2 workers can't share the memory broker" in server.log())
        workers = server.workers()
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: server.workers() not in ([], workers))
        until(lambda: status(server, 1000) == 201)
        assert status(server, 1001) == 413
        assert_reloads(server)


@pytest.mark.parametrize("kind", [Server, ByCommand])
def test_two_workers(kind: type[Server], tmp_path: Path) -> None:
    """Neither goes when a typo is reloaded, however they were started; and both do when it is right."""
    with make(kind, workers=2, broker=f"sqlite:///{tmp_path}/log.db") as server:
        until(lambda: len(server.workers()) == 2)
        workers = server.workers()
        write(server, "max_updates = 5", max_update=2000)
        assert "Did you mean max_update?" in refused(server)
        assert server.workers() == workers
        assert status(server, 1001) == 413
        assert_reloads(server)
        until(lambda: not set(server.workers()) & set(workers))
