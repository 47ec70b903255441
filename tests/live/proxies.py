"""The proxies of ``deploy/`` in front of a server: exactly those files, with nothing changed but where things are.

One mechanical step makes of such a file what is started here: ``deployed`` replaces ports, paths and users, and fails
when one of them is not there. What a proxy does with requests and streams stays as it is written.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.conftest import need
from tests.live.server import ROOT, free_port
from tests.timing import until


def deployed(file: str, changes: dict[str, str]) -> str:
    """The text of a file of ``deploy/``, after these changes: regular expressions, of which each must be found."""
    text = (ROOT / "deploy" / file).read_text(encoding="utf-8")
    for old, new in changes.items():
        text, count = re.subn(old, lambda _, new=new: new, text, flags=re.MULTILINE)  # type: ignore[misc]
        assert count, f"deploy/{file} has nothing like {old}"
    return text


@cache
def certificate() -> tuple[str, str]:
    """A key and the certificate for localhost that it has signed itself, as PEM."""
    with tempfile.TemporaryDirectory() as folder:
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
        more = ["-addext", "subjectAltName=DNS:localhost", "-keyout", f"{folder}/key", "-out", f"{folder}/chain"]
        subprocess.run([*command.split(), *more], check=True, capture_output=True)
        return Path(folder, "key").read_text(), Path(folder, "chain").read_text()


class Proxy:
    """One proxy on free ports of its own, in a folder of its own, in front of the server at ``backend``."""

    name: str
    file: str
    command: tuple[str, ...]

    def __init__(self, backend: int, **changes: str) -> None:
        need(self.name, "openssl")
        self.backend = f"127.0.0.1:{backend}"
        self.port, self.plain, self.challenges = free_port(), free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self._temporary = tempfile.TemporaryDirectory(prefix=f"comet-{self.name}-")
        self.folder = Path(self._temporary.name)
        key, chain = certificate()
        for name, text in (("privkey.pem", key), ("fullchain.pem", chain), ("comet.pem", chain + key)):
            self.path(name).write_text(text)
        self.path(self.file).write_text(deployed(self.file, {**self.changes(), **changes}))
        self.process: subprocess.Popen[bytes] | None = None

    def changes(self) -> dict[str, str]:
        """What is changed in the file: where things are."""
        raise NotImplementedError

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def certificate(self) -> str:
        """The path of what a client must trust."""
        return str(self.path("fullchain.pem"))

    def __enter__(self) -> Proxy:
        command = [part.format(folder=self.folder, file=self.path(self.file)) for part in self.command]
        environ = {**os.environ, "HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
        environ["XDG_CONFIG_HOME"] = str(self.folder)
        try:
            with self.path("output").open("wb") as output:
                self.process = subprocess.Popen(
                    command, env=environ, stdout=output, stderr=output, start_new_session=True
                )
            for port in (self.port, self.plain):
                until(lambda port=port: self._is_up(port), what=f"{self.name}; {self.log()}")  # type: ignore[misc]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(self.process.pid, signal.SIGKILL)  # the group that was started here
            self.process.wait()
        self._temporary.cleanup()

    def _is_up(self, port: int) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    def log(self) -> str:
        """All that it has said, and noted of requests."""
        files = [self.path(name) for name in ("output", "error.log", "access.log")]
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def wrap(self, sock: socket.socket, *protocols: str) -> ssl.SSLSocket:
        """TLS on a connection to it; it must agree to the first of these protocols."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.set_alpn_protocols(protocols)
        wrapped = context.wrap_socket(sock, server_hostname="localhost")
        assert wrapped.selected_alpn_protocol() == protocols[0]
        return wrapped


class Nginx(Proxy):
    name = "nginx"
    file = "nginx.conf"
    command = ("nginx", "-p", "{folder}", "-c", "{file}", "-e", "{folder}/error.log", "-g", "daemon off;")

    def changes(self) -> dict[str, str]:
        places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{place}_temp_path {self.path(place)};\n" for place in places)
        return {
            "^user .*": "user root;" if os.getuid() == 0 else "",
            "worker_connections 50000": "worker_connections 1000",  # a developer has fewer open files than a service
            "/run/nginx.pid": str(self.path("pid")),
            "/var/log/nginx": str(self.folder),
            "/var/www/html": str(self.path("www")),
            "/etc/letsencrypt/live/push.example": str(self.folder),
            "push.example": "localhost",
            r"^ *listen \[::\].*\n": "",
            "listen 80;": f"listen 127.0.0.1:{self.plain};",
            "listen 443 ": f"listen 127.0.0.1:{self.port} ",
            "127.0.0.1:4071": self.backend,
            "^http {": "http {\n" + temporary,
        }


class HAProxy(Proxy):
    name = "haproxy"
    file = "haproxy.cfg"
    command = ("haproxy", "-db", "-f", "{file}")

    def changes(self) -> dict[str, str]:
        return {
            "^ *(chroot|user|group|daemon).*\n": "",
            "maxconn 50000": "maxconn 1000",  # a developer has fewer open files than a service
            "log /dev/log": "log stdout format raw",
            "/run/haproxy/": f"{self.folder}/",
            "/etc/haproxy/": f"{self.folder}/",
            "bind :::80 v4v6": f"bind 127.0.0.1:{self.plain}",
            "bind :::443 v4v6": f"bind 127.0.0.1:{self.port}",
            "127.0.0.1:4071": self.backend,
            "127.0.0.1:8402": f"127.0.0.1:{self.challenges}",
        }

    def states(self) -> dict[str, bool]:
        """Which of comet's servers are up, as its health checks have found out."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.path("admin.sock")))
            sock.sendall(b"show stat\n")
            lines = [line.split(",") for line in sock.makefile().read().splitlines()]
        return {line[1]: line[17] == "UP" for line in lines if line[0] == "comet" and line[1] != "BACKEND"}


class Caddy(Proxy):
    name = "caddy"
    file = "Caddyfile"
    command = ("caddy", "run", "--config", "{file}", "--adapter", "caddyfile")

    def changes(self) -> dict[str, str]:
        ports = f"http_port {self.plain}\nhttps_port {self.port}\ndefault_bind 127.0.0.1\nadmin off\n"
        return {
            "^{\n": "{\n" + ports,
            "^push.example {\n": f"localhost {{\ntls {self.path('fullchain.pem')} {self.path('privkey.pem')}\n",
            "127.0.0.1:4071": self.backend,
        }
