"""The browser client as it is served: each file under its name, and under one with its version."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from flask import Flask

import comet
from comet import Comet
from comet.settings import Settings
from comet.views.client import files
from tests.views.client import FOR_EVER, Client, Serve, assert_problem


STATIC = Path(comet.__file__).parent / "static"
ROOT = STATIC.parent.parent
NAMES = ["comet.js", "comet.mjs", "comet.d.ts", "comet-elements.js", "comet-legacy.js"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file(client: Client, name: str) -> None:
    """It is asked for anew each time, at the price of a 304; pages of every site may load it."""
    answer = client.get(f"/{name}")
    assert (answer.status_code, answer.data) == (200, (STATIC / name).read_bytes())
    assert answer.headers["Content-Type"].startswith("text/plain" if name.endswith(".ts") else "text/javascript")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    again = client.get(f"/{name}", {"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("name", NAMES)
def test_a_version(client: Client, name: str) -> None:
    """Under the name with its version it is kept for ever; another version is not there."""
    file = files()[name]
    answer = client.get(f"/{file.versioned}")
    assert (answer.data, answer.headers["Cache-Control"]) == (file.data, FOR_EVER)
    assert_problem(client.get(f"/{name.replace('.', '-0123456789ab.', 1)}"), 404, "comet.js")


@pytest.mark.parametrize("name", ["comet", "comet.css", "comet.js.map", "comet-.js", "comet..", "comets.js"])
def test_a_file_that_is_none(client: Client, name: str) -> None:
    """It is 404."""
    assert_problem(client.get(f"/{name}"), 404)


def test_below_a_prefix() -> None:
    """In somebody else's app the client is below the extension's prefix, where it looks for its server."""
    app = Flask("host")
    there = Comet(app, url_prefix="/live", settings=Settings())
    try:
        assert app.test_client().get("/live/comet.js").data == files()["comet.js"].data
    finally:
        there.worker.stop()


def test_a_page_of_a_site_on_the_list(serve: Serve) -> None:
    """It may load the client with its cookies."""
    answer = serve(allowed_origins=("https://a.example",)).get("/comet.js", {"Origin": "https://a.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"


def test_the_documentation_names_this_version() -> None:
    """The versioned address and the integrity of docs/browser.md are those of the file that is served."""
    file = files()["comet.js"]
    text = (ROOT / "docs" / "browser.md").read_text()
    assert set(re.findall(r"comet-[0-9a-f]{12}\.js", text)) == {file.versioned}
    assert set(re.findall(r"sha384-[\w+/=]+", text)) == {file.integrity}
    assert file.integrity == "sha384-" + base64.b64encode(hashlib.sha384(file.data).digest()).decode()
