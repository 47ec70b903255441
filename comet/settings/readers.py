"""Readers: one for each kind of value. They take the key's name for their sentence, and raise SettingsError."""

from __future__ import annotations

import difflib
import ipaddress
import re
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import BadRequest, SettingsError
from ..core.update import check_channel


#: Of the open files of a worker: connections that stay free for publishing and health, and descriptors for the rest.
FREE_CONNECTIONS = 200
FREE_DESCRIPTORS = 256
MOST_STREAMS = 50_000

Reader = Callable[[str, Any], Any]


def room_for_streams() -> int:
    """Streams that a worker has open files for."""
    # The start raises the soft limit to the hard one first (comet.serving), so the hard one counts.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return MOST_STREAMS * 20
    return max(1, hard - FREE_CONNECTIONS - FREE_DESCRIPTORS)


def refuse(key: str, value: object, allowed: str) -> NoReturn:
    raise SettingsError(f"{key} is {shown(value)}; it must be {allowed}.")


def shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:
        return "a number of more digits than can be shown"  # beyond 4,300 Python writes none


def number(least: float, most: float, unit: str = "", *, whole: bool = True) -> Reader:
    kind = "a whole number" if whole else "a number"
    allowed = f"{kind}{unit and f' of {unit}'} from {least:.15g} to {most:.15g}"

    def read(key: str, value: Any) -> Any:
        found = value
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,30})?", value.strip(), re.ASCII):
            found = float(value) if "." in value else int(value)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not least <= found <= most:
            refuse(key, value, allowed)
        if whole and found != int(found):
            refuse(key, value, allowed)
        return int(found) if whole else float(found)

    return read


def streams(key: str, value: Any) -> int:
    room = room_for_streams()
    try:
        return int(number(1, room, "streams")(key, value))
    except SettingsError as error:
        raise SettingsError(f"{error} That is what the limit of open files leaves room for (ulimit -n).") from error


def flag(key: str, value: Any) -> bool:
    if value in (True, "1", 1):
        return True
    if value in (False, "0", 0, ""):
        return False
    refuse(key, value, "0 or 1")


def text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        refuse(key, value, "text")
    return value.strip()


def one_of(*words: str) -> Reader:
    def read(key: str, value: Any) -> str:
        if value not in words:
            refuse(key, value, f"{', '.join(words[:-1])} or {words[-1]}")
        return str(value)

    return read


def texts(key: str, value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        refuse(key, value, "text, several separated by commas")
    return tuple(item.strip() for item in items if item.strip())


def keys(key: str, value: Any) -> tuple[str, ...]:
    found = texts(key, value)
    for each in found:
        if not re.fullmatch(r"[\x21-\x7e]+", each):
            # Without the value: a key does not belong into a log.
            raise SettingsError(
                f"{key} has a key with a character that no header can carry: use printable ASCII, no blanks."
            )
    return found


#: Bytes of the shortest key for HS256: RFC 7518, 3.2, asks for as many as the hash has.
SHORTEST = 32


def secrets(key: str, value: Any) -> tuple[str, ...]:
    found = texts(key, value)
    for number, each in enumerate(found, 1):
        # Without the value, as above.
        if "-----BEGIN" in each:
            raise SettingsError(
                f"{key} is a secret for HS256, and key {number} of it is PEM: see COMET_JWT_PUBLIC_KEY."
            )
        if len(each.encode("utf-8", "surrogateescape")) < SHORTEST:
            raise SettingsError(
                f"{key}: key {number} has less than {SHORTEST} bytes and could be guessed from one token: "
                "make one with openssl rand -hex 32."
            )
    return found


_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)


def public_keys(key: str, value: Any) -> tuple[str, ...]:
    """PEM, as text or by the path of a file, which may hold several."""
    found: list[str] = []
    for each in texts(key, value):
        is_text = "-----BEGIN" in each
        blocks = [match[0] for match in _PEM.finditer(each if is_text else _read(key, each))]
        if not blocks:
            what = "is text" if is_text else f"names the file {each!r}"
            raise SettingsError(f"{key} {what} without a whole key in PEM (-----BEGIN PUBLIC KEY-----).")
        found += blocks
    return tuple(found)


def _read(key: str, place: str) -> str:
    try:
        return Path(place).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{key} names the file {place!r}, which can't be read: {why}.") from error


