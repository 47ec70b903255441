"""Tokens: what is genuine, and what it grants."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from comet.core.errors import BadRequest, SettingsError, Unauthorized
from comet.tokens import LEEWAY, NO_TOKEN, Tokens, check_jti, make
from tests.jwts import OTHER, SECRET, ec_key, hs256, part, public, reader, rsa_key, token


TOKENS = Tokens([SECRET])
CLAIM = {"subscribe": ["orders*"]}


def refusal(text: str, tokens: Tokens = TOKENS) -> str:
    with pytest.raises(Unauthorized) as caught:
        tokens.read(text)
    said = str(caught.value)
    assert len(text) < 8 or text not in said
    return said


def test_a_genuine_token() -> None:
    """It grants what it says until its end, and nothing else."""
    read = TOKENS.read(token({"publish": ["a", "b"], "subscribe": ["orders*"], "more": 1}))
    assert read.lacks("publish", ["a", "b", "c", "ab"]) == ["c", "ab"]
    assert read.lacks("subscribe", ["orders", "orders.eu", "order", "a"]) == ["order", "a"]
    assert read.lacks("admin", ["a"]) == ["a"]
    assert 3590 < read.expires - time.time() <= 3600


def test_no_token() -> None:
    """It grants nothing."""
    assert NO_TOKEN.lacks("subscribe", ["a"]) == ["a"]
    assert not Tokens()


@pytest.mark.parametrize("grants", [None, {}, {"subscribe": []}])
def test_a_token_without_grants(grants: object) -> None:
    """It is genuine, and grants nothing."""
    assert TOKENS.read(token(grants)).lacks("subscribe", ["a"]) == ["a"]


def test_the_name_to_count_by() -> None:
    """The claim jti, else sub, else all that is signed, however the signature is written; and none is another's."""
    plain = token(CLAIM)
    named = [token(CLAIM, jti="x", sub="y"), token(CLAIM, sub="x"), plain, token({}), token(CLAIM, jti="")]
    names = [TOKENS.read(text).name for text in named]
    assert len(set(names)) == 5
    assert names[:2] == ["jti x", "sub x"]
    assert TOKENS.read(token({}, jti="x", sub="z")).name == "jti x"
    assert TOKENS.read(f"{plain}=").name == TOKENS.read(plain).name  # padding, which some write
    assert NO_TOKEN.name == ""


def test_what_is_made_is_read() -> None:
    """By the key that made it."""
    made = TOKENS.read(make(SECRET, publish=["a*"], subscribe=["*"], seconds=60))
    assert not made.lacks("publish", ["a", "ab"])
    assert not made.lacks("subscribe", ["anything"])
    assert made.lacks("publish", ["b"])
    assert 50 < made.expires - time.time() <= 61
    with pytest.raises(BadRequest):
        make(SECRET, subscribe=["a*b"])


def test_what_is_made_can_be_revoked() -> None:
    """Each token has a name of its own, or the one that is given; one without a name can't be."""
    names = [TOKENS.read(make(SECRET, subscribe=["a"])).jti for _ in range(3)]
    assert len(set(names)) == 3
    assert all(check_jti(jti) == jti for jti in names)
    assert TOKENS.read(make(SECRET, subscribe=["a"], jti="x")).jti == "x"
    assert TOKENS.read(token(CLAIM)).jti == TOKENS.read(token(CLAIM, jti="")).jti == ""


@pytest.mark.parametrize("jti", ["x", "-", "~", "a.b..", "urn:uuid:7", "%2F?#&=;,'\"", "x" * 128, "7e-_+="])
def test_a_name_by_which_a_token_is_revoked(jti: str) -> None:
    """It is taken as it is."""
    assert TOKENS.read(token(CLAIM, jti=jti)).jti == check_jti(jti) == jti


@pytest.mark.parametrize(
    "jti", [".", "..", ".x", "a/b", "/", "a b", " a", "a\n", "\x7f", "ä", "\ud800", "x" * 129, "\0", "x" * 5000]
)
def test_a_name_by_which_no_token_can_be_revoked(jti: str) -> None:
    """A token that has it is refused before it is too late, and the name is quoted in short."""
    with pytest.raises(BadRequest, match="1 to 128 printable ASCII") as caught:
        check_jti(jti)
    assert len(str(caught.value)) < 400
    assert "claim jti" in refusal(token(CLAIM, jti=jti))


@pytest.mark.parametrize("jti", [5, True, None, ["x"], {"x": 1}, 1.5])
def test_a_name_that_is_no_text(jti: object) -> None:
    """The token is refused."""
    assert refusal(token(CLAIM, jti=jti))


