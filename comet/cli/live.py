"""``live``: any command's output as a live page."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import click

from .. import serving
from . import environment, master
from .failures import WRONG, fail


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--every", type=float, default=1.0, show_default=True, metavar="S", help="Seconds between two runs.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def live(every: float, command: tuple[str, ...]) -> None:
    """Show what COMMAND prints as a live page.

    It is run again and again; the page changes when its output does. For example:

        python -m comet live --every 1 -- df -h
    """
    if not 0.05 <= every <= 86_400:
        fail(f"--every {every:g} is not a pace: it takes 0.05 to 86400 seconds.", WRONG)
    if shutil.which(command[0]) is None:
        fail(f"there is no program {command[0]!r} that could be run.", WRONG)
    # Without the triggers of a comet.toml: two servers would take from one source.
    settings = replace(environment.settings(), demo=False, triggers=())

    def make() -> Any:
        from flask import redirect

        from ..app import create_app
        from ..triggers.command import Command

        app = create_app(settings)
        app.add_url_rule("/", "live", lambda: redirect("/channels/live/html"))
        trigger = Command(
            command[0],
            argv=command,
            channel="live",
            every=every,
            timeout=max(30.0, every),
            errors=True,
            most=settings.max_update,
        )
        app.extensions["comet"].worker.add(trigger)
        return app

    master.run(lambda: settings, make, loglevel="warning", when_ready=_show)


def _show(server: Any) -> None:
    address = server.LISTENERS[0].getsockname()
    if isinstance(address, str):
        click.echo(f"live: curl -N --unix-socket {address} http://localhost/channels/live/text")
    else:
        url = serving.url_of(address, tls=False)
        click.echo(f"live: {url}/\n      curl -N {url}/channels/live/text")
