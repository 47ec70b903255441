"""Revocations: the tokens that were called back, in all workers.

A revocation is an update of the channel ``comet.revoked``: so every worker learns of it, whichever broker there is, and
one that starts reads those of before. What a worker knows it keeps, whatever becomes of the log: a token that was
revoked does not come back to life in it, and is told again where a log has lost it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence

import gevent
from gevent.event import Event

from .breath import breathe
from .brokers import Receipt
from .controller import Controller
from .core.errors import BrokerAway, Unauthorized, Unavailable
from .core.log import Entry
from .core.rules import REVOKED
from .core.update import JSON, Closed, OwnUpdate


log = logging.getLogger("comet")

#: Seconds after which all of it is read again, where it may not have been all.
AGAIN = 2.0

#: Seconds that whoever comes with a token waits for the first reading.
PATIENCE = 1.5


class Revocations:
    """Follows the channel from the log's beginning. ``publish`` as the worker's."""

    def __init__(self, controller: Controller, publish: Callable[[Sequence[Entry]], list[Receipt]]) -> None:
        self.controller = controller
        self._publish = publish
        #: Those that are in the log, of its present epoch.
        self._in_log: set[str] = set()
        self._known = Event()
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None

    def revoke(self, jti: str) -> None:
        """Let a token be good no more, and end the streams that rest on it: here before this returns, in the other
        workers a moment later. Raises what publishing raises: then the others learn of it when that works again."""
        self.controller.revoke(jti)
        if jti in self._in_log:
            return
        self._in_log.add(jti)
        try:
            self._publish([_update(jti)])
        except Exception:
            self._in_log.discard(jti)
            raise

    def check(self, jti: str) -> None:
        """Raise Unauthorized if a token of this name was revoked; BrokerAway if that is not known yet.

        It is known when the channel has been read once, right after the start. A worker that starts while its broker is
        out of reach takes no token that could have been revoked until it has come: it has nothing to serve either. If
        the broker goes away later, what was known holds.
        """
        if self._greenlet is not None and not self._known.wait(PATIENCE):
            why = "this worker has just begun, or its broker is out of reach"
            raise BrokerAway(f"it is not known yet which tokens have been revoked: {why}; try again.", retry_after=2)
        if jti in self.controller.revoked:
            raise Unauthorized("the token has been revoked.")

    def _run(self) -> None:
        """Take what comes, for ever."""
        while True:
            try:
                self._follow()
            except Unavailable:
                pass  # of what could not be published again
            except Exception:
                log.exception("comet: revoked tokens could not be read; they are read again")
            gevent.sleep(AGAIN)

    def _follow(self) -> None:
        """Take all that the log has, then what comes. Returns if that may have been less than all."""
        self._in_log.clear()
        for page in self.controller.follow(REVOKED):
            if page.gap is not None and page.gap.reason == "epoch":
                self._in_log.clear()
            for entry in page.entries:
                self._take(entry)
            if page.more:
                breathe()
                continue
            if not self._is_broker_here():
                return
            self._known.set()
            self._repeat()

    def _is_broker_here(self) -> bool:
        try:
            self.controller.check_broker()
        except BrokerAway:
            return False
        return True

    def _repeat(self) -> None:
        """Publish what this worker knows and the log has not: it began anew, or was out of reach at that time."""
        if len(self._in_log) < len(self.controller.revoked):
            lost = self.controller.revoked - self._in_log
            log.warning("comet: revocations of tokens that the log lacks are published again: %d", len(lost))
            for jti in lost:
                self._publish([_update(jti)])

    def _take(self, entry: Entry) -> None:
        if isinstance(entry, Closed):
            return
        try:
            jti = str(json.loads(entry.data)["jti"])
        except (ValueError, TypeError, KeyError):
            log.error("comet: %s on %s is no revocation of a token", entry.id, REVOKED)
            return
        self._in_log.add(jti)
        self.controller.revoke(jti)


def _update(jti: str) -> OwnUpdate:
    return OwnUpdate(REVOKED, json.dumps({"jti": jti}).encode(), JSON)
