"""Triggers that are declared in comet.toml, in real workers: ``timer``, ``command`` and ``file``."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.live.foreign import TWO_LINES, FlaskRun, Foreign
from tests.live.server import Server
from tests.live.test_cli import Typed
from tests.timing import until


PRICES = """
import os

def newest():
    with open("calls", "a+") as file:
        file.write(f"{os.getpid()}\\n")
        file.seek(0)
        return {"number": len(file.readlines()), "name": "<b>"}

def broken():
    return {}["price"]

def label():
    return {"name": "<b>"}

def upper(update):
    return update.text.upper()
"""

PAGE = "<li>{{ row.name }} is {{ row.number }}</li>"


def table(name: str, kind: str, *lines: str) -> str:
    return "\n".join(["[[triggers]]", f'name = "{name}"', f'kind = "{kind}"', f'channel = "{name}"', *lines, ""])


NEWEST = table("newest", "timer", 'call = "prices:newest"', "every = 0.05", 'template = "page.html"')
LINES = table("lines", "file", 'path = "lines.log"')


def calls(server: Server) -> list[str]:
    return server.file("calls").read_text().splitlines() if server.file("calls").exists() else []


@contextmanager
def listening(server: Server, channel: str, last: int = 0) -> Iterator[Iterator[str]]:
    """The updates of a channel as lines of text."""
    with server.get(f"/channels/{channel}/text?last={last}", stream=True) as stream:
        yield stream.iter_lines(chunk_size=1, decode_unicode=True)


def kept(server: Server, channel: str) -> list[str]:
    """All updates that a channel keeps."""
    answer = server.get(f"/channels/{channel}/poll?last=1000&limit=1000&timeout=1").json()
    return [update["data"] for update in answer["updates"]]


# Timers, in one worker and in several.


@pytest.fixture(params=["memory", "sqlite"])
def prices(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    files = {"comet.toml": NEWEST + ALWAYS, "prices.py": PRICES, "templates/page.html": PAGE}
    several = {"broker": f"sqlite:///{tmp_path}/log.db", "workers": 2} if request.param == "sqlite" else {}
    with Server(files=files, **several) as server:
        yield server


ALWAYS = table("always", "command", 'argv = ["sh", "-c", "date +%N"]', "every = 0.05", "always = true")


def test_a_timer_runs_only_while_somebody_watches(prices: Server) -> None:
    """Not once before; and the first subscriber gets a fresh value at once, as the template shows it."""
    until(lambda: len(kept(prices, "always")) > 10, what="the command that does not sleep")
    assert calls(prices) == []
    with listening(prices, "newest") as lines:
        assert list(itertools.islice(lines, 3)) == [f"<li>&lt;b&gt; is {n}</li>" for n in (1, 2, 3)]
    assert len(set(calls(prices))) == 1
    update = prices.get("/channels/newest/poll?last=1").json()["updates"][0]
    assert update["type"] == "text/html; charset=utf-8"


# What goes wrong while it runs.


FAULTS = (
    table("well", "timer", 'call = "prices:newest"', "every = 0.05", "always = true", 'render = "prices:upper"')
    + table("raises", "timer", 'call = "prices:broken"', "every = 0.05", "always = true")
    + table("never ends", "command", 'argv = ["sleep", "1000"]', "every = 1", "timeout = 0.3", "always = true")
    .replace('channel = "never ends"', 'channel = "never"')
    + table("missing", "command", 'argv = ["no-such-program"]', "every = 1", "always = true")
    + table("fails", "command", 'argv = ["sh", "-c", "echo last words; exit 3"]', "lines = true")
    + table("template", "timer", 'call = "prices:label"', "every = 0.05", "always = true", 'template = "bad.html"')
    + table("folder", "file", 'path = "templates"')
)  # fmt: skip

#: What the log says of each, as often as it is tried.
SENTENCES = [
    "comet: the trigger raises failed; it is started again in about 0.1 s: "
    "prices:broken has raised KeyError: 'price' (prices.py, line 11).",
    "comet: the trigger never ends failed; it is started again in about 0.1 s: sleep took longer than 0.3 seconds.",
    "comet: the trigger missing has stopped: no-such-program can't be run: no such file or directory.",
    "comet: the trigger fails failed; it is started again in about 0.1 s: sh has ended with status 3.",
    "comet: the trigger template failed; it is started again in about 0.1 s: "
    "the template templates/bad.html, line 2: UndefinedError: 'dict object' has no attribute 'price'.",
    "comet: the trigger folder has stopped: templates can't be followed: it is not a file.",
]


def test_triggers_that_fail_beside_one_that_is_well() -> None:
    """Each has its sentence in the log, without a traceback; the others go on, and so does the server."""
    files = {"comet.toml": FAULTS, "prices.py": PRICES, "templates/bad.html": "<p>\n{{ row.price.first }}"}
    with Server(files=files) as server:
        for sentence in SENTENCES:
            until(lambda: sentence in server.log(), what=sentence)  # noqa: B023
        with listening(server, "well") as lines:
            numbers = [line.partition(",")[0] for line in itertools.islice(lines, 5)]
        first = int(numbers[0].rpartition(":")[2])
        assert numbers == [f'{{"NUMBER":{n}' for n in range(first, first + 5)]
        assert set(kept(server, "fails")) == {"last words"}
        assert server.log().count("no-such-program") == 1
        assert "Traceback" not in server.log()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert not [pid for pid in _processes() if _typed(pid) == ["sleep", "1000", server.folder.name]]


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _typed(pid: int) -> list[str]:
    """What a process was started with, and in which folder."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
        return [*words, os.readlink(f"/proc/{pid}/cwd")]
    except OSError:
        return []


