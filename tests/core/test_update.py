"""Updates: what may be published, and what a published thing says of itself."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comet.core.errors import BadRequest, CometError, Unavailable
from comet.core.update import (
    BINARY,
    JSON,
    TEXT,
    Closed,
    OwnUpdate,
    Update,
    check_channel,
    check_event,
    check_key,
    check_type,
)
from tests.core.exploring import explore


GOOD = {
    check_channel: ["a", "9", "orders", "Orders.eu:1@x~y-z_", "x" * 128, "comet", "cometx.y", "opened", "Message"],
    check_event: ["a", "goal!", "a b ", "message", "x" * 128, "é", "漢", "😀", "comet", "a:b", "\u200b", "\ufeff"],
    check_type: [
        "a/b",
        "text/plain; charset=utf-8",
        'text/x; a="b c"; d=e',
        "text/html;charset=utf-8",
        "image/svg+xml",
        "a/" + "b" * 126,
    ],
    check_key: [" ", "a", "~" * 128, "order 7"],
}

BAD = {
    check_channel: [
        "",
        ".a",
        "-a",
        "_a",
        "a/b",
        "a,b",
        "a b",
        "a\n",
        "a\0",
        "é",
        "a*",
        "x" * 129,
        "comet.x",
        "comet.",
        "open",
        "error",
        "message",
        "{x}:*",
        "a%00",
        "a\u2028",
    ],
    check_event: [
        "",
        " a",
        "\u00a0a",
        "\u3000a",
        "a\n",
        "a\r",
        "a\0",
        "a\t",
        "\x7f",
        "a\x85b",
        "a\x9b",
        "a\u2028",
        "a\u2029",
        "a\ud800",
        "x" * 129,
        "comet.gap",
        "comet.",
        "open",
        "error",
    ],
    check_type: [
        "",
        "text",
        "text/",
        "/plain",
        "text/plain\n",
        "text/plain\r\nX: y",
        "text/plain;",
        "text/plain; charset",
        'text/plain; a="b',
        'text/plain; a="b\\"',
        "text/pl ain",
        "téxt/plain",
        "a/" + "b" * 127,
        "text/plain; a=b\0",
        "text/html, text/plain",
    ],
    check_key: ["", "x" * 129, "é", "a\n", "\t", "\x7f", "a\0"],
}


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in GOOD.items() for text in texts])
def test_a_good_name_is_taken_as_it_is(check, text) -> None:
    """A check returns what it was given."""
    assert check(text) == text


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in BAD.items() for text in texts])
def test_a_bad_name_is_refused_with_the_rule(check, text) -> None:
    """The refusal shows what was sent, not all of it and nothing that bends a line, and says what would be right."""
    with pytest.raises(BadRequest) as refusal:
        check(text)
    assert len(str(refusal.value)) < 300
    assert str(refusal.value).isprintable()
    assert refusal.value.status_hint == 400


@pytest.mark.parametrize(
    "fields",
    [{"channel": "open"}, {"type": "text"}, {"event": " x"}, {"event": ""}, {"key": ""}],
    ids=lambda fields: next(iter(fields)),
)
def test_an_update_is_checked_at_birth(fields: dict[str, str]) -> None:
    """No update with a wrong field exists."""
    with pytest.raises(BadRequest):
        Update(**{"channel": "a", "data": b"", **fields})


@given(st.text(max_size=130))
@explore(500)
def test_no_event_name_that_is_accepted_can_break_a_line(event: str) -> None:
    """An accepted event name can be sent, begins with no blank, and no reader finds a control or a line end in it."""
    try:
        check_event(event)
    except BadRequest:
        return
    assert event.encode().decode() == event
    assert event.splitlines() == [event]
    assert not any(unicodedata.category(character) == "Cc" for character in event)
    assert event.lstrip() == event


@pytest.mark.parametrize(
    ("value", "data", "media_type"),
    [
        ("hé", "hé".encode(), TEXT),
        ("", b"", TEXT),
        (b"\0\xff", b"\0\xff", BINARY),
        (bytearray(b"x"), b"x", BINARY),
        (memoryview(b"x"), b"x", BINARY),
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'.encode(), JSON),
        (7, b"7", JSON),
        (None, b"null", JSON),
    ],
)
def test_what_a_program_has_at_hand_is_made_an_update(value: object, data: bytes, media_type: str) -> None:
    """str is text, bytes are binary, all else is JSON."""
    update = Update.of("a", value, event="e", key="k")
    assert (update.channel, update.data, update.type, update.event, update.key) == ("a", data, media_type, "e", "k")


def test_the_type_can_be_chosen() -> None:
    """A type that is given wins over the one that fits the value."""
    assert Update.of("a", "<b>", type="text/html").type == "text/html"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, "\ud800", ["\ud800"], {("a",): 1}])
def test_what_has_no_json_is_refused(value: object) -> None:
    """A value that can't be sent is a BadRequest."""
    with pytest.raises(BadRequest):
        Update.of("a", value)


