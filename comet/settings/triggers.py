"""``[[triggers]]``: the kinds of triggers, and the keys of each.

Strategy: a table of readers says what each kind takes; whatever a table of the file says beyond it is refused. Defaults
stay in the classes, whose keyword arguments have the names of the keys (comet/sources.py finds the class).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import BadRequest, SettingsError
from ..core.update import check_channel, check_event, check_type
from .readers import Reader, flag, nearest, number, path, refuse, shown


@dataclass(frozen=True, slots=True)
class Declared:
    """A trigger as the file declares it. ``options`` are the keys of its kind that are set, read and checked.

    ``template`` or ``render``, if any, make of its updates what is published. ``file`` is where it was declared.
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    render: str = ""
    file: str = "comet.toml"

    @property
    def title(self) -> str:
        """How sentences name it."""
        return f"[[triggers]] {json.dumps(self.name, ensure_ascii=False)} in {self.file}"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind takes: its keys with their readers, those it needs, and those of which it needs exactly one.

    ``apart``: what goes together in no table. A key that is false is as good as none.
    """

    keys: Mapping[str, Reader]
    needs: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    apart: tuple[tuple[str, str], ...] = ()


def read_triggers(tables: Any, where: str) -> tuple[Declared, ...]:
    """The triggers that the file declares. Raises SettingsError; its text has no value of a URL."""
    if not isinstance(tables, list):
        raise SettingsError(f"{where}: triggers is one table; each trigger begins with [[triggers]], in two brackets.")
    found: dict[str, Declared] = {}
    for place, each in enumerate(tables, 1):
        trigger = _read(each, f"[[triggers]], number {place}, in {where}", where)
        if trigger.name in found:
            raise SettingsError(f"{where}: two [[triggers]] have the name {trigger.name!r}; each needs its own.")
        found[trigger.name] = trigger
    return tuple(found.values())


def _read(values: Any, place: str, where: str) -> Declared:
    if not isinstance(values, dict):
        raise SettingsError(f"{place} is not a table of keys and values.")
    name = _name(f"name of {place}", values.pop("name", None))
    title = Declared(name, "", file=where).title
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        near = nearest(kind, KINDS) if isinstance(kind, str) else ""
        raise SettingsError(f"kind of {title} is {shown(kind)}; it must be one of {', '.join(KINDS)}.{near}")
    options = _options(values, KINDS[kind], f"{title} ({kind})")
    return Declared(name, kind, options, options.pop("template", ""), options.pop("render", ""), where)


def _options(values: Mapping[str, Any], kind: Kind, title: str) -> dict[str, Any]:
    readers = {**kind.keys, **RENDERING}
    options = {}
    for key, value in values.items():
        if key not in readers:
            raise SettingsError(f"{key!r} is not a key of {title}: {', '.join(readers)}.{nearest(key, readers)}")
        options[key] = readers[key](f"{key} of {title}", value)
    missing = [key for key in kind.needs if key not in options]
    if missing:
        raise SettingsError(f"{title} has no {' and no '.join(missing)}.")
    if kind.either and not any(options.get(key) for key in kind.either):
        raise SettingsError(f"{title} has neither {' nor '.join(kind.either)}; it needs one.")
    for one, other in (*kind.apart, ("template", "render")):
        if options.get(one) and options.get(other):
            raise SettingsError(f"{title} has {one} and {other}; only one of them can be.")
    return options


# Readers, for what only triggers have.


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[^\s\x00-\x1f\x7f](.{0,126}[^\s\x7f])?", value):
        refuse(key, value, "1 to 128 characters, in quotes; it stands in the log, and each trigger has its own")
    return value


def _plain(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        refuse(key, value, "a text that is not empty")
    return value


def _by(check: Callable[[str], str]) -> Reader:
    """What is right where it is for an update."""

    def read(key: str, value: Any) -> str:
        try:
            return check(_plain(key, value))
        except BadRequest as error:
            raise SettingsError(f"{key}: {error}") from error

    return read


def _function(key: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", value):
        refuse(key, value, "MODULE:FUNCTION, such as prices:newest for newest() in prices.py")
    return value


def _argv(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value) or not value[0]:
        # Without the value: an argument may be a password.
        raise SettingsError(f'{key} is not right; it must be a program and its arguments, such as ["df", "-h"].')
    if any("\0" in each for each in value):
        raise SettingsError(f"{key} has a NUL, which no argument can have.")
    return tuple(value)


def _url(scheme: str, example: str) -> Reader:
    def read(key: str, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(rf"{scheme}://\S+", value):
            # Without the value: it may have a password.
            raise SettingsError(f"{key} is not right; it must be {example}.")
        return value

    return read


def _one_of(*choices: str) -> Reader:
    def read(key: str, value: Any) -> str:
        if value not in choices:
            refuse(key, value, " or ".join(map(repr, choices)))
        return str(value)

    return read


def _ids(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        # Without the value: a URL in it may have a password.
        raise SettingsError(f'{key} is not right; it must be SUP-IDs with their channels, such as {{0123 = "news"}}.')
    return value


CHANNEL = _by(check_channel)
EVENT = _by(check_event)
TYPE = _by(check_type)
SECONDS = number(0.01, 86_400, "seconds", whole=False)
MYSQL = _url("mysql", "mysql://USER:PASSWORD@HOST[:PORT]/DATABASE")

#: Every kind takes these.
RENDERING: dict[str, Reader] = {"template": _plain, "render": _function}

#: Every kind. A reader for each keyword argument of its class.
KINDS: dict[str, Kind] = {
    "timer": Kind(
        {
            "channel": CHANNEL,
            "call": _function,
            "every": SECONDS,
            "event": EVENT,
            "type": TYPE,
            "repeat": flag,
            "always": flag,
        },
        needs=("channel", "call", "every"),
    ),
    "command": Kind(
        {
            "channel": CHANNEL,
            "argv": _argv,
            "every": SECONDS,
            "lines": flag,
            "timeout": SECONDS,
            "event": EVENT,
            "type": TYPE,
            "errors": flag,
            "always": flag,
        },
        needs=("channel", "argv"),
        either=("every", "lines"),
        apart=(("every", "lines"), ("lines", "timeout")),
    ),
    "file": Kind(
        {"channel": CHANNEL, "path": path, "event": EVENT, "type": TYPE},
        needs=("channel", "path"),
    ),
    "mysql-query": Kind(
        {
            "channel": CHANNEL,
            "url": MYSQL,
            "query": _plain,
            "key": _plain,
            "as": _one_of("snapshot"),
            "snapshot_channel": CHANNEL,
            "event": EVENT,
            "initial": flag,
            "every": SECONDS,
            "always": flag,
        },
        needs=("channel", "url", "query"),
        either=("key", "as"),
        apart=(("key", "as"),),
    ),
    "mysql-outbox": Kind(
        {"url": MYSQL, "table": _plain, "every": SECONDS, "type": TYPE},
        needs=("url", "table"),
    ),
    "mysql-binlog": Kind(
        {"channel": CHANNEL, "url": MYSQL, "table": _plain},
        needs=("channel", "url", "table"),
    ),
    "activemq": Kind(
        {
            "channel": CHANNEL,
            "url": _url("stomp", "stomp://USER:PASSWORD@HOST:PORT"),
            "destination": _plain,
            "prefetch": number(1, 1000, "messages"),
            "durable": _plain,
            "attempts": number(1, 1000, "attempts"),
            "event": EVENT,
        },
        needs=("channel", "url", "destination"),
    ),
    "sup": Kind(
        {
            "url": _url("https?", "http://HOST/sup.json or https://HOST/sup.json"),
            "ids": _ids,
            "every": SECONDS,
            "event": EVENT,
        },
        needs=("url", "ids"),
    ),
}
