"""Figures: what the workers have counted and said, added up."""

from __future__ import annotations

import json

import pytest

from comet.core.counts import DELAYS
from comet.core.ring import Ring
from comet.core.rules import Rule
from comet.core.update import Update
from comet.status.figures import SHOWN, Channel, Look, channel_of, figures
from tests.status.workers import NOW, PLACE, counted, said, shown, tally, trigger


def test_all_of_it_is_json() -> None:
    """As it stands; /status.json says just that."""
    found = shown(tally(1, sse=2), told={"1": said(trigger("t", "alarm", error="Alarm: x"), x=2)}, expected=2)
    assert json.loads(json.dumps(found)) == found
    assert (found["time"], found["host"], found["version"]) == (NOW, "host", "1.0")


def test_streams_are_those_of_the_workers_that_live() -> None:
    """By wire, and by worker; the oldest worker comes first. A wire without streams is not told."""
    found = shown(tally(7, sse=2, html=1, text=0), tally(5, sse=3, born=NOW - 90), tally(3, sse=9, lives=False))
    assert found["streams"] == {"total": 6, "by_wire": {"html": 1, "sse": 5}}
    assert [(worker["pid"], worker["streams"]) for worker in found["workers"]] == [(5, 3), (7, 3)]
    assert found["workers"][0]["since"] == NOW - 90
    assert found["workers"][0]["memory"] == 40_000_000


def test_totals_are_those_of_all_workers_that_ever_were() -> None:
    """What has been counted stays."""
    found = shown(tally(1, sse=2), tally(2, sse=3, lives=False))
    assert found["totals"] == {"updates": 200, "deliveries": 5, "bytes": 50}


def test_a_worker_that_has_told_nothing_yet() -> None:
    """It has only just begun, and is not there yet."""
    found = shown(tally(1), tally(2)._replace(numbers={"sum": {"comet_updates_total": 0}}), expected=2)
    assert [worker["pid"] for worker in found["workers"]] == [1]
    assert found["missing"] == 1


def test_rates_are_differences_of_two_looks() -> None:
    """The oldest and the newest; after one look nothing is known. A worker that has ended takes nothing back."""
    first = [tally(1, sse=1), tally(2, sse=1)]
    last = [
        counted(
            first[0], comet_updates_total=20, comet_deliveries_total__direct=30, comet_deliveries_total__greenlet=10
        ),
        counted(first[1], comet_updates_total=10)._replace(lives=False),
    ]
    looks = [Look(NOW - 4, first), Look(NOW - 1, first), Look(NOW, last)]
    assert figures(looks, {}, [], PLACE)["rates"] == {"updates": 7.5, "deliveries": 10.0, "bytes": 0.0}
    assert figures(looks[:1], {}, [], PLACE)["rates"] == {"updates": None, "deliveries": None, "bytes": None}


def late(bound: object) -> str:
    return f"comet_hub_lateness_seconds__{bound}"


@pytest.mark.parametrize(
    ("risen", "expected"),
    [([], None), ([0.001], 0.001), ([0.005, 0.001, 0.25], 0.25), ([0.001, "+Inf"], 2 * DELAYS[-1])],
)
def test_a_loop_was_late_by_what_the_histogram_says(risen: list[object], expected: float | None) -> None:
    """The greatest bound that has counted something between the looks; not what it has counted before."""
    before = counted(tally(1), **{late(1.0): 5})
    after = counted(before, **{late(bound): 1 for bound in risen})
    (worker,) = figures([Look(NOW - 1, [before]), Look(NOW, [after])], {}, [], PLACE)["workers"]
    assert worker["late"] == expected


def test_workers_that_are_missing_or_silent() -> None:
    """They are told once all had time to say something, which ``expected`` says."""
    both = (tally(1), tally(2))
    told = {"1": said(), "2": said(ago=9)}
    assert [worker["silent"] for worker in shown(*both, told=told, expected=2)["workers"]] == [None, 9.0]
    assert [worker["silent"] for worker in shown(*both, told={"1": said()}, expected=2)["workers"]] == [None, 4.0]
    assert [worker["silent"] for worker in shown(*both, told=told)["workers"]] == [None, None]
    assert shown(*both, told=told, expected=3)["missing"] == 1
    assert shown(*both, told=told)["missing"] == 0


def test_the_broker_is_away_if_one_worker_says_so() -> None:
    """With the reason, where one is told."""
    assert shown(tally(1))["broker"] == {"kind": "sqlite", "state": "ok", "error": ""}
    assert shown(tally(1), tally(2, up=0))["broker"] == {"kind": "sqlite", "state": "away", "error": ""}
    found = shown(tally(1), tally(2, up=0), told={"1": said(), "2": said(broker="the disk is full.")})
    assert found["broker"] == {"kind": "sqlite", "state": "away", "error": "the disk is full."}


