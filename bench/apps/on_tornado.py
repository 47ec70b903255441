"""Tornado: a handler for each client that waits on a Condition, as in its demo of a chat."""

from __future__ import annotations

import asyncio
import sys

import tornado.locks
import tornado.web
from tornado.iostream import StreamClosedError


class Updates:
    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.news = tornado.locks.Condition()


class Stream(tornado.web.RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        cursor = len(updates.log)
        await self.flush()
        try:
            while True:
                while cursor == len(updates.log):
                    await updates.news.wait()
                self.write(updates.log[cursor])
                cursor += 1
                await self.flush()
        except StreamClosedError:
            pass


class Publish(tornado.web.RequestHandler):
    def post(self) -> None:
        updates.log.append(b"id: %d\ndata: %s\n\n" % (len(updates.log) + 1, self.request.body))
        updates.news.notify_all()
        self.set_status(204)


async def main() -> None:
    tornado.web.Application([("/stream", Stream), ("/publish", Publish)]).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


updates = Updates()

if __name__ == "__main__":
    asyncio.run(main())