def test_a_list_in_itself_is_refused() -> None:
    """A value without end is a BadRequest, not a crash."""
    endless: list[object] = []
    endless.append(endless)
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    for value in (endless, deep):
        with pytest.raises(BadRequest):
            Update.of("a", value)


def test_the_broker_gives_an_update_its_place() -> None:
    """A placed update is the same thing with an id; the first one is unchanged."""
    update = Update("a", b"x", "text/html", "e", "k")
    placed = update.placed(epoch="k3f9tq", seq=7, prev=4, time=1.5)
    assert placed.id == "k3f9tq-7"
    assert (placed.prev, placed.time) == (4, 1.5)
    assert dataclasses.replace(placed, epoch="", seq=0, prev=0, time=0.0) == update
    assert update.seq == 0


def test_a_name_of_comets_own_is_for_its_own_updates_only() -> None:
    """And they for nothing else."""
    assert OwnUpdate("comet.x", b"1").placed(epoch="aaaaaaaa", seq=1, prev=0, time=0.0).channel == "comet.x"
    with pytest.raises(AssertionError):
        OwnUpdate("x", b"1")


def test_an_update_never_changes() -> None:
    """Updates are shared by all subscribers: nothing can be set."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Update("a", b"").data = b"x"  # type: ignore[misc]


def test_the_data_is_text_where_it_is_utf8() -> None:
    """Text is what decodes, and None is the rest."""
    assert Update("a", "é".encode()).text == "é"
    assert Update("a", b"\xe9").text is None


@pytest.mark.parametrize(
    ("media_type", "essence"), [("Text/HTML", "text/html"), ("text/html ;charset=utf-8", "text/html"), ("a/b", "a/b")]
)
def test_the_essence_of_a_type_has_no_parameters(media_type: str, essence: str) -> None:
    """Types are compared by their essence, in lower case."""
    assert Update("a", b"", media_type).essence == essence


def test_the_end_of_a_channel_has_an_id_too() -> None:
    """A Closed takes a place in the log."""
    assert Closed("a", 1.0, "k3f9tq", 9).id == "k3f9tq-9"


def test_every_error_hints_at_a_status() -> None:
    """The tree below CometError covers what views answer; those that pass say when to come back. A wrong setting and
    what a trigger raises never get there."""

    def below(kind: type[CometError]) -> set[type[CometError]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    hints = {kind.__name__: kind.status_hint for kind in below(CometError) if kind.__module__ == CometError.__module__}
    assert {hints.pop(name) for name in ("CometError", "SettingsError", "SourceFailed", "Alarm")} == {500}
    assert all(400 <= hint < 500 or hint == 503 for hint in hints.values())
    assert Unavailable("later").retry_after == 5
    assert all(kind("x", retry_after=7).retry_after == 7 for kind in below(Unavailable))
