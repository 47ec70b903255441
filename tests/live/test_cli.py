"""The commands that serve, as they are typed: ``serve``, ``live``; and what they share with the others."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import comet
from tests.conftest import need
from tests.live.server import ROOT, free_port
from tests.live.typed import Typed, terminal, typed
from tests.timing import PATIENCE, until


def alive(pid: int) -> bool:
    """Whether a process runs. A dead one that nobody has waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


# serve


def test_serve_needs_nothing_but_the_package() -> None:
    """It serves in a folder without any file, with the limits of gunicorn.conf.py, and drains on TERM with status 0."""
    with Typed("serve", drain_seconds=0) as server:
        with server.get("/channels/a/text", stream=True) as stream:
            server.publish("a", "hello")
            assert next(stream.iter_lines()) == b"hello"
        assert server.get(f"/{'x' * 8200}").status_code == 414
        with server.get("/channels/a/sse", stream=True) as stream:
            server.signal(signal.SIGTERM)
            assert b"retry:" in stream.content  # its goodbye, and a proper end
        assert server.wait() == 0


# live


def live(*command: str, **settings: object) -> Typed:
    return Typed("live", "--every", "0.1", "--", *command, **settings)


def test_live_says_where_the_page_is_and_how_to_follow_it() -> None:
    """Two lines, and nothing else."""
    need("curl")
    with live("date", "+%N") as server:
        lines = until(lambda: server.log() if server.log().count("\n") == 2 else "", what="two lines").splitlines()
        assert lines == [f"live: {server.url}/", f"      curl -N {server.url}/channels/live/text"]
        first, second = printed(lines[1], 2)
        assert first != second
        assert all(re.fullmatch(r"[0-9]{9}\n", line) for line in (first, second))


def printed(command: str, count: int) -> list[str]:
    """The first lines of a command that has no end."""
    most = str(20 * PATIENCE)
    with subprocess.Popen([*command.split(), "--silent", "--max-time", most], stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        lines = [it.stdout.readline() for _ in range(count)]
        it.terminate()
    return lines


def test_the_live_page_is_named_by_the_command_and_takes_nothing_from_elsewhere() -> None:
    """Its title is the line that was typed, whatever stands in it."""
    with live("echo", "a <b>") as server:
        page = server.get("/")
    assert "<title>echo &#39;a &lt;b&gt;&#39;</title>" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert re.findall(r'(?:src|href)="(?!data:)([^"]*)"', page.text) == [
        "channels/live.page/html",
        "comet.js",
        "comet-elements.js",
    ]


def test_the_live_page_changes_with_the_output(tmp_path: Path) -> None:
    """What is printed now is on it, as text: also without any script."""
    source = tmp_path / "source"
    source.write_text("first <b>&\n")
    with (
        live("cat", str(source)) as server,
        requests.get(f"{server.url}/channels/live.page/html", stream=True, timeout=20 * PATIENCE) as page,
    ):
        pieces = page.iter_content(None)
        text = b""
        while b"first &lt;b&gt;&amp;" not in text:
            text += next(pieces)
        source.write_text("second\n")
        while b"second" not in text:
            text += next(pieces)


def test_the_output_keeps_its_colours_on_the_page_and_loses_them_as_text() -> None:
    """Programs are told that colours are welcome."""
    command = r"printf '\033[1;32mgreen\033[0m <i> %s' $CLICOLOR_FORCE"
    with live("sh", "-c", command) as server:
        assert server.get("/channels/live/poll").json()["updates"][0]["data"] == "green <i> 1"
        (update,) = server.get("/channels/live.page/poll").json()["updates"]
    assert update["type"] == "text/html; charset=utf-8"
    assert re.fullmatch(
        r'<pre>\n<span style="color:var\(--c2,#\w{6}\);font-weight:bold">green</span> &lt;i&gt; 1</pre>', update["data"]
    )


def test_what_a_command_says_on_standard_error_is_on_the_page_too() -> None:
    """As it would be in a terminal."""
    with live("sh", "-c", "echo sorry >&2; exit 1") as server:
        assert server.get("/channels/live/poll").json()["updates"][0]["data"] == "sorry\n"


def test_output_larger_than_an_update_is_cut() -> None:
    """A page of its first lines is better than none."""
    with live("seq", "10000", max_update=1000) as server:
        data = server.get("/channels/live/poll").json()["updates"][0]["data"]
        assert data.startswith("1\n2\n") and 990 < len(data) <= 1000


def test_live_leaves_the_rest_of_the_line_to_the_command() -> None:
    """Also without the two dashes: what looks like an option after it is its own."""
    with Typed("live", "--every", "0.1", "printf", "%s", "--every") as server:
        assert server.get("/channels/live/poll").json()["updates"][0]["data"] == "--every"


def test_live_serves_the_command_and_not_the_demo() -> None:
    """Whatever COMET_DEMO says, the page at / is the live one."""
    with live("true", demo=1) as server:
        assert "<title>true</title>" in server.get("/").text
        assert server.get("/channels/time/info").status_code == 404


def test_live_on_a_unix_socket_says_the_line_for_curl(tmp_path: Path) -> None:
    """A Unix socket has no URL."""
    need("curl")
    server = live("echo", "hello", bind=f"unix:{tmp_path}/live.sock")
    try:
        server.spawn()
        line = until(lambda: server.log() if server.log().endswith("\n") else "", seconds=20).strip()
        assert line.startswith("live: curl ")
        assert printed(line.removeprefix("live: "), 1) == ["hello\n"]
    finally:
        server.__exit__()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_a_signal_ends_live_and_what_its_command_has_started(tmp_path: Path, number: signal.Signals) -> None:
    """At once and with status 0, although the command is still running; nothing more is said."""
    with (
        live("sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/child; wait", drain_seconds=0) as server,
        server.get("/channels/live/text", stream=True),
    ):
        until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text().endswith("\n"))
        child = int((tmp_path / "child").read_text())
        said = server.log()
        server.signal(number)
        assert server.wait() == 0
        until(lambda: not alive(child))
        assert server.log() == said


