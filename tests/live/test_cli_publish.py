"""``publish`` and ``channels``, as they are typed."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.live.server import KEY, Server
from tests.live.typed import COMET, environment, running, typed
from tests.timing import until


def said(server: Server, *arguments: str, input: bytes = b"", **settings: object) -> subprocess.CompletedProcess[str]:
    return typed(*arguments, input=input, **{"url": server.url, "publish_key": KEY, **settings})


def kept(server: Server, channel: str) -> list[dict[str, Any]]:
    """All that is kept of a channel."""
    updates: list[dict[str, Any]] = server.get(f"/channels/{channel}/poll?last=1000&limit=1000").json()["updates"]
    return updates


# One update.


def test_what_is_typed_is_published(server: Server) -> None:
    """The line says the id, and how many watch."""
    done = said(server, "publish", "typed", "Grüße")
    (update,) = kept(server, "typed")
    assert (update["data"], update["type"]) == ("Grüße", "text/plain; charset=utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"typed: {update['id']}, 0 subscribers.\n", "")


@pytest.mark.parametrize("arguments", [["-"], []], ids=["-", "nothing"])
def test_what_is_piped_in_is_published_as_it_is(server: Server, arguments: list[str]) -> None:
    """Every byte of it."""
    said(server, "publish", "piped", *arguments, input=b"one\n\ntwo\n")
    assert kept(server, "piped")[-1]["data"] == "one\n\ntwo\n"


def test_everything_that_a_publisher_may_say(server: Server) -> None:
    """Type, event, and a key that makes a repetition harmless; as JSON what the server answers."""
    line = ["publish", "all", "-", "--type", "image/png", "--event", "größer", "--id", "a key", "--json"]
    first, second = (json.loads(said(server, *line, input=b"\x89PNG\xff").stdout) for _ in range(2))
    (update,) = kept(server, "all")
    assert base64.b64decode(update["data"]) == b"\x89PNG\xff"
    assert (update["type"], update["event"]) == ("image/png", "größer")
    assert first == {"id": update["id"], "channel": "all", "subscribers": 0}
    assert second == {**first, "duplicate": True}
    assert said(server, *line[:-1]).stdout == f"all: {update['id']} was published with this key already.\n"


def test_a_token_that_is_typed_wins_over_the_key_of_the_environment(server: Server) -> None:
    """Whoever names a credential means that one."""
    done = said(server, "publish", "x", "y", "--token", "no.such.token")
    assert done.returncode == 1
    assert done.stderr.startswith("comet: ") and "(401)." in done.stderr


# Each line.


def test_each_line_is_published_as_it_comes(server: Server) -> None:
    """One update each, before the next one is there; the last line may lack its end."""
    with running("publish", "lines", "--lines", "-", url=server.url, publish_key=KEY) as process:
        assert process.stdin and process.stdout
        for number in range(3):
            process.stdin.write(b"line %d\r\n" % number)
            until(lambda number=number: len(kept(server, "lines")) == number + 1)  # type: ignore[misc]
        process.stdin.write(b"\n\xff\nthe last")
        process.stdin.close()
        assert process.wait() == 0
        updates = kept(server, "lines")
        assert process.stdout.read().decode() == f"lines: 6 lines; the last is {updates[-1]['id']}.\n"
    assert [update["data"] for update in updates] == ["line 0", "line 1", "line 2", "", "/w==", "the last"]
    assert updates[4]["encoding"] == "base64"


def test_lines_that_come_fast_go_in_batches(server: Server) -> None:
    """All of them, in order, in few requests."""
    lines = b"".join(b"%d\n" % number for number in range(5000))
    done = said(server, "publish", "fast", "--lines", "--json", input=lines)
    told = json.loads(done.stdout)
    assert (told["count"], told["duplicates"], done.returncode) == (5000, 0, 0)
    epoch, first, last = (*told["first"].split("-"), told["last"].split("-")[1])
    assert (int(last) - int(first), epoch in told["last"]) == (4999, True)
    assert [update["data"] for update in kept(server, "fast")] == [str(number) for number in range(4900, 5000)]


def test_the_same_lines_once_more_with_the_same_id(server: Server) -> None:
    """What was published before is not published again, and what is new is."""
    said(server, "publish", "again", "--lines", "--id", "import", input=b"a\nb\n")
    done = said(server, "publish", "again", "--lines", "--id", "import", input=b"a\nb\nc\n")
    assert [update["data"] for update in kept(server, "again")] == ["a", "b", "c"]
    last = kept(server, "again")[-1]["id"]
    assert done.stdout == f"again: 1 line, and 2 that were published with their keys already; the last is {last}.\n"


def test_no_line_is_lost_or_doubled_when_the_server_is_killed_and_comes_back() -> None:
    """With a log that lasts. What it says on the way: one line when it begins, and one when it is over."""
    with Server(broker="sqlite:///history", history=10_000) as server:
        with running("publish", "log", "--lines", url=server.url, publish_key=KEY) as process:
            assert process.stdin and process.stderr
            writer = threading.Thread(target=_write, args=(process.stdin, 3000))
            writer.start()
            told = []
            for count in (300, 1500):
                until(lambda count=count: server.get("/channels/log/info").json().get("stored", 0) > count)  # type: ignore[misc]
                server.kill()
                # It has tried in vain; the second time it may have been done already, and this is what it said before.
                told.append(process.stderr.readline())
                assert told[-1].startswith(b"comet: ")
                server.spawn()
                until(server.is_up, seconds=20)
            writer.join()
            assert process.wait() == 0
            told.append(process.stderr.read())
        numbers = [int(each["data"]) for cursor in ("", "1000", "2000") for each in _page(server, cursor)]
        assert numbers == list(range(3000))
    assert f"comet: {server.url} takes lines again.\n".encode() in b"".join(told)


def _write(pipe: Any, count: int) -> None:
    for number in range(count):
        pipe.write(b"%d\n" % number)
        if number % 20 == 0:
            threading.Event().wait(0.005)
    pipe.close()


def _page(server: Server, after: str) -> list[dict[str, Any]]:
    """A thousand updates of the log, after so many."""
    first = server.get("/channels/log/info").json()["first"].split("-")
    since = f"{first[0]}-{int(first[1]) - 1 + int(after or 0)}"
    updates: list[dict[str, Any]] = server.get(f"/channels/log/poll?limit=1000&since={since}").json()["updates"]
    return updates


def test_control_c_ends_lines_when_all_that_was_read_is_published(server: Server) -> None:
    """With status 0, and the sum."""
    with running("publish", "stopped", "--lines", url=server.url, publish_key=KEY) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"one\nhalf")
        until(lambda: kept(server, "stopped"))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stdout.read().startswith(b"stopped: 2 lines; ")


def test_control_c_while_there_is_no_server_says_what_may_be_lost() -> None:
    """With status 1."""
    with running("publish", "x", "--lines", url="http://127.0.0.1:1") as process:
        assert process.stdin and process.stderr
        process.stdin.write(b"one\ntwo\n")
        assert process.stderr.readline().endswith(b"Trying again.\n")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 1
        assert process.stderr.read() == b"comet: stopped; lines 1 to 2 may not have been published.\n"


def test_a_line_that_is_too_large_is_named_by_its_number(server: Server) -> None:
    """That of the input."""
    lines = b"x\n" * 700 + b"y" * 300_000 + b"\n"
    done = said(server, "publish", "large", "--lines", input=lines)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("comet: line 701: 300000 bytes; an update has at most 262144")


# channels


def test_the_channels_in_a_table(server: Server) -> None:
    """Name, how much is kept, how many watch, how old the last one is, and its id."""
    server.publish("table", "a")
    last = server.publish("table", "b")["id"]
    with server.get("/channels/table/text", stream=True):
        done = said(server, "channels")
    head, *rows = (line.split() for line in done.stdout.splitlines())
    assert head == ["NAME", "UPDATES", "WATCHED", "AGE", "LAST"]
    (row,) = (row for row in rows if row[0] == "table")
    assert (row[1], row[2], row[4]) == ("2", "1", last)
    assert re.fullmatch("[0-9]s", row[3])
    lines = [json.loads(line) for line in said(server, "channels", "--json").stdout.splitlines()]
    assert {"table"} <= {line["channel"] for line in lines}


# What goes wrong.


@contextmanager
def stranger(status: int, body: bytes = b"hello", **headers: str) -> Iterator[str]:
    """A server that is no comet."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for name, value in {"Content-Type": "text/html", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


