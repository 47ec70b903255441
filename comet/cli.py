"""The command line: ``python -m comet``.

What runs here becomes gunicorn's master, which is not patched: nothing here may import Flask or gevent at the top (see
``serving``). Errors go to standard error, in one sentence; the exit status is 0 only on success.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import click
from gunicorn.app.base import BaseApplication

from . import __version__, serving, tokens
from .core.errors import BadRequest, SettingsError
from .settings import Settings, load


#: Exit statuses: something was asked for that can't be right, or could not be done now.
WRONG, FAILED = 2, 1


@click.group()
@click.version_option(__version__, prog_name="comet")
def main() -> None:
    """A real-time HTTP push server. Its settings are COMET_* variables."""


@main.command()
def serve() -> None:
    """Start the server at COMET_BIND. HUP makes it read its settings anew."""

    def make() -> Any:
        from .app import create_app

        return create_app()

    _serve(_settings, make)


@main.command(context_settings={"allow_interspersed_args": False})
@click.option("--every", type=float, default=1.0, show_default=True, metavar="S", help="Seconds between two runs.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def live(every: float, command: tuple[str, ...]) -> None:
    """Show what COMMAND prints as a live page.

    It is run again and again; the page changes when its output does. For example:

        python -m comet live --every 1 -- df -h
    """
    if not 0.05 <= every <= 86_400:
        _fail(f"--every {every:g} is not a pace: it takes 0.05 to 86400 seconds.", WRONG)
    if shutil.which(command[0]) is None:
        _fail(f"there is no program {command[0]!r} that could be run.", WRONG)
    # Without the triggers of a comet.toml: two servers would take from one source.
    settings = replace(_settings(), demo=False, triggers=())

    def make() -> Any:
        from flask import redirect

        from .app import create_app
        from .triggers.command import Command

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

    _serve(lambda: settings, make, loglevel="warning", when_ready=_show_live)


def _show_live(server: Any) -> None:
    address = server.LISTENERS[0].getsockname()
    if isinstance(address, str):
        click.echo(f"live: curl -N --unix-socket {address} http://localhost/channels/live/text")
    else:
        url = serving.url_of(address, tls=False)
        click.echo(f"live: {url}/\n      curl -N {url}/channels/live/text")


@main.command()
@click.option("--publish", multiple=True, metavar="NAME", help="A channel, or a prefix ending in *. May be repeated.")
@click.option("--subscribe", multiple=True, metavar="NAME", help="The same, for reading.")
@click.option(
    "--expires", default="1h", show_default=True, metavar="TIME", help="How long it is good: 30s, 15m, 1h, 7d."
)
@click.option("--json", "as_json", is_flag=True, help="Tell its jti, too: by that it is revoked (DELETE /tokens/JTI).")
def token(publish: tuple[str, ...], subscribe: tuple[str, ...], expires: str, as_json: bool) -> None:
    """Make a signed token, with the first key of COMET_JWT_KEY.

    For example:

        python -m comet token --publish 'orders*' --subscribe '*' --expires 1h
    """
    secrets = _settings().jwt_key
    if not secrets:
        _fail("COMET_JWT_KEY is not set: it is what tokens are signed with. openssl rand -hex 32 makes one.", WRONG)
    if not publish and not subscribe:
        _fail("such a token would grant nothing: name channels with --publish or --subscribe.", WRONG)
    seconds, jti = _seconds(expires), tokens.new_jti()
    try:
        made = tokens.make(secrets[0], publish=publish, subscribe=subscribe, seconds=seconds, jti=jti)
    except (BadRequest, SettingsError) as error:
        _fail(str(error), WRONG)
    click.echo(json.dumps({"token": made, "jti": jti}) if as_json else made)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text, re.ASCII)
    if not match:
        _fail(f"--expires {text[:40]!r} is no time: it takes a number and its unit, such as 30s, 15m, 1h or 7d.", WRONG)
    return int(match[1]) * _UNITS[match[2]]


# gunicorn.


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with the options that are read, serving the app that ``make`` returns in each worker."""

    def __init__(self, read: Callable[[], dict[str, Any]], make: Callable[[], Any]) -> None:
        self.read = read
        self.make = make
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.read().items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self.make()


def _serve(read: Callable[[], Settings], make: Callable[[], Any], **options: Any) -> NoReturn:
    """Run gunicorn until it is told to stop, with the settings that are read now, and when it is told to reload."""
    _check_bind(read().bind)
    _Server(lambda: {**serving.options(read()), **options}, make).run()
    raise AssertionError("gunicorn's master ends the process itself")


def _check_bind(bind: str) -> None:
    """gunicorn would try for five seconds, in many words."""
    if bind.startswith("unix:"):
        return
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    try:
        socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        # The text of create_server says it twice. A name that is not known has a negative number, and its own text.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)
        _fail(f"can't listen on {bind} (COMET_BIND): {why.lower()}.", FAILED)


def _settings() -> Settings:
    try:
        return load()
    except SettingsError as error:
        _fail(str(error), WRONG)


def _fail(sentence: str, status: int) -> NoReturn:
    click.echo(f"comet: {sentence}", err=True)
    sys.exit(status)
