"""sse-starlette: a queue for each client, as in its example of broadcasting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


clients: set[asyncio.Queue[dict[str, str]]] = set()
ids = count(1)


async def stream(request: Request) -> EventSourceResponse:
    return EventSourceResponse(updates())


async def updates() -> AsyncIterator[dict[str, str]]:
    queue: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    clients.add(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        clients.discard(queue)


async def publish(request: Request) -> Response:
    update = {"id": str(next(ids)), "data": (await request.body()).decode()}
    for queue in clients:
        queue.put_nowait(update)
    return Response(status_code=204)


app = Starlette(routes=[Route("/stream", stream), Route("/publish", publish, methods=["POST"])])
