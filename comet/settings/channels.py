"""``[channels.NAME]``: rules for channels, by exact name or by a prefix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..core.errors import BadRequest, SettingsError
from ..core.rules import check_pattern
from .readers import READERS, flag, nearest, table


_READERS = {name: READERS[name] for name in ("history", "history_bytes", "history_seconds", "replay")} | {
    "conflate": flag,
    "private": flag,
}


def read_rules(tables: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """What each table says, by its pattern. Raises SettingsError."""
    return {pattern: _rule(pattern, each, where) for pattern, each in tables.items()}


def _rule(pattern: str, rule: Any, where: str) -> dict[str, Any]:
    title = f"[channels.{json.dumps(pattern, ensure_ascii=False)}]"
    try:
        check_pattern(pattern)
    except BadRequest as error:
        raise SettingsError(f"{where}: {title}: {error}") from error
    values = {}
    for name, value in table(rule, title, where).items():
        if name not in _READERS:
            raise SettingsError(f"{where}: {name!r} under {title} is not a rule.{nearest(name, _READERS)}")
        values[name] = _READERS[name](f"{name} of {title} in {where}", value)
    return values
