"""``listen``, as it is typed: in a pipe, on a terminal, and over faults."""

from __future__ import annotations

import json
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import IO

import pytest
import requests

from tests import jwts
from tests.live.cable import Cable
from tests.live.server import Server
from tests.live.typed import COMET, Tmux, environment, running, typed
from tests.timing import PATIENCE, until


def line(pipe: IO[bytes] | None) -> str:
    """The next line, when it comes."""
    assert pipe is not None
    assert select.select([pipe], [], [], 20 * PATIENCE)[0], "no line has come"
    return pipe.readline().decode()


# What it prints.


def test_what_is_published_is_printed_as_it_comes(server: Server) -> None:
    """The data alone, a line each; nothing else on either stream."""
    server.publish("come", "before")
    with running("listen", "come", url=server.url) as process:
        assert line(process.stdout) == "before\n"
        for data, shown in (("a", "a\n"), ("b\n", "b\n"), ("", "\n"), ("c\x1b[2Jd\r\ne\tf", "c\ufffd[2Jd\n")):
            server.publish("come", data)
            assert line(process.stdout) == shown
        assert line(process.stdout) == "e\tf\n"
        server.publish("come", b"\x89PNG\xff", type="image/png")
        assert line(process.stdout) == "image/png, 5 bytes\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stderr and process.stderr.read() == b""


def test_several_channels_say_whose_a_line_is(server: Server) -> None:
    """In the order of publishing."""
    for number, name in enumerate(["one", "two", "one"]):
        server.publish(name, str(number))
    done = typed("listen", "one,two", "--last", "5", "--count", "3", url=server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "one: 0\ntwo: 1\none: 2\n", "")


def test_json_is_what_the_wire_has(server: Server) -> None:
    """All that is known of an update; and it goes on after an id."""
    ids = [server.publish("json", data)["id"] for data in "abc"]
    done = typed("listen", "json", "--since", ids[0], "--count", "2", "--json", url=server.url)
    told = [json.loads(each) for each in done.stdout.splitlines()]
    assert [(each["id"], each["data"]) for each in told] == [(ids[1], "b"), (ids[2], "c")]
    assert told[0].keys() == {"id", "channel", "event", "type", "data", "time"}


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_gap_is_told(server: Server, more: list[str]) -> None:
    """On standard error; with --json in its place, too."""
    server.publish("gap", "kept")
    done = typed("listen", "gap", "--since", "nonsense", "--count", "1", *more, url=server.url)
    assert done.stderr == "comet: updates are missing here that the server has no more (unknown).\n"
    assert ('{"gap":{"since":"nonsense",' in done.stdout) == bool(more)
    assert done.returncode == 0


def test_deleted_channels_end_it(server: Server) -> None:
    """One of two: the other goes on. The last one: the end, with status 0."""
    server.publish("gone", "a")
    server.publish("also", "b")
    with running("listen", "gone,also", url=server.url) as process:
        assert [line(process.stdout) for _ in "ab"] == ["gone: a\n", "also: b\n"]
        server.get("/channels/gone/info")
        _delete(server, "gone")
        assert line(process.stderr) == "comet: gone was deleted.\n"
        assert "Trying again" in line(process.stderr)  # the server has ended the stream
        assert line(process.stderr) == "comet: connected again.\n"
        server.publish("also", "c")
        assert line(process.stdout) == "also: c\n"
        _delete(server, "also")
        assert process.wait() == 0


def _delete(server: Server, channel: str) -> None:
    assert requests.delete(f"{server.url}/channels/{channel}", headers=server.auth, timeout=10).status_code == 204


# Who reads it.


