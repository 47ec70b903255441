"""Settings, explored: whatever stands in the environment and in a file, it is right or is told in a sentence."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comet.core.errors import SettingsError
from comet.settings import Settings, load
from comet.settings.readers import READERS
from comet.settings.triggers import KINDS
from tests.core.exploring import explore


#: What is not shown when it is wrong, since it may be, or have in it, a secret.
UNSHOWN = {"publish_key", "jwt_key", "jwt_public_key"}

SCALARS = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.just(datetime(1979, 5, 27))
    | st.sampled_from(
        [10**400, "127.0.0.1:80", "unix:x", "redis://h", "https://a.example", "a,b", "x:y", "sqlite:///x"]
    )
)
VALUES = st.recursive(
    SCALARS, lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3)
)
RULES = ["history", "history_bytes", "history_seconds", "replay", "conflate", "private", "histroy"]
TRIGGERS = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: st.fixed_dictionaries(
        {"name": st.sampled_from("abc"), "kind": st.just(kind)},
        optional=dict.fromkeys(KINDS[kind].keys, VALUES) | {"render": VALUES, "template": VALUES},
    )
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "comet": st.dictionaries(st.sampled_from(sorted(READERS)), VALUES, max_size=2) | VALUES,
        "channels": st.dictionaries(
            st.sampled_from(["orders", "x*", "*", "open", ""]) | st.text(max_size=5),
            st.dictionaries(st.sampled_from(RULES), VALUES, max_size=2) | VALUES,
            max_size=2,
        ),
        "triggers": st.lists(TRIGGERS | VALUES, max_size=2) | VALUES,
        "demo": VALUES,
    },
)


@pytest.fixture(autouse=True, scope="module")
def an_empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("settings"))
        yield


def refusal(environ: dict[str, str]) -> str | None:
    """The sentence that a start with this would end with; None: it is right."""
    try:
        assert isinstance(load(environ), Settings)
    except SettingsError as error:
        sentence = str(error)
        assert "\n" not in sentence
        assert sentence.endswith((".", "?"))
        return sentence
    return None


def in_file(text: str) -> dict[str, str]:
    Path("some.toml").write_text(text, encoding="utf-8")
    return {"COMET_CONFIG": "some.toml"}


def toml(value: Any) -> str:
    """The value as it stands in a file."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return hex(value) if value > 10**400 else str(value)
        case float():
            return repr(value)
        case datetime():
            return value.isoformat()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case _:
            return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@explore(200)
@example("a = " + "[" * 5000)
@example("a = " + "9" * 5000)
@example("[comet\n")
def test_a_file_of_any_text(text: str) -> None:
    """It is TOML, or a sentence says that it is not."""
    refusal(in_file(text))


@given(DOCUMENTS)
@explore(300)
@example({"comet": {"history": 16**5000}})
@example({"comet": 16**5000})
@example({"triggers": [{"name": "a", "kind": 16**5000}]})
def test_a_file_of_any_tables(document: dict[str, Any]) -> None:
    """A sentence names the file, and what is wrong in it."""
    text = "\n".join(f"{name} = {toml(value)}" for name, value in document.items())
    sentence = refusal(in_file(text))
    assert sentence is None or "some.toml" in sentence or "COMET_" in sentence


@given(st.sampled_from(sorted(READERS)), VALUES)
@explore(300)
def test_a_wrong_value_in_the_file(name: str, value: Any) -> None:
    """The sentence names the key, and the value or the part of it that is wrong, but no secret."""
    sentence = refusal(in_file(f"[comet]\n{name} = {toml(value)}"))
    if sentence is not None:
        check(sentence, name, value)


@given(st.sampled_from(sorted(READERS)), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20))
@explore(300)
def test_a_wrong_value_in_the_environment(name: str, text: str) -> None:
    """The same."""
    sentence = refusal({f"COMET_{name.upper()}": text})
    if sentence is not None:
        check(sentence, f"COMET_{name.upper()}", text)


def check(sentence: str, key: str, value: Any) -> None:
    name = key.removeprefix("COMET_").lower()
    # Two settings that are right alone, but not together, are told by their names in the environment.
    assert key in sentence or f"COMET_{name.upper()}" in sentence or "workers can't share" in sentence
    if isinstance(value, str) and name not in UNSHOWN and "; it must be " in sentence:
        parts = [value, value.strip(), *(part.strip() for part in value.split(","))]
        assert any(repr(part) in sentence for part in parts) or "…@" in sentence


NUMBERS = {
    "history": st.integers(1, 10_000_000),
    "memory": st.integers(1 << 16, 1 << 40),
    "heartbeat": st.floats(0.1, 3600),
    "history_seconds": st.floats(0.1, 1e9),
}


@given(st.sampled_from(sorted(NUMBERS)).flatmap(lambda name: st.tuples(st.just(name), NUMBERS[name])))
@explore(200)
def test_a_right_number_is_read_as_it_was_written(given: tuple[str, float]) -> None:
    """However many decimals a program has printed, in the environment and in the file."""
    name, number = given
    assert getattr(load({f"COMET_{name.upper()}": str(number)}), name) == number
    assert getattr(load(in_file(f"[comet]\n{name} = {number!r}")), name) == number
