"""Signed tokens, made by hand: whatever bytes a test means, right or wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


SECRET = "the-secret-of-the-tests-of-32-bytes-and-more"
OTHER = "another-secret-of-as-many-bytes-or-even-more"
SOON = 3600


def part(value: object) -> str:
    """A part of a token: JSON, or bytes as they are, in base 64."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def hs256(key: str | bytes, signed: str) -> bytes:
    return hmac.digest(key if isinstance(key, bytes) else key.encode(), signed.encode(), hashlib.sha256)


def token(
    grants: object = None, *, key: str | bytes = SECRET, expires: float | None = SOON, header: Any = None, **claims: Any
) -> str:
    """A token with this claim ``comet``, signed with HS256 whatever its header says. ``expires`` in so many seconds."""
    payload = {} if grants is None else {"comet": grants}
    if expires is not None:
        payload["exp"] = int(time.time() + expires)
    signed = f"{part(header or {'alg': 'HS256', 'typ': 'JWT'})}.{part({**payload, **claims})}"
    return f"{signed}.{part(hs256(key, signed))}"


def reader(*patterns: str, **options: Any) -> str:
    """A token that grants subscribing."""
    return token({"subscribe": list(patterns)}, **options)


def writer(*patterns: str, **options: Any) -> str:
    """A token that grants publishing."""
    return token({"publish": list(patterns)}, **options)


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


def public(key: Any) -> str:
    """The public key as PEM."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def private(key: Any) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