def test_a_template_that_is_mended_while_the_server_runs() -> None:
    """The next attempt takes the new one."""
    files = {"comet.toml": NEWEST, "prices.py": PRICES, "templates/page.html": "{{ row.price.first }}"}
    with Server(files=files) as server, listening(server, "newest") as lines:
        until(lambda: "the template templates/page.html, line 1: UndefinedError" in server.log())
        server.file("templates/page.html").write_text(PAGE)
        assert next(lines).startswith("<li>&lt;b&gt; is ")


# What is declared wrongly. Some of it gunicorn's master sees, and some only a worker can, which loads modules.


WRONG = [
    ("[[triggers]\n", "comet.toml is not TOML"),
    (table("t", "tiemr"), "kind of [[triggers]] \"t\" in comet.toml is 'tiemr'; it must be one of timer, command,"),
    (table("t", "timer", 'call = "prices:newest"'), '[[triggers]] "t" in comet.toml (timer) has no every.'),
    (
        table("t", "timer", 'call = "prices:oldest"', "every = 1"),
        "[[triggers]] \"t\" in comet.toml: call is 'prices:oldest', and prices has no oldest.",
    ),
    (
        table("t", "timer", 'call = "nowhere:f"', "every = 1"),
        "call is 'nowhere:f', and nowhere can't be imported: ModuleNotFoundError: No module named 'nowhere'.",
    ),
    (
        table("t", "timer", 'call = "prices:newest"', "every = 1", 'template = "no.html"'),
        "[[triggers]] \"t\" in comet.toml: the template 'no.html' is in none of these folders: ",
    ),
]

