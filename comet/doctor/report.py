"""The report: the verdicts for people, a table and what to change; and for programs."""

from __future__ import annotations

import textwrap
from typing import Any

from .advice import ADVICE, CADDY, NGINX
from .seen import Seen
from .verdict import OK, WRONG, Verdict
from .verdicts import judge


Verdicts = list[tuple[str, Verdict]]

WIDTH = 100


def faults(verdicts: Verdicts) -> Verdicts:
    """Those that are wrong."""
    return [(name, verdict) for name, verdict in verdicts if verdict.state == WRONG]


def text(seen: Seen, verdicts: Verdicts | None = None) -> str:
    """For people."""
    verdicts = judge(seen) if verdicts is None else verdicts
    lines = [f"{seen.url}", ""]
    for name, verdict in verdicts:
        state = verdict.state.upper() if verdict.state == WRONG else verdict.state
        lines += _row(f"  {name:17} {state:13} ", verdict.seen)
    wrong = faults(verdicts)
    lines += ["", _summary(wrong, verdicts)]
    for number, (name, verdict) in enumerate(wrong, 1):
        lines += ["", *_fault(f"{number}. {name}: ", verdict, _front(seen))]
    return "\n".join(lines)


def document(seen: Seen) -> dict[str, Any]:
    """For programs."""
    verdicts = judge(seen)
    return {
        "url": seen.url,
        "ok": not faults(verdicts),
        "checks": [
            {
                "check": name,
                "state": verdict.state,
                "seen": verdict.seen,
                "fault": verdict.fault or None,
                "sentence": verdict.sentence or None,
                "change": _change(verdict),
            }
            for name, verdict in verdicts
        ],
    }


def _change(verdict: Verdict) -> dict[str, Any] | None:
    if not verdict.fault:
        return None
    advice = ADVICE[verdict.fault]
    return {"what": advice.change, **advice.proxies}


def _summary(wrong: Verdicts, verdicts: Verdicts) -> str:
    unknown = sum(verdict.state not in (OK, WRONG) for _, verdict in verdicts)
    found = {0: "No fault was found.", 1: "One fault was found."}.get(len(wrong), f"{len(wrong)} faults were found.")
    return f"{found} Not measured: {unknown}." if unknown else found


def _fault(head: str, verdict: Verdict, front: str) -> list[str]:
    advice = ADVICE[verdict.fault]
    lines = _row(head, f"{verdict.sentence} {advice.change}".strip(), indent=3)
    # Who is known to stand there comes first; the others may stand behind it.
    for proxy in sorted(advice.proxies, key=lambda name: name != front):
        lines += _row(f"   {proxy:8} ", advice.proxies[proxy])
    return lines


def _row(head: str, what: str, *, indent: int | None = None) -> list[str]:
    rest = " " * (len(head) if indent is None else indent)
    return textwrap.wrap(head + what, WIDTH, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)


def _front(seen: Seen) -> str:
    """The proxy that says who it is."""
    said = f"{seen.health.headers.get('server', '')} {seen.health.headers.get('via', '')}".lower()
    return next((name for name in (NGINX, CADDY) if name.lower() in said), "")
