"""Leases: who runs a trigger, and how far its source has been read.

Each function works within a transaction of the store: with what is published under a lease, both hold or neither.
"""

from __future__ import annotations

import sqlite3

from ...core.errors import LeaseLost
from .. import Lease


SCHEMA = """
CREATE TABLE IF NOT EXISTS lease (
    name TEXT PRIMARY KEY, holder TEXT NOT NULL, fence INTEGER NOT NULL, until REAL NOT NULL,
    checkpoint TEXT) WITHOUT ROWID;
"""


def take(db: sqlite3.Connection, now: float, name: str, holder: str, seconds: float) -> Lease | None:
    """Take or renew a lease; None: another has it. A new holder has a new fence."""
    row = db.execute("SELECT holder, fence, until FROM lease WHERE name = ?", (name,)).fetchone()
    if row and row[0] != holder and row[2] > now:
        return None
    fence = row[1] + (row[0] != holder) if row else 1
    db.execute(
        "INSERT INTO lease VALUES (?, ?, ?, ?, NULL) ON CONFLICT (name) DO UPDATE SET "
        "holder = excluded.holder, fence = excluded.fence, until = excluded.until",
        (name, holder, fence, now + seconds),
    )
    return Lease(name, fence)


def give_back(db: sqlite3.Connection, now: float, lease: Lease) -> None:
    """Let the next one have it at once."""
    db.execute("UPDATE lease SET until = 0 WHERE name = ? AND fence = ?", (lease.name, lease.fence))


def checkpoint(db: sqlite3.Connection, now: float, name: str) -> str | None:
    """What was last remembered under this lease."""
    row = db.execute("SELECT checkpoint FROM lease WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def check(db: sqlite3.Connection, lease: Lease) -> None:
    """Raise LeaseLost if another has taken it since."""
    row = db.execute("SELECT fence FROM lease WHERE name = ?", (lease.name,)).fetchone()
    if row is None or row[0] != lease.fence:
        raise LeaseLost(f"another worker runs {lease.name} now.")


def remember(db: sqlite3.Connection, lease: Lease, text: str) -> None:
    """Remember how far the source of a lease has been read."""
    db.execute("UPDATE lease SET checkpoint = ? WHERE name = ?", (text, lease.name))