STARTS = {
    "gunicorn.conf.py": lambda files: Server(files=files),
    "gunicorn alone": lambda files: Server("-k", "gevent", conf="/dev/null", files=files),
    "two workers": lambda files: Server(files=files, workers=2, broker="sqlite:///log.db"),
    "serve": lambda files: Typed("serve", files=files),
    "extension": lambda files: Foreign("plain:app", "-k", "gevent", files=files),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(("toml", "told"), WRONG, ids=["toml", "kind", "key", "function", "module", "template"])
def test_what_is_declared_wrongly_ends_the_start(start: str, toml: str, told: str) -> None:
    """With one sentence and a status that says so, however it is started; there is no trace."""
    server = STARTS[start]({"comet.toml": toml, "prices.py": PRICES})
    try:
        server.spawn()
        assert server.wait() not in (0, None)
        said = server.log()
    finally:
        server.__exit__()
    assert "Traceback" not in said, said
    sentences = {line for line in said.splitlines() if "comet: " in line}
    assert len(sentences) == 1 and told in sentences.pop(), said


def test_flask_run_with_what_is_declared_wrongly() -> None:
    """Python ends with the error, whose last line is the sentence."""
    server = FlaskRun("plain:app", files={"comet.toml": WRONG[1][0]})
    try:
        server.spawn()
        assert server.wait() != 0
        assert WRONG[1][1] in server.log().strip().splitlines()[-1]
    finally:
        server.__exit__()


def test_an_app_of_which_a_trigger_calls_a_function() -> None:
    """It stands below the line that makes the Comet; that is where such functions stand."""
    toml = table("count", "timer", 'call = "tests.live.apps.declaring:count"', "every = 0.05")
    with Foreign("declaring:app", "-k", "gevent", lines=TWO_LINES, files={"comet.toml": toml}) as server:
        answer = server.get("/comet/channels/count/text?last=0", stream=True)
        assert list(itertools.islice(answer.iter_lines(chunk_size=1), 3)) == [b"1", b"2", b"3"]


# Commands.


def test_a_command_that_runs_on() -> None:
    """Each line is an update; when the server stops, nothing is left of the program."""
    script = "echo $$; n=0; while true; do n=$((n + 1)); echo line $n; sleep 0.05; done"
    toml = table("live", "command", f'argv = ["sh", "-c", "{script}"]', "lines = true", 'event = "line"')
    with Server(files={"comet.toml": toml}, drain_seconds=0) as server:
        until(lambda: len(kept(server, "live")) > 5)
        pid, *lines = kept(server, "live")
        assert lines == [f"line {n}" for n in range(1, len(lines) + 1)]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        until(lambda: not _typed(int(pid)))


# Files.


def append(server: Server, *lines: object) -> None:
    with server.file("lines.log").open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_a_file_is_followed_over_a_restart() -> None:
    """With the memory broker a file beside the server remembers how far it was read: what was written meanwhile comes,
    and nothing that was published before."""
    with Server(files={"comet.toml": LINES, "lines.log": "old\n"}, drain_seconds=0) as server:
        until(lambda: server.file("comet-checkpoints.json").exists(), what="the first checkpoint")
        append(server, 1, 2)
        until(lambda: kept(server, "lines") == ["1", "2"])
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        append(server, 3)
        server.file("lines.log").rename(server.file("lines.log.1"))
        append(server, 4)
        server.spawn()
        until(server.is_up, seconds=20)
        until(lambda: kept(server, "lines") == ["3", "4"])


def test_where_checkpoints_are_kept() -> None:
    """COMET_CHECKPOINTS names the file; one that is none is told, and the others go on."""
    files = {"comet.toml": LINES + ALWAYS, "broken": "[1]", "lines.log": ""}
    with Server(files=files, checkpoints="broken") as server:
        until(lambda: "the trigger lines has stopped: broken has no checkpoints." in server.log())
        assert until(lambda: kept(server, "always"))
        assert server.file("broken").read_text() == "[1]"


def test_a_file_is_followed_by_several_workers_that_die(tmp_path: Path) -> None:
    """Each line once and in order, while the file is renamed and workers are killed."""
    with Server(
        app="tests.live.apps.leading:app",
        files={"comet.toml": LINES, "lines.log": ""},
        workers=3,
        broker=f"sqlite:///{tmp_path}/log.db",
        history=1000,
    ) as server:
        append(server, "begin")
        until(lambda: kept(server, "lines") == ["begin"] or append(server, "begin"), what="somebody follows it")
        begun = len(kept(server, "lines"))
        number = 0
        for turn in range(2):
            for victim in server.workers():
                os.kill(victim, signal.SIGKILL)
                append(server, number)
                number += 1
            server.file("lines.log").rename(server.file(f"lines.log.{turn}"))
            append(server, *range(number, number + 10))
            number += 10
            expected = [str(n) for n in range(number)]
            until(lambda: _lines(server)[begun:] == expected, seconds=40, what=str(expected))  # noqa: B023


def _lines(server: Server) -> list[str]:
    try:
        return kept(server, "lines")
    except requests.RequestException:
        return []  # it was asked of a worker that died
