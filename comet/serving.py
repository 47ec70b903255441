"""What gunicorn is told. ``gunicorn.conf.py`` and the command line take their values from here.

Read in gunicorn's master, which is not patched: nothing here may import Flask, gevent or ssl (a TLS context made by an
unpatched module breaks in the workers).
"""

from __future__ import annotations

import gc
import os
import resource
import shutil
import signal
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gunicorn.errors import AppImportError

from .core.errors import SettingsError
from .handover import hand_over, say_serving, serves
from .port import hold, listen, make_ports
from .reloading import guard
from .settings import FREE_CONNECTIONS, Settings, load, refuse_workers
from .stopping import announce, is_announced
from .tallies import lay_down, make_folder


#: By COMET_LOG. Names only: they bring along what must be patched first.
LOGGERS = {"text": "comet.logs.Logger", "json": "comet.logs.JsonLogger"}

#: What this server was started with, or reloaded with last; known to its workers.
_settings: Settings | None = None

#: Where the workers of this server tell each other what they have counted; made by the master, known to its children.
_shared: Path | None = None

#: In a worker: how many there were when it was forked.
_before = 0


def read_settings() -> Settings:
    """The settings of the environment; a wrong one ends the process with its sentence."""
    try:
        return load()
    except SettingsError as error:
        sys.exit(f"comet: {error}")


def current_settings() -> Settings:
    """In a worker the settings that its server was started with, or reloaded with last: a file that was changed since
    counts when the server is told so. Elsewhere those of the environment. Raises SettingsError."""
    return _settings or load()


class Refused(SettingsError, AppImportError):  # type: ignore[misc]
    """Settings that are wrong, where an app is loaded: gunicorn ends with the sentence instead of a traceback."""


@contextmanager
def refusing() -> Iterator[None]:
    """Raise Refused for a SettingsError."""
    try:
        yield
    except SettingsError as error:
        raise Refused(f"comet: {error}") from error


def options(settings: Settings) -> dict[str, Any]:
    """gunicorn's settings, by its own names."""
    global _settings
    _settings = settings
    _raise_open_files()
    # gevent would keep, for each greenlet, who spawned it and where: a quarter of a KiB that nobody reads.
    os.environ.setdefault("GEVENT_TRACK_GREENLET_TREE", "0")
    return {
        "bind": settings.bind,
        "workers": settings.workers,
        "worker_class": "gevent",
        "logger_class": LOGGERS[settings.log],
        "loglevel": settings.log_level,
        # Above the cap of streams: a full server still answers publishers and health checks.
        "worker_connections": settings.max_streams + FREE_CONNECTIONS,
        "backlog": 4096,
        # Streams may end over the drain; then gunicorn looks once a second whether all are gone.
        "graceful_timeout": int(settings.drain_seconds) + 10,
        "timeout": 60,
        "keepalive": 2,
        "max_requests": 0,  # each stream is one: a worker must not be recycled under its streams
        "limit_request_line": 8190,
        "limit_request_field_size": 8190,
        # Whatever else is installed: the parser in C takes request lines that this one refuses.
        "http_parser": "python",
        # gunicorn would take SCRIPT_NAME and PATH_INFO from a proxy of this host, also where a stranger has sent them.
        "forwarder_headers": "",
        "preload_app": False,
        # At a Unix socket's path there can be but one, which all workers have from their master.
        "reuse_port": settings.workers > 1 and not settings.bind.startswith("unix:"),
        # It would be shared by all gunicorns of a user, and removed by the first that ends.
        "control_socket_disable": True,
        "on_starting": on_starting,
        "when_ready": when_ready,
        "nworkers_changed": nworkers_changed,
        "pre_fork": pre_fork,
        "post_fork": post_fork,
        "post_worker_init": post_worker_init,
        "pre_request": pre_request,
        "worker_exit": worker_exit,
        "child_exit": child_exit,
        "on_exit": on_exit,
    }


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def on_starting(server: Any) -> None:
    """Refuse what gunicorn's own command line has made wrong, before any worker starts."""
    settings = read_settings()
    try:
        _check(server.cfg)
    except SettingsError as error:
        sys.exit(f"comet: {error}")
    guard(server, _check)
    hand_over(server, lambda: current_settings().broker == "memory")
    if settings.open:
        server.log.warning(
            "COMET_OPEN is on: everybody on this machine may publish and delete, "
            "and so may everybody else if a proxy on this machine forwards to %s.",
            settings.bind,
        )
    announce(server, _share(server.cfg))


def _check(cfg: Any) -> None:
    """Raise SettingsError for a configuration of gunicorn that can't be served."""
    if cfg.worker_class_str != "gevent":
        raise SettingsError(
            f"the worker class {cfg.worker_class_str!r} can't hold streams: each would take a thread or a process. "
            "Start with gunicorn -k gevent."
        )
    if cfg.workers > 1 and current_settings().broker == "memory":
        raise SettingsError(refuse_workers(cfg.workers))


def _share(cfg: Any) -> Path:
    """Make the folder of this server's workers, which may be another user's than this master is."""
    global _shared
    # Where gunicorn has its own small files: in memory, where the operator has chosen that.
    _shared = make_folder(cfg.worker_tmp_dir, cfg.uid, cfg.gid)
    return _shared


