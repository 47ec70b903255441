"""What docs/python.md shows runs as it is shown."""

from __future__ import annotations

import re

import gevent
import pytest

from tests.live.server import ROOT
from tests.timing import PATIENCE


BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)


def test_the_blocks_of_the_python_page_run_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one program; a block that waits for updates waits."""
    namespace: dict[str, object] = {"__name__": "app"}
    monkeypatch.setenv("COMET_REPLAY", "1")
    printed = ""
    for block in BLOCKS:
        running = gevent.spawn(exec, compile(block, "docs/python.md", "exec"), namespace)
        if "in comet.subscribe" not in block:
            running.get(timeout=10 * PATIENCE)
            continue
        gevent.sleep(0)
        update = namespace["comet"].publish("orders", "next")  # type: ignore[attr-defined]
        while update.id not in printed:
            running.join(0.01)
            printed += capsys.readouterr().out
            assert running.exception is None
        running.kill()
    assert printed == f"{update.id} orders None b'next'\n"
    namespace["comet"].worker.stop()  # type: ignore[attr-defined]
