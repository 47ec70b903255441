"""Settings: one frozen value, read from the environment and a TOML file, and checked in full sentences.

A leaf: only the app, the command line and gunicorn's configuration read it. The rooms inside take plain arguments.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import resource
import tomllib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from .core.errors import BadRequest, SettingsError
from .core.rules import Rule, Rules
from .core.update import check_channel


#: Of the open files of a worker: connections that stay free for publishing and health, and descriptors for the rest.
FREE_CONNECTIONS = 200
FREE_DESCRIPTORS = 256
MOST_STREAMS = 50_000

PREFIX = "COMET_"


def room_for_streams() -> int:
    """Streams that a worker has open files for."""
    # The start raises the soft limit to the hard one first (comet.serving), so the hard one counts.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return MOST_STREAMS * 20
    return max(1, hard - FREE_CONNECTIONS - FREE_DESCRIPTORS)


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is ``COMET_`` and its name in capitals; in TOML its name under ``[comet]``. Times are in seconds."""

    bind: str = "127.0.0.1:4071"
    workers: int = 1
    broker: str = "memory"
    publish_key: tuple[str, ...] = ()
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
    direct_writes: bool = True
    demo: bool = False
    public_url: str = ""
    flask_sse: tuple[str, ...] = ()
    channels: Mapping[str, Rule] = field(default_factory=dict)

    @property
    def rules(self) -> Rules:
        default = Rule(self.history, self.history_bytes, self.history_seconds, self.replay)
        return Rules(default, self.channels)

    def validate(self) -> Settings:
        """Return these settings. Raises SettingsError for values that are right alone but not together."""
        if self.workers > 1 and self.broker == "memory":
            raise SettingsError(refuse_workers(self.workers))
        if not re.fullmatch(r"memory|sqlite:///.+|rediss?://.+", self.broker):
            # Without the password, which does not belong into a log.
            shown = re.sub(r"://.*@", "://…@", self.broker)
            _refuse("COMET_BROKER", shown, "memory, sqlite:///FILE, or redis://[:PASSWORD@]HOST[:PORT][/DATABASE]")
        if self.flask_sse and not self.broker.startswith("redis"):
            raise SettingsError(refuse_flask_sse())
        if self.open and not is_loopback(self.bind):
            raise SettingsError(refuse_open("COMET_BIND", self.bind))
        return self


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
    channels = _channels(_table(document.pop("channels", {}), "[channels]", where), where)
    values = _of_table(_table(document.pop("comet", {}), "[comet]", where), where)
    for name in document:
        raise SettingsError(f"{where}: {name!r} is not a table of comet: [comet] and [channels.NAME] are.")
    values.update(_of_environment(environ))
    default = Settings(**values).rules.default
    values["channels"] = {pattern: replace(default, **rule) for pattern, rule in channels.items()}
    return Settings(**values).validate()


def _of_table(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    values = {}
    for name, value in table.items():
        if name not in _READERS:
            raise SettingsError(f"{where}: {name!r} under [comet] is not a setting.{_nearest(name, _READERS)}")
        values[name] = _READERS[name](f"{name} in {where}", value)
    return values


def _of_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {PREFIX + name.upper(): name for name in _READERS}
    values = {}
    for key, text in environ.items():
        if key in known:
            values[known[key]] = _READERS[known[key]](key, text)
        elif key in _LATER:
            raise SettingsError(f"{key} is set, but signed tokens are not built yet. Unset it.")
        elif key.startswith(PREFIX) and key not in _NOT_OURS:
            nearest = _nearest(key.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], PREFIX)
            warnings.warn(f"{key} is not a setting of comet.{nearest}", stacklevel=3)
    return values


def _table(value: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: {name} is {value!r}; it must be a table.")
    return value


def _read_file(environ: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    named = environ.get("COMET_CONFIG")
    path = Path(named or "comet.toml")
    if not named and not path.exists():
        return {}, str(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), str(path)
    except OSError as error:
        raise SettingsError(f"COMET_CONFIG names {str(path)!r}, which can't be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}.") from error


# Readers: one for each kind of value. They take the name of the key for their sentence.


def _refuse(key: str, value: object, allowed: str) -> NoReturn:
    raise SettingsError(f"{key} is {value!r}; it must be {allowed}.")


def _number(least: float, most: float, unit: str = "", *, whole: bool = True) -> Callable[[str, Any], Any]:
    kind = "a whole number" if whole else "a number"
    allowed = f"{kind}{unit and f' of {unit}'} from {least:.15g} to {most:.15g}"

    def read(key: str, value: Any) -> Any:
        number = value
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,6})?", value.strip(), re.ASCII):
            number = float(value) if "." in value else int(value)
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not least <= number <= most:
            _refuse(key, value, allowed)
        if whole and number != int(number):
            _refuse(key, value, allowed)
        return int(number) if whole else float(number)

    return read


