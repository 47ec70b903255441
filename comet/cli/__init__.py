"""The command line: ``python -m comet``. One file for each command.

``serve`` and ``live`` become gunicorn's master, which is not patched: nothing that they load at the top may import
Flask, gevent or ssl (see ``serving``). So a command is loaded only when it is asked for: those that are clients may
import what they need. Errors go to standard error, in one sentence; the exit status is 0 only on success.
"""

from __future__ import annotations

import errno
from importlib import import_module
from typing import Any

import click

from .. import __version__
from .output import refuse


#: The commands, in the order of the help. Each is the function of its name in the file of its name.
COMMANDS = ["serve", "publish", "listen", "channels", "live", "doctor", "token"]


class Commands(click.Group):
    """A group that loads a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return COMMANDS

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = getattr(import_module(f".{name}", __name__), name)
        assert isinstance(command, click.Command)
        return command

    def main(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().main(*arguments, **options)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            refuse(error)  # what click prints itself: help, say


@click.command(cls=Commands)
@click.version_option(__version__, prog_name="comet")
def main() -> None:
    """A real-time HTTP push server. Its settings are COMET_* variables."""