@pytest.mark.parametrize("count", [1, 2])
def test_a_reader_that_has_enough_ends_it(server: Server, count: int) -> None:
    """Quietly, and at once: not when the next update comes."""
    server.publish("head", "a")
    server.publish("head", "b")
    reader = f"import sys; [sys.stdin.buffer.raw.read(2) for _ in range({count})]"
    environ = environment({"url": server.url})
    with (
        subprocess.Popen(
            [*COMET, "listen", "head", "--last", "2"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
        subprocess.Popen([sys.executable, "-c", reader], stdin=process.stdout) as head,
    ):
        assert process.stdout and process.stderr
        process.stdout.close()
        head.wait()
        assert process.wait(20 * PATIENCE) == 0
        assert process.stderr.read() == b""


# Faults.


def break_by_kill(server: Server, cable: Cable, process: subprocess.Popen[bytes]) -> None:
    server.kill()
    assert "Trying again." in line(process.stderr)
    server.spawn()
    until(server.is_up, seconds=20)


def break_by_reload(server: Server, cable: Cable, process: subprocess.Popen[bytes]) -> None:
    server.signal(signal.SIGHUP)
    assert line(process.stderr) == "comet: the server has ended the stream. Trying again.\n"


def break_by_pull(server: Server, cable: Cable, process: subprocess.Popen[bytes]) -> None:
    cable.pull(process.pid)
    assert "Trying again." in line(process.stderr)
    cable.mend()


Break = Callable[[Server, Cable, "subprocess.Popen[bytes]"], None]


@pytest.mark.parametrize("fault", [break_by_kill, break_by_reload, break_by_pull], ids=["killed", "reloaded", "pulled"])
@pytest.mark.parametrize("begun", [True, False], ids=["after updates", "before the first"])
def test_nothing_is_lost_or_twice_whatever_breaks(fault: Break, begun: bool) -> None:
    """The server, its worker, or the way there; also what was published meanwhile, and before anything was."""
    with Server(broker="sqlite:///history", drain_seconds=0) as server, Cable(server.port) as cable:
        server.publish("log", "before")
        with running("listen", "log", "--last", "0", url=f"http://127.0.0.1:{cable.port}") as process:
            until(lambda: server.get("/channels/log/info").json().get("subscribers"), what="a subscriber")
            before, after = (["0", "1", "2"] if begun else []), ["3", "4", "5"]
            for number in before:
                server.publish("log", number)
            assert [line(process.stdout).strip() for _ in before] == before
            fault(server, cable, process)
            for number in after:
                server.publish("log", number)
            assert [line(process.stdout).strip() for _ in after] == after
            assert line(process.stderr) == "comet: connected again.\n"
            process.send_signal(signal.SIGINT)
            assert process.wait() == 0
            assert process.stdout and process.stderr
            assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


def test_a_token_that_ends_is_the_end_of_it() -> None:
    """It is told before; then one sentence, and status 1. Without one, at once."""
    files = {"comet.toml": "[channels.secret]\nprivate = true\n"}
    with Server(files=files, jwt_key=jwts.SECRET) as private:
        private.publish("secret", "a")
        done = typed("listen", "secret", "--count", "1", url=private.url)
        assert (done.returncode, done.stderr.startswith("comet: secret is a private channel: ")) == (1, True)

        def listened() -> subprocess.CompletedProcess[str] | None:
            token = jwts.token({"subscribe": ["secret"]}, expires=4)
            done = typed("listen", "secret", url=private.url, token=token)
            return done if done.stdout else None  # else it had ended before it was looked at

        ended = until(listened, seconds=60, what="a token that was still good")
    assert ended
    assert (ended.returncode, ended.stdout) == (1, "a\n")
    assert "(401)." in ended.stderr.splitlines()[-1]


# On a terminal.


def test_the_line_on_a_terminal_says_how_it_goes(server: Server) -> None:
    """State, updates, rate and the last id, below what is printed; Ctrl-C leaves the sum, and status 0."""
    with Tmux(url=server.url) as tmux:
        tmux.type("clear; $COMET listen screen; echo status $?")
        until(lambda: "screen: live  0 updates  0.0/s" in tmux.screen, what="the line")
        ids = [server.publish("screen", f"update {number}")["id"] for number in range(3)]
        until(lambda: ids[2] in tmux.screen, what=ids[2])
        *printed, status = tmux.screen.splitlines()
        assert printed == ["update 0", "update 1", "update 2"]
        assert re.fullmatch(rf"screen: live  3 updates  [0-9.]+/s  {ids[2]}", status)
        tmux.press("C-c")
        until(lambda: "status 0" in tmux.screen, what="the end")
        # The terminal itself shows the ^C that was typed.
        assert f"\nscreen: ended  3 updates  {ids[2]}\nstatus 0" in tmux.screen.replace("^C", "")


def test_the_line_is_not_in_what_is_piped_on(server: Server) -> None:
    """Whatever is on the terminal, the pipe has the updates alone."""
    with Tmux(url=server.url) as tmux:
        tmux.type("clear; $COMET listen piped --count 2 | tr a-z A-Z > piped; cat piped")
        until(lambda: "piped: live" in tmux.screen, what="the line")
        last = [server.publish("piped", data)["id"] for data in ("one", "two")][1]
        until(lambda: "TWO" in tmux.screen, what="what went through the pipe")
        assert f"piped: ended  2 updates  {last}\nONE\nTWO" in tmux.screen


def test_a_server_that_is_away_is_on_the_terminal(server: Server) -> None:
    """The line says when the next attempt is; and it goes on."""
    with Server(broker="sqlite:///history") as other, Tmux(url=other.url) as tmux:
        tmux.type("clear; $COMET listen away")
        until(lambda: "away: live" in tmux.screen, what="the line")
        other.kill()
        until(lambda: re.search(r"away: offline, trying again in \d+ s  0 updates", tmux.screen), what="offline")
        other.spawn()
        until(lambda: "away: live" in tmux.screen, seconds=30, what="live again")
        other.publish("away", "hello")
        until(lambda: "\nhello\naway: live  1 update " in tmux.screen, what="the update")
        assert "comet: connected again." in tmux.screen
