"""Tokens: what a signed token (a JWT) grants, and the keys that tell whether it is genuine.

Each key has one algorithm, by its kind: a secret HS256, a public key RS256 or ES256. The token's header chooses
nothing: it must name the algorithm of a key, and be signed with that. Nothing of a token is believed before.
"""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from .core.errors import BadRequest, SettingsError, Unauthorized
from .core.redaction import redact
from .core.rules import check_pattern, matches


#: Seconds by which the clocks of those who make tokens may be ahead.
LEEWAY = 5.0

#: What a token may grant.
GRANTS = ("publish", "subscribe")

#: A token's name for itself, by which it is revoked: it stands in an address, where . and .. would be lost.
JTI = re.compile(r"[!-\-0-~][!-.0-~]{0,127}")

# Later than this nobody counts seconds.
_NEVER = 1e12

#: A key, with the one algorithm that it is for.
Key = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Token:
    """A genuine token: for each action the channels it grants, as names or prefixes ending in ``*``; and its end, in
    seconds since 1970. ``name`` is for counting: tokens are told apart by the claim jti, else sub, else as a whole.
    ``jti``: by this it is revoked; empty: it can't be."""

    grants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    expires: float = math.inf
    name: str = ""
    jti: str = ""

    def lacks(self, action: str, channels: Sequence[str]) -> list[str]:
        """The channels that it does not grant."""
        patterns = self.grants.get(action, ())
        return [name for name in channels if not any(matches(pattern, name) for pattern in patterns)]


#: Of a request that presents none.
NO_TOKEN = Token()


class Tokens:
    """The keys of a server: ``secrets`` (HS256), and ``public_keys`` as PEM (RS256, ES256). False without any.

    Raises SettingsError for a key that can't be used, and where a package is missing.
    """

    def __init__(self, secrets: Sequence[str] = (), public_keys: Sequence[str] = ()) -> None:
        if secrets or public_keys:
            _check_package("COMET_JWT_KEY" if secrets else "COMET_JWT_PUBLIC_KEY")
        self._keys: list[Key] = [("HS256", _bytes(secret)) for secret in secrets]
        self._keys += [_public_key(number, pem) for number, pem in enumerate(public_keys, 1)]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def read(self, text: str) -> Token:
        """Return the token. Raises Unauthorized, which says what is wrong with it."""
        from jwt.exceptions import PyJWTError

        try:
            claims = self._claims(text)
        except Unauthorized:
            raise
        except (PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            # It is signed by a key of ours, or is not a token at all.
            raise Unauthorized(f"the token is not well made: {type(error).__name__}.") from error
        expires = _number(claims, "exp")
        if not expires > time.time():
            raise Unauthorized(f"the token has expired {time.time() - expires:.0f} seconds ago (its claim exp).")
        return Token(_grants(claims.get("comet", {})), expires, _name(claims, text), _jti(claims))

    def _claims(self, text: str) -> dict[str, Any]:
        import jwt

        for algorithm, key in self._keys:
            try:
                return jwt.decode(text, key, [algorithm], {"verify_exp": False}, leeway=LEEWAY)
            except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
                continue  # it may be another key's
            except jwt.ImmatureSignatureError as error:
                raise Unauthorized("the token is not valid yet (its claims nbf and iat).") from error
            except (jwt.InvalidAudienceError, jwt.InvalidIssuerError) as error:
                # RFC 7519, 4.1.3: who does not find itself there MUST reject it.
                raise Unauthorized("the token is meant for another server (its claim aud).") from error
        algorithms = sorted({algorithm for algorithm, _ in self._keys})
        named = jwt.get_unverified_header(text).get("alg")
        if named not in algorithms:
            raise Unauthorized(
                f"the token names the algorithm {named!r:.20}; this server takes {', '.join(algorithms)}."
            )
        raise Unauthorized("the token's signature fits none of this server's keys.")


def check_jti(jti: str) -> str:
    """Return a token's jti. Raises BadRequest where it is none by which a token could be revoked."""
    if not JTI.fullmatch(jti):
        # Who takes the token itself for its name is not to find it in a log.
        raise BadRequest(
            f"{redact(jti)[:40]!r} is not a token's jti: 1 to 128 printable ASCII characters without blanks and "
            "slashes, not beginning with a dot."
        )
    return jti


def new_jti() -> str:
    return secrets.token_hex(16)


def make(
    secret: str,
    *,
    publish: Sequence[str] = (),
    subscribe: Sequence[str] = (),
    seconds: float = 3600,
    jti: str | None = None,
) -> str:
    """A token that grants this for so long. ``jti`` None: a new one. Raises BadRequest for what is no name and no
    prefix; SettingsError where PyJWT is missing."""
    _check_package("COMET_JWT_KEY")
    import jwt

    for pattern in (*publish, *subscribe):
        check_pattern(pattern)
    granted = {
        action: list(patterns) for action, patterns in zip(GRANTS, (publish, subscribe), strict=True) if patterns
    }
    now = int(time.time())
    claims = {"jti": jti or new_jti(), "comet": granted, "iat": now, "exp": now + math.ceil(seconds)}
    return jwt.encode(claims, _bytes(secret), "HS256")


def _grants(claim: Any) -> dict[str, tuple[str, ...]]:
    """What the claim ``comet`` grants. It is read strictly: who mistypes a grant is told."""
    if not isinstance(claim, dict):
        raise Unauthorized('the token\'s claim comet is not an object like {"subscribe": ["orders*"]}.')
    grants = {}
    for action in GRANTS:
        patterns = claim.get(action, [])
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            raise Unauthorized(f"the token's claim comet.{action} is not a list of names and prefixes ending in *.")
        for pattern in patterns:
            try:
                check_pattern(pattern)
            except BadRequest as error:
                raise Unauthorized(f"the token's claim comet.{action}: {error}") from error
        grants[action] = tuple(patterns)
    return grants


def _jti(claims: Mapping[str, Any]) -> str:
    jti: str = claims.get("jti", "")  # what is no text has been refused
    try:
        return jti and check_jti(jti)
    except BadRequest as error:
        # Whoever gave it the name means to revoke it by that, and could not.
        raise Unauthorized(f"the token's claim jti: {error}") from error


def _name(claims: Mapping[str, Any], text: str) -> str:
    for claim in ("jti", "sub"):
        if isinstance(value := claims.get(claim), str) and value:
            return f"{claim} {value}"
    # What is signed of it: the signature itself can be written in several ways.
    return f"sha256 {sha256(text.rpartition('.')[0].encode()).hexdigest()}"


def _number(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unauthorized(f"the token has no claim {name}, or one that is not a number of seconds since 1970.")
    return float(max(-_NEVER, min(value, _NEVER)))  # what is not a number at all (NaN) has passed


def _public_key(number: int, pem: str) -> Key:
    what = f"key {number} of COMET_JWT_PUBLIC_KEY"
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise SettingsError(
            "COMET_JWT_PUBLIC_KEY is set, and what reads such keys is not installed: pip install cryptography"
        ) from error
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"{what} is not a public key in PEM (-----BEGIN PUBLIC KEY-----).") from error
    if isinstance(key, RSAPublicKey) and key.key_size >= 2048:
        return "RS256", key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256", key
    raise SettingsError(f"{what} must be RSA of at least 2048 bits (RS256), or of the curve P-256 (ES256).")


def _bytes(secret: str) -> bytes:
    # As it stands in the environment, whatever its encoding.
    return secret.encode("utf-8", "surrogateescape")


def _check_package(variable: str) -> None:
    try:
        import jwt  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"{variable} is set, and what reads signed tokens is not installed: pip install PyJWT"
        ) from error
