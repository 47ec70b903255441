"""Timer: what a function returns becomes an update."""

from __future__ import annotations

import gevent
import pytest

from comet.core.errors import BadRequest
from comet.core.update import Update
from comet.triggers.timer import Timer
from tests.triggers.watching import Published, wait


SHAPES = [
    ("goal", b"goal", "text/plain; charset=utf-8"),
    ("", b"", "text/plain; charset=utf-8"),
    (b"\x89PNG", b"\x89PNG", "application/octet-stream"),
    ({"a": [1, "é"]}, '{"a":[1,"é"]}'.encode(), "application/json"),
    ([1, 2], b"[1,2]", "application/json"),
    (7, b"7", "application/json"),
    (0, b"0", "application/json"),
    (False, b"false", "application/json"),
]


@pytest.mark.parametrize(("value", "data", "media_type"), SHAPES)
def test_a_returned_value_is_published_as_what_it_is(
    published: Published,
    value: object,
    data: bytes,
    media_type: str,
) -> None:
    """Text as text, bytes as bytes, anything else as JSON; empty and zero are values too."""
    beat(Timer("t", every=1, call=lambda: value, channel="a", event="tick"), published)
    assert [(u.channel, u.data, u.type, u.event) for u in published] == [("a", data, media_type, "tick")]


def test_a_returned_update_is_published_as_it_is(published: Published) -> None:
    """Channel, type and event are its own."""
    update = Update("b", b"<b>2:1</b>", "text/html", "goal")
    beat(Timer("t", every=1, call=lambda: update, channel="a", type="text/plain", event="tick"), published)
    assert published == [update]


def test_none_is_nothing(published: Published) -> None:
    """A function that has nothing to say returns None."""
    beat(Timer("t", every=1, call=lambda: None, channel="a"), published)
    assert published == []


@pytest.mark.parametrize(
    ("values", "repeat", "expected"),
    [
        (["1", "1", "2", "2", "1"], False, ["1", "2", "1"]),
        (["1", "1", "2"], True, ["1", "1", "2"]),
        (["1", None, "1", "2"], False, ["1", "2"]),
        (["1", 1], False, ["1", "1"]),  # text and JSON: another type
    ],
)
def test_what_did_not_change_is_published_again_only_with_repeat(
    published: Published,
    values: list[object],
    repeat: bool,
    expected: list[str],
) -> None:
    """Unchanged is: the same data of the same type; a silence between does not make it new."""
    timer = Timer("t", every=1, call=iter(values).__next__, channel="a", repeat=repeat)
    for _ in values:
        beat(timer, published)
    assert published.texts == expected


def test_an_update_that_was_refused_is_not_taken_as_told(published: Published) -> None:
    """After a failure to publish, the same value is published at the next attempt."""
    timer = Timer("t", every=1, call=lambda: "1", channel="a")

    def refuse(updates: object) -> list[object]:
        raise OSError

    with pytest.raises(OSError):
        timer._beat(refuse)  # type: ignore[arg-type]
    beat(timer, published)
    assert published.texts == ["1"]


def test_what_has_no_json_is_an_error_that_says_so(published: Published) -> None:
    """The log names the type that can't be published."""
    with pytest.raises(BadRequest, match="a set can't be published"):
        beat(Timer("t", every=1, call=lambda: {1}, channel="a"), published)


def test_a_call_that_ends_after_the_stop_publishes_nothing(published: Published) -> None:
    """Once ``stop`` has returned nothing new comes."""
    calls: list[int] = []

    def slow() -> str:
        calls.append(1)
        gevent.sleep(0.05)
        return "late"

    timer = Timer("t", every=1, call=slow, channel="a")
    running = gevent.spawn(timer.run, published)
    wait(lambda: calls)
    timer.stop()
    running.get(timeout=10)
    assert published == []


def beat(timer: Timer, published: Published) -> None:
    timer._beat(published)
