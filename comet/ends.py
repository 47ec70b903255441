"""Ends: why streams end, and the line in the log that says so.

One table for both that tell it: the line, and the metric ``comet_closes_total``.
"""

from __future__ import annotations

import logging
import time

from .cohorts import Subscription


log = logging.getLogger("comet")

#: Its client left, or the connection broke.
GONE = "gone"
#: The worker stops, and has said goodbye.
STOPPING = "stopping"
#: One of its channels was deleted.
DELETED = "deleted"
#: The token that it rested on has ended.
EXPIRED = "expired"
#: The token that it rested on was revoked.
REVOKED = "revoked"
#: It had as much as a response of its wire may hold; its client comes back by itself.
FULL = "full"
#: Its peer took nothing for COMET_WRITE_TIMEOUT, or was still being written to when the drain was over.
CUT = "cut"
#: It failed; the log has the trace.
ERROR = "error"
#: A poll that was answered. It has no line: the access log has one.
ANSWERED = "answered"

ENDS_OF_STREAMS = (GONE, STOPPING, DELETED, EXPIRED, REVOKED, FULL, CUT, ERROR)
ENDS_OF_POLLS = (GONE, CUT, ANSWERED)


def tell(subscription: Subscription, reason: str, *, begun: float, address: str) -> None:
    """Say that a stream has ended that began at this time (of ``time.monotonic``). It must have left its cohort."""
    if not log.isEnabledFor(logging.INFO):
        return
    position = subscription.position
    fields = {
        "reason": reason,
        "wire": subscription.kind,
        "channels": ",".join(subscription.names),
        "seconds": round(time.monotonic() - begun, 3),
        "updates": subscription.updates,
        "bytes": subscription.bytes,
        "last": f"{position.epoch}-{position.seq}",
        "peer": address or "-",
    }
    log.info(
        "comet: a stream has ended: %(reason)s, wire %(wire)s, channels %(channels)s, %(seconds).1f s, "
        "updates %(updates)d, bytes %(bytes)d, last %(last)s, peer %(peer)s",
        fields,
        extra={"fields": fields},
    )
