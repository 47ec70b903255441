"""Feed: lines of standard input that are published as they come.

Strategy: read what there is, publish it as one batch, read again. What comes meanwhile waits in the pipe, so a slow
server costs batches, not memory. Each line has a key of its own: a batch that may have been taken is sent again until
it surely is, and nothing is lost or published twice.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

from .failures import FAILED, fail, tell
from .patience import Patience
from .remote import Remote, Trouble


STDIN = 0
READ = 65_536

#: A batch: lines, and bytes of data. A channel keeps a hundred updates, unless it is told to keep more: who listens
#: would miss those of a larger batch. The server takes 8 MiB; JSON may make six of one.
LINES, BYTES = 50, 1_048_576

#: Of a longer line there is no batch.
LONGEST = 4 * 1_048_576

Line = tuple[int, bytes]


class Feed:
    """Publish each line of standard input to ``channel``. The keys are ``key`` and the number of the line."""

    def __init__(self, remote: Remote, channel: str, media_type: str | None, event: str | None, key: str) -> None:
        self.remote = remote
        self.channel = channel
        self.key = key
        #: What the server has said of all batches together.
        self.sum: dict[str, Any] = {"count": 0, "duplicates": 0, "first": None, "last": None}
        self._same = {name: value for name, value in (("type", media_type), ("event", event)) if value is not None}
        self._waiting = False
        self._stopped = False
        self._ended = False
        self._begun = b""
        self._number = 0

    def run(self) -> None:
        """Until the input ends, or Ctrl-C: then what was read is published yet. Raises Trouble, and leaves the process
        for what can't be published."""
        signal.signal(signal.SIGINT, self._stop)
        while not self._ended:
            for batch in _batches(self._read()):
                self._publish(batch)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _stop(self, number: int, frame: object) -> None:
        if self._waiting or self._stopped:
            raise KeyboardInterrupt
        self._stopped = True

    # The input.

    def _read(self) -> Iterator[Line]:
        data = b"" if self._stopped else self._read_some()
        *lines, self._begun = (self._begun + data).split(b"\n")
        self._ended = not data
        if self._ended and self._begun:
            lines.append(self._begun)
        for line in lines:
            self._number += 1
            yield self._number, line.removesuffix(b"\r")
        if len(self._begun) > LONGEST:
            fail(f"line {self._number + 1} has more than {LONGEST} bytes, too many for an update.", FAILED)

    def _read_some(self) -> bytes:
        self._waiting = True
        try:
            return os.read(STDIN, READ)
        except KeyboardInterrupt:
            return b""
        except OSError as error:
            fail(f"can't read standard input: {(error.strerror or str(error)).lower()}.", FAILED)
        finally:
            self._waiting = False

    # The server.

    def _publish(self, batch: list[Line]) -> None:
        """Send a batch until it is taken."""
        body = b"".join(self._entry(line) for line in batch)
        patience, told = Patience(), False
        while True:
            try:
                self._send(body, again=told)
            except Trouble as trouble:
                if not trouble.passes:
                    raise Trouble(_of_input(str(trouble), batch)) from trouble
                if not told:
                    tell(f"{trouble} Trying again.")
                told = True
                self._wait(patience.pause(trouble.after), batch)
            else:
                if told:
                    tell(f"{self.remote.url} takes lines again.")
                return

    def _send(self, body: bytes, *, again: bool) -> None:
        answer = self.remote.ask("POST", "/channels", data=body, headers={"Content-Type": "application/x-ndjson"})
        try:
            told = answer.json()
            # What is there already was published a moment ago, by the attempt that seemed to fail.
            self.sum["count"] += told["count"] + (told["duplicates"] if again else 0)
            self.sum["duplicates"] += 0 if again else told["duplicates"]
            self.sum["first"] = self.sum["first"] or told["first"]
            self.sum["last"] = told["last"]
        except (ValueError, KeyError, TypeError):
            raise self.remote.stranger(answer) from None

    def _wait(self, seconds: float, batch: list[Line]) -> None:
        self._waiting = True
        try:
            if self._stopped:
                raise KeyboardInterrupt
            time.sleep(seconds)
        except KeyboardInterrupt:
            fail(f"stopped; lines {batch[0][0]} to {batch[-1][0]} may not have been published.", FAILED)
        finally:
            self._waiting = False

    def _entry(self, line: Line) -> bytes:
        number, data = line
        entry = {"channel": self.channel, "key": f"{self.key}-{number}", **self._same}
        try:
            entry["data"] = data.decode()
        except UnicodeDecodeError:
            entry |= {"data": base64.b64encode(data).decode(), "encoding": "base64"}
        return json.dumps(entry, ensure_ascii=False).encode() + b"\n"


def _of_input(sentence: str, batch: list[Line]) -> str:
    """The sentence, with the number that the line has in the input instead of that in the batch."""
    match = re.match(r"line ([0-9]+): ", sentence)
    if match is None:
        return sentence
    return f"line {batch[int(match[1]) - 1][0]}: {sentence[match.end() :]}"


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and (len(batch) >= LINES or size + len(line[1]) > BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line[1])
    if batch:
        yield batch
