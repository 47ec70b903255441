"""flask-sse: what its messages become, and what happens to others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import gevent
import pytest

from comet.brokers import Hear, Receipt
from comet.core.errors import BadRequest, BrokerAway, TooLarge
from comet.core.update import JSON, TEXT, Update
from comet.triggers.flask_sse import FlaskSse, to_update
from tests.triggers.watching import Published, ended, wait


def saying(*messages: bytes | Exception) -> Callable[[Sequence[str], Hear], None]:
    """A ``listen`` that hears these on the channel ``sse``, and then nothing."""

    def listen(prefixes: Sequence[str], hear: Hear) -> None:
        for message in messages:
            if isinstance(message, Exception):
                raise message
            hear("sse", message)
        gevent.sleep(3600)

    return listen


MESSAGES = [
    ("a text", b'{"data": "1\\n2"}', b"1\n2", TEXT, None),
    ("a text is not JSON", b'{"data": "[1]"}', b"[1]", TEXT, None),
    ("an object", b'{"data": {"a": [1, "\\u00e9"]}}', '{"a":[1,"é"]}'.encode(), JSON, None),
    ("a number", b'{"data": 0}', b"0", JSON, None),
    ("null", b'{"data": null}', b"null", JSON, None),
    ("a type", b'{"data": "x", "type": "goal"}', b"x", TEXT, "goal"),
    ("a type that is a number", b'{"data": "x", "type": 5}', b"x", TEXT, "5"),
    ("an empty type", b'{"data": "x", "type": ""}', b"x", TEXT, None),
    ("id and retry", b'{"data": "x", "id": "7", "retry": 100}', b"x", TEXT, None),
]


@pytest.mark.parametrize(("message", "data", "type", "event"), [row[1:] for row in MESSAGES], ids=lambda m: "")
def test_what_a_message_becomes(message: bytes, data: bytes, type: str, event: str | None) -> None:
    """The channel keeps its name, the type is the event, what is no text is JSON; id and retry are left out."""
    assert to_update("sse", message) == Update("sse", data, type, event)


WRONG = [
    (b"", "not JSON"),
    (b"hello", "not JSON"),
    (b"\xff\xfe\xfd", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b'{"data": ' + b"9" * 5000 + b"}", "not JSON"),
    (b'["data"]', '{"data": …}'),
    (b'{"type": "x"}', '{"data": …}'),
    (b'{"data": NaN}', "can't be published"),
    (b'{"data": "\\ud800"}', "surrogate"),
    (b'{"data": "x", "type": "a\\nid: 1"}', "not an event name"),
    (b'{"data": "x", "type": "comet.gap"}', "reserved"),
]


@pytest.mark.parametrize(("message", "told"), WRONG, ids=lambda value: str(value)[:20])
def test_a_message_that_makes_no_sense(message: bytes, told: str) -> None:
    """It is refused with a reason, whatever it is."""
    with pytest.raises(BadRequest, match=told):
        to_update("sse", message)


@pytest.mark.parametrize("name", ["message", "comet.x", "a b", "", "é"])
def test_a_channel_that_can_not_be(name: str) -> None:
    """Redis takes any name; here there are rules."""
    with pytest.raises(BadRequest, match="channel"):
        to_update(name, b'{"data": "x"}')


def test_what_makes_no_sense_is_left_out_and_told_once(published: Published, caplog: pytest.LogCaptureFixture) -> None:
    """The others are published, in order; the log has one sentence a minute, however many there are."""
    trigger = FlaskSse(["sse"], saying(b'{"data": "1"}', *[b"rubbish"] * 300, b'{"data": "2"}'))
    running = gevent.spawn(trigger.run, published)
    wait(lambda: published.texts == ["1", "2"])
    assert [record.getMessage() for record in caplog.records] == [
        "comet: a message of flask-sse on 'sse' is left out, the 1. so far: "
        "it is not JSON (Expecting value: line 1 column 1 (char 0))."
    ]
    trigger.stop()
    ended(running)


def test_one_update_that_is_refused_does_not_keep_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """They had come together."""
    taken: list[str] = []

    def publish(updates: Sequence[Update]) -> list[Receipt]:
        if any(len(update.data) > 10 for update in updates):
            raise TooLarge("11 bytes; an update has at most 10 (COMET_MAX_UPDATE).")
        taken.extend(update.data.decode() for update in updates)
        return []

    trigger = FlaskSse(["sse"], saying(b'{"data": "1"}', b'{"data": "xxxxxxxxxxx"}', b'{"data": "2"}'))
    running = gevent.spawn(trigger.run, publish)
    wait(lambda: taken == ["1", "2"])
    assert "left out, the 1. so far: 11 bytes" in caplog.text
    trigger.stop()
    ended(running)


def test_a_lost_connection_is_an_error(published: Published) -> None:
    """The supervisor is told, and starts it again; what came before is published."""
    trigger = FlaskSse(["sse"], saying(b'{"data": "1"}', BrokerAway("Redis has gone.")))
    with pytest.raises(BrokerAway, match="Redis has gone"):
        trigger.run(published)
    assert published.texts == ["1"]


def test_what_has_come_is_published_before_it_stops(published: Published) -> None:
    """Nobody else has it."""
    trigger = FlaskSse(["sse"], saying(*[b'{"data": "%d"}' % n for n in range(500)]))
    running = gevent.spawn(trigger.run, published)
    wait(lambda: trigger._heard.qsize() or published)
    trigger.stop()
    ended(running)
    assert published.texts == [str(n) for n in range(500)]
