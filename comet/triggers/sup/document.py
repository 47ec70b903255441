"""Document: what a SUP document says. Liberal: servers of 2008 wrote ``update_time``, and numbers for ids."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ...breath import breathe


#: Seconds, where a document does not say them.
USUAL = 60.0


@dataclass(frozen=True, slots=True)
class Document:
    """``updates`` has the update-id of each SUP-ID that has changed from ``since`` to ``until`` (None: not said)."""

    updates: dict[str, str]
    until: float | None
    since: float | None
    period: float

    @classmethod
    def parse(cls, data: bytes) -> Document:
        """Raises ValueError, with what is wrong, where it is no SUP document."""
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError("it is not JSON") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("updates"), list):
            raise ValueError('it has no list of "updates"')
        until = fields.get("updated_time") or fields.get("update_time")
        since, period = _time(fields.get("since_time")), _seconds(fields.get("period"))
        return cls(_pairs(fields["updates"]), _time(until), since, period)

    def later(self, seconds: float) -> Document:
        """What it says when it is still the same after so many seconds."""
        return self if self.until is None else replace(self, until=self.until + seconds)


def _pairs(items: list[Any]) -> dict[str, str]:
    pairs = {}
    for count, item in enumerate(items, 1):
        if not isinstance(item, list) or len(item) < 2 or not {type(item[0]), type(item[1])} <= {str, int}:
            raise ValueError(f"{str(item)[:60]} is not a pair of SUP-ID and update-id")
        pairs[str(item[0])] = str(item[1])
        if count % 500 == 0:
            breathe()
    return pairs


def _time(text: Any) -> float | None:
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time.replace(tzinfo=time.tzinfo or UTC).timestamp()


def _seconds(period: Any) -> float:
    return float(period) if isinstance(period, (int, float)) and 1 <= period <= 86_400 else USUAL
