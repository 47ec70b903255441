"""Tokens, explored: whatever is presented is a token, or refused as one. Nothing else ever happens."""

from __future__ import annotations

import math
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from comet.core.errors import BadRequest, Unauthorized
from comet.core.rules import check_pattern, matches
from comet.tokens import Token, Tokens, check_jti
from tests.core.exploring import explore
from tests.jwts import OTHER, SECRET, hs256, part, public, rsa_key, token


TOKENS = Tokens([OTHER, SECRET], [public(rsa_key())])

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
#: What stands in claims that are looked at, right or nearly so.
PATTERN = st.sampled_from(["*", "a", "a*", "orders.eu", "comet.x", "open", "a,b", "", "**"]) | st.text(max_size=6)
GRANTS = st.fixed_dictionaries(
    {}, optional={name: st.lists(PATTERN, max_size=3) | JSON for name in ("publish", "subscribe")}
)
SECONDS = st.integers(-(10**20), 10**20) | st.floats() | st.integers(-60, 60).map(lambda away: time.time() + away)
CLAIM = {
    "comet": GRANTS | JSON,
    **dict.fromkeys(("exp", "nbf", "iat"), SECONDS | JSON),
    **dict.fromkeys(("jti", "sub", "aud", "iss"), st.text(max_size=6) | JSON),
}
GOOD = {"comet": {"subscribe": ["orders*"]}, "exp": 9e9, "jti": "x"}
#: A good token's claims, but for one or two, or three.
CLAIMS = st.lists(st.sampled_from(sorted(CLAIM)), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: CLAIM[name] for name in names}).map(lambda changed: GOOD | changed)
)
HEADER = st.dictionaries(
    st.sampled_from(["alg", "typ", "kid", "jwk", "jku", "crit", "b64", "zip", "cty"]),
    st.sampled_from(["HS256", "RS256", "none", "JWT"]) | JSON,
    max_size=4,
)


def read(text: str) -> Token | None:
    """The token, or None where it is refused: no other error passes."""
    try:
        found = TOKENS.read(text)
    except Unauthorized as refusal:
        told = str(refusal)
        told.encode()
        assert len(told) < 1000
        return None
    assert found.expires > time.time() - 1
    return found


def is_pattern(pattern: object) -> bool:
    try:
        check_pattern(pattern)  # type: ignore[arg-type]
    except BadRequest:
        return False
    return True


@given(st.text() | st.text(alphabet="eyJ.-_=AZaz09", max_size=200))
@explore(200)
def test_any_text(text: str) -> None:
    """It is no token."""
    assert read(text) is None


@given(st.lists(st.binary(max_size=60) | JSON, min_size=1, max_size=5))
@explore(200)
def test_any_parts(parts: list[Any]) -> None:
    """Whatever is in base 64, with nobody's signature, is no token."""
    assert read(".".join(map(part, parts))) is None


@given(HEADER | JSON, CLAIMS | JSON)
@explore(300)
def test_any_claims_that_are_signed(header: Any, claims: Any) -> None:
    """They are a token with an end, its grants patterns and its name one by which it is revoked; or refused."""
    for head in (header, {"alg": "HS256"}):
        text = f"{part(head)}.{part(claims)}"
        found = read(f"{text}.{part(hs256(SECRET, text))}")
        if found is not None:
            assert all(is_pattern(pattern) for patterns in found.grants.values() for pattern in patterns)
            assert not math.isnan(found.expires)
            assert not found.jti or check_jti(found.jti) == claims["jti"]


@given(st.data())
@explore(300)
def test_a_good_token_that_was_changed(data: st.DataObject) -> None:
    """One character less, more or another, anywhere, and it is none, but for padding at its end."""
    text = token({"subscribe": ["orders*"]}, jti="x")
    at = data.draw(st.integers(0, len(text)))
    character = data.draw(st.sampled_from("Aa0-_=. \n\0é") | st.characters())
    ways = [text[:at] + text[at + 1 :], text[:at] + character + text[at:], text[:at] + character + text[at + 1 :]]
    changed = data.draw(st.sampled_from(ways))
    if changed.rstrip("=") != text:
        assert read(changed) is None


@given(PATTERN, st.text(alphabet="adeors.*O", max_size=8))
@explore(200)
def test_any_grant(pattern: str, channel: str) -> None:
    """It grants the channel of that name, or those that begin so."""
    found = read(token({"subscribe": [pattern]}))
    assert (found is not None) == is_pattern(pattern)
    if found is not None:
        expected = channel == pattern or (pattern.endswith("*") and channel.startswith(pattern[:-1]))
        assert matches(pattern, channel) == expected == (found.lacks("subscribe", [channel]) == [])
