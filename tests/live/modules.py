"""What npm has installed for the tests, below build/client: libraries that pages use beside comet."""

from __future__ import annotations

import os

import pytest

from tests.live.server import ROOT


MODULES = ROOT / "build" / "client" / "node_modules"


def source(path: str) -> str:
    """A file of a package; without it the test is skipped, and fails under CI=true."""
    file = MODULES / path
    if not file.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{path} is not installed (make client)")
    return file.read_text()
