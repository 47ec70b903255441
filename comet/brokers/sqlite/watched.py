"""Watched: until when which channels count as watched, in whichever worker.

Each function works on a connection that it is given; what writes, within a transaction of the store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping


SCHEMA = "CREATE TABLE IF NOT EXISTS watched (channel TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;"


def watch(db: sqlite3.Connection, now: float, channels: Mapping[str, float]) -> bool:
    """Let them count as watched for so many seconds, if not longer. Return whether one of them did not before."""
    db.execute("DELETE FROM watched WHERE until <= ?", (now,))
    before = find(db, now, channels)
    db.executemany(
        "INSERT INTO watched VALUES (?, ?) ON CONFLICT (channel) DO UPDATE SET until = max(until, excluded.until)",
        [(channel, now + seconds) for channel, seconds in channels.items()],
    )
    return not before.issuperset(channels)


def find(db: sqlite3.Connection, now: float, channels: Collection[str]) -> set[str]:
    """Those of the channels that count as watched."""
    rows = db.execute("SELECT channel FROM watched WHERE until > ?", (now,))
    return {channel for (channel,) in rows}.intersection(channels)
