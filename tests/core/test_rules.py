"""Rules: what holds for a channel."""

from __future__ import annotations

import pytest

from comet.core.rules import Rule, Rules


DECLARED = {
    "*": Rule(history=1),
    "orders*": Rule(history=2),
    "orders.eu*": Rule(history=3),
    "orders.eu.1": Rule(history=4),
    "orders": Rule(history=5),
}


@pytest.mark.parametrize(
    ("channel", "history"),
    [
        ("x", 1),
        ("ordersx", 2),
        ("orders.us", 2),
        ("orders.eu", 3),
        ("orders.eu.2", 3),
        ("orders.eu.1", 4),
        ("orders", 5),
    ],
)
def test_the_longest_match_wins(channel: str, history: int) -> None:
    """An exact name wins over every prefix, a longer prefix over a shorter one, in whatever order they are declared."""
    assert Rules(declared=DECLARED)[channel].history == history
    assert Rules(declared=dict(reversed(DECLARED.items())))[channel].history == history


def test_what_is_not_declared_has_the_default() -> None:
    """Without a match the default holds, which is the contract's unless told otherwise."""
    assert Rules()["x"] == Rule(100, 1_048_576, 3600.0, 1, False, False)
    assert Rules(Rule(history=7), {"y*": Rule()})["x"].history == 7


def test_only_exact_names_are_declared_channels() -> None:
    """A prefix declares no channel: only exact names exist without being published to."""
    assert set(Rules(declared=DECLARED).names) == {"orders.eu.1", "orders"}
