"""The examples, run as they are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.conftest import need
from tests.live.foreign import Foreign
from tests.live.server import ROOT, Server
from tests.timing import PATIENCE, until


CLIENTS = ROOT / "examples" / "clients"
PROGRAMS = {"sh": "sh", "py": sys.executable, "mjs": "node"}
if shutil.which("php"):
    PROGRAMS["php"] = "php"


@pytest.fixture(scope="module")
def beating() -> Iterator[Server]:
    """A server whose streams are never silent."""
    with Server(heartbeat=0.1) as server:
        yield server


@contextmanager
def run(name: str, server: Server, channel: str, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client; what it prints goes into a file."""
    program = PROGRAMS[name.rpartition(".")[2]]
    need(program, *(["curl"] if program == "sh" else []))
    with output.open("wb") as out:
        process = subprocess.Popen(
            [program, str(CLIENTS / name), server.url, channel], stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def printed(output: Path, name: str) -> list[str]:
    """What a client has printed so far: data, of curl JSON."""
    lines = output.read_text().split("\n")[:-1]
    if not name.endswith(".sh"):
        return lines
    answers = [json.loads(line) for line in lines]
    return [update["data"] for answer in answers for update in answer.get("updates", [answer])]


@pytest.mark.parametrize("name", [f"{wire}.{kind}" for kind in PROGRAMS for wire in ("ndjson", "poll")])
def test_a_client_of_five_lines_prints_what_is_published(beating: Server, tmp_path: Path, name: str) -> None:
    """Each update once and in order, however fast they come and whatever is in them; heartbeats are not seen."""
    channel, output = name.replace(".", "-"), tmp_path / "output"
    texts = [f'{n} é "quoted" \\ \u2028' for n in range(50)]
    beating.publish(channel, texts[0])
    with run(name, beating, channel, output):
        until(lambda: printed(output, name) == texts[:1])
        time.sleep(0.15)  # a heartbeat
        for text in texts[1:]:
            beating.publish(channel, text)
        until(lambda: len(printed(output, name)) >= len(texts))
    assert printed(output, name) == texts


def test_the_scoreboard_shows_goals_as_they_fall() -> None:
    """The page shows both channels in place; a goal is published by a button; nobody else publishes."""
    server = Foreign("", "-k", "gevent", "--chdir", str(ROOT / "examples"))
    server.app = "app:app"
    with server:
        page = server.get("/").text
        assert "<iframe src=/comet/channels/minute,score/html>" in page
        with server.get("/comet/channels/minute,score/html", stream=True) as shown:
            pieces, text = shown.iter_content(None), b""
            while b"minute 1" not in text:
                text += next(pieces)
            answer = requests.post(f"{server.url}/goal/home", timeout=10 * PATIENCE)
            assert answer.url == f"{server.url}/"
            while b"<h1>1:0</h1>" not in text:
                text += next(pieces)
        assert requests.post(f"{server.url}/goal/nobody", timeout=10).status_code == 404
        assert requests.post(f"{server.url}/comet/channels/score", b"9:0", timeout=10).status_code == 403
        assert server.get("/comet/channels/score,bench/sse").status_code == 403


def test_the_machine_is_shown_by_a_template_and_line_by_line() -> None:
    """Without anything installed but what every machine has."""
    with Server(config=ROOT / "examples" / "command" / "comet.toml") as server:
        with server.get("/channels/load/text?last=0", stream=True) as shown:
            load = next(shown.iter_lines(chunk_size=1, decode_unicode=True))
        assert load.count(" ") == 4 and "/" in load
        page = until(lambda: (it := server.get("/channels/machine/latest")).status_code == 200 and it)
        assert page
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.text.count("<tr>") == 7 and "<h1>Load " in page.text and "<td>MemFree</td>" in page.text
