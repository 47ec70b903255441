"""Failures: what an error of the server means: what somebody must mend, and what another attempt mends."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType

import pymysql

from ...core.errors import Alarm, CometError, SourceFailed
from .address import Address


#: Something is not granted.
FORBIDDEN = {1044, 1142, 1143, 1227, 1370}

#: The server does not let us in: user, password, host, their expiry, or the way of telling them.
NOT_LET_IN = {1045, 1130, 1251, 1524, 1698, 1820, 1862, 2054, 2059, 3118, 4151}

#: There is no such database, table, column or function; or the statement is none.
WRONG = {
    1046,
    1049,
    1051,
    1052,
    1054,
    1055,
    1064,
    1066,
    1096,
    1109,
    1111,
    1115,
    1146,
    1149,
    1222,
    1248,
    1264,
    1305,
    1356,
    1406,
}

#: It has no TLS.
NO_TLS = 2026

#: Of those that are wrong: there is no such table.
NO_TABLE = 1146

#: There was no answer, or no connection any more.
LOST = {0, 2006, 2013, 2014, 2055}

_ACCOUNT = re.compile(r"'[^']*'@'[^']*'")
_DENIED = re.compile(r"^(\w+) command denied to user \S+ for (?:table|column .* in table) (\S+)$")
_DENIED_DATABASE = re.compile(r" to database '(.*)'$")


def explain(
    error: BaseException,
    address: Address,
    *,
    grant: str = "",
    account: str = "",
    remedies: Mapping[int, str] = MappingProxyType({}),
) -> CometError:
    """The error to raise instead.

    ``grant``: the rights that the trigger needs (``SELECT ON shop.orders``), if it knows; ``account``: who needs them.
    ``remedies``: what to type where one of these errors of the server is to be mended.
    """
    code, text = _parts(error)
    if code in FORBIDDEN:
        grant, account = grant or _grant(text), account or _account(text)
        statement = f"GRANT {grant} TO {account};" if grant and account else ""
        return Alarm(f"{address} says: {text}.", statement=statement)
    if code in NOT_LET_IN:
        return Alarm(f"{address} does not let {address.user} in: {text}. Is the URL right?")
    if code in WRONG:
        return Alarm(f"{address} says: {text}.", statement=remedies.get(code, ""))
    if code == NO_TLS:
        return Alarm(f"{address} has no TLS: switch it on there, or write ?tls=off behind the URL.")
    cause = getattr(error, "original_exception", None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Alarm(
            f"{address} has a certificate that can't be verified ({cause.verify_message}): "
            "write ?ca=FILE or ?tls=unverified behind the URL."
        )
    if cause is not None:
        return SourceFailed(f"{address} can't be reached: {getattr(cause, 'strerror', None) or cause}.")
    if code in LOST:
        what = "does not answer" if "timed out" in text else "has closed the connection"
        return SourceFailed(f"{address} {what}.")
    return SourceFailed(f"{address} says: {text}.")


def _parts(error: BaseException) -> tuple[int, str]:
    code, *text = error.args if isinstance(error, pymysql.Error) and error.args else (0, error)
    if not isinstance(code, int):
        return 0, str(code).rstrip(".")
    return code, " ".join(str(part) for part in text).strip().rstrip(".")


def _grant(text: str) -> str:
    """What was denied, as a GRANT names it."""
    if found := _DENIED.search(text):
        return f"{found[1]} ON {found[2]}"
    found = _DENIED_DATABASE.search(text)
    return f"SELECT ON `{found[1]}`.*" if found else ""


def _account(text: str) -> str:
    found = _ACCOUNT.search(text)
    return found[0] if found else ""
