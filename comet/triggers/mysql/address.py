"""Address: where a database server is and who we are there, as a ``mysql://`` URL says."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ...core.errors import SettingsError


FORM = "mysql://user:password@host:port/database"

#: What ``?tls=`` may be. On this machine it is off by default, beyond it the certificate is verified.
TLS = ("off", "unverified", "verify")

#: Seconds that a connection may take to come about.
CONNECT = 5.0


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL. ``timeout``: seconds without an answer after which the server counts as frozen.

    Written out it has no password.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    tls: str
    ca: str = ""
    socket: str = ""
    timeout: float = 10.0

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises SettingsError, without the password, for what is no such URL."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 3306
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            host = None  # the error's text may have a part of the password
        if not host or parts.scheme != "mysql" or not parts.username or parts.fragment or "/" in parts.path[1:]:
            raise SettingsError(
                f"the URL is not {FORM}; write what is special in user and password as %40 (@), %2F (/), %23 (#)."
            )
        tls = options.pop("tls", None) or ("verify" if options.get("ca") or not _is_here(host) else "off")
        if tls not in TLS:
            raise SettingsError(f"tls is {tls!r} in the URL of {host}; it may be {', '.join(TLS)}.")
        try:
            timeout = float(options.pop("timeout", "10"))
        except ValueError:
            timeout = 0.0
        if not 0 < timeout < 86_400:
            raise SettingsError(f"timeout in the URL of {host} must be seconds, more than 0.")
        ca, socket = options.pop("ca", ""), options.pop("socket", "")
        if options:
            raise SettingsError(f"{min(options)} in the URL of {host} is unknown; there are tls, ca, socket, timeout.")
        user, password = unquote(parts.username), unquote(parts.password or "")
        return cls(host, port, user, password, unquote(parts.path[1:]), tls, ca, socket, timeout)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mysql://{self.socket or f'{host}:{self.port}'}/{self.database}"

    def options(self) -> dict[str, Any]:
        """What ``pymysql.connect`` is told."""
        return {
            "host": self.host,
            "port": self.port,
            "unix_socket": self.socket or None,
            "user": self.user,
            "password": self.password.encode(),  # text it would write in Latin-1
            "database": self.database or None,
            "charset": "utf8mb4",
            # Else a reader would see for ever what it saw first.
            "autocommit": True,
            "init_command": "SET time_zone = '+00:00'",
            "connect_timeout": CONNECT,
            "read_timeout": self.timeout,
            "write_timeout": self.timeout,
            **self._encryption(),
        }

    def _encryption(self) -> dict[str, Any]:
        # PyMySQL's own choice would be a new context for each connection, which keeps all others waiting for 70 ms.
        return {"ssl_disabled": True} if self.tls == "off" else {"ssl": _context(self.tls == "verify", self.ca)}


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache
def _context(verify: bool, ca: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the certificates of {ca} can't be read: {error}.") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
