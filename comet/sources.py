"""Which trigger a table names, and what becomes of its updates."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from .core.errors import CometError, SettingsError, SourceFailed
from .rendering import Called, Templated, said
from .settings import Declared
from .triggers import Trigger
from .triggers.supervisor.publishing import Render


def make_trigger(declared: Declared, most: int) -> tuple[Trigger, Render | None]:
    """The trigger, and what makes of its updates what is published. ``most``: bytes of an update.

    Its class, and with it a driver, is imported only here. Raises SettingsError.
    """
    try:
        return _class(declared.kind)(declared.name, **_options(declared, most)), _render(declared)
    except SettingsError as error:
        raise SettingsError(f"{declared.title}: {error}") from error


def _options(declared: Declared, most: int) -> dict[str, Any]:
    options = {f"{key}_" if key == "as" else key: value for key, value in declared.options.items()}
    if "call" in options:
        options["call"] = _function("call", options["call"])
    if declared.kind in _CAPPED:
        options["most"] = most
    return options


def _class(kind: str) -> Callable[..., Trigger]:
    module, _, name = CLASSES[kind].partition(":")
    try:
        found: Callable[..., Trigger] = getattr(import_module(module), name)
        return found
    except ImportError as error:
        driver = DRIVERS.get(kind, "")
        if not driver or str(error.name).startswith("comet"):
            raise
        raise SettingsError(f"a {kind} trigger needs {driver}: pip install {driver.lower()}") from error


def _render(declared: Declared) -> Render | None:
    if declared.template:
        beside = Path(declared.file).absolute().parent
        folders = dict.fromkeys([beside, beside / "templates", Path("templates").absolute()])
        return Templated(declared.template, list(folders))
    if declared.render:
        return Called(_function("render", declared.render), declared.render)
    return None


class Function:
    """The operator's function. What it raises is one sentence with its place, as SourceFailed."""

    def __init__(self, name: str, find: Callable[[], Callable[..., object]]) -> None:
        self.name = name
        self._find = find

    def __call__(self, *arguments: object) -> object:
        try:
            return self._find()(*arguments)
        except CometError:
            raise
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(frame.filename).name}, line {frame.lineno}"
            raise SourceFailed(f"{self.name} has raised {said(error)} ({place}).") from error


def _function(key: str, name: str) -> Function:
    """The function ``MODULE:FUNCTION``, with this folder's modules at hand, as gunicorn has them."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module_name, _, path = name.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:
        raise SettingsError(f"{key} is {name!r}, and {module_name} can't be imported: {said(error)}.") from error
    if getattr(module.__spec__, "_initializing", False):
        # It is the app that is being loaded, and the function stands further down.
        return Function(name, lambda: _attribute(module, path, key, name))
    found = _attribute(module, path, key, name)
    return Function(name, lambda: found)


def _attribute(module: Any, path: str, key: str, name: str) -> Callable[..., object]:
    found = module
    try:
        for each in path.split("."):
            found = getattr(found, each)
    except AttributeError as error:
        raise SettingsError(f"{key} is {name!r}, and {module.__name__} has no {path}.") from error
    if not callable(found):
        raise SettingsError(f"{key} is {name!r}, which is no function.")
    return found  # type: ignore[no-any-return]


#: The class of each kind. Its keyword arguments are the kind's keys (comet/settings/triggers.py).
CLASSES = {
    "timer": "comet.triggers.timer:Timer",
    "command": "comet.triggers.command:Command",
    "file": "comet.triggers.file:File",
    "mysql-query": "comet.triggers.mysql.query:Query",
    "mysql-outbox": "comet.triggers.mysql.outbox:Outbox",
    "mysql-binlog": "comet.triggers.mysql.binlog:Binlog",
    "activemq": "comet.triggers.activemq:ActiveMq",
    "sup": "comet.triggers.sup:Sup",
}

#: What must be installed for them.
DRIVERS = {
    "mysql-query": "PyMySQL",
    "mysql-outbox": "PyMySQL",
    "mysql-binlog": "mysql-replication==1.0.17",  # its inner life matters (comet/triggers/mysql/stream.py)
    "activemq": "stomp.py",
    "sup": "requests",
}

#: Kinds that cut what is longer than an update may be.
_CAPPED = frozenset({"command", "file", "sup"})