def when_ready(server: Any) -> None:
    """With the demo: say on standard output where to look and what to type."""
    settings = read_settings()
    # With reuse_port each worker opens its own.
    address = server.LISTENERS[0].getsockname() if server.LISTENERS else server.cfg.address[0]
    if settings.demo and not isinstance(address, str):  # a Unix socket has no page to open
        print(banner(settings, url_of(address, tls=server.cfg.is_ssl)), flush=True)


def banner(settings: Settings, url: str) -> str:
    """The first things to try, at this address."""
    key = "" if settings.open else '-H "Authorization: Bearer $COMET_PUBLISH_KEY" '
    publish = f"curl {key}-H 'Content-Type: text/plain' -d 'Hello from the terminal' {url}/channels/hello"
    return f"""
  comet is live: {url}

    watch the time   curl -N {url}/channels/time/text
    listen           curl -N {url}/channels/hello/text
    publish          {publish}
"""


def url_of(address: tuple[Any, ...], *, tls: bool) -> str:
    """Where a listener is reached from this machine."""
    # Bound to every address, it is reached here by the loopback one.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{address[1]}"


def nworkers_changed(server: Any, new: int, old: int | None) -> None:
    """Refuse a second worker that a signal (TTIN) asks for, before it is forked; and let the workers know how many they
    are to be."""
    if old is not None and new > 1 and current_settings().broker == "memory":
        server.log.error("comet: %s", refuse_workers(new))
        server.num_workers = 1
    elif _shared is not None:
        with suppress(OSError):  # only the status page is wrong then
            (_shared / "workers").write_text(str(new))


def pre_fork(server: Any, worker: Any) -> None:
    """Look whether others serve: in the worker there is no telling any more."""
    worker.beside = any(map(serves, server.WORKERS.values()))


def post_fork(server: Any, worker: Any) -> None:
    """In the worker: know how many were there before it, and refuse as one what its app refuses."""
    global _before
    load, _before = worker.load_wsgi, len(server.WORKERS)
    if worker.beside and worker.cfg.reuse_port:
        hold(worker)

    def load_wsgi() -> None:
        with _refused_by_one(worker):
            load()

    worker.load_wsgi = load_wsgi


@contextmanager
def _refused_by_one(worker: Any) -> Iterator[None]:
    """Let one worker tell what is refused, and the others wait for the end that this brings.

    gunicorn stops when a worker can't load its app; if it then finds a second one, it ends with a traceback instead.
    """
    try:
        yield
    except AppImportError:
        deadline = time.monotonic() + 5 * _before  # a busy machine takes its time to end the one
        while time.monotonic() < deadline:
            # A signal that comes before gunicorn's worker listens for it is lost.
            if not worker.alive or is_announced(_shared):
                sys.exit()
            time.sleep(0.02)
        raise


def post_worker_init(worker: Any) -> None:
    """Start the background greenlets in the worker, and watch for its end."""
    # Ctrl-C reaches the master too, which tells the worker: hearing it twice would end it with a traceback.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    comet = worker.wsgi.extensions["comet"]
    make_ports(worker, comet.worker.peers.shake)
    # Only here, where everything is patched.
    from gevent import get_hub

    from .heads import bound
    from .logs import take_over

    take_over(get_hub())
    with _refused_by_one(worker), refusing():
        comet.start(worker, _shared)
    bound(comet.worker)
    for port in worker.sockets:
        comet.worker.peers.prepare(port)
    _settle(worker.cfg)
    _tame_gc()
    listen(worker)
    say_serving(worker)


def _tame_gc() -> None:
    """Look for garbage less often and in less: meanwhile everybody waits.

    What is here now stays as long as the worker does: 30 ms each time. To look through all that 15,000 streams and
    their histories are takes 0.3 s. It is done all the same, now and then: an app's circles may live long, comet's own
    are gone at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2000, 10, 100)


def _settle(cfg: Any) -> None:
    """Have gunicorn's settings as plain attributes. In a worker they change no more, and for each request it looks up
    some thirty of them, each by its name: a fifteenth of what a POST takes."""
    vars(cfg).update({name: setting.get() for name, setting in cfg.settings.items()})


def pre_request(worker: Any, request: Any) -> None:
    """Lay the request where the app finds it, which may have to end its connection (comet/views/current.py)."""
    request.body.request = weakref.ref(request)  # it holds its body already: no cycle for each request


def worker_exit(server: Any, worker: Any) -> None:
    """Ctrl-C ends a worker at once: what its triggers have started must not outlive it."""
    app = getattr(worker, "wsgi", None)
    if app is not None:
        comet = app.extensions["comet"].worker
        comet.triggers.stop()
        comet.metrics.stop()


def child_exit(server: Any, worker: Any) -> None:
    """What a worker has counted stays."""
    if _shared is not None:
        try:
            lay_down(_shared, worker.pid)
        except (OSError, ValueError) as error:
            server.log.warning("comet: what the worker %s has counted is lost: %s", worker.pid, error)


def on_exit(server: Any) -> None:
    if _shared is not None:
        shutil.rmtree(_shared, ignore_errors=True)
