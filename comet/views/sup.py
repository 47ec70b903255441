"""SUP, the Simple Update Protocol: one small document tells which channels have changed of late.

Who follows many channels asks for the document once a period, and fetches ``latest`` of those that it names. A channel
is named by its SUP-ID, which ``latest`` and ``info`` tell in the header ``X-SUP-ID``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any
from urllib.parse import urlsplit

from flask import Response, after_this_request, request
from gevent.lock import BoundedSemaphore

from ..breath import breathe
from ..core.errors import BadRequest
from ..core.sup import sup_id
from ..worker import Worker
from .current import base_url, worker
from .server import check_server


#: In seconds; the second is for who names none.
PERIODS = (15, 60, 300, 600)
USUAL = 60

#: Seconds that a document reaches further back than its period: who asks a little late has missed nothing.
OVERLAP = 10

#: Seconds for which a document serves all who ask.
FRESH = 1.0

#: Documents that are kept: an app that is mounted in several places has some for each.
MOST = 64


class Documents:
    """The documents of the channels below one prefix. What costs is made once a second, however many ask."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], tuple[float, float, str]] = {}
        self._making = BoundedSemaphore()

    def sup(self) -> Response:
        """``GET /sup.json``"""
        comet = worker()
        period = _period(request.args.get("seconds"))
        check_server(comet, request)
        comet.controller.check_broker()  # what others publish meanwhile is not known here
        base = base_url()
        now, updates = self._updates(comet, urlsplit(base).path, period)
        about = {
            "updated_time": _rfc3339(now),
            "since_time": _rfc3339(now - period - OVERLAP),
            "period": period,
            "available_periods": {str(each): f"{base}/sup.json?seconds={each}" for each in PERIODS},
        }
        body = f'{json.dumps(about)[:-1]}, "updates": [{updates}]}}\n'
        caches = "private, " if comet.access.authorize else ""
        response = Response(body, headers={"Cache-Control": f"{caches}max-age=1"}, mimetype="application/json")
        response.add_etag()
        response.make_conditional(request)
        return response

    def _updates(self, comet: Worker, root: str, period: int) -> tuple[float, str]:
        """What changed up to when, as JSON."""
        if comet.access.authorize:
            return _make(comet, root, period)  # each may be told of other channels
        with self._making:
            until, now, updates = self._made.get((root, period), (0.0, 0.0, ""))
            if time.monotonic() >= until:
                now, updates = _make(comet, root, period)
                if len(self._made) > MOST:
                    self._made.clear()
                self._made[root, period] = time.monotonic() + FRESH, now, updates
        return now, updates


def announced(view: Callable[[str], Any]) -> Callable[[str], Any]:
    """The view of one channel; its answers say which document tells of the channel, and under which SUP-ID."""

    @wraps(view)
    def with_sup_id(name: str) -> Any:
        after_this_request(partial(_announce, name))
        return view(name)

    return with_sup_id


def _announce(channel: str, response: Response) -> Response:
    comet = worker()
    if response.status_code in (200, 304, 404) and not comet.access.rules[channel].private:
        base = base_url()
        response.headers["X-SUP-ID"] = f"{base}/sup.json#{sup_id(urlsplit(base).path, channel)}"
    return response


def _make(comet: Worker, root: str, period: int) -> tuple[float, str]:
    log = comet.controller.log
    epoch, now = log.epoch, log.changes.now or time.time()
    pairs = []
    for count, (channel, seq) in enumerate(log.changes.since(now - period - OVERLAP), 1):
        if comet.access.is_public(channel):
            pairs.append(f'["{sup_id(root, channel)}", "{epoch}-{seq}"]')
        if count % 50 == 0:
            breathe()
    return now, ", ".join(pairs)


def _period(text: str | None) -> int:
    if text is None:
        return USUAL
    if text not in map(str, PERIODS):
        raise BadRequest(f"seconds={text[:40]!r}: it takes {', '.join(map(str, PERIODS[:-1]))} or {PERIODS[-1]}.")
    return int(text)


def _rfc3339(seconds: float) -> str:
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"
