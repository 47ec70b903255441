"""Cursors: a place in the log, as text and as numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comet.core.cursor import EPOCH_LETTERS, NOWHERE, Cursor
from tests.core.exploring import explore


GARBAGE = [
    "",
    "-",
    "0-0",
    "abc-1",
    "k3f9tq",
    "k3f9tq-",
    "-1042",
    "k3f9tq--1",
    "k3f9tq-01",
    "k3f9tq-+1",
    "k3f9tq-1_0",
    "k3f9tq-1.0",
    "k3f9tq-1e3",
    "k3f9tq-0x1",
    "k3f9tq-nan",
    "k3f9tq-١٢",
    "k3f9tq-1234567890123456789",
    "K3F9TQ-1",
    "k3f9t\u212a-1",
    "k3f9tq-1\n",
    " k3f9tq-1",
    "k3f9tq-1 ",
    "k3f9tq-1\0",
    "k3f9tq-1,k3f9tq-2",
    "k3f9tq-" + "9" * 4400,
    "k" * 33 + "-1",
    "earliest",
    "$",
    "*",
    "null",
    "18446744073709551615-18446744073709551615",
]


@given(st.text(EPOCH_LETTERS, min_size=6, max_size=32), st.integers(0, 10**18 - 1))
@explore(200)
def test_an_id_is_read_as_the_place_it_was_written_for(epoch: str, seq: int) -> None:
    """Whatever a broker gives out as an id, a client may give back as a cursor."""
    assert Cursor.parse(str(Cursor(epoch, seq))) == Cursor(epoch, seq)


@pytest.mark.parametrize("text", GARBAGE, ids=lambda text: ascii(text[:30]))
def test_garbage_is_no_cursor_and_no_error(text: str) -> None:
    """What is not exactly a cursor is None, so that the caller can tell a gap."""
    assert Cursor.parse(text) is None


@given(st.text(max_size=50))
@explore(300)
def test_what_is_read_is_written_the_same(text: str) -> None:
    """No two texts are the same cursor: a gap can quote what was sent."""
    cursor = Cursor.parse(text)
    assert cursor is None or str(cursor) == text


def test_nowhere_is_a_cursor_that_no_epoch_can_have() -> None:
    """It is read as a cursor, and of an epoch that no broker chooses: the ones of brokers are longer."""
    assert Cursor.parse(str(NOWHERE)) == NOWHERE
    assert len(NOWHERE.epoch) < 8
