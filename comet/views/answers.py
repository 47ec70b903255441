"""Answers that are not streams: a peer that takes nothing of one is cut, as one of a stream is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask import Request, Response

from ..peers import NO_PEER, Peer
from .current import worker


#: The kernel takes so many bytes of an answer, whether anybody reads them or not.
TAKEN = 16_384


def watch(response: Response, request: Request) -> None:
    """Bound the writing of a large answer by COMET_WRITE_TIMEOUT, for as long as nothing of it is taken."""
    # Without a length it is a stream or a poll, which do this themselves.
    if (response.content_length or 0) > TAKEN and request.method != "HEAD" and not response.direct_passthrough:
        peer = worker().peers.of(request.environ.get("gunicorn.socket"))
        if peer is not NO_PEER:
            response.response = _watched(response.iter_encoded(), peer)


def _watched(chunks: Iterable[bytes], peer: Peer) -> Iterator[bytes]:
    try:
        for chunk in chunks:
            peer.writing()
            yield chunk
            peer.written()
    finally:
        peer.written()
