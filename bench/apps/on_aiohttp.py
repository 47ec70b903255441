"""aiohttp-sse: a queue for each client, as in its example of a chat."""

from __future__ import annotations

import asyncio
import sys
from itertools import count

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response


clients: set[asyncio.Queue[tuple[str, str]]] = set()
ids = count(1)


async def stream(request: web.Request) -> EventSourceResponse:
    async with sse_response(request) as response:
        queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        clients.add(queue)
        try:
            while response.is_connected():
                number, data = await queue.get()
                await response.send(data, id=number)
        finally:
            clients.discard(queue)
    return response


async def publish(request: web.Request) -> web.Response:
    update = str(next(ids)), await request.text()
    for queue in clients:
        queue.put_nowait(update)
    return web.Response(status=204)


app = web.Application()
app.router.add_get("/stream", stream)
app.router.add_post("/publish", publish)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
