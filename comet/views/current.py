"""The worker behind the current request."""

from __future__ import annotations

from typing import cast

from flask import current_app

from ..worker import Worker


def worker() -> Worker:
    return cast(Worker, current_app.extensions["comet"].worker)