COMMANDS = [["publish", "x", "y"], ["listen", "x"], ["channels"]]
each_command = pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])


@each_command
@pytest.mark.parametrize("status", [200, 404])
def test_another_server_is_told_from_comet(command: list[str], status: int) -> None:
    """Whatever it answers."""
    with stranger(status) as url:
        done = typed(*command, url=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"comet: {url} is no comet server: it answers {status} with text/html. ")


@each_command
def test_a_redirection_is_told_and_not_followed(command: list[str]) -> None:
    """Nobody else is shown the key."""
    with stranger(301, Location="https://elsewhere.example/") as url:
        done = typed(*command, url=url, publish_key=KEY)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"comet: {url} leads to https://elsewhere.example/: name the server itself by --url or COMET_URL.\n"
    )


@each_command
def test_no_server_is_told_in_one_sentence(command: list[str]) -> None:
    """With what would start one, and what names another."""
    done = typed(*command, "--url", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "comet: no server is at http://127.0.0.1:1: start one (python -m comet serve), "
        "or name it by --url or COMET_URL.\n"
    )


@each_command
def test_a_host_that_is_not_known(command: list[str]) -> None:
    """It is the name that is wrong."""
    done = typed(*command, url="http://nowhere.invalid")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "comet: there is no host 'nowhere.invalid': --url or COMET_URL names the server.\n"


