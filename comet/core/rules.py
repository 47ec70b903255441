"""Rules: how much a channel keeps and how it is read, by its name or by the longest prefix declared for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .update import check_channel


def check_pattern(pattern: str) -> None:
    """Raise BadRequest for what is neither a channel's name nor a prefix ending in ``*``."""
    # A prefix is right if some name begins so.
    check_channel(pattern.removesuffix("*") + "x" if pattern.endswith("*") else pattern)


def matches(pattern: str, channel: str) -> bool:
    return channel.startswith(pattern[:-1]) if pattern.endswith("*") else channel == pattern


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds for a channel. Sizes are in bytes, times in seconds."""

    history: int = 100
    history_bytes: int = 1_048_576
    history_seconds: float = 3600.0
    replay: int = 1
    conflate: bool = False
    private: bool = False


#: The channel of comet's own by which workers tell each other of revoked tokens.
REVOKED = "comet.revoked"

#: The rules of comet's own channels, where what holds for everybody's would lose something. Nothing there is too old.
OWN = {REVOKED: Rule(history=100_000, history_bytes=1 << 30, history_seconds=1e10)}


class Rules:
    """The table of rules: an exact name, or a prefix ending in ``*``; the longest match wins."""

    def __init__(self, default: Rule | None = None, declared: Mapping[str, Rule] | None = None) -> None:
        self.default = default or Rule()
        self.names: dict[str, Rule] = dict(OWN)
        prefixes: dict[str, Rule] = {}
        for pattern, rule in (declared or {}).items():
            if pattern.endswith("*"):
                prefixes[pattern[:-1]] = rule
            else:
                self.names[pattern] = rule
        self._prefixes = sorted(prefixes.items(), key=lambda item: len(item[0]), reverse=True)

    def __getitem__(self, channel: str) -> Rule:
        if exact := self.names.get(channel):
            return exact
        for prefix, rule in self._prefixes:
            if channel.startswith(prefix):
                return rule
        return self.default
