"""Rules: what holds for a channel."""

from __future__ import annotations

import pytest

from comet.core.errors import BadRequest
from comet.core.rules import OWN, REVOKED, Rule, Rules, check_pattern, matches


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
    assert set(Rules(declared=DECLARED).names) == {"orders.eu.1", "orders", *OWN}


def test_the_rules_of_comets_own_channels() -> None:
    """They hold whatever is declared for everybody."""
    rules = Rules(Rule(history=1, private=True), {"*": Rule(history=1), "c*": Rule(history=1)})
    assert rules[REVOKED] == OWN[REVOKED]
    assert rules[REVOKED].history == 100_000
    assert rules["comet.x"].history == 1


@pytest.mark.parametrize(
    ("pattern", "channel", "expected"),
    [
        ("*", "x", True),
        ("orders", "orders", True),
        ("orders", "orders.eu", False),
        ("orders.eu", "orders", False),
        ("orders*", "orders", True),
        ("orders*", "orders.eu", True),
        ("orders*", "order", False),
        ("orders*", "Orders", False),
        ("o.d", "oxd", False),
    ],
)
def test_a_pattern_matches(pattern: str, channel: str, expected: bool) -> None:
    """A name only itself, to the letter; a prefix what begins with it."""
    check_pattern(pattern)
    assert matches(pattern, channel) is expected


@pytest.mark.parametrize("pattern", ["", "**", "a*b", "*a", "-", "a b", "comet.*", "open", "x" * 129])
def test_what_is_no_pattern(pattern: str) -> None:
    """It is a name or a prefix of one, and one star at most, at the end."""
    with pytest.raises(BadRequest):
        check_pattern(pattern)
