"""Bell: the workers of a host tell each other that there is something new, by a datagram to a Unix socket each.

Only a hint: whoever misses it looks a quarter of a second later anyway. (Watching the file's changes would be wrong:
the event comes before the commit can be read.)
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket as native
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent import socket


#: What there may be: entries of the log, or a channel that has begun to be watched.
ENTRIES = b"e"
WATCHED = b"w"


class Bell:
    """One worker's bell for one database. ``heard`` is called in the hub with what another worker rings for."""

    def __init__(self, path: Path, heard: Callable[[bytes], None]) -> None:
        self.folder = folder_of(path)
        self.heard = heard
        self.name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._socket: Any = None
        self._listener: gevent.Greenlet | None = None

    def start(self) -> None:
        self._socket = socket.socket(native.AF_UNIX, native.SOCK_DGRAM)
        self._socket.bind(str(self.folder / self.name))
        self._listener = gevent.spawn(self._listen)

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.kill()
            self._socket.close()
            (self.folder / self.name).unlink(missing_ok=True)
            self._listener = None

    def ring(self, what: bytes) -> None:
        """Tell all others. Never waits."""
        for name in os.listdir(self.folder):
            if name != self.name:
                self._tell(self.folder / name, what)

    def _tell(self, path: Path, what: bytes) -> None:
        try:
            self._socket._sock.sendto(what, native.MSG_DONTWAIT, str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # its worker is dead
        except OSError:
            pass  # full: it has been rung for already; or just gone

    def _listen(self) -> None:
        while True:
            self.heard(self._socket.recv(1))


def folder_of(path: Path) -> Path:
    """A short folder for the sockets of one database: their paths have at most 107 bytes. Only its owner may ring."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    mine = base / f"comet-{os.getuid()}"
    folder = mine / hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:16]
    for each in (mine, folder):
        each.mkdir(mode=0o700, exist_ok=True)
        if each.stat().st_uid != os.getuid():
            raise PermissionError(f"{each} belongs to somebody else")
    return folder
