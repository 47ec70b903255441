"""Run: the triggers that run the command, and publish what it prints as text and as HTML."""

from __future__ import annotations

import html
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent

from ..brokers import Receipt
from ..core.errors import Alarm, SourceFailed
from ..core.update import Closed, Update
from ..rendering import HTML
from ..triggers import Publish
from ..triggers.command import Command
from ..worker import Worker
from .ansi import Terminal


CHANNEL, PAGE = "live", "live.page"

#: Seconds that readers are given for the last lines: in any case, for who polls; and those who are slow.
LAST, LONGEST = 1.0, 10.0

#: What programs ask that would rather not colour a pipe, or hold back what they print into one.
_ASKED = {"CLICOLOR_FORCE": "1", "FORCE_COLOR": "1", "PYTHONUNBUFFERED": "1"}


class OverAndOver:
    """Every ``every`` seconds, show all that the command prints, while anybody watches."""

    channel = CHANNEL
    other_channels = (PAGE,)
    always = False

    def __init__(self, command: Sequence[str], *, every: float, most: int) -> None:
        _prepare()
        self.name = command[0]
        self._most = most
        self._command = Command(
            self.name, argv=command, channel=CHANNEL, every=every, timeout=max(30.0, every), errors=True, most=most
        )

    def run(self, publish: Publish) -> None:
        self._command.run(_Both(publish, self._page, self._most))

    def stop(self) -> None:
        self._command.stop()

    def _page(self, update: Update) -> tuple[str, str]:
        terminal = Terminal()
        lines = [terminal.read(line) for line in update.data.removesuffix(b"\n").split(b"\n")]
        plain = "\n".join(line for line, _ in lines) + ("\n" if update.data.endswith(b"\n") else "")
        room, shown = self._most - 100, []
        for _, line in lines:
            room -= len(line.encode()) + 1
            if room < 0:
                shown.append("…")
                break
            shown.append(line)
        return plain, "<pre>\n" + "\n".join(shown) + "</pre>"


class LineByLine:
    """Run the command once, show its lines one after the other, and when it has ended say so, and end the server."""

    def __init__(self, command: Sequence[str], *, worker: Worker, ended: Callable[[str, bool], None]) -> None:
        _prepare()
        self.name = command[0]
        self._worker = worker
        self._most = worker.settings.max_update
        self._ended = ended
        self._terminal = Terminal()
        self._stopped = False
        self._command = Command(self.name, argv=command, channel=CHANNEL, lines=True, errors=True, most=self._most)

    def run(self, publish: Publish) -> None:
        wrong = ""
        try:
            self._command.run(_Both(publish, self._line, self._most))
        except (SourceFailed, Alarm) as error:
            wrong = str(error)
        if not self._stopped:
            said = wrong or f"{self.name} has ended."
            publish([Update(PAGE, f'<div class="end">{html.escape(said)}</div>'.encode(), HTML)])
            self._close(wrong)

    def stop(self) -> None:
        self._stopped = True
        self._command.stop()

    def _line(self, update: Update) -> tuple[str, str]:
        plain, line = self._terminal.read(update.data)
        page = f"<div>{line or '<br>'}</div>"
        if len(page.encode()) > self._most:
            # Six bytes for one, if each must be escaped.
            page = f"<div>{html.escape(plain[: self._most // 8])}…</div>"
        return plain, page

    def _close(self, wrong: str) -> None:
        """End the channels, once everybody has what is in them: to end them is to forget it. Then end the server."""
        controller = self._worker.controller
        gevent.sleep(LAST)
        self._wait(
            lambda: all(stream.position.seq >= controller.log.last(stream.names) for stream in controller.streams)
        )
        self._worker.publish([Closed(CHANNEL), Closed(PAGE)])
        self._wait(lambda: not controller.streams)
        self._ended(wrong, any(controller.counts.opens.values()))

    def _wait(self, state: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONGEST
        while not (state() or self._stopped or time.monotonic() > deadline):
            gevent.sleep(0.05)


class _Both:
    """Publish each update of the command twice: as text of at most ``most`` bytes, and as HTML, both made by
    ``read``."""

    def __init__(self, publish: Publish, read: Callable[[Update], tuple[str, str]], most: int) -> None:
        self._publish = publish
        self._read = read
        self._most = most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publish, name)

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        both = []
        for update in updates:
            plain, page = self._read(update)
            # What is no text takes three bytes for one.
            text = plain.encode()[: self._most].decode(errors="ignore")
            both += [Update(CHANNEL, text.encode()), Update(PAGE, page.encode(), HTML)]
        return self._publish(both, checkpoint)


def _prepare() -> None:
    if "NO_COLOR" not in os.environ:
        for name, value in _ASKED.items():
            os.environ.setdefault(name, value)
