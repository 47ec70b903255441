"""flask-sse: takes over what programs publish with the extension of that name, unchanged.

They ``PUBLISH`` to a channel of Redis the JSON ``{"data", "type", "id", "retry"}``; all but the data may be missing.
Here the channel keeps its name, and the type becomes the event. Id and retry are left out: the ids here are places in
the log, by which clients resume. As idempotency keys theirs are no good either: nobody says that they are unique, and
the second update with an id would be lost.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence

import gevent
from gevent.queue import Queue

from ..brokers import Hear
from ..core.errors import BadRequest, TooLarge, TooManyChannels
from ..core.update import Update
from . import Publish


log = logging.getLogger("comet")

#: Messages that may wait to be published, and that are published together at the most.
WAITING = 1000
TOGETHER = 100

#: Seconds between two sentences in the log about messages that are left out.
SELDOM = 60.0


class FlaskSse:
    """Publish what ``listen`` hears on channels with these prefixes.

    Nobody keeps such messages for who is not there: what is published while no worker listens is lost.
    """

    def __init__(self, prefixes: Sequence[str], listen: Callable[[Sequence[str], Hear], None]) -> None:
        self.name = "flask-sse"
        self.prefixes = prefixes
        self.listen = listen
        self._heard: Queue = Queue(WAITING)
        self._left_out = 0
        self._silent_until = 0.0

    def run(self, publish: Publish) -> None:
        self._heard = Queue(WAITING)
        listener = gevent.spawn(self._listen, self._heard)
        try:
            while updates := self._gather():
                self._publish(publish, updates)
        finally:
            listener.kill()

    def stop(self) -> None:
        gevent.spawn(self._heard.put, None)  # after what waits; and it may be full

    def _listen(self, heard: Queue) -> None:
        try:
            self.listen(self.prefixes, lambda channel, message: heard.put((channel, message)))
        except Exception as error:
            heard.put(error)

    def _gather(self) -> list[Update]:
        """Wait for messages, and return what has come; nothing, when it is stopped. Raises what listening raised."""
        updates: list[Update] = []
        while len(updates) < TOGETHER and not (updates and self._is_over()):
            item = self._heard.get()
            if item is None:
                return []
            if isinstance(item, Exception):
                raise item
            try:
                updates.append(to_update(*item))
            except BadRequest as error:
                self._leave_out(item[0], error)
        return updates

    def _is_over(self) -> bool:
        """Whether no message waits."""
        return not self._heard.qsize() or not isinstance(self._heard.peek(), tuple)

    def _publish(self, publish: Publish, updates: list[Update]) -> None:
        try:
            publish(updates)
        except (TooLarge, TooManyChannels) as error:
            if len(updates) == 1:
                self._leave_out(updates[0].channel, error)
                return
            for update in updates:
                self._publish(publish, [update])

    def _leave_out(self, channel: str, error: Exception) -> None:
        self._left_out += 1
        if time.monotonic() >= self._silent_until:
            text = "comet: a message of flask-sse on %r is left out, the %d. so far: %s"
            log.warning(text, channel, self._left_out, error)
            self._silent_until = time.monotonic() + SELDOM


def to_update(channel: str, message: bytes) -> Update:
    """What a message becomes here. Raises BadRequest for one that flask-sse would not send, or that can't be here."""
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"it is not JSON ({error}).") from error
    if not isinstance(fields, dict) or "data" not in fields:
        raise BadRequest('it is not {"data": …}.')
    # Whatever the type is, flask-sse writes it as text, and leaves it out if it is empty.
    event = str(fields["type"]) if fields.get("type") else None
    return Update.of(channel, fields["data"], event=event)
