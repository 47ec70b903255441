"""The soak: thousands of streams that come and go, for half an hour in which everything goes on and is begun anew.

Two workers on a Redis that writes each command to a file. Streams of all wires, publishers, a timer, a command, a file
and the outbox of a database; ten times HUP, twice Redis is killed and started again. By the publishers' lists nothing
is lost and nothing comes twice; and what the server takes, of memory, of descriptors, of greenlets, of Redis, is at the
end what it was at the beginning.

``COMET_SOAK_SECONDS`` (1800) and ``COMET_SOAK_STREAMS`` (5000) make it shorter and smaller.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from comet.brokers.redis.link import CALLS
from tests.brokers.redis_server import RedisServer
from tests.live import wells
from tests.live.publishers import in_background
from tests.live.regulars import Author, Oracle, Throng
from tests.live.server import Server
from tests.live.test_crowd import memory_of
from tests.live.test_metrics import told
from tests.live.wells import Wells
from tests.mariadb import MariaDB
from tests.timing import until
from tests.triggers.writers import OUTBOX


pytestmark = [pytest.mark.soak, pytest.mark.alone]


SECONDS = float(os.environ.get("COMET_SOAK_SECONDS", "1800"))
STREAMS = int(os.environ.get("COMET_SOAK_STREAMS", "5000"))

WORKERS = 2
#: Seconds between two HUPs: long enough for everybody to be back, if the machine has nothing else to do.
HUP = max(25.0, STREAMS / 100, SECONDS / 10)
#: When Redis is killed, as parts of the time.
RESTARTS = (0.37, 0.71)
#: Seconds that who is restless stays in the mean.
STAY = max(20.0, min(60.0, SECONDS / 5))
#: Updates that are published each second, of all channels, and seconds between two of a trigger's. Each is given to a
#: fifteenth of the streams, and polls that are answered ask again.
PACE = min(20.0, 25_000 / STREAMS)
DRIP = max(0.5, STREAMS / 2500)
PUBLISHED = tuple(f"c{number}" for number in range(20))
EXACT = (*PUBLISHED, *wells.EXACT, "rows")
ALL = (*EXACT, *wells.COUNTED)

MIB = 1 << 20


@dataclass(frozen=True)
class Look:
    """What the server takes. ``memory``: of its workers, and of its master, in bytes."""

    memory: int
    master: int
    files: int
    streams: int
    subscriptions: int
    connections: int

    def __str__(self) -> str:
        return (
            f"{self.streams} streams, workers {self.memory / MIB:.1f} MiB, master {self.master / MIB:.1f} MiB, "
            f"{self.files} descriptors, Redis has {self.subscriptions} subscriptions on {self.connections} connections"
        )


class Soak:
    """The server, its Redis, its database, and everybody before it."""

    def __init__(self, stack: ExitStack, folder: Path, mariadb: MariaDB, schema: str) -> None:
        self.redis = RedisServer(folder)
        stack.callback(self.redis.kill)
        self.redis.start()
        mariadb.execute(OUTBOX, database=schema)
        self.rows = stack.enter_context(closing(mariadb.connect(schema)))
        files = wells.files(pace=DRIP, box=f"mysql://root@127.0.0.1:{mariadb.port}/{schema}")
        server = Server(app="tests.live.inside:app", broker=self.redis.url, workers=WORKERS, files=files)
        self.server = stack.enter_context(server)
        until(lambda: len(server.workers()) == WORKERS, what="the workers")
        self.oracle = Oracle()
        self.wells = Wells(server, self.oracle)
        self.greenlets = self._greenlets()
        self.before = self.look()
        self.dice = random.Random(int(os.environ.get("COMET_TEST_SEED") or 1))
        self.throng = stack.enter_context(Throng(server, self.oracle, EXACT, self.wells.begin, self.dice))
        halves = PUBLISHED[::2], PUBLISHED[1::2]
        self.authors = [Author(server, self.oracle, half, pause=2 / PACE) for half in halves]
        for author in self.authors:
            stack.callback(author.close)
        #: Before each HUP.
        self.looks: list[Look] = []
        self.hups = self.restarts = 0
        self.begun = time.monotonic()

    def look(self, there: int = 0) -> Look:
        workers = self.server.workers()
        clients = [dict(field.partition("=")[::2] for field in line.split()) for line in self._clients()]
        assert self.server.process is not None
        return Look(
            memory=sum(map(memory_of, workers)),
            master=memory_of(self.server.process.pid),
            files=sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in workers),
            streams=there,
            subscriptions=sum(int(client["sub"]) for client in clients),
            connections=len(clients),
        )

    def _clients(self) -> list[str]:
        """Redis' clients, but for the one that asks."""
        return [line for line in self.redis.command("client", "list").splitlines() if "cmd=client" not in line]

    def _greenlets(self) -> int:
        """Of all workers."""
        of: dict[int, int] = {}

        def asked() -> bool:
            answer = self.server.get("/inside/greenlets").json()
            of[answer["process"]] = answer["greenlets"]
            return len(of) == WORKERS

        until(asked, what="an answer of each worker")
        return sum(of.values())

    # What happens.

    def gather(self) -> None:
        self.throng.invite(STREAMS, ALL, restless=STAY, within=STREAMS / 300)
        self.throng.until(lambda: self.throng.complete, what="everybody")
        self.until_all_are_there()
        self.begun = time.monotonic()

    def until_all_are_there(self) -> None:
        """But for a few that have just left, and come back."""
        self.throng.until(lambda: self.throng.there >= 0.95 * STREAMS, what="everybody again")

    def pour(self) -> None:
        """A line and a row."""
        self.wells.write()
        self.wells.insert(self.rows)
        time.sleep(DRIP)

    def go(self) -> None:
        """All of it, for as long as it is to take."""
        happens: list[tuple[float, Callable[[], None]]] = [
            (HUP * n, self.hup) for n in range(1, int(SECONDS / HUP) + 1)
        ]
        # Not while the workers are new: those that were told to go have gone by then.
        happens += [(HUP * (int(SECONDS * part / HUP) + 0.6), self.restart) for part in RESTARTS]
        with in_background(*[author.publish for author in self.authors], self.pour) as stop:
            for when, happen in sorted(happens, key=lambda each: each[0]):
                until_then = max(0.0, self.begun + when - time.monotonic())
                self._turn(until_then)
                happen()
            self._turn(max(0.0, self.begun + SECONDS - time.monotonic()))
            stop()

    def hup(self) -> None:
        self.until_all_are_there()
        old = self.server.workers()
        self.looks.append(self.look(self.throng.there))
        self.say(f"HUP; {self.looks[-1]}")
        self.server.signal(signal.SIGHUP)
        self.throng.until(lambda: self._renewed(old), what="new workers")
        self.hups += 1

    def _renewed(self, old: list[int]) -> bool:
        return len(self.server.workers()) == WORKERS and not set(old) & set(self.server.workers())

    def restart(self) -> None:
        self.say("Redis is killed, and starts")
        self.redis.kill()
        self._turn(0.5)
        self.redis.start()
        self.restarts += 1

    def _turn(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.throng.turn()

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.begun:6.1f} s: {what}", flush=True)

    # What is left.

    def check_what_all_have(self) -> None:
        """Everybody has everything, once and in order."""
        self.throng.settle({name: self.oracle.ends[name] for name in EXACT})
        assert self.throng.jumps == 0, f"{self.throng.jumps} times updates were missing: {self.throng.gaps[:3]}"
        self.wells.check()
        log = self.server.log()
        assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
        numbers = told(self.server)
        assert not {name: number for name, number in numbers.items() if name.endswith(" error") and number}
        assert all(number <= 1 for name, number in numbers.items() if name.startswith("comet_trigger_leader"))

    def check_what_is_left(self) -> None:
        """As before anybody came. Connections to Redis a worker keeps once it has made them, up to so many."""
        self.throng.leave()
        most = WORKERS * (CALLS + 1)
        files = self.before.files - self.before.connections + most
        bounds = (files, self.before.subscriptions, most, self.greenlets)
        now = bounds

        def is_back() -> bool:
            nonlocal now
            look = self.look()
            now = (look.files, look.subscriptions, look.connections, self._greenlets())
            return all(map(int.__le__, now, bounds))

        try:
            until(is_back, seconds=60)
        finally:
            self.say(
                f"descriptors, subscriptions and connections of Redis, greenlets: {now}, at the most {bounds}; "
                f"before anybody had come {self.before.files} descriptors and {self.before.connections} connections"
            )

    def check_memory(self) -> None:
        """Within 5 % of what it was before the first HUP, as often as it is seen at the same point."""
        first, *later = self.looks
        for look in later:
            assert look.memory <= 1.05 * first.memory, f"{look}; in the beginning {first}"
            assert look.master <= 1.05 * first.master, f"{look}; in the beginning {first}"

    def summary(self) -> str:
        first, last, most = self.looks[0], self.looks[-1], max(look.memory for look in self.looks)
        repeated = sum(author.repeated for author in self.authors)
        opened = sum(number for name, number in told(self.server).items() if name.startswith("comet_opens_total"))
        return (
            f"soak: {STREAMS} streams for {SECONDS:g} s, {self.hups} HUPs, {self.restarts} restarts of Redis; "
            f"{sum(self.oracle.ends.values())} updates ({repeated} repeated), {opened:.0f} streams and polls opened, "
            f"{len(self.throng.goodbyes)} goodbyes, {self.throng.cut} cut, {self.throng.refused} refused, "
            f"{len(self.throng.gaps)} gaps told, {self.throng.jumps} times something was missing; workers "
            f"{first.memory / MIB:.1f} MiB before the first HUP, {last.memory / MIB:.1f} before the last "
            f"({100 * (last.memory / first.memory - 1):+.1f} %), at most {most / MIB:.1f}; "
            f"master {first.master / MIB:.1f}, {last.master / MIB:.1f} MiB"
        )


def allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < STREAMS + 500:
        pytest.skip(f"needs {STREAMS + 500} open files, {most} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def test_streams_come_and_go_for_half_an_hour(tmp_path: Path, mariadb: MariaDB, schema: str) -> None:
    """Nothing is lost, nothing doubled, and nothing is left of anybody."""
    allow_many_files()
    with ExitStack() as stack:
        soak = Soak(stack, tmp_path, mariadb, schema)
        try:
            soak.say(f"before anybody has come: {soak.before}, {soak.greenlets} greenlets")
            soak.gather()
            soak.go()
            soak.check_what_all_have()
            print(soak.summary())
            soak.check_what_is_left()
            soak.check_memory()
        except BaseException:
            print(soak.server.log()[-20_000:])
            raise
