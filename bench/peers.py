"""Peers: comet, and whom it is held against. A class each, with the defaults of each: only the limits of connections
are raised, so that everybody can hold the streams."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, closing
from typing import ClassVar

import redis

from .servers import APPS, PEERS, ROOT, Server, free_address, packages, said


LIMITS = ("--worker-connections", "60000", "--backlog", "4096")
NGINX = "/usr/sbin/nginx"
NCHAN = "/usr/lib/nginx/modules/ngx_nchan_module.so"


class Comet(Server):
    name = "comet"
    title = "as it comes, on the wire `sse`, with direct writes"
    stream = "/channels/bench/sse"
    publish = "/channels/bench"
    headers: ClassVar[Mapping[str, str]] = {"Authorization": "Bearer bench"}
    configuration = str(ROOT / "gunicorn.conf.py")
    direct = "1"
    workers = 1

    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "gunicorn", "-c", self.configuration, "wsgi:app")

    def environ(self) -> Mapping[str, str]:
        return {
            "COMET_BIND": self.bind,
            "COMET_PUBLISH_KEY": "bench",
            "COMET_DIRECT_WRITES": self.direct,
            "COMET_WORKERS": str(self.workers),
            "COMET_BROKER": self.broker(),
        }

    def broker(self) -> str:
        return "memory"

    def batch(self, updates: Iterable[tuple[str, bytes]]) -> bytes:
        """The request that publishes several updates, each to its channel, together."""
        lines = (json.dumps({"channel": channel, "data": data.decode()}) for channel, data in updates)
        return self.request("POST", "/channels", "\n".join(lines).encode(), {"Content-Type": "application/x-ndjson"})

    @staticmethod
    def stream_of(channel: str) -> str:
        return f"/channels/{channel}/sse"

    @classmethod
    def version(cls) -> str:
        return packages("gunicorn", "gevent", "greenlet", "Flask", "Werkzeug")


class Plain(Comet):
    name = "comet, plain"
    title = "with `COMET_DIRECT_WRITES=0`: each stream is written by its own greenlet"
    direct = "0"


class Gauged(Comet):
    title = "with a gauge in each worker (`bench/apps/gauge.py`)"
    configuration = "python:bench.apps.gauge"


class GaugedPlain(Gauged):
    name = "comet, plain"
    direct = "0"


class OnSqlite(Comet):
    name = "sqlite"
    title = "comet with `COMET_BROKER=sqlite:///…`"

    def broker(self) -> str:
        return f"sqlite:///{self.folder / 'log.db'}"


class TwoOnSqlite(OnSqlite):
    name = "sqlite, 2 workers"
    title = "the same with two workers"
    workers = 2


class FourOnSqlite(OnSqlite, Gauged):
    name = "sqlite, 4 workers"
    title = "the same with four workers and a gauge in each"
    workers = 4


class _NeedsRedis(Server):
    """Starts a Redis beside it, on the core of the load: what Redis takes is not counted."""

    needs: ClassVar[tuple[str, ...]] = ("redis-server",)

    def prepare(self, stack: ExitStack) -> None:
        host, port = free_address()
        self.redis_url = f"redis://{host}:{port}/0"
        options = ("--bind", host, "--port", str(port), "--save", "", "--appendonly", "no")
        self.start(("redis-server", *options), os.sched_getaffinity(0), stack)
        self.redis = stack.enter_context(closing(redis.Redis(host=host, port=port)))
        deadline = time.monotonic() + 10
        while True:
            try:
                self.redis.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


class OnRedis(_NeedsRedis, Comet):
    name = "redis"
    title = "comet with `COMET_BROKER=redis://…`"

    def broker(self) -> str:
        return self.redis_url


class TwoOnRedis(OnRedis):
    name = "redis, 2 workers"
    title = "the same with two workers"
    workers = 2


class Bare(Server):
    name = "bare Flask"
    title = "a Flask generator that waits on a gevent Event and does nothing else, on comet's gunicorn"

    def command(self) -> tuple[str, ...]:
        options = ("-k", "gevent", "-b", self.bind, *LIMITS, "--no-control-socket")
        return (sys.executable, "-m", "gunicorn", *options, "bench.apps.bare:app")

    version = Comet.version


class CLoop(Server):
    name = "C loop"
    title = "epoll and `send(2)` (`bench/apps/loop.c`): no HTTP server, no history, no slow readers; the floor"
    needs: ClassVar[tuple[str, ...]] = ("cc",)

    def command(self) -> tuple[str, ...]:
        return (str(self.folder / "loop"), self.port)

    def prepare(self, stack: ExitStack) -> None:
        subprocess.run(("cc", "-O2", "-o", self.folder / "loop", APPS / "loop.c"), check=True)

    @classmethod
    def version(cls) -> str:
        return said("cc", "--version")


class Nchan(Server):
    name = "nchan"
    title = "nginx with nchan, from Debian"
    headers: ClassVar[Mapping[str, str]] = {"Accept": "text/event-stream"}
    needs: ClassVar[tuple[str, ...]] = (NGINX, NCHAN)

    CONFIGURATION = """