def test_control_c_in_a_terminal_ends_live_cleanly() -> None:
    """Every process hears it, and none answers with a traceback."""
    port = free_port()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "COMET_BIND": f"127.0.0.1:{port}"}
    with terminal([sys.executable, "-m", "comet", "live", "--every", "1", "--", "echo", "hello"], environ) as (pid, fd):
        until(lambda: _answers(f"http://127.0.0.1:{port}/channels/live/latest"), seconds=20)
        os.write(fd, b"\x03")
        said = b"".join(iter(lambda: _read(fd), b"")).decode()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "Traceback" not in said
    assert said.replace("\r\n", "\n").splitlines()[2:] == ["^C"]


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65_536)
    except OSError:
        return b""  # the terminal's other end is closed


# live, line by line


def test_a_command_that_streams_is_shown_line_by_line_and_ends_the_server(tmp_path: Path) -> None:
    """Who comes late has what was printed, everybody has the last line, and all streams end properly."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    command = f"printf 'one\\n\\033[31mtwo\\n'; cat {gate}; echo three"
    with Typed("live", "--", "sh", "-c", command) as server:
        until(lambda: "two" in server.get("/channels/live/latest").text)
        with (
            server.get("/channels/live/text", stream=True) as text,
            server.get("/channels/live.page/ndjson", stream=True) as page,
        ):
            gate.write_text("")
            assert text.content == b"one\ntwo\nthree\n"
            lines = [json.loads(line) for line in page.content.splitlines() if line.strip()]
        assert server.wait() == 0
        assert server.log().count("\n") == 2
    *shown, end = [line["data"] for line in lines if "data" in line]
    red = r'<span style="color:var\(--c1,#\w{6}\)">'
    assert re.fullmatch(rf"<div>one</div>\n<div>{red}two</span></div>\n<div>{red}three</span></div>", "\n".join(shown))
    assert end == '<div class="end">sh has ended.</div>'
    assert lines[-1] == {"closed": "live.page"}


def test_a_command_that_fails_is_the_end_of_live_with_its_status() -> None:
    """One sentence, and status 1; the page has it, too."""
    done = typed("live", "--", "sh", "-c", "exit 3", bind=f"127.0.0.1:{free_port()}")
    assert (done.returncode, done.stderr) == (1, "comet: sh has ended with status 3.\n")


def test_a_command_that_has_ended_before_anybody_looked() -> None:
    """The line says what would be right for such a one."""
    done = typed("live", "--append", "--", "true", bind=f"127.0.0.1:{free_port()}")
    assert done.returncode == 0
    assert done.stderr == "comet: the command has ended before anybody looked; --every 1 runs it again and again.\n"


def test_a_command_that_prints_without_end_is_kept_within_bounds() -> None:
    """A thousand lines are kept for who comes later; and the server answers."""
    with Typed("live", "--", "yes", "and so on", drain_seconds=0) as server:
        until(lambda: server.get("/channels/live/info").json().get("stored") == 1000)
        (first, *_), *_ = [server.get("/channels/live/poll").json()["updates"]]
        assert first["data"] == "and so on"
        server.signal(signal.SIGINT)
        assert server.wait() == 0


def test_live_is_for_itself_whatever_else_is_configured(tmp_path: Path) -> None:
    """One worker, a log of its own, no rules that would close the page, and none of the triggers."""
    toml = '[channels."*"]\nprivate = true\n[[triggers]]\nname = "x"\nkind = "command"\nchannel = "x"\n'
    files = {"comet.toml": toml + f'argv = ["touch", "{tmp_path}/ran"]\nevery = 0.1\nalways = true\n'}
    history = f"sqlite://{tmp_path}/history"
    with Typed("live", "--every", "0.1", "--", "echo", "x", files=files, workers=2, broker=history) as server:
        assert server.get("/channels/live/poll").json()["updates"][0]["data"] == "x\n"
        assert len(server.workers()) == 1
    assert list(tmp_path.iterdir()) == []


# What goes wrong.


WRONG = [
    (["live", "--", "no-such-program", "-x"], "comet: there is no program 'no-such-program' that could be run."),
    (["live", "--", "/etc/passwd"], "comet: there is no program '/etc/passwd' that could be run."),
    (["live", "--every", "0", "--", "df"], "comet: --every 0 is not a pace: it takes 0.05 to 86400 seconds."),
    (["live", "--every", "nan", "--", "df"], "comet: --every nan is not a pace: it takes 0.05 to 86400 seconds."),
    (["live", "--every", "soon", "--", "df"], "Error: Invalid value for '--every': 'soon' is not a valid float."),
    (
        ["live", "--every", "1", "--append", "--", "df"],
        "comet: --append runs the command once, and --every again and again: take one of them.",
    ),
    (["live"], "Error: Missing argument 'COMMAND...'."),
    (["serve", "now"], "Error: Got unexpected extra argument (now)"),
    (["sevre"], "Error: No such command 'sevre'."),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_a_line_that_can_not_be_right_is_refused_in_one_sentence(arguments: list[str], sentence: str) -> None:
    """On standard error, with status 2."""
    done = typed(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(sentence)
    if sentence.startswith("comet:"):
        assert done.stderr == sentence + "\n"


@pytest.mark.parametrize("arguments", [["serve"], ["live", "--", "df"]], ids=["serve", "live"])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"bind": "nonsense"}, "COMET_BIND is 'nonsense'; it must be ADDRESS:PORT"),
        ({"workers": "2"}, "2 workers can't share the memory broker"),
        ({"bind": "0.0.0.0:0", "open": "1"}, "COMET_OPEN is on and COMET_BIND is '0.0.0.0:0'"),
    ],
    ids=["bind", "workers", "open"],
)
def test_a_wrong_setting_stops_the_start_with_its_sentence(
    arguments: list[str], settings: dict[str, str], says: str
) -> None:
    """On standard error, with status 2, and no trace."""
    done = typed(*arguments, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"comet: {says}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["serve"], ["live", "--", "df"]], ids=["serve", "live"])
def test_a_port_in_use_is_told_in_one_sentence(arguments: list[str]) -> None:
    """At once, with status 1, and with the variable that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        done = typed(*arguments, bind=bind)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"comet: can't listen on {bind} (COMET_BIND): address already in use.\n"


def test_an_address_that_is_not_ours_is_told_in_one_sentence() -> None:
    """Not a trace of gunicorn's."""
    done = typed("serve", bind="192.0.2.1:4071")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "comet: can't listen on 192.0.2.1:4071 (COMET_BIND): cannot assign requested address.\n"


def test_the_version_is_told() -> None:
    """On standard output, with status 0."""
    done = typed("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"comet, version {comet.__version__}\n", "")
