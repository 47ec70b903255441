"""The benchmark runs. What it measures decides nothing here."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.load import Lost, Subscriber, numbers
from bench.report import picture, table
from bench.rounds import Figures


ROOT = Path(__file__).resolve().parents[1]


def test_a_tiny_benchmark_delivers_every_update_of_every_server() -> None:
    """It starts each server, counts every delivery, and prints a row for each; the quick one writes no document."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COMET_")}
    command = [sys.executable, "-m", "bench", "--quick", "--rounds", "1", "--subscribers", "20"]
    run = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    *_, bare, comet, _, verdict = run.stdout.splitlines()
    assert bare.startswith("| bare ")
    assert comet.startswith("| comet ")
    assert verdict == "Everybody got every update once and in order."


@pytest.mark.parametrize(
    ("rest", "piece", "found", "left"),
    [
        (b"", b"6F\r\nid: 1\ndata: ...#1#\n\n\r\n", (1,), b"\n\n\r\n"),
        (b"\n\n\r\n", b"data: ..#2#\n\ndata: ..#3#\n\n", (2, 3), b"\n\n"),
        (b"", b"data: ...#1", (), b"data: ...#1"),
        (b"data: ...#1", b"7#\n\n", (17,), b"\n\n"),
        (b"", b"x" * 100, (), b"x" * 24),
    ],
)
def test_updates_are_counted_wherever_the_bytes_are_cut(rest: bytes, piece: bytes, found: object, left: bytes) -> None:
    """A number counts when it is complete, and once."""
    assert numbers(rest, piece) == (found, left)


@pytest.mark.parametrize("sent", [b"#2#", b"#1##1#", b"#1##3#", b""])
def test_a_subscriber_that_misses_something_fails_the_run(sent: bytes) -> None:
    """One that is missing, twice or out of order, or the end of the stream."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        subscriber = Subscriber(listener.getsockname(), b"GET / HTTP/1.1\r\n\r\n")
        peer, _ = listener.accept()
        with peer, subscriber.sock:
            peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            subscriber.begin()
            subscriber.sock.setblocking(True)
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            with pytest.raises(Lost):
                subscriber.read()


def test_the_table_and_the_picture_tell_medians_and_ratios() -> None:
    """Each server beside the first one."""
    results = {"bare": [Figures(10, 20, 1000, 2048)] * 3, "comet": [Figures(n, 30, 500, 1024) for n in (11, 12, 15)]}
    assert "| comet | 12.0 (11.0–15.0) ×1.20 " in table(results)
    drawn = picture(results)
    assert drawn.count("<rect") == 8
    assert drawn.count("<circle") == 24
    assert "×0.50" in drawn