def prefixes(key: str, value: Any) -> tuple[str, ...]:
    found = texts(key, value)
    for prefix in found:
        try:
            check_channel(f"{prefix}x" if len(prefix) < 128 else prefix)
        except BadRequest:
            refuse(key, prefix, "what names of channels begin with, such as sse; several separated by commas")
    return found


def bind(key: str, value: Any) -> str:
    place = text(key, value)
    address = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^:,\s\[\]/]*):([0-9]{1,5})", place, re.ASCII)
    if not (int(address[1]) < 65_536 if address else re.fullmatch(r"unix:.+", place)):
        refuse(key, value, "ADDRESS:PORT, such as 127.0.0.1:4071 or [::1]:4071, or unix:PATH")
    return place


_ORIGIN = re.compile(r"https?://[^\s/?#'\"<>\\@]+", re.IGNORECASE)


def origins(key: str, value: Any) -> tuple[str, ...]:
    found = texts(key, value)
    for origin in found:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            refuse(key, origin, "an origin such as https://app.example (no path, no slash at the end), or *")
    return tuple(origin.lower() for origin in found)


def proxies(key: str, value: Any) -> tuple[str, ...]:
    found = texts(key, value)
    for each in found:
        if each not in ("unix", "none") and not _is_network(each):
            refuse(
                key,
                each,
                "an address such as 127.0.0.1, a network such as 10.0.0.0/8, unix, or none; several by commas",
            )
    if "none" in found and len(found) > 1:
        raise SettingsError(f"{key} has none among others; none says that clients connect directly, without any proxy.")
    return found


def _is_network(text: str) -> bool:
    try:
        # All there is would be to believe everybody, who could then name any address.
        return ipaddress.ip_network(text, strict=False).prefixlen > 0
    except ValueError:
        return False


def url(key: str, value: Any) -> str:
    address = text(key, value).rstrip("/")
    if address and not re.fullmatch(r"https?://[^\s/?#'\"<>\\@]+(/[^\s?#'\"<>\\]*)?", address, re.IGNORECASE):
        refuse(key, value, "a URL such as https://push.example, without ? and #")
    return address


def path(key: str, value: Any) -> str:
    return text(key, value) or refuse(key, value, "the path of a file")


#: Every setting but the tables.
READERS: dict[str, Reader] = {
    "bind": bind,
    "workers": number(1, 1000),
    "broker": text,
    "publish_key": keys,
    "jwt_key": secrets,
    "jwt_public_key": public_keys,
    "open": flag,
    "history": number(1, 10_000_000, "updates"),
    "history_bytes": number(1, 1 << 40, "bytes"),
    "history_seconds": number(0.1, 1e9, "seconds", whole=False),
    "replay": number(0, 10_000_000, "updates"),
    "memory": number(1 << 16, 1 << 40, "bytes"),
    "heartbeat": number(0.1, 3600, "seconds", whole=False),
    "poll_timeout": number(1, 60, "seconds", whole=False),
    "max_update": number(1, 1 << 30, "bytes"),
    "max_streams": streams,
    "max_channels": number(1, 10_000_000, "channels"),
    "idempotency_seconds": number(1, 1e9, "seconds", whole=False),
    "write_timeout": number(0.1, 3600, "seconds", whole=False),
    "drain_seconds": number(0, 3600, "seconds", whole=False),
    "allowed_origins": origins,
    "trusted_proxies": proxies,
    "streams_per_peer": number(0, 1_000_000, "streams"),
    "streams_per_token": number(0, 1_000_000, "streams"),
    "publish_rate": number(0, 1e9, "updates a second", whole=False),
    "publish_bytes_rate": number(0, 1 << 40, "bytes a second"),
    "direct_writes": flag,
    "log": one_of("text", "json"),
    "log_level": one_of("debug", "info", "warning", "error", "critical"),
    "demo": flag,
    "public_url": url,
    "flask_sse": prefixes,
    "checkpoints": path,
}


def table(value: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where}: {name} is {shown(value)}; it must be a table.")
    return value


def nearest(name: str, known: Iterable[str], prefix: str = "") -> str:
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.4)
    return f" Did you mean {prefix}{by_lower[near[0]]}?" if near else ""
