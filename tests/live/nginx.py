"""nginx in front of a server: as Debian ships it, with nothing but ``proxy_pass`` unless a test wants more."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import need
from tests.live.server import free_port
from tests.timing import until


# Debian's nginx.conf, and a bare proxy_pass: HTTP/1.0 to the upstream, buffering on, a Host of its own.
CONFIGURATION = """
{user}
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    access_log off;
    gzip on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://{upstream};
            {more}
        }}
    }}
}}
"""


class Nginx:
    """One nginx on a free port, in a folder of its own.

    ``upstream`` is a port of this machine, or the path of a Unix socket. ``more``: what else its location says.
    """

    def __init__(self, upstream: int | Path, more: str = "") -> None:
        need("nginx")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = tempfile.TemporaryDirectory(prefix="comet-nginx-")
        user = "user root;" if os.getuid() == 0 else ""
        where = f"127.0.0.1:{upstream}" if isinstance(upstream, int) else f"unix:{upstream}:"
        text = CONFIGURATION.format(folder=self.folder.name, port=self.port, upstream=where, user=user, more=more)
        Path(self.folder.name, "nginx.conf").write_text(text)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Nginx:
        folder = self.folder.name
        self.process = subprocess.Popen(
            ["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"], start_new_session=True
        )
        try:
            until(self._is_up, what=f"{self.url}; {self.log()}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)  # the master and its worker, both at once
            self.process.wait()
        self.folder.cleanup()

    def _is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        path = Path(self.folder.name, "error.log")
        return path.read_text(errors="replace") if path.exists() else ""
