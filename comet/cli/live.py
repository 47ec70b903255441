"""``live``: any command's output as a live page."""

from __future__ import annotations

import json
import os
import shutil
import signal
from dataclasses import replace
from typing import Any

import click

from .. import serving
from . import environment, master, output
from .failures import FAILED, WRONG, fail, tell


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--every", type=float, metavar="S", help="Run it again and again, each S seconds, and show what is new.")
@click.option("--append", is_flag=True, help="Run it once, and append each line as it comes: the default.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def live(every: float | None, append: bool, command: tuple[str, ...]) -> None:
    """Show what COMMAND prints as a live page, in its colours. Ctrl-C ends.

    Its lines are appended as they come, and the page ends with the command. With --every it is run again and again,
    and the page shows its latest output. For example:

    \b
        python -m comet live -- tail -f app.log
        python -m comet live --every 1 -- df -h
    """
    if every is not None and append:
        fail("--append runs the command once, and --every again and again: take one of them.", WRONG)
    if every is not None and not 0.05 <= every <= 86_400:
        fail(f"--every {every:g} is not a pace: it takes 0.05 to 86400 seconds.", WRONG)
    if shutil.which(command[0]) is None:
        fail(f"there is no program {command[0]!r} that could be run.", WRONG)
    # One process, and nothing kept: another run's output is not this one's.
    settings = replace(environment.settings(), workers=1, broker="memory", flask_sse=())
    end = _End()

    def make() -> Any:
        from ..live import create

        return create(settings, command, every=every, ended=end.tell)

    try:
        master.run(lambda: settings, make, loglevel="warning", when_ready=_show)
    except SystemExit:
        if os.getpid() == end.master:
            _say(*end.heard())
        raise


class _End:
    """How the worker tells the master that the command has ended: with what went wrong, and whether anybody watched."""

    def __init__(self) -> None:
        self.master = os.getpid()
        self._out, self._in = os.pipe()
        os.set_blocking(self._out, False)

    def tell(self, wrong: str, watched: bool) -> None:
        os.write(self._in, json.dumps([wrong[:1000], watched]).encode())
        os.kill(self.master, signal.SIGTERM)

    def heard(self) -> tuple[str, bool]:
        try:
            wrong, watched = json.loads(os.read(self._out, 10_000))
        except (BlockingIOError, ValueError):
            return "", True  # it was stopped from outside
        return str(wrong), bool(watched)


def _say(wrong: str, watched: bool) -> None:
    if wrong:
        fail(wrong, FAILED)
    if not watched:
        tell("the command has ended before anybody looked; --every 1 runs it again and again.")


def _show(server: Any) -> None:
    address = server.LISTENERS[0].getsockname()
    if isinstance(address, str):
        output.say(f"live: curl -N --unix-socket {address} http://localhost/channels/live/text")
    else:
        url = serving.url_of(address, tls=False)
        output.say(f"live: {url}/\n      curl -N {url}/channels/live/text")