NOT_TOKENS = [
    "",
    ".",
    "..",
    "...",
    "a",
    "a.b",
    "a.b.c",
    "a.b.c.d.e",
    "eyJ",
    "\0",
    "ü.ü.ü",
    "\ud800.a.b",
    f"{part(b'[' * 3000)}.e30.",
    f"{part(b'null')}.e30.",
    f"{part([])}.e30.",
    f"{part({'alg': 'HS256'})}.!.",
    f"{part({'alg': 'HS256', 'b64': False})}.e30.",
    "e30.e30.e30",
    "A" * 8000,
]


@pytest.mark.parametrize("text", NOT_TOKENS, ids=range(len(NOT_TOKENS)))
def test_what_is_no_token(text: str) -> None:
    """It is refused, whatever it is."""
    assert refusal(text)


HEADERS = [
    ({"alg": "none"}, "'none'"),
    ({"alg": "None"}, "'None'"),
    ({"alg": "NONE", "typ": "JWT"}, "'NONE'"),
    ({"alg": ""}, "algorithm"),
    ({"alg": None}, "algorithm"),
    ({"alg": ["HS256"]}, "algorithm"),
    ({"alg": {"HS256": 1}}, "algorithm"),
    ({"alg": "HS512"}, "HS256"),
    ({"alg": "RS256"}, "HS256"),
    ({"alg": "hs256"}, "HS256"),
    ({"alg": "x" * 5000}, "HS256"),
    ({"typ": "JWT"}, "algorithm"),
]


@pytest.mark.parametrize(("header", "told"), HEADERS, ids=range(len(HEADERS)))
@pytest.mark.parametrize("signed", [True, False])
def test_the_header_names_another_algorithm(header: Any, told: str, signed: bool) -> None:
    """It chooses nothing, with a signature or without."""
    text = token(CLAIM, header=header)
    said = refusal(text if signed else text.rpartition(".")[0] + ".")
    assert told in said
    assert len(said) < 200


def test_the_signature_does_not_fit() -> None:
    """Another key's, one of another text, a cut one, and none."""
    good = reader("*")
    head, claims, signature = good.split(".")
    other = f"{head}.{part({'comet': {'subscribe': ['*']}, 'exp': 9e9})}"
    for text in (
        reader("*", key=OTHER),
        f"{other}.{signature}",
        f"{head}.{claims}.",
        f"{head}.{claims}.{part(b'')}",
    ):
        assert "signature" in refusal(text)
    for length in range(len(signature)):
        assert refusal(f"{head}.{claims}.{signature[:length]}")


@pytest.mark.parametrize("key", [public(rsa_key()), public(rsa_key()).strip(), public(ec_key())])
def test_hs256_with_the_text_of_a_public_key(key: str) -> None:
    """A public key is no secret, whatever the header says."""
    both = Tokens([SECRET], [public(rsa_key()), public(ec_key())])
    only = Tokens([], [public(rsa_key()), public(ec_key())])
    for alg in ("HS256", "RS256", "ES256"):
        text = reader("*", key=key, header={"alg": alg, "typ": "JWT"})
        for tokens in (both, only):
            said = refusal(text, tokens)
            assert ("algorithm" if alg == "HS256" and tokens is only else "signature") in said


