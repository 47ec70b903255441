"""``GET /metrics``, by black box: with one worker, and with several that share a broker."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import requests
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.live.foreign import TWO_LINES, Foreign
from tests.live.server import Server
from tests.timing import until


#: A route that publishes by Python, and a trigger that publishes the lines of a file.
FILES = {
    "app.py": """
from wsgi import app

@app.post("/python")
def python():
    for number in range(5):
        app.extensions["comet"].publish("python", number)
    return ""
""",
    "comet.toml": """
[[triggers]]
name = "lines"
kind = "file"
channel = "lines"
path = "lines.txt"

[[triggers]]
name = "broken"
kind = "timer"
channel = "broken"
call = "jobs:fail"
every = 0.05
always = true
""",
    "jobs.py": "def fail(): raise RuntimeError",
    "lines.txt": "",
}


@pytest.fixture(scope="module", params=[("memory", 1), ("sqlite:///log.db", 2)], ids=["memory", "sqlite"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    broker, workers = request.param
    with Server(app="app:app", files=FILES, broker=broker, workers=workers, drain_seconds=0.2, heartbeat=1) as running:
        until(lambda: told(running)["comet_workers"] == workers, what="the workers")
        folder = shared(running)
        yield running
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert not folder.exists()


def shared(server: Server) -> Path:
    """The folder in which the workers tell each other."""
    (folder,) = server.file(".").glob("comet-metrics-*")
    return folder


def scrape(server: Server, path: str = "/metrics") -> str:
    # A connection of its own each time: so the workers answer in turn.
    answer = server.get(path, headers=server.auth)
    assert answer.status_code == 200, answer.text
    return answer.text


def samples(text: str) -> dict[str, float]:
    """Every sample, by its name and the values of its labels."""
    return {
        " ".join([sample.name, *(sample.labels[name] for name in sorted(sample.labels))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def told(server: Server, path: str = "/metrics") -> dict[str, float]:
    return samples(scrape(server, path))


def told_by_all(server: Server, state: Callable[[dict[str, float]], bool], what: str) -> None:
    """Wait until every answer of a row has this; whichever worker gives it."""
    until(lambda: all(state(told(server)) for _ in range(6)), what=what)


def counters(text: str) -> dict[str, float]:
    return {
        name: value for name, value in samples(text).items() if name.partition(" ")[0].endswith(("_total", "_bucket"))
    }


def test_twenty_updates_are_twenty_in_every_answer(server: Server) -> None:
    """Published one by one, as a batch, by Python and by a trigger; what was published before does not count."""
    before = told(server)["comet_updates_total"]
    for number in range(5):
        server.publish("http", f"{number}")
    batch = [f'{{"channel":"batch","data":"{number}","key":"{number}"}}' for number in range(5)]
    headers = {**server.auth, "Content-Type": "application/x-ndjson"}
    for _ in range(2):
        assert requests.post(f"{server.url}/channels", "\n".join(batch), headers=headers, timeout=10).ok
    assert requests.post(f"{server.url}/python", timeout=10).ok
    assert told(server)["comet_updates_total"] == before + 15
    with server.file("lines.txt").open("a") as lines:
        lines.write("1\n2\n3\n4\n5\n")
    until(lambda: server.get("/channels/lines/info").json().get("stored") == 5, what="the lines")
    until(lambda: told(server)["comet_updates_total"] == before + 20, what="20 updates")
    assert {told(server)["comet_updates_total"] for _ in range(10)} == {before + 20}
    told_by_all(server, lambda numbers: numbers["comet_duplicates_total"] == 5, "the duplicates")


def test_streams_are_counted_while_they_last_and_when_they_end(server: Server) -> None:
    """By wire and by why; what they were written, once for each of them."""
    before = told(server)
    wires = ["sse", "sse", "ndjson", "text"]
    streams = [server.open(f"/channels/streams/{wire}") for wire in wires]
    opened = {"comet_streams sse": 2, "comet_streams ndjson": 1, "comet_streams text": 1}
    told_by_all(server, lambda numbers: numbers | opened == numbers, "four streams")
    for number in range(5):
        server.publish("streams", f"update {number}")

    def deliveries(numbers: dict[str, float]) -> float:
        return numbers["comet_deliveries_total direct"] + numbers["comet_deliveries_total greenlet"]

    told_by_all(server, lambda numbers: deliveries(numbers) == deliveries(before) + 20, "20 deliveries")
    streams[0].close()
    told_by_all(server, lambda numbers: numbers["comet_closes_total gone sse"] >= 1, "one that has left")
    requests.delete(f"{server.url}/channels/streams", headers=server.auth, timeout=10)
    told_by_all(server, lambda numbers: numbers["comet_closes_total deleted sse"] == 1, "one that was ended")
    told_by_all(server, lambda numbers: numbers["comet_streams sse"] == numbers["comet_streams text"] == 0, "no stream")
    server.get("/channels/streams/poll?timeout=1")
    told_by_all(server, lambda numbers: numbers["comet_closes_total answered poll"] >= 1, "a poll")
    assert told(server)["comet_publish_to_write_seconds_count"] > 0
    for stream in streams:
        stream.close()


def test_what_is_wrong_is_counted(server: Server) -> None:
    """A gap that was told, an answer that was no, a trigger that fails."""
    server.publish("wrong", "1")
    assert server.get("/channels/wrong/poll?since=another-1").json()["gap"]["reason"] == "epoch"
    assert server.get("/channels/wrong/nothing").status_code == 404
    told_by_all(server, lambda numbers: numbers["comet_gaps_total epoch"] >= 1, "the gap")
    told_by_all(server, lambda numbers: numbers.get("comet_refusals_total 404", 0) >= 1, "the refusal")
    told_by_all(server, lambda numbers: numbers["comet_trigger_restarts_total timer broken"] > 1, "the restarts")


def test_triggers_run_in_one_worker(server: Server) -> None:
    """However many there are."""

    def state(numbers: dict[str, float]) -> bool:
        running = numbers["comet_trigger_state file running lines"]
        waiting = numbers["comet_trigger_state file waiting lines"]
        leaders = numbers["comet_trigger_leader file lines"]
        return (running, waiting, leaders) == (1, numbers["comet_workers"] - 1, 1)

    told_by_all(server, state, "one that runs it")


def test_each_worker_tells_of_its_process(server: Server) -> None:
    """Its memory, its open files and when it began; and whether it reaches the broker."""
    workers = {str(pid) for pid in server.workers()}
    numbers = told(server)
    for name in ("process_resident_memory_bytes", "process_start_time_seconds", "process_open_fds"):
        found = {key.partition(" ")[2] for key in numbers if key.startswith(f"comet_{name} ")}
        assert found == workers or (name == "process_open_fds" and not found)
    assert sum(value for key, value in numbers.items() if key.startswith("comet_broker_up")) == len(workers)


def test_it_takes_the_key(server: Server) -> None:
    """As all of administration."""
    answer = server.get("/metrics")
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_open_metrics(server: Server) -> None:
    """By Accept."""
    headers = {**server.auth, "Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    answer = server.get("/metrics", headers=headers)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert {family.name for family in openmetrics.text_string_to_metric_families(answer.text)} >= {"comet_updates"}


def kill(server: Server) -> None:
    for pid in server.workers():
        os.kill(pid, signal.SIGKILL)


def reload(server: Server) -> None:
    server.signal(signal.SIGHUP)


def test_counters_never_fall(server: Server) -> None:
    """While workers are killed and reloaded, and scraped all the time. What was published a moment before counts."""
    over = threading.Event()
    answers = [counters(scrape(server))]

    def watch() -> None:
        while not over.is_set():
            with suppress(requests.RequestException):  # of a worker that was killed
                answers.append(counters(scrape(server)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for end in (kill, reload):
            before, workers = told(server), set(server.workers())
            for number in range(10):
                server.publish("falls", f"{number}")
            end(server)
            until(lambda old=workers: is_renewed(server, old), seconds=30, what="new workers")
            assert told(server)["comet_updates_total"] >= before["comet_updates_total"] + 10
    finally:
        over.set()
        watcher.join()
    assert len(answers) > 10
    for earlier, later in pairwise(answers):
        assert {name: (value, later.get(name)) for name, value in earlier.items() if later.get(name, -1) < value} == {}
    # What workers that ended have left there is one file; of each that lives there are two.
    until(lambda: len(list(shared(server).glob("*-*"))) == 2 * len(server.workers()), what="what is laid down")
    assert (shared(server) / "ended").exists()


def test_what_workers_tell_each_other_is_private(server: Server) -> None:
    """The folder is the server's own user's."""
    assert shared(server).stat().st_mode & 0o777 == 0o700


def is_renewed(server: Server, old: set[int]) -> bool:
    """Whether all workers are others, and answer."""
    workers = set(server.workers())
    with suppress(requests.RequestException):
        return len(workers) == len(old) and not workers & old and told(server)["comet_workers"] == len(old)
    return False


def test_an_app_with_metrics_of_its_own(tmp_path: Path) -> None:
    """Its multiprocess mode serves comet, too; each tells what it knows, of all workers, and nothing of the other."""
    lines = (
        f"raw_env = ['PROMETHEUS_MULTIPROC_DIR={tmp_path}']\nworkers = 2\nworker_class = 'gevent'\nreuse_port = True\n"
    )
    with Foreign("measuring:app", lines=lines + TWO_LINES, broker="sqlite:///log.db") as server:
        until(lambda: told(server, "/comet/metrics")["comet_workers"] == 2, what="two workers")
        for _ in range(20):
            assert requests.post(f"{server.url}/visit", timeout=10).ok
        assert {told(server, "/comet/metrics")["comet_updates_total"] for _ in range(10)} == {20}
        ours, theirs = scrape(server, "/comet/metrics"), scrape(server)
        assert samples(theirs) == {"visits_total": 20}
        assert "visits" not in ours


def test_an_app_of_several_workers_that_share_no_folder() -> None:
    """Each tells of itself alone."""
    lines = "workers = 2\nworker_class = 'gevent'\nreuse_port = True\n"
    with Foreign("measuring:app", lines=lines, broker="sqlite:///log.db") as server:
        assert told(server, "/comet/metrics")["comet_workers"] == 1
