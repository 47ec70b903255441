"""The benchmark runs. What it measures decides nothing here."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.goals import GOALS, Goal, figure, ratio, spread
from bench.load import Lost, Subscriber, find, update
from bench.picture import picture
from bench.report import Run, goals, work_table, write
from bench.servers import Server
from bench.works import WORKS, Measure, Row, Work


ROOT = Path(__file__).resolve().parents[1]


class One(Server):
    name = "one"
    title = "the first"

    @classmethod
    def version(cls) -> str:
        return "1"


class Other(One):
    name = "other"


WORK = Work(
    "work",
    "A work",
    "What is done.",
    lambda server, row, scale: {},
    [Row(One, 1000), Row(Other, 1000)],
    [Measure("cpu", "CPU", "µs a message", 1e-6), Measure("rate", "deliveries", "a second", better="more")],
)
RESULTS = {
    "one 1,000": [{"cpu": 20e-6, "rate": 1000.0}] * 3,
    "other 1,000": [{"cpu": n * 1e-6} for n in (5, 10, 12)],
}


@pytest.mark.parametrize("work", ["bursts", "opening", "publishing", "slow"])
def test_a_tiny_benchmark_delivers_every_update(work: str) -> None:
    """It starts each server, checks every delivery, and prints a row for each."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
    command = [sys.executable, "-m", "bench", work, "--rounds", "1", "--scale", "0.01"]
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    assert re.search(r"^\| comet\b[^|]*\|[^|]*\d", run.stdout, re.MULTILINE)
    assert re.search(r"\| (met|\*\*missed\*\*)", run.stdout)


def test_an_unknown_work_is_named() -> None:
    """With those that there are."""
    command = [sys.executable, "-m", "bench", "fun"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "fun is not a work: fanout, bursts, " in run.stderr


@pytest.mark.parametrize(
    ("rest", "piece", "found"),
    [
        (b"", b"6F\r\nid: 1\ndata: ...9#1#\n\n\r\n", ((1,), (9,), 2, b"\n\n\r\n")),
        (b"\n\n\r\n", b"data: ..9#2#\n\ndata: ..10#3#\n\n", ((2, 3), (9, 10), 0, b"\n\n")),
        (b"", b"data: ...9#1", ((), (), 0, b"data: ...9#1")),
        (b"data: ...9#1", b"7#\n\n", ((17,), (9,), 0, b"\n\n")),
        (b"data: ...", b"9#1#", ((1,), (9,), 0, b"")),
        (b"\r", b"\n", ((), (), 0, b"\r\n")),
        (b"", b"x" * 100, ((), (), 0, b"x" * 48)),
    ],
)
def test_updates_are_counted_wherever_the_bytes_are_cut(rest: bytes, piece: bytes, found: object) -> None:
    """A number counts when it is complete, and once; so does a carriage return."""
    assert find(rest, piece) == found


def test_an_update_says_its_number_and_when_it_was_made() -> None:
    """At its end, in the bytes that were asked for."""
    text = update(17, 300)
    assert len(text) == 300
    assert find(b"", text).numbers == (17,)
    assert find(b"", update(18)).made > find(b"", text).made


class Listener(One):
    """Somebody else listens at its address."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address


@pytest.mark.parametrize("sent", [b"9#2#", b"9#1#9#1#", b"9#1#9#3#", b""])
def test_a_subscriber_that_misses_something_fails_the_run(sent: bytes) -> None:
    """One that is missing, twice or out of order, or the end of the stream."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        subscriber = Subscriber(Listener(listener.getsockname()), b"GET / HTTP/1.1\r\n\r\n", "")
        peer, _ = listener.accept()
        with peer, subscriber.sock:
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            subscriber.begin()
            subscriber.last = 0
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(Lost):
                while True:
                    subscriber.read()


def test_each_chunk_is_counted() -> None:
    """However it was cut on its way."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        subscriber = Subscriber(Listener(listener.getsockname()), b"GET / HTTP/1.1\r\n\r\n", "")
        peer, _ = listener.accept()
        with peer, subscriber.sock:
            for byte in b"HTTP/1.1 200 OK\r\n\r\n2\r\n:\n\r\n3\r\n:\n\n\r\n":
                peer.sendall(bytes([byte]))
            subscriber.begin()
            while subscriber.returns < 4:
                subscriber.read()
    assert subscriber.returns == 4


def test_the_table_and_the_picture_tell_medians_and_spreads() -> None:
    """A row for each server; what does not apply is left out."""
    assert "| other 1,000 | 10.0 (5.0–12.0)    | –" in work_table(WORK, RESULTS)
    drawn = picture(WORK, RESULTS)
    assert drawn.count("<rect") == 3
    assert drawn.count("<circle") == 9
    assert "×0.50" in drawn


def test_goals_are_told_as_they_are() -> None:
    """Met, missed, or not measured."""
    medians = Run({WORK: RESULTS}).medians
    one, other = "one 1,000", "other 1,000"
    half = ratio("work", "cpu", other, one)
    assert Goal("half", half, most=0.501).met(half(medians))
    assert not Goal("half", half, most=0.49).met(half(medians))
    assert Goal("rate", figure("work", one, "rate"), least=1000).met(1000.0)
    assert not Goal("rate", figure("work", one, "rate"), least=1001).met(1000.0)
    assert spread("work", "cpu", one, other)(medians) == pytest.approx(2)
    assert Goal("rate", figure("work", other, "rate"), least=1).value(medians) is None


def test_every_goal_is_of_something_that_is_measured() -> None:
    """Its work, its rows and its measures exist."""
    figures = {
        work.name: {row.label: {measure.key: 1.0 for measure in work.measures} for row in work.rows} for work in WORKS
    }
    assert [goal.text for goal in GOALS if goal.value(figures) is None] == []


def test_the_page_has_every_work_and_what_failed(tmp_path: Path) -> None:
    """Goals that nothing was measured for say so."""
    run = Run({WORK: RESULTS | {"third": [], "fourth": []}}, {"third (work)": "it was not there"})
    write(tmp_path, run)
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    assert "## A work\n\nWhat is done. 3 rounds.\n\n|" in page
    assert "Failed: third (work): it was not there" in page
    assert page.count("not measured") == len(GOALS)
    assert "(pictures/performance-work.svg)" in page
    assert (tmp_path / "pictures" / "performance-work.svg").read_text(encoding="utf-8").startswith("<svg")
    assert goals(run, all_of_them=False).count("\n") == 1
