"""``listen``: what is published, as it comes, whatever breaks in between."""

from __future__ import annotations

import json
import os
import re
import select
import threading
from typing import Any

import click

from ..core.errors import BadRequest
from ..core.update import check_channel
from . import options, output
from .failures import FAILED, WRONG, fail, tell
from .following import Following
from .progress import Progress, Silent
from .remote import Trouble


MOST = 16

#: Terminals obey these. As the wire ``text`` does it.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@click.command()
@click.argument("names")
@click.option("--since", metavar="ID", help="Everything after this id.")
@click.option("--last", type=click.IntRange(0), metavar="N", help="Without an id: the N newest of each channel first.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many updates.")
@options.as_json
@options.url
@options.token
def listen(
    names: str, since: str | None, last: int | None, count: int | None, as_json: bool, url: str, token: str | None
) -> None:
    """Print what is published to NAMES, as it comes.

    NAMES is a channel, or up to 16 joined by commas. When the connection breaks it is made again, and nothing is lost
    or printed twice. Ctrl-C ends. For example:

    \b
        python -m comet listen time
        python -m comet listen orders,log --last 10 --json
    """
    channels = _check(names, since)
    threading.Thread(target=_watch_reader, daemon=True).start()
    teller = Teller(names, as_json=as_json, several=len(channels) > 1)
    following = Following(options.subscriber(url, token), channels, since=since, last=last, watcher=teller)
    try:
        for told in following:
            teller.tell(told)
            if count is not None and teller.count == count:
                break
    except KeyboardInterrupt:
        pass
    except Trouble as trouble:
        teller.progress.end()
        fail(str(trouble), FAILED)
    except SystemExit:
        teller.progress.end()
        raise
    teller.progress.end()


def _check(names: str, since: str | None) -> list[str]:
    channels = list(dict.fromkeys(names.split(",")))
    if len(channels) > MOST:
        fail(f"{len(channels)} channels are too many to listen to at once: up to {MOST}, joined by commas.", WRONG)
    try:
        for channel in channels:
            check_channel(channel)
    except BadRequest as error:
        fail(str(error), WRONG)
    if since is not None and not re.fullmatch(r"[!-~]{1,64}", since):
        fail("--since takes an id, such as --json and the line on the terminal show it.", WRONG)
    return channels


def _watch_reader() -> None:
    """End when nobody reads any more, although nothing comes that could be printed: ``| head -1`` waits for us."""
    watch = select.poll()
    watch.register(output.STDOUT, 0)
    while not any(happened & (select.POLLERR | select.POLLHUP) for _, happened in watch.poll()):
        pass
    os._exit(0)


class Teller:
    """Prints what comes; and what happens to the connection, on standard error."""

    def __init__(self, names: str, *, as_json: bool, several: bool) -> None:
        self.as_json = as_json
        self.several = several
        self.count = 0
        self.progress: Silent = Progress(names) if os.isatty(2) else Silent()
        self._lost = False

    def tell(self, told: dict[str, Any]) -> None:
        with self.progress.paused():
            if "id" in told:
                self.count += 1
                self.progress.count(told["id"])
            if self.as_json:
                output.say(json.dumps(told, ensure_ascii=False, separators=(",", ":")))
            elif "id" in told:
                output.say(self._text(told))
            self._say(told)

    def _say(self, told: dict[str, Any]) -> None:
        if "gap" in told:
            tell(f"updates are missing here that the server has no more ({told['gap']['reason']}).")
        elif "closed" in told:
            tell(f"{told['closed']} was deleted.")
        elif "expiring" in told:
            tell(f"the token ends in {told['expiring']} s." if told["expiring"] else "the token has ended.")

    def _text(self, told: dict[str, Any]) -> str:
        if told.get("encoding") == "base64":
            # Padding and all, it is four characters for three bytes.
            size = len(told["data"]) * 3 // 4 - told["data"].count("=")
            text = f"{told['type']}, {size} bytes"
        else:
            text = told["data"].replace("\r\n", "\n")
        text = _CONTROLS.sub("\ufffd", text)
        return f"{told['channel']}: {text}" if self.several else text

    # The connection.

    def connected(self) -> None:
        if self._lost:
            with self.progress.paused():
                tell("connected again.")
        self._lost = False
        self.progress.connected()

    def lost(self, trouble: Trouble, seconds: float) -> None:
        if not self._lost:
            with self.progress.paused():
                tell(f"{trouble} Trying again.")
        self._lost = True
        self.progress.lost(trouble, seconds)