load_module {module};
user {user};
worker_processes 1;
worker_rlimit_nofile 60000;
daemon off;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 60000; }}
http {{
    access_log access.log;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {bind} backlog=4096;
        location = /stream {{ nchan_subscriber; nchan_channel_id bench; }}
        location = /publish {{ nchan_publisher; nchan_channel_id bench; }}
        location = /healthz {{ return 200 ok; }}
    }}
}}
"""

    def prepare(self, stack: ExitStack) -> None:
        text = self.CONFIGURATION.format(module=NCHAN, bind=self.bind, user=getpass.getuser())
        (self.folder / "nginx.conf").write_text(text)

    def command(self) -> tuple[str, ...]:
        return (NGINX, "-p", str(self.folder), "-e", "error.log", "-c", "nginx.conf")

    @classmethod
    def version(cls) -> str:
        package = said("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan")
        return f"{said(NGINX, '-v').removeprefix('nginx version: ')}, nchan {package}"


class Node(Server):
    name = "Node"
    title = "Node's `http` with a set of responses (`bench/apps/node.js`)"
    needs: ClassVar[tuple[str, ...]] = ("node",)

    def command(self) -> tuple[str, ...]:
        return ("node", str(APPS / "node.js"), self.port)

    @classmethod
    def version(cls) -> str:
        return f"Node {said('node', '--version')}"


class _FromPyPI(Server):
    """A program of ``bench/apps`` that is told its port, among the peers' packages."""

    app: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    needs: ClassVar[tuple[str, ...]] = (PEERS,)

    def command(self) -> tuple[str, ...]:
        return (PEERS, str(APPS / self.app), self.port)

    @classmethod
    def version(cls) -> str:
        return packages(*cls.packages, python=PEERS)


class Tornado(_FromPyPI):
    name = "Tornado"
    title = "a handler for each client that waits on a Condition, as in its chat demo"
    app = "on_tornado.py"
    packages = ("tornado",)


class Twisted(_FromPyPI):
    name = "Twisted"
    title = "`twisted.web` with a set of requests"
    app = "on_twisted.py"
    packages = ("Twisted",)


class Aiohttp(_FromPyPI):
    name = "aiohttp-sse"
    title = "a queue for each client, as in its chat example"
    app = "on_aiohttp.py"
    packages = ("aiohttp-sse", "aiohttp")


class Starlette(_FromPyPI):
    name = "sse-starlette"
    title = "a queue for each client, as in its broadcasting example; uvicorn with uvloop and httptools"
    packages = ("sse-starlette", "starlette", "uvicorn", "uvloop")

    def command(self) -> tuple[str, ...]:
        return (PEERS, "-m", "uvicorn", "--host", "127.0.0.1", "--port", self.port, "bench.apps.on_starlette:app")


class FlaskSse(_NeedsRedis, _FromPyPI):
    name = "flask-sse"
    title = "flask-sse on gunicorn with gevent; its Redis has the load's core, and is not counted"
    packages = ("Flask-SSE", "gunicorn", "gevent", "redis")
    needs: ClassVar[tuple[str, ...]] = _FromPyPI.needs + _NeedsRedis.needs
    greets = False

    def command(self) -> tuple[str, ...]:
        options = ("-k", "gevent", "-b", self.bind, *LIMITS, "--no-control-socket")
        return (PEERS, "-m", "gunicorn", *options, "bench.apps.on_flask_sse:app")

    def environ(self) -> Mapping[str, str]:
        return {"REDIS_URL": self.redis_url}

    def subscribed(self, count: int) -> bool:
        return dict(self.redis.pubsub_numsub("sse"))[b"sse"] >= count


#: All of them, as the report names them.
SERVERS: tuple[type[Server], ...] = (
    *(Comet, Plain, Gauged, OnSqlite, TwoOnSqlite, FourOnSqlite, OnRedis, TwoOnRedis),
    *(CLoop, Bare, Nchan, Node, Tornado, Twisted, Aiohttp, Starlette, FlaskSse),
)
