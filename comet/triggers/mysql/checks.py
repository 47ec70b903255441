"""Checks: whether a server's binary log tells what the binlog trigger needs, and where it stands.

Whatever is missing is an Alarm with the statement to type. What a server hides is not found out later: without names
of columns, or with half of them, every row would be published wrong.
"""

from __future__ import annotations

from contextlib import suppress

from ...core.errors import Alarm
from .database import Database, quoted
from .place import Place


#: The rights beside SELECT on the table.
RIGHTS = "REPLICATION SLAVE, BINLOG MONITOR ON *.*"

#: What a variable must be, and what comes of it otherwise.
VARIABLES = {
    "binlog_format": ("ROW", "writes statements to its binary log, not rows"),
    "binlog_row_image": ("FULL", "writes only parts of a row to its binary log"),
    "binlog_row_metadata": ("FULL", "writes no names of columns to its binary log"),
    "log_bin_compress": ("OFF", "compresses its binary log, which can't be read"),
}


def check_server(server: Database, database: str) -> Place:
    """Return where its binary log ends now. Raises Alarm where it has none of ``database``, or not the right one."""
    address = server.address
    names = ", ".join(f"'{name}'" for name in ("log_bin", "server_id", "server_uuid", *VARIABLES))
    has = dict(server.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})"))
    if has.get("log_bin") != "ON":
        raise Alarm(
            f"{address} writes no binary log. Put log_bin under [mariadbd] in its configuration, and start it again."
        )
    for name, (value, otherwise) in VARIABLES.items():
        if has.get(name, value) != value:
            raise Alarm(f"{address} {otherwise}.", statement=f"SET GLOBAL {name} = '{value}';")
    if "binlog_row_metadata" not in has:
        raise Alarm(f"{address} is too old: the binary log has names of columns since MariaDB 10.5 and MySQL 8.0.14.")
    server.grant = RIGHTS
    file, pos, only, never = server.rows("SHOW MASTER STATUS")[0][:4]
    if (only and database not in only.split(",")) or database in never.split(","):
        raise Alarm(
            f"{address} leaves {database} out of its binary log (binlog_do_db, binlog_ignore_db in its configuration)."
        )
    return Place(file, pos, _gtids(server, file, pos), has.get("server_uuid") or has["server_id"])


def check_table(server: Database, database: str, name: str) -> dict[str, str]:
    """How its columns are declared. Raises Alarm where there is no such table, or we may not see it."""
    full = quoted(f"{database}.{name}")
    server.grant = f"SELECT ON {full}"
    if server.rows("SELECT @@lower_case_table_names") == [(1,)] and full != full.lower():
        raise Alarm(
            f"{server.address} writes all names in lower case: table must be {database.lower()}.{name.lower()}."
        )
    return {column[0]: column[1] for column in server.rows(f"SHOW COLUMNS FROM {full}")}


def is_its_own(server: Database, place: Place, now: Place) -> bool:
    """Whether a place is one of this server's log, of which ``now`` is the end; as far as can be said."""
    gtids = _gtids(server, place.file, place.pos)
    theirs = set(gtids.split(","))
    return place.server == now.server and (not gtids or not place.gtid or set(place.gtid.split(",")) <= theirs)


def _gtids(server: Database, file: str, pos: int) -> str:
    """The last transactions before a place, by MariaDB's ids; nothing where the log is not there, or not MariaDB's."""
    with suppress(Alarm):
        return server.rows("SELECT BINLOG_GTID_POS(%s, %s)", (file, pos))[0][0] or ""
    return ""
