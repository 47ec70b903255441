"""Wells: what triggers draw from, and how it is seen there that no two workers draw at one time.

A timer writes down which process calls it, and counts; a command holds a lock as long as it runs, and counts; lines of
a file and rows of an outbox are numbered by who makes them, so each must come once. Each update has the shape that
``regulars`` know: channel, number, filling.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

import requests

from tests.live.regulars import Oracle
from tests.live.server import Server
from tests.timing import until


TOML = """
[[triggers]]
name = "ticks"
kind = "timer"
channel = "ticks"
call = "well:tick"
every = {pace}
always = true

[[triggers]]
name = "steps"
kind = "command"
channel = "steps"
argv = ["sh", "steps.sh", "{pace}"]
lines = true

[[triggers]]
name = "lines"
kind = "file"
channel = "lines"
path = "lines.log"
"""

BOX = """
[[triggers]]
name = "rows"
kind = "mysql-outbox"
url = "{url}"
table = "outbox"
"""

WELL = """
import os

def tick():
    with open("ticks.log", "a") as file:
        file.write(f"{os.getpid():10}\\n")
        return f"ticks {file.tell() // 11} -"
"""

STEPS = """
exec 9> steps.lock
if ! flock -n 9; then
    echo again >> steps.twice
    exit 1
fi
n=$(cat steps.number)
while :; do
    n=$((n + 1))
    echo $n > steps.number
    echo "steps $n -"
    sleep $1
done
"""

#: The channels of which each update must come, and those whose triggers count: there only the order is known.
EXACT = ("lines",)
COUNTED = ("ticks", "steps")


def files(pace: float, box: str = "") -> dict[str, str]:
    """What a server is started with. ``pace``: seconds between two; ``box``: the database that has the outbox."""
    toml = TOML.format(pace=pace) + (BOX.format(url=box) if box else "")
    return {"comet.toml": toml, "well.py": WELL, "steps.sh": STEPS, "steps.number": "0", "lines.log": ""}


class Wells:
    """Of one server. ``begin`` is a cursor before the first line that counts."""

    def __init__(self, server: Server, oracle: Oracle) -> None:
        self.server = server
        self.oracle = oracle
        self._lines = server.file("lines.log")

        def latest() -> requests.Response:
            return server.get("/channels/lines/latest")

        until(lambda: self._append("early") or latest().ok, what="somebody who follows the file")
        until(lambda: self.pids, what="the first tick")
        self._append("lines 0 -")
        # The one answer: another worker may not have that line yet.
        last = until(lambda: (it := latest()).text == "lines 0 -" and it, what="the last line that does not count")
        assert last
        self.begin = last.headers["ETag"].strip('"')

    def write(self) -> None:
        """One more line."""
        self.oracle.ends["lines"] += 1
        self._append(f"lines {self.oracle.ends['lines']} -")

    def insert(self, connection: Any) -> None:
        """One more row."""
        self.oracle.ends["rows"] += 1
        row = f"rows {self.oracle.ends['rows']} -"
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO outbox (channel, data) VALUES ('rows', %s)", (row,))
        connection.commit()

    def _append(self, line: str) -> None:
        with self._lines.open("a") as file:
            file.write(f"{line}\n")

    @property
    def pids(self) -> list[int]:
        """Who has called the timer's function, one after the other."""
        try:
            return [pid for pid, _ in groupby(map(int, self.server.file("ticks.log").read_text().split()))]
        except FileNotFoundError:
            return []

    def check(self) -> None:
        """No two workers have run a trigger at one time."""
        assert len(self.pids) == len(set(self.pids)), f"they took turns: {self.pids}"
        assert not self.server.file("steps.twice").exists()
