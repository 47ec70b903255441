"""The page of ``live``, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.live.browsers import Chromium
from tests.live.typed import Typed
from tests.timing import until


@pytest.mark.browser
def test_the_page_shows_what_is_printed_and_how_it_goes(tmp_path: Path) -> None:
    """Named by the command; lines in their colours, and nothing else of them; live, and at the end the last line."""
    gates = [tmp_path / "first", tmp_path / "second"]
    for gate in gates:
        os.mkfifo(gate)
    hostile = "<img src=x onerror=document.title=1>"
    script = f"printf '\\033[31mred\\033[0m\\n'; cat {gates[0]}; seq 99; echo '{hostile}'; cat {gates[1]}; exit 3"
    with Typed("live", "--", "sh", "-c", script) as server, Chromium() as browser:
        browser.open(f"{server.url}/")

        def shown() -> list[str]:
            rows: str = browser.run("return document.querySelector('[data-comet]').innerText")
            return rows.split("\n")

        def state() -> object:
            return browser.run("return document.getElementById('state').textContent")

        until(lambda: state() == "live", what="live")
        until(lambda: shown() == ["red"], what="the first line")
        coloured = browser.run("return [...document.querySelectorAll('span[style]')].map((each) => each.textContent)")
        assert coloured == ["red"]
        gates[0].write_text("")
        until(lambda: shown()[-1] == hostile, what="the lines that follow")
        # Who looks at the last line goes on looking at the last line.
        until(lambda: browser.run("const m = document.querySelector('main'); return m.scrollTop > 0"), what="the end")
        gates[1].write_text("")
        until(lambda: state() == "ended", what="the end")
        assert shown()[-1] == "sh has ended with status 3."
        assert str(browser.driver.title).startswith("sh -c ")
        assert server.wait() == 1
