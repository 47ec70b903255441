"""Sources: a table becomes a trigger, and whatever it names is there or told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from comet.broker_url import make_broker
from comet.core.errors import SettingsError, SourceFailed
from comet.core.update import Update
from comet.settings import Declared, Settings
from comet.sources import make_trigger
from comet.triggers.command import Command
from comet.triggers.timer import Timer
from tests.triggers.watching import Published


MODULE = """
from comet.core.errors import Alarm
from comet.core.update import Update
count = 0
def newest():
    global count
    count += 1
    return count
def broken():
    return {}["x"]
def stopped():
    raise Alarm("Mend it.")
class Prices:
    @staticmethod
    def newest():
        return "static"
def shout(update):
    return update.text.upper()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the server starts: its modules are at hand, and gone again afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    Path("prices.py").write_text(MODULE)
    Path("wrong.py").write_text("1 / 0")
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def timer(call: str, **more: str) -> Declared:
    return Declared("t", "timer", {"channel": "a", "call": call, "every": 5.0}, **more)


def test_a_timer() -> None:
    """Its function is found in this folder's modules."""
    trigger, render = make_trigger(timer("prices:newest"), 100)
    assert isinstance(trigger, Timer)
    assert (trigger.name, trigger.channel, trigger.every, trigger.always) == ("t", "a", 5.0, False)
    assert (trigger.call(), trigger.call()) == (1, 2)
    assert render is None


def test_a_function_in_a_class() -> None:
    """Its name has more points."""
    trigger, _ = make_trigger(timer("prices:Prices.newest"), 100)
    assert isinstance(trigger, Timer)
    assert trigger.call() == "static"


def test_a_command_is_capped(published: Published) -> None:
    """It takes no more than an update may have."""
    options = {"channel": "a", "argv": ("seq", "100"), "every": 1.0}
    trigger, _ = make_trigger(Declared("c", "command", options), 10)
    assert isinstance(trigger, Command)
    assert trigger._output() == b"1\n2\n3\n4\n5\n"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("nowhere:f", "is 'nowhere:f', and nowhere can't be imported: ModuleNotFoundError: No module named 'nowhere'."),
        ("wrong:f", "is 'wrong:f', and wrong can't be imported: ZeroDivisionError: division by zero."),
        ("prices:oldest", "is 'prices:oldest', and prices has no oldest."),
        ("prices:Prices.oldest", "is 'prices:Prices.oldest', and prices has no Prices.oldest."),
        ("prices:count", "is 'prices:count', which is no function."),
    ],
)
@pytest.mark.parametrize("key", ["call", "render"])
def test_a_function_that_is_none(call: str, told: str, key: str) -> None:
    """It is told with its place in the file."""
    declared = timer(call) if key == "call" else timer("prices:newest", render=call)
    with pytest.raises(SettingsError) as caught:
        make_trigger(declared, 100)
    assert str(caught.value) == f'[[triggers]] "t" in comet.toml: {key} {told}'


def test_what_a_function_raises() -> None:
    """One sentence with its place, instead of a traceback; what is meant for people passes."""
    trigger, _ = make_trigger(timer("prices:broken"), 100)
    assert isinstance(trigger, Timer)
    with pytest.raises(SourceFailed, match=r"^prices:broken has raised KeyError: 'x' \(prices\.py, line 10\)\.$"):
        trigger.call()
    alarming, _ = make_trigger(timer("prices:stopped"), 100)
    with pytest.raises(Exception, match=r"^Mend it\.$"):
        alarming.call()  # type: ignore[attr-defined]


def test_a_function_that_renders() -> None:
    """It is given the update."""
    _, render = make_trigger(timer("prices:newest", render="prices:shout"), 100)
    assert render is not None
    assert render(Update.of("a", "x", key="k")) == Update("a", b"X", key="k")
    _, render = make_trigger(timer("prices:newest", render="prices:broken"), 100)
    assert render is not None
    with pytest.raises(SourceFailed, match=r"^prices:broken has raised TypeError: .*1 was given"):
        render(Update.of("a", "x"))


@pytest.mark.parametrize("place", ["etc/t.html", "etc/templates/t.html", "templates/t.html"])
def test_where_a_template_is_looked_for(place: str) -> None:
    """Beside the file that names it, in the folder templates there, and in the one where the server starts."""
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    Path(place).write_text("<b>{{ data }}</b>")
    _, render = make_trigger(timer("prices:newest", template="t.html", file="etc/comet.toml"), 100)
    assert render is not None
    assert render(Update.of("a", "x")).data == b"<b>x</b>"


def test_a_template_that_is_not_there() -> None:
    """The sentence says which trigger names it."""
    with pytest.raises(SettingsError, match=r'^\[\[triggers\]\] "t" in comet.toml: the template .t.html. is'):
        make_trigger(timer("prices:newest", template="t.html"), 100)


def test_a_driver_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install."""
    pytest.importorskip("comet.triggers.mysql.outbox", exc_type=ImportError)
    for name in [name for name in sys.modules if name.startswith(("comet.triggers.mysql", "pymysql"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymysql", None)
    options = {"url": "mysql://u:secret@h/d", "table": "outbox"}
    with pytest.raises(
        SettingsError, match=r'"o" in comet.toml: a mysql-outbox trigger needs PyMySQL: pip install pymysql$'
    ):
        make_trigger(Declared("o", "mysql-outbox", options), 100)


def test_the_driver_of_a_broker_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told without the URL, which may have a password."""
    for name in [name for name in sys.modules if name.startswith(("comet.brokers.redis", "redis"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(
        SettingsError, match=r"^COMET_BROKER is a Redis, and the driver is not installed: pip install redis$"
    ):
        make_broker(Settings(broker="redis://:secret@host"), 100)


APP = """
from comet.settings import Declared, Settings
from comet.sources import make_trigger
trigger, _ = make_trigger(Declared("t", "timer", {"channel": "a", "call": "app:later", "every": 1.0}), 100)
def later():
    return "found"
"""


def test_a_function_of_the_app_that_is_being_loaded() -> None:
    """It stands below the line that makes the triggers: it is found when it is called."""
    Path("app.py").write_text(APP)
    code = "import app; print(app.trigger.call())"
    path = str(Path(__file__).resolve().parents[2])
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}, timeout=60
    )
    assert result.stdout == "found\n"


def test_a_timer_that_was_declared_publishes(published: Published) -> None:
    """All together: the table, the function and the template."""
    Path("t.html").write_text("<b>{{ data }}</b>")
    trigger, render = make_trigger(timer("prices:newest", template="t.html"), 100)
    running = gevent.spawn(trigger.run, lambda updates: published([render(each) for each in updates]))  # type: ignore[misc]
    while not published:
        gevent.sleep(0.01)
    trigger.stop()
    running.get(timeout=10)
    assert [(update.data, update.essence) for update in published] == [(b"<b>1</b>", "text/html")]
