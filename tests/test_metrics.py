"""Metrics: what one worker tells. What several tell together is shown in ``tests/live/test_metrics.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import gevent
import prometheus_client
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from comet.brokers.memory import MemoryBroker
from comet.core.errors import BrokerAway
from comet.core.update import Closed, OwnUpdate, Update
from comet.metrics import FOLDER, METRICS
from comet.settings import Settings
from comet.triggers.timer import Timer
from comet.worker import Worker
from tests.live.server import ROOT
from tests.timing import until


@pytest.fixture
def worker() -> Iterator[Worker]:
    running = Worker(Settings())
    yield running
    running.stop()


def told(worker: Worker) -> dict[str, float]:
    """Every sample, by its name and its labels but for the worker."""
    found = {}
    for family in worker.metrics.families():
        for sample in family.samples:
            labels = ",".join(value for key, value in sorted(sample.labels.items()) if key != "worker")
            found[f"{sample.name} {labels}".strip()] = sample.value
    return found


def test_updates_are_counted_wherever_they_come_from(worker: Worker) -> None:
    """What was published before is not, nor what only tells something, nor what is comet's own."""
    worker.publish([Update("a", b"before the start")])
    worker.start()
    worker.publish([Update("a", b"1"), Update("b", b"2", key="k")])
    worker.publish([Update("b", b"2", key="k")])
    worker.publish([Closed("a"), OwnUpdate("comet.x", b"3")])
    gevent.get_hub().threadpool.apply(worker.publish, ([Update("a", b"4")],))
    numbers = told(worker)
    assert numbers["comet_updates_total"] == 4
    assert numbers["comet_duplicates_total"] == 1
    assert numbers["comet_published_bytes_total"] == len(b"before the start124")


def test_what_a_trigger_does_is_told(worker: Worker) -> None:
    """Its state, what it has published and when, and how often it had to be started again."""

    def fail() -> str:
        raise RuntimeError("broken")

    worker.triggers.add(Timer("good", call=lambda: "tick", every=0.01, channel="t", repeat=True, always=True))
    worker.triggers.add(Timer("bad", call=fail, every=0.01, channel="t", always=True), kind="made-up")
    worker.start()
    until(lambda: told(worker)["comet_trigger_restarts_total made-up,bad"] > 1, sleep=gevent.sleep)
    numbers = told(worker)
    assert numbers["comet_trigger_state timer,running,good"] == 1
    assert numbers["comet_trigger_state timer,asleep,good"] == 0
    assert numbers["comet_trigger_leader timer,good"] == 1
    assert numbers["comet_trigger_updates_total timer,good"] > 0
    assert numbers["comet_trigger_last_update_timestamp_seconds timer,good"] > 1.7e9
    assert numbers["comet_trigger_leader made-up,bad"] == 0
    assert "comet_trigger_last_update_timestamp_seconds made-up,bad" not in numbers


def test_a_broker_that_is_out_of_reach(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    """It is 0 where it was 1."""

    def check(self: MemoryBroker) -> None:
        raise BrokerAway("away")

    assert told(worker)["comet_broker_up memory"] == 1
    monkeypatch.setattr(MemoryBroker, "check", check, raising=False)
    assert told(worker)["comet_broker_up memory"] == 0


def test_a_hub_that_is_busy_is_late(worker: Worker) -> None:
    """Whoever keeps the others waiting is seen in the histogram."""
    worker.start()
    gevent.sleep(0.05)
    until_late = 0.3
    begun = gevent.get_hub().loop.now()
    while gevent.get_hub().loop.now() - begun < until_late:
        gevent.get_hub().loop.update_now()
    until(lambda: told(worker)["comet_hub_lateness_seconds_sum"] > 0.1, sleep=gevent.sleep)
    numbers = told(worker)
    assert numbers["comet_hub_lateness_seconds_bucket +Inf"] > numbers["comet_hub_lateness_seconds_bucket 0.1"]


def test_the_text_is_what_prometheus_reads(worker: Worker) -> None:
    """In its own format, and in that of OpenMetrics for who asks for it."""
    text, content_type = worker.metrics.text("")
    assert content_type.startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert families["comet_updates"].type == "counter"
    assert families["comet_publish_to_write_seconds"].type == "histogram"
    text, content_type = worker.metrics.text("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in openmetrics.text_string_to_metric_families(text.decode())} == set(families)


def test_no_registry_is_touched(worker: Worker) -> None:
    """An app that has metrics of its own finds only those there."""
    assert b"comet" not in prometheus_client.generate_latest()


def test_a_folder_that_can_not_be_written_to(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That is said once, and the worker tells what it knows itself."""
    monkeypatch.setenv(FOLDER, str(tmp_path / "none"))
    worker.start()
    worker.publish([Update("a", b"1")])
    assert told(worker)["comet_updates_total"] == told(worker)["comet_updates_total"] == 1
    assert caplog.text.count("/metrics is told without") == 1


def test_a_file_that_can_no_longer_be_written(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is published is published, and counted here."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    worker.start()
    with monkeypatch.context() as broken:
        broken.setattr(worker.metrics._own, "_mark", 1_000_000)
        worker.publish([Update("a", b"1")])
    assert "Bad file descriptor" in caplog.text
    assert told(worker)["comet_updates_total"] == 1


def test_the_page_for_operators_explains_every_metric() -> None:
    """And no other."""
    text = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(comet_\w+)", text, re.MULTILINE)
    assert sorted(rows) == sorted(METRICS)
