"""Status: who says what to whom, when somebody looks, and that all sleep when nobody does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import pytest
from flask import Flask

from comet import Comet, watching
from comet import status as status_module
from comet.cohorts import Subscription
from comet.core.update import Update, is_own
from comet.settings import Settings
from comet.status import Status, said
from comet.tallies import Own
from comet.worker import Worker
from tests.timing import until


#: Another worker's process id: it is never asked whether there is such a process.
OTHER = "999999999"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are tenths, and shorter where somebody waits for the end."""
    monkeypatch.setattr(status_module, "EVERY", 0.1)
    monkeypatch.setattr(said, "EVERY", 0.1)
    monkeypatch.setattr(watching, "LINGER", 0.5)
    monkeypatch.setattr(watching, "RENEWS", 0.2)
    monkeypatch.setattr(watching, "LOOK", 0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def worker(folder: Path) -> Iterator[Worker]:
    comet = Comet(Flask("watched"), settings=Settings())
    comet.start(shared=folder)
    yield comet.worker
    comet.worker.stop()


def wait(state: Callable[[], object]) -> None:
    until(state, sleep=gevent.sleep)


def timer(worker: Worker) -> Any:
    (found,) = [state for state in worker.triggers.states if is_own(state.name)]
    return found


def own(folder: Path) -> Path:
    return folder / f"{os.getpid()}.said"


def tell(folder: Path, time: float) -> Own:
    """Another worker that lives, and has said something at a time."""
    other = Own()
    other.name = f"{OTHER}-1"
    other.open(folder)
    other.write({"now": {"comet_workers": 1}, "each": {"comet_process_start_time_seconds": 1.0}})
    say(folder, time)
    return other


def say(folder: Path, time: float) -> None:
    text = {"time": time, "subscribers": {"news": 3}, "triggers": [], "broker": ""}
    (folder / f"{OTHER}.said").write_text(json.dumps(text))


def subscribers(status: Status) -> int:
    return sum(channel["subscribers"] for channel in status.figures()["channels"]["busiest"])


def test_while_nobody_looks_all_sleep(worker: Worker, folder: Path) -> None:
    """The timer, and who says something; they wake for who looks, and sleep again some time after."""
    wait(lambda: timer(worker).phase == "asleep")
    assert not own(folder).exists()
    looks = gevent.spawn(lambda: list(worker.controller.pages(_subscription(worker))))
    wait(lambda: timer(worker).phase == "running" and timer(worker).updates > 2)
    assert json.loads(own(folder).read_text())["time"] > time.time() - 5
    looks.kill()
    wait(lambda: timer(worker).phase == "asleep")
    updates = timer(worker).updates
    spoken = own(folder).read_text()
    gevent.sleep(0.3)
    assert (timer(worker).updates, own(folder).read_text()) == (updates, spoken)
    worker.stop()
    assert not own(folder).exists()


def _subscription(worker: Worker) -> Subscription:
    return Subscription(worker.controller.begin((worker.status.channel,), None, 0).position)


def test_what_another_worker_has_said(worker: Worker, folder: Path) -> None:
    """It is read while it is new. What it said to somebody who looked before is nobody's news, nor is half a file."""
    other = tell(folder, time.time() + 60)  # new, however long it takes until it is read
    assert subscribers(worker.status) == 3
    assert {each["pid"] for each in worker.status.figures()["workers"]} == {os.getpid(), int(OTHER)}
    say(folder, time.time() - 60)
    assert subscribers(worker.status) == 0
    (folder / f"{OTHER}.said").write_text('{"time":')
    assert subscribers(worker.status) == 0
    other.close()


def test_who_has_said_nothing_is_told_after_some_patience(
    worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once: all must wake up first. So is who is not there at all."""
    monkeypatch.setattr(status_module, "PATIENCE", 0.3)
    other = tell(folder, time.time() - 60)
    worker.status.expected = 3
    found = worker.status.figures()
    assert (found["missing"], [each["silent"] for each in found["workers"]]) == (0, [None, None])

    def told() -> bool:
        found = worker.status.figures()
        return found["missing"] == 1 and sorted(bool(each["silent"]) for each in found["workers"]) == [False, True]

    wait(told)
    other.close()


def test_there_may_be_fewer_workers_than_at_the_start(
    worker: Worker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gunicorn's master says how many are left, and then none is missing."""
    monkeypatch.setattr(status_module, "PATIENCE", 0.1)
    worker.status.expected = 2
    wait(lambda: worker.status.figures()["missing"] == 1)
    (folder / "workers").write_text("1")
    assert worker.status.figures()["missing"] == 0


def test_a_worker_that_knows_of_no_folder() -> None:
    """It tells of itself alone, and says so."""
    comet = Comet(Flask("alone"), settings=Settings())
    comet.start()
    comet.worker.status.expected = 2
    try:
        found = comet.worker.status.figures()
        assert (found["alone"], found["missing"], len(found["workers"])) == (True, 0, 1)
    finally:
        comet.worker.stop()


def test_rates_do_not_depend_on_how_many_look(worker: Worker) -> None:
    """However often somebody asks, they are of some time: who asks first waits for that, and the others need not."""
    worker.publish([_update() for _ in range(5)])
    begun = time.monotonic()
    assert worker.status.figures()["rates"]["updates"] == 0  # they had come before
    assert time.monotonic() - begun >= 0.1
    for _ in range(50):
        worker.publish([_update()])
        found = worker.status.figures()
    assert found["totals"]["updates"] == 55
    assert found["rates"]["updates"] > 0
    looks = [look.time for look in worker.status._looks]
    assert all(later - look >= 0.09 for look, later in pairwise(looks[:-1]))


def _update() -> Update:
    return Update("a", b"x")