def _streams(key: str, value: Any) -> int:
    room = room_for_streams()
    try:
        return int(_number(1, room, "streams")(key, value))
    except SettingsError as error:
        raise SettingsError(f"{error} That is what the limit of open files leaves room for (ulimit -n).") from error


def _flag(key: str, value: Any) -> bool:
    if value in (True, "1", 1):
        return True
    if value in (False, "0", 0, ""):
        return False
    _refuse(key, value, "0 or 1")


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(key, value, "text")
    return value.strip()


def _list(key: str, value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        _refuse(key, value, "text, several separated by commas")
    return tuple(item.strip() for item in items if item.strip())


def _keys(key: str, value: Any) -> tuple[str, ...]:
    keys = _list(key, value)
    for each in keys:
        if not re.fullmatch(r"[\x21-\x7e]+", each):
            # Without the value: a key does not belong into a log.
            raise SettingsError(
                f"{key} has a key with a character that no header can carry: use printable ASCII, no blanks."
            )
    return keys


def _prefixes(key: str, value: Any) -> tuple[str, ...]:
    prefixes = _list(key, value)
    for prefix in prefixes:
        try:
            check_channel(f"{prefix}x" if len(prefix) < 128 else prefix)
        except BadRequest:
            _refuse(key, prefix, "what names of channels begin with, such as sse; several separated by commas")
    return prefixes


def _bind(key: str, value: Any) -> str:
    text = _text(key, value)
    address = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^:,\s\[\]/]*):([0-9]{1,5})", text, re.ASCII)
    if not (int(address[1]) < 65_536 if address else re.fullmatch(r"unix:.+", text)):
        _refuse(key, value, "ADDRESS:PORT, such as 127.0.0.1:4071 or [::1]:4071, or unix:PATH")
    return text


_ORIGIN = re.compile(r"https?://[^\s/?#'\"<>\\@]+", re.IGNORECASE)


def _origins(key: str, value: Any) -> tuple[str, ...]:
    origins = _list(key, value)
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            _refuse(key, origin, "an origin such as https://app.example (no path, no slash at the end), or *")
    return tuple(origin.lower() for origin in origins)


def _url(key: str, value: Any) -> str:
    text = _text(key, value).rstrip("/")
    if text and not re.fullmatch(r"https?://[^\s/?#'\"<>\\@]+(/[^\s?#'\"<>\\]*)?", text, re.IGNORECASE):
        _refuse(key, value, "a URL such as https://push.example, without ? and #")
    return text


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "bind": _bind,
    "workers": _number(1, 1000),
    "broker": _text,
    "publish_key": _keys,
    "open": _flag,
    "history": _number(1, 10_000_000, "updates"),
    "history_bytes": _number(1, 1 << 40, "bytes"),
    "history_seconds": _number(0.1, 1e9, "seconds", whole=False),
    "replay": _number(0, 10_000_000, "updates"),
    "memory": _number(1 << 16, 1 << 40, "bytes"),
    "heartbeat": _number(0.1, 3600, "seconds", whole=False),
    "poll_timeout": _number(1, 60, "seconds", whole=False),
    "max_update": _number(1, 1 << 30, "bytes"),
    "max_streams": _streams,
    "max_channels": _number(1, 10_000_000, "channels"),
    "idempotency_seconds": _number(1, 1e9, "seconds", whole=False),
    "write_timeout": _number(0.1, 3600, "seconds", whole=False),
    "drain_seconds": _number(0, 3600, "seconds", whole=False),
    "allowed_origins": _origins,
    "direct_writes": _flag,
    "demo": _flag,
    "public_url": _url,
    "flask_sse": _prefixes,
}
_LATER = frozenset({"COMET_JWT_KEY", "COMET_JWT_PUBLIC_KEY"})
#: Where the file is, and where the command line finds a server.
_NOT_OURS = frozenset({"COMET_CONFIG", "COMET_URL"})
_RULE_READERS = {name: _READERS[name] for name in ("history", "history_bytes", "history_seconds", "replay")} | {
    "conflate": _flag,
    "private": _flag,
}
assert set(_READERS) == {each.name for each in fields(Settings)} - {"channels"}


def _channels(tables: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    return {pattern: _rule(pattern, table, where) for pattern, table in tables.items()}


def _rule(pattern: str, table: Any, where: str) -> dict[str, Any]:
    title = f"[channels.{json.dumps(pattern, ensure_ascii=False)}]"
    try:
        # A prefix is right if some name begins so.
        check_channel(pattern.removesuffix("*") + "x" if pattern.endswith("*") else pattern)
    except BadRequest as error:
        raise SettingsError(f"{where}: {title}: {error}") from error
    values = {}
    for name, value in _table(table, title, where).items():
        if name not in _RULE_READERS:
            raise SettingsError(f"{where}: {name!r} under {title} is not a rule.{_nearest(name, _RULE_READERS)}")
        values[name] = _RULE_READERS[name](f"{name} of {title} in {where}", value)
    return values


def _nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    return f" Did you mean {prefix}{by_lower[near[0]]}?" if near else ""
