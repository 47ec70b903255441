"""Checkpoints: how far sources have been read, in a file, for the broker that remembers nothing.

Strategy: one JSON object, written aside, synced and renamed, in a thread, and at most a few times a second: it may be
behind what was published, never ahead. What is published twice after a crash is new to a log that began anew.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import gevent

from ...core.errors import Alarm


log = logging.getLogger("comet")

#: Seconds for which changes gather before they are written.
GATHER = 0.25

#: Seconds after which a write that failed is tried again.
RETRY = 2.0

#: Seconds that closing waits for a write.
PATIENCE = 1.0


class Checkpoints:
    """The file ``path``. It is read when somebody asks for the first time, and made when there is something to say."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._texts: dict[str, str] | None = None
        self._written: dict[str, str] = {}
        self._writer: gevent.Greenlet | None = None
        self._thread: Any = None
        self._error = ""

    def get(self, name: str) -> str | None:
        """What was last remembered under this name. Raises Alarm where the file can't be read."""
        if self._texts is None:
            self._texts = self._read()
            self._written = dict(self._texts)
        return self._texts.get(name)

    def remember(self, name: str, text: str) -> None:
        """Remember it, soon. Never waits."""
        self.get(name)
        assert self._texts is not None
        self._texts[name] = text
        if self._writer is None:
            self._writer = gevent.spawn_later(GATHER, self._write_in_turn)

    def close(self) -> None:
        """Write what has not been written yet."""
        if self._writer is not None:
            self._writer.kill()
            self._writer = None
            if self._thread is not None:
                self._thread.wait(PATIENCE)  # it would put the old text after the new one
            self._note(dict(self._texts or {}), _write(self.path, self._text()))

    def _write_in_turn(self) -> None:
        while self._texts != self._written:
            texts = dict(self._texts or {})
            self._thread = gevent.get_hub().threadpool.spawn(_write, self.path, self._text())
            self._note(texts, self._thread.get())
            self._thread = None
            gevent.sleep(RETRY if self._error else GATHER)
        self._writer = None

    def _text(self) -> str:
        return json.dumps(self._texts, indent=1)

    def _note(self, texts: dict[str, str], error: str) -> None:
        """Take these as written, unless there was an error; that is told once, while it is the same."""
        if error and error != self._error:
            log.error("comet: the checkpoints can't be written to %s: %s", self.path, error)
        if not error:
            self._written = texts
        self._error = error

    def _read(self) -> dict[str, str]:
        try:
            texts = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Alarm(
                f"the checkpoints can't be read from {self.path}: {error}. Mend it, or move it away."
            ) from error
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise Alarm(f"{self.path} has no checkpoints. Move it away, or set COMET_CHECKPOINTS to another file.")
        return texts


def _write(path: Path, text: str) -> str:
    """All or nothing: who reads it, even after a loss of power, finds the old text or the new one. Returns an error.

    It is not raised: from a thread, gevent would print a traceback beside.
    """
    aside = path.with_name(f"{path.name}.new")
    try:
        with open(aside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        return str(error.strerror or error).lower()
    return ""
