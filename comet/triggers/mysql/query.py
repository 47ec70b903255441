"""Query: publishes what the result of a query has become: its rows one by one, the whole, or both.

Strategy: the result is read whole and compared with what was published last. Of that the checkpoint holds each row's
key and digest, and is remembered together with the differences: so they always lead from what subscribers were told to
what is true, whoever runs it, and however long it has slept. The whole is published anew whenever it begins.
"""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from gevent.event import Event

from ...breath import breathe
from ...core.errors import Alarm, SettingsError, TooLarge
from ...core.update import JSON, Update
from .. import Publish, beats
from .address import Address
from .database import Database
from .mapping import as_row


log = logging.getLogger("comet")

#: Rows that a result may have.
MOST = 10_000

#: Differences that are published together.
TOGETHER = 100

#: Between looks that are further apart, in seconds, there is no connection: somebody might cut it as an idle one.
IDLE = 60.0

#: Before the digest of a row that was too large to be added.
LEFT_OUT = "-"


@dataclass(frozen=True, slots=True)
class Difference:
    """``key``: the row's, as JSON; ``digest``: of what it is now, None when it is gone."""

    event: str
    key: str
    data: bytes
    digest: str | None


class Query:
    """Every ``every`` seconds run ``query`` and publish to ``channel`` how its result differs from the last one.

    With the column ``key``, which no two rows share: an event ``added``, ``changed`` or ``removed`` for each row, with
    the row as JSON. The first time ``added`` for all of them, unless ``initial`` is false. With ``as_="snapshot"``, or
    for a ``snapshot_channel`` beside the key: the whole result as a JSON list, with the event ``event``.

    It runs while one of its channels is watched, or ``always``.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str,
        query: str,
        channel: str,
        key: str | None = None,
        as_: str | None = None,
        snapshot_channel: str | None = None,
        event: str | None = None,
        initial: bool = True,
        every: float = 1.0,
        always: bool = False,
    ) -> None:
        if as_ not in (None, "snapshot"):
            raise SettingsError(f'as is {as_!r}; it may be "snapshot", or left out.')
        if (key is None) == (as_ is None):
            raise SettingsError(
                'a query needs either key = "column", for differences, or as = "snapshot"; '
                "for both give snapshot_channel beside key."
            )
        if snapshot_channel is not None and (as_ is not None or snapshot_channel == channel):
            raise SettingsError(
                "snapshot_channel goes beside key, and is another channel than that of the differences."
            )
        if event is not None and as_ is None and snapshot_channel is None:
            raise SettingsError("event is that of the whole result; differences are added, changed and removed.")
        self.name = name
        self.address = Address.parse(url)
        self.query = query
        self.channel = channel
        self.key = key
        self.snapshot_channel = channel if as_ else snapshot_channel
        self.source = f"{channel} {key}"
        self.event = event
        self.initial = initial
        self.every = every
        self.always = always
        self.other_channels = [snapshot_channel] if snapshot_channel else []
        self._stopping = Event()
        #: What subscribers were told: the digest of each key's row. None: nothing yet.
        self._told: dict[str, str] | None = None
        #: The rows themselves, as far as this worker has seen them.
        self._rows: dict[str, bytes] = {}
        self._snapshot: bytes | None = None

    def run(self, publish: Publish) -> None:
        self._stopping.clear()
        self._snapshot = None  # who comes now is to have it, changed or not
        checkpoint = publish.checkpoint()
        if publish.lasts:  # else the log has what this very process has published, and nothing before
            self._told = json.loads(checkpoint or "null")
        database = None
        try:
            for _ in beats(self.every, self._stopping):
                database = database or Database(self.address)
                self._look(database, publish)
                if self.every > IDLE:
                    database.close()
                    database = None
        finally:
            if database is not None:
                database.close()

    def stop(self) -> None:
        self._stopping.set()

    def _look(self, database: Database, publish: Publish) -> None:
        rows = self._read(database)
        if self._stopping.is_set():
            return
        if self.key is not None:
            self._publish_differences(publish, self._by_key(rows))
        if self.snapshot_channel is not None:
            self._publish_snapshot(publish, self.snapshot_channel, rows)

    def _read(self, database: Database) -> list[tuple[str, bytes]]:
        """Each row's key (empty if there is none) and the row, both as JSON."""
        columns, rows = database.read(self.query, MOST)
        names = [name for name, _ in columns]
        kinds = [kind for _, kind in columns]
        self._check(names, len(rows))
        read = []
        for row in rows:
            values = as_row(names, kinds, row)
            read.append(("" if self.key is None else _dump(values[self.key]), _dump(values).encode()))
            breathe()
        return read

    def _check(self, names: Sequence[str], count: int) -> None:
        if not names:
            raise Alarm("the query gives no rows; it must be a SELECT.")
        if twice := {name for name in names if names.count(name) > 1}:
            raise Alarm(f"the query gives two columns {min(twice)}: name one of them otherwise, with AS.")
        if self.key is not None and self.key not in names:
            raise Alarm(f"the query gives no column {self.key}, which is its key; it gives {', '.join(names)}.")
        if count > MOST:
            raise Alarm(f"the query gives more than {MOST} rows: let it give fewer, by WHERE or LIMIT.")

    # The rows one by one.

    def _by_key(self, rows: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
        by_key = dict(rows)
        if len(by_key) < len(rows) or "null" in by_key:
            raise Alarm(f"{self.key} can't be the key: it must be another in each row of the result, and never NULL.")
        return by_key

    def _publish_differences(self, publish: Publish, rows: dict[str, bytes]) -> None:
        if self._told is None:
            self._told = {}
            if not self.initial:
                self._told = {key: _digest(data) for key, data in rows.items()}
                publish([], json.dumps(self._told))
        page: list[Difference] = []
        for difference in self._differences(self._told, rows):
            page.append(difference)
            if len(page) == TOGETHER:
                self._publish_page(publish, page)
                page = []
            breathe()
        self._publish_page(publish, page)
        self._rows = rows

    def _differences(self, told: dict[str, str], rows: dict[str, bytes]) -> Iterator[Difference]:
        for key in [key for key in told if key not in rows]:
            # Another worker may have seen it last: then its key is all that is known.
            data = self._rows.get(key) or _dump({self.key: json.loads(key)}).encode()
            yield Difference("removed", key, data, None)
        for key, data in rows.items():
            before, digest = told.get(key, LEFT_OUT), _digest(data)
            if before.removeprefix(LEFT_OUT) != digest:
                yield Difference("added" if before.startswith(LEFT_OUT) else "changed", key, data, digest)
            else:
                breathe()

    def _publish_page(self, publish: Publish, page: Sequence[Difference]) -> None:
        """Publish them with the checkpoint that follows: all, or one by one those that are not too large."""
        if not page:
            return
        told = _after(self._told or {}, page)
        updates = [Update(self.channel, each.data, JSON, each.event) for each in page if not self._was_left_out(each)]
        try:
            publish(updates, json.dumps(told))
        except TooLarge as error:
            if len(page) > 1:
                for each in page:
                    self._publish_page(publish, [each])
                return
            (row,) = page
            log.error("comet: %s leaves out the row %s: %s", self.name, row.key, error)
            if row.event == "added":
                told[row.key] = f"{LEFT_OUT}{row.digest}"
            publish([], json.dumps(told))
        self._told = told

    def _was_left_out(self, difference: Difference) -> bool:
        """Whether a row is gone that nobody was told of."""
        return difference.event == "removed" and (self._told or {})[difference.key].startswith(LEFT_OUT)

    # The whole.

    def _publish_snapshot(self, publish: Publish, channel: str, rows: Sequence[tuple[str, bytes]]) -> None:
        snapshot = b"[" + b",".join(data for _, data in rows) + b"]"
        if snapshot != self._snapshot or not publish.kept:
            try:
                publish([Update(channel, snapshot, JSON, self.event)])
            except TooLarge as error:
                raise Alarm(f"the whole result is too large ({error}) Let the query give less.") from error
            self._snapshot = snapshot


def _after(told: dict[str, str], page: Sequence[Difference]) -> dict[str, str]:
    """What subscribers know after these differences."""
    after = dict(told)
    for each in page:
        if each.digest is None:
            del after[each.key]
        else:
            after[each.key] = each.digest
    return after


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _digest(data: bytes) -> str:
    return b64encode(blake2b(data, digest_size=9).digest()).decode()
