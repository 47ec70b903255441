"""The browser client as it is built: what is committed is what the sources say, small, and of its level of language."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.server import ROOT


CLIENT = ROOT / "comet" / "client"
STATIC = ROOT / "comet" / "static"
NODE = ROOT / "build" / "client"

#: Bytes after gzip -9.
BUDGETS = {"comet.js": 6144, "comet.mjs": 6144, "comet-elements.js": 3072, "comet-legacy.js": 3072}

SCRIPTS = {
    "comet.js": ["--ecma2018"],
    "comet.mjs": ["--ecma2020", "--module"],
    "comet-elements.js": ["--ecma2018"],
    "comet-legacy.js": ["--ecma3"],
}

SAMPLE = """
import { subscribe, type Update } from "./comet";

const subscription = subscribe(["orders", "time"], {
  onupdate: (update: Update) => update.data.length + update.time,
  ongap: (gap) => gap.reason === "trimmed",
  onstate: (state, { status, channel }) => `${state} ${status ?? ""} ${channel ?? ""}`,
  last: 3,
  since: null,
  token: () => fetch("/token").then((answer) => answer.text()),
  tabs: false,
});
const cursor: string | null = subscription.cursor;
subscription.close();
window.comet.subscribe("orders", { transport: "poll" }).state === "live";
comet.subscribe("orders").transport === "sse";
// @ts-expect-error there is no such transport
subscribe("orders", { transport: "websocket" });
// @ts-expect-error it can't be set
subscription.cursor = cursor;
"""


def tool(*line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Node's with what npm has installed. Missing, the test is skipped, and fails under CI=true."""
    if not (NODE / ".installed").exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("npm has installed nothing (make client)")
    path = f"{NODE}/node_modules/.bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        line, cwd=ROOT, env={**os.environ, **environ, "PATH": path}, capture_output=True, text=True, timeout=120
    )


def passes(*line: str, **environ: str) -> None:
    result = tool(*line, **environ)
    assert result.returncode == 0, result.stdout + result.stderr


def test_what_is_committed_is_what_the_sources_say(tmp_path: Path) -> None:
    """`make client` would change nothing."""
    passes("sh", "comet/client/tools/build.sh", STATIC=str(tmp_path), NODE=str(NODE), PAGE="")
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert built == {path.name: path.read_bytes() for path in STATIC.iterdir()}, "run `make client`"


@pytest.mark.parametrize("name", BUDGETS)
def test_the_budget(name: str) -> None:
    """What a page loads is small."""
    assert len(gzip.compress((STATIC / name).read_bytes(), 9)) <= BUDGETS[name]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_level_of_the_language(name: str) -> None:
    """A parser of that level takes it."""
    passes("acorn", "--silent", *SCRIPTS[name], str(STATIC / name))


#: What browsers have had only since ES5, HTML5, or later; where older ones have something else, it is asked for first.
NEWER = re.compile(
    r"\.(forEach|map|filter|reduce|some|every|find|includes|bind|trim|now|keys|assign|startsWith|remove\(|"
    r"append\(|classList|dataset|querySelector\w*|currentScript|onload|responseType|response\b)|"
    r"\b(Promise|Map|Set|WeakMap|Symbol|Proxy|fetch|URL|EventSource|AbortController|globalThis|Object\.create|"
    r"get \w+\(|console|localStorage|sessionStorage|requestAnimationFrame)\b"
)


def test_the_legacy_client_takes_nothing_newer_for_granted() -> None:
    """No method and no object that browsers before 2009 do not have, but where it looks first whether they have it."""
    script = (STATIC / "comet-legacy.js").read_text()
    assert [match[0] for match in NEWER.finditer(script)] == []
    looks = {
        "JSON": r"window\.JSON\?",
        "postMessage": r"window\.postMessage&&",
        "XMLHttpRequest": r"window\.XMLHttpRequest",
    }
    looks |= {"addEventListener": r"\.addEventListener\?", "removeEventListener": r"\.removeEventListener\?"}
    assert [name for name, look in looks.items() if name in script and not re.search(look, script)] == []


def test_lint() -> None:
    """eslint finds nothing in the sources, nor in their tests."""
    passes("eslint", "--config", "comet/client/eslint.config.js", "comet/client", "tests/client", "--max-warnings", "0")


def test_types(tmp_path: Path) -> None:
    """The TypeScript compiler takes a program that uses the types rightly, and refuses what is wrong."""
    (tmp_path / "comet.d.ts").write_bytes((STATIC / "comet.d.ts").read_bytes())
    (tmp_path / "sample.ts").write_text(SAMPLE)
    options = "--noEmit --strict --target es2018 --module esnext --moduleResolution bundler --lib es2018,dom"
    passes("tsc", *options.split(), str(tmp_path / "sample.ts"))


def test_the_logic() -> None:
    """Each transition, with a clock and servers of the tests' own: tests/client/*.test.mjs."""
    passes("node", "--test", *map(str, sorted((ROOT / "tests" / "client").glob("*.test.mjs"))))
