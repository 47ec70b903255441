"""The stopwatch of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


ROOT = Path(__file__).resolve().parents[1]

CODE = """
from tests.timing import Stopwatch

with Stopwatch() as watch:
    print("begun", flush=True)
    input()
print(watch.seconds)
"""


def test_while_the_machine_stands_still_so_does_a_stopwatch() -> None:
    """What its process was not given does not count."""
    with subprocess.Popen(
        [sys.executable, "-c", CODE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(process.pid, signal.SIGCONT)
        told, _ = process.communicate("\n")
    assert float(told) < 0.9
