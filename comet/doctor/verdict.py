"""A verdict: what is said of one thing on the path."""

from __future__ import annotations

from dataclasses import dataclass


OK, WRONG, UNKNOWN = "ok", "wrong", "not measured"


@dataclass(frozen=True)
class Verdict:
    """What is said of one thing. ``seen`` is a few words for the table."""

    state: str
    seen: str
    fault: str = ""
    sentence: str = ""


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "1 ms"
