"""Parameters, explored: whatever a request says, it is read as it was meant or refused in a sentence."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from flask import Request
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from comet.core.errors import BadRequest
from comet.core.update import check_channel
from comet.views import parameters
from tests.core.exploring import explore


#: Each parameter by its name: how it is read, and what a refusal says of it.
READERS = {
    "since": (lambda request: parameters.since(request), ""),
    "last": (lambda request: parameters.last(request), "a whole number from 0"),
    "limit": (lambda request: parameters.whole(request, "limit", 100, *parameters.LIMITS), "from 1 to 1000"),
    "timeout": (lambda request: parameters.seconds(request, "timeout", 25, *parameters.TIMEOUTS), "1 to 60 seconds"),
    "rate": (lambda request: parameters.rate(request), "0.1 to 1000 writes a second"),
    "envelope": (lambda request: parameters.flag(request, "envelope"), "1 or 0"),
    "callback": (lambda request: parameters.callback(request), "a JavaScript name"),
    "event": (lambda request: parameters.utf8(request, "event"), "UTF-8"),
}
#: What is read, as it is written.
RIGHT = {
    "since": st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    "last": st.integers(0, 10**18 - 1),
    "limit": st.integers(*parameters.LIMITS),
    "timeout": st.floats(*parameters.TIMEOUTS),
    "rate": st.floats(*parameters.RATES),
    "envelope": st.booleans(),
    "callback": st.from_regex(parameters.CALLBACK, fullmatch=True).filter(lambda name: len(name) <= 64),
    "event": st.text(st.characters(exclude_categories=["Cs"])),
}


def asked(query: str) -> Request:
    return Request(EnvironBuilder(query_string=query).get_environ())


@pytest.mark.parametrize("name", READERS)
@given(sent=st.binary(max_size=12) | st.text("0123456789.-+e_ xn", max_size=12).map(str.encode))
@explore(100)
def test_anything(name: str, sent: bytes) -> None:
    """It is read, or it is 400 with a detail that names the parameter and says what it takes."""
    read, takes = READERS[name]
    try:
        read(asked(f"{name}={quote(sent)}"))
    except BadRequest as error:
        assert str(error).startswith(name)
        assert takes in str(error)
        assert len(str(error)) < 300
        assert str(error).isprintable()


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@explore(50)
def test_what_is_right(name: str, data: st.DataObject) -> None:
    """It is read as it was meant."""
    meant: Any = data.draw(RIGHT[name])
    written = str(int(meant)) if name == "envelope" else str(meant)
    assert READERS[name][0](asked(f"{name}={quote(written)}")) == meant


@given(st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@~-]{0,20}|,|\W", fullmatch=True), max_size=20))
@explore(100)
def test_names(found: list[str]) -> None:
    """Names joined by commas are 1 to 16 names, each in its place and once; or what is wrong is told."""
    text = ",".join(found)
    try:
        names = parameters.names(text)
    except BadRequest as error:
        assert str(error).isprintable()
        assert any(words in str(error) for words in ("is not a channel name", "reserved", "1 to 16"))
    else:
        assert 1 <= len(names) <= parameters.MOST_CHANNELS
        assert list(dict.fromkeys(text.split(","))) == list(names)
        assert [check_channel(name) for name in names] == list(names)
        assert quote(text, safe=",:@~") == text
