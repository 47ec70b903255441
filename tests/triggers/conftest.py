"""Fixtures of the tests of the triggers."""

from __future__ import annotations

import pytest

from tests.triggers.watching import Published


@pytest.fixture
def published() -> Published:
    return Published()