@each_command
def test_a_server_that_hangs_up(command: list[str]) -> None:
    """It is one sentence, too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
        done = typed(*command, url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert " is broken: " in done.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:4071", "ftp://x", "http://", "http://x:99999", "http://x y", "http://a?b"])
def test_a_url_that_can_not_be_one(url: str) -> None:
    """Wrong usage: status 2."""
    done = typed("channels", "--url", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"comet: --url {url!r} is not where a server can be: it takes http://HOST:PORT, or https://HOST.\n"
    )


@pytest.mark.parametrize("command", [["publish", "x", "y"], ["channels"]], ids=["publish", "channels"])
@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_wrong_key_or_none(server: Server, command: list[str], key: str) -> None:
    """What the server says, and where the key comes from here."""
    done = said(server, *command, publish_key=key)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "(401). Here it is taken from COMET_PUBLISH_KEY; a signed token from --token" in done.stderr


WRONG = [
    (["publish", "a b", "x"], b"", "comet: 'a b' is not a channel name: "),
    (["publish", "error", "x"], b"", "comet: 'error' can't name a channel: "),
    (["publish", "x", "y", "--type", "png"], b"", "comet: 'png' is not a media type: "),
    (["publish", "x", "y", "--event", "open"], b"", "comet: 'open' can't name an event: "),
    (["publish", "x", "y", "--id", "ä"], b"", "comet: 'ä' is not an idempotency key: "),
    (["publish", "x", "y", "--lines"], b"", "comet: --lines publishes the lines of standard input: "),
    (["publish", "x", "y", "--token", "a b"], b"", "comet: the key or the token has a character that can't be sent: "),
    (["publish", "x"], b"\xff\xfe", "comet: standard input is not UTF-8, which text is: say what it is by --type"),
    (["publish", "x", "-", "--type", "text/html"], b"\xff", "comet: standard input is not UTF-8"),
    (["publish"], b"", "Usage: "),
    (["listen", "a,,b"], b"", "comet: '' is not a channel name: "),
    (["listen", ",".join(f"c{n}" for n in range(17))], b"", "comet: 17 channels are too many to listen to at once: "),
    (["listen", "x", "--since", "a b"], b"", "comet: --since takes an id"),
    (["listen", "x", "--count", "0"], b"", "Usage: "),
]


@pytest.mark.parametrize(("arguments", "input", "sentence"), WRONG, ids=[" ".join(row[0])[:40] for row in WRONG])
def test_a_line_that_can_not_be_right(arguments: list[str], input: bytes, sentence: str) -> None:
    """Status 2, before any server is asked."""
    done = typed(*arguments, input=input, url="http://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(sentence)


@pytest.mark.parametrize("size", [300_000, 20_000_000])
def test_too_large_an_update(server: Server, size: int) -> None:
    """What the server says, also of one that it does not read to its end."""
    done = said(server, "publish", "x", "--type", "image/png", input=bytes(size))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"comet: {size} bytes; this takes at most 262144 (413).\n"


@pytest.mark.parametrize(
    "command", [["publish", "full", "x"], ["listen", "full"], ["channels"], ["--help"]], ids=" ".join
)
def test_a_full_disk(server: Server, command: list[str]) -> None:
    """What could not be printed is no success."""
    server.publish("full", "x")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMET, *command],
            env=environment({"url": server.url, "publish_key": KEY}),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
        )
    assert done.returncode == 1
    assert done.stderr == "comet: can't write to standard output: no space left on device.\n"


def test_nothing_to_publish_on_a_terminal(server: Server) -> None:
    """Nobody waits for input that was not meant."""
    leader, follower = os.openpty()
    try:
        done = subprocess.run(
            [*COMET, "publish", "x"],
            env=environment({"url": server.url}),
            stdin=follower,
            capture_output=True,
            timeout=20,
        )
    finally:
        os.close(leader)
        os.close(follower)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"comet: there is nothing to publish: name DATA after the channel, or pipe it in.\n"
