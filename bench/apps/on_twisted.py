"""Twisted: a resource that keeps its requests open and writes to each."""

from __future__ import annotations

import sys
from itertools import count
from typing import Any

from twisted.internet import endpoints, reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site


clients: set[Request] = set()
ids = count(1)


class Stream(Resource):
    isLeaf = True

    def render_GET(self, request: Request) -> int:
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.write(b":\n\n")
        clients.add(request)
        request.notifyFinish().addBoth(self.gone, request)
        return NOT_DONE_YET

    def gone(self, reason: Any, request: Request) -> None:
        clients.discard(request)


class Publish(Resource):
    isLeaf = True

    def render_POST(self, request: Request) -> bytes:
        update = b"id: %d\ndata: %s\n\n" % (next(ids), request.content.read())
        for client in clients:
            client.write(update)
        request.setResponseCode(204)
        return b""


if __name__ == "__main__":
    root = Resource()
    root.putChild(b"stream", Stream())
    root.putChild(b"publish", Publish())
    endpoints.TCP4ServerEndpoint(reactor, int(sys.argv[1]), interface="127.0.0.1").listen(Site(root))
    reactor.run()
