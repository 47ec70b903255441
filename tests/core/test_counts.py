"""Counts: plain numbers."""

from __future__ import annotations

from comet.core.counts import DELAYS, Histogram


def test_a_value_lies_below_the_first_bound_that_is_not_smaller() -> None:
    """A bound is the greatest value of its bucket, as Prometheus has it; what is beyond all lies in the last."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 99.0):
        histogram.note(value)
    assert histogram.buckets == [2, 2, 2]
    assert histogram.sum == 105.6


def test_the_bounds_grow() -> None:
    """Else values would be looked for in the wrong half."""
    assert list(DELAYS) == sorted(set(DELAYS))
