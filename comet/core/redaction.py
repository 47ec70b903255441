"""Redaction: text for a log, without the tokens in it."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus


#: What carries a token: the parameter, and the cookie.
PARAMETER, COOKIE = "token", "comet_token"

#: What stands in its place.
REDACTED = "…"

# A parameter's name may be percent-encoded: every letter of it takes up to three characters.
_NAMED = re.compile(r"(?<![\w%])([\w%]{5,33})=([^&;,\s\"']+)")
# The header of a token is a JSON object: it begins with a brace and a quotation mark, in base 64; seldom with a blank
# between them. Where it stands alone, somebody has cut the rest off.
_SHAPED = re.compile(r"eyJ[\w-]*\.[\w-]*(\.[\w-]*)?|eyJ[\w-]{16,}|(?:eyA|ew[0ko])[\w-]{14,}\.[\w-]{8,}(\.[\w-]*)?")


def redact(text: str) -> str:
    """The text without tokens: neither what is named as one, nor what looks like one."""
    return _SHAPED.sub(REDACTED, _NAMED.sub(_without_value, text))


def _without_value(match: re.Match[str]) -> str:
    named = unquote_plus(match[1]) in (PARAMETER, COOKIE)
    return f"{match[1]}={REDACTED}" if named else match[0]
