"""Progress: one line on a terminal's standard error that says how it goes; or nothing, where that is no terminal.

It stands below what is printed: whoever prints does it in ``paused``, which takes the line away and puts it back.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from .remote import Trouble


STDERR = 2

#: Seconds between two looks of the line, and those that the rate is of.
PACE, WINDOW = 0.5, 5.0

#: It is drawn no sooner again because of what was printed.
BURST = 0.1

_CLEAR = "\r\x1b[K"


class Silent:
    """Progress where nobody looks."""

    def count(self, id: str) -> None:
        """An update has come."""

    def connected(self) -> None:
        """The connection stands."""

    def lost(self, trouble: Trouble, seconds: float) -> None:
        """There is none; the next attempt is in so many seconds."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Print in here."""
        yield

    def end(self) -> None:
        """Leave the line as it is at the end."""


class Progress(Silent):
    """The line. A thread draws it anew while nothing comes: the rate falls, and time runs."""

    def __init__(self, names: str) -> None:
        self._names = names
        self._state = "connecting"
        self._updates = 0
        self._last = ""
        self._times: deque[float] = deque()
        self._drawn = 0.0
        self._shown = False
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def count(self, id: str) -> None:
        self._updates += 1
        self._last = id
        self._times.append(time.monotonic())

    def connected(self) -> None:
        self._state = "live"
        self._draw_soon()

    def lost(self, trouble: Trouble, seconds: float) -> None:
        self._state = f"offline, trying again in {max(1, round(seconds))} s"
        self._draw_soon()

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self._lock:
            if self._shown:
                _show(_CLEAR)
                self._shown = False
            try:
                yield
            finally:
                # A burst is not slowed down: the thread brings the line back.
                if time.monotonic() - self._drawn > BURST:
                    self._draw()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        with self._lock:
            self._state = "ended"
            self._draw()
            _show("\n")

    def _tick(self) -> None:
        while not self._ended.wait(PACE):
            self._draw_soon()

    def _draw_soon(self) -> None:
        with self._lock:
            self._draw()

    def _draw(self) -> None:
        self._drawn = now = time.monotonic()
        while self._times and self._times[0] < now - WINDOW:
            self._times.popleft()
        rate = f"  {len(self._times) / WINDOW:,.1f}/s" if self._state == "live" else ""
        what = "update" if self._updates == 1 else "updates"
        line = f"{self._names}: {self._state}  {self._updates:,} {what}{rate}"
        _show(_CLEAR + (line + (f"  {self._last}" if self._last else ""))[: _width() - 1])
        self._shown = True


def _width() -> int:
    try:
        return max(20, os.get_terminal_size(STDERR).columns)
    except OSError:
        return 80


def _show(text: str) -> None:
    try:
        os.write(STDERR, text.encode())
    except OSError:
        pass  # the terminal is gone, and with it whoever would read this
