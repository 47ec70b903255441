"""Reloading: gunicorn's master is told by HUP to begin anew, with another configuration.

By itself it gives up what it has before it knows whether the new can be loaded, and ends when it can't: one typo would
take the whole server down. So a child of the master tries first, as a worker would. What it finds wrong is logged, and
everything goes on as it was.

Read in gunicorn's master: see ``serving``.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from gunicorn.errors import AppImportError

from .core.errors import SettingsError
from .settings import load


#: Seconds that the child may take.
PATIENCE = 60.0

#: What it says when nothing is wrong.
_WELL = b"\0"


def guard(server: Any, check: Callable[[Any], None]) -> None:
    """Let this gunicorn reload only what can be loaded. ``check`` raises SettingsError for a configuration of gunicorn
    that can't be served."""
    reload = server.reload

    def guarded() -> None:
        if why := _why_not(server, check):
            server.log.error("comet: nothing was reloaded, and all goes on as it was: %s", why)
        else:
            server.log.info("comet: all of it can be loaded, and is reloaded now")
            reload()

    server.reload = guarded


def _why_not(server: Any, check: Callable[[Any], None]) -> str:
    """What is wrong with what would be loaded; nothing, if nothing is."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        _try(server, check, writing)
    os.close(writing)
    said = _listen(reading, time.monotonic() + PATIENCE)
    os.close(reading)
    if said is None:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if said is None:
        return f"the app was not loaded within {PATIENCE:g} seconds."
    return "" if said == _WELL else said.decode(errors="replace") or f"loading the app ended with status {status}."


def _listen(pipe: int, deadline: float) -> bytes | None:
    """All that is said until the end; None if that does not come in time."""
    said = b""
    while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        text = os.read(pipe, 65_536)
        if not text:
            return said
        said += text
    return None


def _try(server: Any, check: Callable[[Any], None], writing: int) -> NoReturn:
    try:
        for number in server.SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # the master's would only be noted down
        _load(server, check)
        said = _WELL
    except SystemExit as error:
        # gunicorn ends so where its own configuration is wrong, and has said why.
        said = error.code.encode() if isinstance(error.code, str) else b"gunicorn's configuration is wrong; see above."
    except (SettingsError, AppImportError) as error:
        said = str(error).encode()
    except BaseException as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}".encode(errors="replace")
    try:
        sys.stderr.flush()
        os.write(writing, said.removeprefix(b"comet: "))
    finally:
        os._exit(0)


def _load(server: Any, check: Callable[[Any], None]) -> None:
    """All that a reload would load, and what a worker checks before it serves."""
    load()  # gunicorn would end with this one's sentence, too, but not hand it over
    app = server.app
    app.reload()
    check(app.cfg)
    for address in app.cfg.address:
        if address not in server.cfg.address:
            _check_address(address)
    os.environ.update(app.cfg.env)
    # As gunicorn's worker does it, before it loads the app. Only here, in the child.
    from gevent import monkey
    from gunicorn import util

    util.set_owner_process(app.cfg.uid, app.cfg.gid, initgroups=app.cfg.initgroups)
    monkey.patch_all()
    app.wsgi().extensions["comet"].worker.try_out(app.cfg)


def _check_address(address: Any) -> None:
    import socket

    if isinstance(address, tuple):
        try:
            socket.create_server(address[:2], family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET).close()
        except OSError as error:
            raise SettingsError(f"can't listen on {address[0]}:{address[1]}: {error.strerror}.") from error