def test_public_keys() -> None:
    """RS256 and ES256, each with its own key only."""
    tokens = Tokens([SECRET], [public(rsa_key()), public(ec_key())])
    claims = {"comet": CLAIM, "exp": time.time() + 60}
    for key, algorithm in ((rsa_key(), "RS256"), (ec_key(), "ES256"), (SECRET, "HS256")):
        assert not tokens.read(jwt.encode(claims, key, algorithm)).lacks("subscribe", ["orders"])
    assert "signature" in refusal(jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256"), tokens)
    assert "ES256" in refusal(jwt.encode(claims, rsa_key(), "RS512"), tokens)


def test_the_keys_are_changed() -> None:
    """While both are set, tokens of both are good; then the old key's are not."""
    old, new = reader("a", key=OTHER), reader("a")
    both = Tokens([SECRET, OTHER])
    assert both.read(old) and both.read(new)
    assert TOKENS.read(new)
    assert "signature" in refusal(old)


@pytest.mark.parametrize("exp", [None, "9999999999", True, [], {}, float("nan"), "x"])
def test_the_end_is_no_number(exp: object) -> None:
    """Every token has an end, which is a number."""
    assert refusal(token(CLAIM, expires=None, exp=exp))
    assert "no claim exp" in refusal(token(CLAIM, expires=None))


@pytest.mark.parametrize("exp", [0, -1, -1e308, float("-inf"), -(10**400), 1.5])
def test_the_end_has_passed(exp: float) -> None:
    """To the second: there is no leeway for that."""
    assert "expired" in refusal(token(CLAIM, expires=None, exp=exp))
    assert "expired" in refusal(token(CLAIM, expires=-1))


@pytest.mark.parametrize("exp", [1e300, float("inf"), 10**400])
def test_the_end_is_very_far(exp: float) -> None:
    """It is as good as never."""
    assert TOKENS.read(token(CLAIM, expires=None, exp=exp)).expires > 9e11


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_the_token_is_not_valid_yet(claim: str) -> None:
    """The clock of who made it may be a little ahead, no more."""
    assert "not valid yet" in refusal(token(CLAIM, **{claim: time.time() + LEEWAY + 60}))
    assert TOKENS.read(token(CLAIM, **{claim: int(time.time() + LEEWAY - 2)}))
    assert refusal(token(CLAIM, **{claim: "soon"}))
    assert refusal(token(CLAIM, **{claim: float("inf")}))


@pytest.mark.parametrize("aud", ["somebody", ["a", "b"], 5])
def test_the_token_is_for_another_server(aud: object) -> None:
    """An audience that names no server of ours is another's."""
    assert refusal(token(CLAIM, aud=aud))


WRONG_CLAIMS = [
    None,
    "*",
    ["*"],
    5,
    True,
    {"subscribe": "*"},
    {"subscribe": None},
    {"subscribe": {"*": True}},
    {"subscribe": [["*"]]},
    {"subscribe": [{"*": 1}]},
    {"subscribe": [None]},
    {"subscribe": [5]},
    {"subscribe": ["a", 5]},
    {"subscribe": [""]},
    {"subscribe": ["a*b"]},
    {"subscribe": ["*a"]},
    {"subscribe": ["**"]},
    {"subscribe": ["a,b"]},
    {"subscribe": ["a*", " "]},
    {"subscribe": ["comet.x"]},
    {"subscribe": ["a/b"]},
    {"subscribe": ["a\n"]},
    {"subscribe": ["ä*"]},
    {"subscribe": ["x" * 200]},
    {"publish": "*", "subscribe": ["*"]},
]


@pytest.mark.parametrize("claim", WRONG_CLAIMS, ids=str)
def test_what_grants_nothing_that_could_be_meant(claim: object) -> None:
    """A grant that is mistyped is told, and nothing beside it counts."""
    assert "claim comet" in refusal(token(comet=claim))


def test_a_claim_that_is_not_ours() -> None:
    """Grants count under ``comet`` only, at the top."""
    for claims in ({"mercure": CLAIM}, {"subscribe": ["*"]}, {"comet": {"comet": CLAIM}}, {"Comet": CLAIM}):
        assert TOKENS.read(token(**claims)).lacks("subscribe", ["orders"]) == ["orders"]


def test_the_payload_is_no_object() -> None:
    """It is refused although it is signed."""
    for payload in ([], 5, None, "x", b"[" * 3000, b"\xff", b""):
        signed = f"{part({'alg': 'HS256'})}.{part(payload)}"
        assert refusal(f"{signed}.{part(hs256(SECRET, signed))}")


BROKEN = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"


@pytest.mark.parametrize(
    "pem",
    [public(ec_key(ec.SECP384R1)), public(ec_key(ec.SECP256K1)), BROKEN],
    ids=["P-384", "secp256k1", "broken"],
)  # fmt: skip
def test_a_public_key_that_is_of_no_use(pem: str) -> None:
    """The start stops with a sentence that numbers it."""
    with pytest.raises(SettingsError, match="key 2 of COMET_JWT_PUBLIC_KEY"):
        Tokens([], [public(ec_key()), pem])


def test_a_public_key_that_is_too_small() -> None:
    """RSA of 1024 bits can be broken."""
    with pytest.raises(SettingsError, match="2048 bits"):
        Tokens([], [public(rsa_key(1024))])


@pytest.mark.parametrize(
    ("package", "arguments", "named"),
    [
        ("jwt", f"[{SECRET!r}]", ["COMET_JWT_KEY", "PyJWT"]),
        ("jwt", "[], ['x']", ["COMET_JWT_PUBLIC_KEY", "PyJWT"]),
        ("cryptography", "[], ['x']", ["COMET_JWT_PUBLIC_KEY", "cryptography"]),
    ],
)
def test_a_package_is_missing(package: str, arguments: str, named: list[str]) -> None:
    """Where it is needed, the start stops with its name; where not, nothing is missed."""
    code = f"import sys; sys.modules[{package!r}] = None\nfrom comet.tokens import Tokens; Tokens(); "
    code += "Tokens(['x' * 32]); " if package == "cryptography" else ""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}Tokens({arguments})"], capture_output=True, text=True
    )
    last = result.stderr.splitlines()[-1]
    assert last.startswith("comet.core.errors.SettingsError")
    assert all(word in last for word in named)