# Channels.


def ring(*times: float, history: int = 100, history_bytes: int = 1000, size: int = 1) -> Ring:
    """A channel that was published to so many seconds ago."""
    made = Ring(Rule(history=history, history_bytes=history_bytes), 0)
    for seq, time in enumerate(times, 1):
        made.append(Update("a", b"x" * size, epoch="aaaaaaaa", seq=seq, time=NOW - time))
    return made


RATES = [
    (ring(), 0.0),
    (ring(11, 10.5), 0.0),
    (ring(20, 9, 1), 0.2),
    (ring(*range(9, -1, -1)), 1.0),
    # More may have come than is kept: what is kept tells how fast.
    (ring(2, 1.5, 1, 0.5, 0.25, history=4), 4 / 1.5),
    (ring(2, 1.5, 1, 0.5, 0.25, size=250), 4 / 1.5),
    (ring(8, 1, 0.5, history=2), None),
    (ring(30, 20, 8, 1, history=4), 0.2),
]


@pytest.mark.parametrize(("made", "rate"), RATES)
def test_the_rate_of_a_channel(made: Ring, rate: float | None) -> None:
    """It is that of the last ten seconds, from what is kept; None where that is too little to say."""
    found = channel_of("a", made, NOW)
    assert found.rate == (rate if rate is None else pytest.approx(rate))


def test_a_channel_is_told_with_what_it_keeps() -> None:
    """Nothing is kept: nobody knows when it was published to last."""
    assert channel_of("a", ring(5, 3, size=10), NOW) == Channel("a", 2, 20, NOW - 3, 0.2)
    assert channel_of("a", ring(), NOW) == Channel("a")


def test_the_busiest_channels_are_shown() -> None:
    """First by rate, then by subscribers of all workers, then by the newest update; and how many more there are."""
    channels = [Channel(f"c{number:02}", 1, 1, NOW - number, 0.0) for number in range(60)]
    channels += [Channel("fast", 1, 1, NOW - 99, 5.0), Channel("unknown", 1, 1, NOW - 99, None)]
    told = {"1": said(c59=1, c58=2), "2": said(c59=2, waiting=1)}
    found = shown(tally(1), tally(2), told=told, channels=channels)["channels"]
    assert [each["channel"] for each in found["busiest"][:6]] == ["fast", "c59", "c58", "waiting", "c00", "c01"]
    assert [each["subscribers"] for each in found["busiest"][:5]] == [0, 3, 2, 1, 0]
    assert found["busiest"][3] | {"channel": ""} == {
        "channel": "",
        "stored": 0,
        "bytes": 0,
        "subscribers": 1,
        "age": None,
        "rate": 0.0,
    }
    assert (found["total"], len(found["busiest"]), found["more"]) == (63, SHOWN, 13)


def test_what_a_worker_said_that_has_ended_is_not_told() -> None:
    """Its subscribers have gone elsewhere."""
    found = shown(tally(1), tally(2, lives=False), told={"1": said(a=1), "2": said(a=5)})
    assert found["channels"]["busiest"][0]["subscribers"] == 1


# Triggers.


def test_a_trigger_is_told_as_the_worker_knows_it_that_runs_it() -> None:
    """The others only wait for it; what all have counted is added up."""
    told = {
        "1": said(trigger("t", "waiting", updates=3, restarts=2, age=50, error="OldError: x"), ago=0),
        "2": said(trigger("t", "running", updates=4, suppressed=1, age=2.04, position="p", kind="file")),
    }
    (found,) = shown(tally(1), tally(2), told=told)["triggers"]
    assert found == {
        "name": "t",
        "kind": "file",
        "state": "running",
        "worker": 2,
        "position": "p",
        "age": 2.0,
        "updates": 7,
        "suppressed": 1,
        "restarts": 2,
        "error": "",
        "statement": "",
    }


def test_triggers_that_do_not_work_come_first() -> None:
    """Then by name. One that nobody runs has no worker."""
    triggers = [trigger(state, state) for state in ("asleep", "running", "failed", "alarm", "ended")]
    found = shown(tally(1), told={"1": said(*triggers)})["triggers"]
    assert [each["name"] for each in found] == ["alarm", "failed", "asleep", "ended", "running"]
    assert [each["worker"] for each in found] == [1, 1, None, 1, 1]


def test_a_trigger_that_fails_before_its_turn() -> None:
    """No worker leads, and the one that has failed tells why."""
    told = {"1": said(trigger("t", "waiting")), "2": said(trigger("t", "failed", error="E: x"))}
    (found,) = shown(tally(1), tally(2), told=told)["triggers"]
    assert (found["state"], found["worker"], found["error"]) == ("failed", 2, "E: x")
