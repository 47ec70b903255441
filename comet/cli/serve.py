"""``serve``: the server."""

from __future__ import annotations

from typing import Any

import click

from . import environment, master


@click.command()
def serve() -> None:
    """Start the server at COMET_BIND. HUP makes it read its settings anew."""
    master.run(environment.settings, _make)


def _make() -> Any:
    from ..app import create_app

    return create_app()
