"""Settings: one frozen value, read from the environment and a TOML file, and checked in full sentences.

A leaf: only the app, the command line and gunicorn's configuration read it. The rooms inside take plain arguments.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..core.errors import SettingsError
from ..core.rules import Rule, Rules
from . import own
from .channels import read_rules
from .readers import FREE_CONNECTIONS, MOST_STREAMS, READERS, nearest, refuse, room_for_streams, table
from .triggers import Declared, read_triggers


__all__ = ["FREE_CONNECTIONS", "MOST_STREAMS", "Declared", "Settings", "load", "room_for_streams"]

PREFIX = "COMET_"

#: Streams of one address, where addresses are known: an office or a mobile network may stand behind one.
STREAMS_PER_PEER = 1000

#: Where the file is; where the command line finds a server, and what it shows there.
_NOT_OURS = frozenset({"COMET_CONFIG", "COMET_URL", "COMET_TOKEN"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is ``COMET_`` and its name in capitals; in TOML its name under ``[comet]``. Times are in seconds."""

    bind: str = "127.0.0.1:4071"
    workers: int = 1
    broker: str = "memory"
    publish_key: tuple[str, ...] = ()
    jwt_key: tuple[str, ...] = ()
    jwt_public_key: tuple[str, ...] = ()
    open: bool = False
    history: int = 100
    history_bytes: int = 1_048_576
    history_seconds: float = 3600.0
    replay: int = 1
    memory: int = 268_435_456
    heartbeat: float = 15.0
    poll_timeout: float = 25.0
    max_update: int = 262_144
    max_streams: int = field(default_factory=lambda: min(MOST_STREAMS, room_for_streams()))
    max_channels: int = 10_000
    idempotency_seconds: float = 3600.0
    write_timeout: float = 20.0
    drain_seconds: float = 5.0
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    streams_per_peer: int | None = None
    streams_per_token: int = 0
    publish_rate: float = 0.0
    publish_bytes_rate: int = 0
    direct_writes: bool = True
    log: str = "text"
    log_level: str = "info"
    demo: bool = False
    public_url: str = ""
    flask_sse: tuple[str, ...] = ()
    checkpoints: str = "comet-checkpoints.json"
    channels: Mapping[str, Rule] = field(default_factory=dict)
    triggers: tuple[Declared, ...] = ()

    @property
    def rules(self) -> Rules:
        default = Rule(self.history, self.history_bytes, self.history_seconds, self.replay)
        return Rules(default, {**self.channels, self.status_channel: own.RULE})

    @property
    def status_channel(self) -> str:
        """The channel of comet's own in which the live page for administration is published."""
        return own.status_channel(self.bind)

    @property
    def streams_of_a_peer(self) -> int:
        """Streams that one address may have; 0: any number."""
        if not self.trusted_proxies:
            return 0
        return STREAMS_PER_PEER if self.streams_per_peer is None else self.streams_per_peer

    def validate(self) -> Settings:
        """Return these settings. Raises SettingsError for values that are right alone but not together."""
        if self.workers > 1 and self.broker == "memory":
            raise SettingsError(refuse_workers(self.workers))
        if not re.fullmatch(r"memory|sqlite:///.+|rediss?://.+", self.broker):
            # Without the password, which does not belong into a log.
            shown = re.sub(r"://.*@", "://…@", self.broker)
            refuse("COMET_BROKER", shown, "memory, sqlite:///FILE, or redis://[:PASSWORD@]HOST[:PORT][/DATABASE]")
        if self.flask_sse and not self.broker.startswith("redis"):
            raise SettingsError(refuse_flask_sse())
        if self.open and not is_loopback(self.bind):
            raise SettingsError(refuse_open("COMET_BIND", self.bind))
        if self.streams_per_peer and not self.trusted_proxies:
            raise SettingsError(refuse_peers(self.streams_per_peer))
        if self.trusted_proxies and self.bind.startswith("unix:") and "unix" not in self.trusted_proxies:
            raise SettingsError(refuse_strangers(self.bind))
        return self


assert set(READERS) == {each.name for each in fields(Settings)} - {"channels", "triggers"}


def refuse_open(key: str, bind: str) -> str:
    return (
        f"COMET_OPEN is on and {key} is {bind!r}: without credentials anybody could publish. "
        "Bind to a loopback address such as 127.0.0.1:4071, or set COMET_PUBLISH_KEY instead of COMET_OPEN."
    )


def refuse_workers(workers: int | str) -> str:
    return (
        f"{workers} workers can't share the memory broker: what one publishes the others never see. "
        "Use 1 worker, or a broker that serves several: sqlite:///FILE on one host, redis://HOST on many."
    )


def refuse_flask_sse() -> str:
    return (
        "COMET_FLASK_SSE is set, and COMET_BROKER is not the Redis that flask-sse publishes to. "
        "Set COMET_BROKER to its redis:// URL, or unset COMET_FLASK_SSE."
    )


def refuse_peers(most: int) -> str:
    return (
        f"COMET_STREAMS_PER_PEER is {most}, and COMET_TRUSTED_PROXIES does not say whom to believe about addresses: "
        "all users behind a proxy would share one limit. Set it to the addresses of your proxies, or to none where "
        "clients connect directly."
    )


def refuse_strangers(bind: str) -> str:
    return (
        f"COMET_BIND is {bind!r}, and COMET_TRUSTED_PROXIES does not list the word unix: whoever comes through that "
        "socket would be one stranger, and all users would share one limit. Add it to the list."
    )


def is_loopback(bind: str) -> bool:
    """Whether only this machine reaches an address. A Unix socket does not count: a proxy stands before it."""
    host = bind.rpartition(":")[0].strip("[]")
    return is_loopback_host(host)


def is_loopback_host(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings: the environment wins over the file, the file over the defaults. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    document, where = _read_file(environ)
    channels = read_rules(table(document.pop("channels", {}), "[channels]", where), where)
    triggers = read_triggers(document.pop("triggers", []), where)
    values = _of_comet(table(document.pop("comet", {}), "[comet]", where), where)
    for name in document:
        raise SettingsError(
            f"{where}: {name!r} is not a table of comet: [comet], [channels.NAME] and [[triggers]] are."
        )
    values.update(_of_environment(environ))
    default = Settings(**values).rules.default
    values["triggers"] = triggers
    values["channels"] = {pattern: replace(default, **rule) for pattern, rule in channels.items()}
    return Settings(**values).validate()


def _of_comet(document: Mapping[str, Any], where: str) -> dict[str, Any]:
    values = {}
    for name, value in document.items():
        if name not in READERS:
            raise SettingsError(f"{where}: {name!r} under [comet] is not a setting.{nearest(name, READERS)}")
        values[name] = READERS[name](f"{name} in {where}", value)
    return values


def _of_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {PREFIX + name.upper(): name for name in READERS}
    values = {}
    for key, text in environ.items():
        if key in known:
            values[known[key]] = READERS[known[key]](key, text)
        elif key.startswith(PREFIX) and key not in _NOT_OURS:
            near = nearest(key.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], PREFIX)
            warnings.warn(f"{key} is not a setting of comet.{near}", stacklevel=3)
    return values


def _read_file(environ: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    named = environ.get("COMET_CONFIG")
    path = Path(named or "comet.toml")
    if not named and not path.exists():
        return {}, str(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), str(path)
    except OSError as error:
        raise SettingsError(f"COMET_CONFIG names {str(path)!r}, which can't be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        # Not only TOMLDecodeError: a number of 5,000 digits, or brackets 2,000 deep.
        raise SettingsError(f"{path} is not TOML: {error}.") from error
