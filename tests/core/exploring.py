"""How far the property tests explore.

In ``make test`` they always go the same way, so that nobody's change is blamed for what chance has found.
``COMET_TEST_EXAMPLES=20`` explores twenty times as far, and somewhere else each time.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings


FARTHER = int(os.environ.get("COMET_TEST_EXAMPLES", "1"))

#: For those that go through lines a million times that other tests have covered: to note each takes as long again.
uncounted = pytest.mark.no_cover


def explore(examples: int, **more: int) -> settings:
    """The settings of a property test: so many examples, for any machine's patience."""
    return settings(
        max_examples=examples * FARTHER,
        derandomize=FARTHER == 1,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        **more,
    )
