"""Server: where ActiveMQ is, and who asks it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ...core.errors import SettingsError


PORT = 61613


@dataclass(frozen=True, slots=True)
class Server:
    """The parts of ``stomp://user:password@host:port``. As text it is the name for sentences: without a secret."""

    host: str
    port: int = PORT
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Server:
        """Raises SettingsError, without the URL: there may be a password in it."""
        try:
            parts = urlsplit(url)
            port = parts.port or PORT
        except ValueError:
            # Without the error: its text may have a part of the password.
            raise SettingsError("url has a port that is none; it is stomp://user:password@host:61613.") from None
        if parts.scheme != "stomp" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise SettingsError("url is not of the form stomp://user:password@host:61613.")
        user, password = (part if part is None else unquote(part) for part in (parts.username, parts.password))
        return cls(parts.hostname, port, user, password)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ActiveMQ at {host}:{self.port}"

    def hide(self, text: str) -> str:
        """The text in one line, without the password."""
        line = " ".join(text.split())
        return line.replace(self.password, "***") if self.password else line
