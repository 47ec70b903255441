"""``[[triggers]]``: what each kind takes, and a sentence for whatever else a file says."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from comet.core.errors import SettingsError
from comet.settings import Declared, load
from comet.settings.triggers import KINDS
from comet.sources import CLASSES


MYSQL = 'url = "mysql://user:secret@db:3306/shop"'

#: A table of each kind with all that it takes, and what the class is given.
RIGHT = {
    "timer": (
        'channel = "a"\ncall = "prices:newest"\nevery = 0.5\nevent = "tick"\ntype = "text/html"\nrepeat = true',
        {
            "channel": "a",
            "call": "prices:newest",
            "every": 0.5,
            "event": "tick",
            "type": "text/html",
            "repeat": True,
        },
    ),
    "command": (
        'channel = "a"\nargv = ["df", "-h", ""]\nevery = 1\ntimeout = 5\nerrors = true\nalways = true',
        {"channel": "a", "argv": ("df", "-h", ""), "every": 1.0, "timeout": 5.0, "errors": True, "always": True},
    ),
    "file": ('channel = "a"\npath = "/var/log/x"', {"channel": "a", "path": "/var/log/x"}),
    "mysql-query": (
        f'channel = "a"\n{MYSQL}\nquery = "SELECT 1"\nkey = "id"\ninitial = false\nsnapshot_channel = "b"',
        {
            "channel": "a",
            "url": "mysql://user:secret@db:3306/shop",
            "query": "SELECT 1",
            "key": "id",
            "initial": False,
            "snapshot_channel": "b",
        },
    ),
    "mysql-outbox": (
        f'{MYSQL}\ntable = "outbox"',
        {"url": "mysql://user:secret@db:3306/shop", "table": "outbox"},
    ),
    "mysql-binlog": (
        f'channel = "a"\n{MYSQL}\ntable = "shop.orders"',
        {"channel": "a", "url": "mysql://user:secret@db:3306/shop", "table": "shop.orders"},
    ),
    "activemq": (
        'channel = "a"\nurl = "stomp://user:secret@mq:61613"\ndestination = "/queue/a"\nprefetch = 5\ndurable = "d"',
        {
            "channel": "a",
            "url": "stomp://user:secret@mq:61613",
            "destination": "/queue/a",
            "prefetch": 5,
            "durable": "d",
        },
    ),
    "sup": (
        'url = "https://a.example/sup.json"\nids = {0123456789 = "a", 00ff00ff00 = "b"}',
        {"url": "https://a.example/sup.json", "ids": {"0123456789": "a", "00ff00ff00": "b"}},
    ),
}

TIMER = '[[triggers]]\nname = "t"\nkind = "timer"\nchannel = "a"\n'
WHOLE = f'{TIMER}call = "m:f"\nevery = 1\n'
SUP = '[[triggers]]\nname = "s"\nkind = "sup"\nurl = "https://h/sup.json"\n'
COMMAND = '[[triggers]]\nname = "c"\nkind = "command"\nchannel = "a"\n'

#: What a file says, and what the start says to that.
WRONG = [
    ('triggers = "x"', "triggers is one table; each trigger begins with [[triggers]]"),
    ('[triggers]\nname = "x"', "each trigger begins with [[triggers]], in two brackets"),
    ("triggers = [1]", "[[triggers]], number 1, in some.toml is not a table"),
    ('[[triggers]]\nkind = "timer"', "name of [[triggers]], number 1, in some.toml is None; it must be 1 to 128"),
    ('[[triggers]]\nname = ""', "name of [[triggers]], number 1, in some.toml is ''"),
    ('[[triggers]]\nname = "a\\nb"', "name of [[triggers]], number 1, in some.toml is"),
    ('[[triggers]]\nname = "t"', 'kind of [[triggers]] "t" in some.toml is None; it must be one of timer, command,'),
    ('[[triggers]]\nname = "t"\nkind = "tiemr"', "is 'tiemr'; it must be one of timer, command, file, mysql-query"),
    ('[[triggers]]\nname = "t"\nkind = "tiemr"', "Did you mean timer?"),
    ('[[triggers]]\nname = "t"\nkind = "mysql-binlgo"', "Did you mean mysql-binlog?"),
    ('[[triggers]]\nname = "t"\nkind = ["timer"]', "it must be one of timer"),
    (f"{TIMER}every = 1", '[[triggers]] "t" in some.toml (timer) has no call.'),
    (TIMER, '[[triggers]] "t" in some.toml (timer) has no call and no every.'),
    (f"{WHOLE}chanel = 1", "'chanel' is not a key of [[triggers]] \"t\" in some.toml (timer): channel, call, every,"),
    (f"{WHOLE}chanel = 1", "Did you mean channel?"),
    (f'{WHOLE}path = "x"', "'path' is not a key of [[triggers]] \"t\" in some.toml (timer)"),
    (f'{TIMER}call = "f"\nevery = 1', "call of [[triggers]] \"t\" in some.toml (timer) is 'f'; it must be MODULE:"),
    (f'{TIMER}call = "m:f()"\nevery = 1', "it must be MODULE:FUNCTION"),
    (f'{TIMER}call = "m:f"\nevery = 0', "every of [[triggers]] \"t\" in some.toml (timer) is 0; it must be"),
    (f'{TIMER}call = "m:f"\nevery = "soon"', "is 'soon'; it must be a number of seconds from 0.01 to 86400."),
    (f'{WHOLE}event = "comet.x"', "event of [[triggers]] \"t\" in some.toml (timer): 'comet.x' can't name an event"),
    (f"{WHOLE}event = 5", "is 5; it must be a text"),
    (f'{WHOLE}type = "text"', "'text' is not a media type"),
    (f"{WHOLE}always = 'yes'", "always of [[triggers]] \"t\" in some.toml (timer) is 'yes'; it must be 0 or 1."),
    (f'{WHOLE}template = "a.html"\nrender = "m:r"', "has template and render; only one of them can be."),
    (f"{WHOLE}render = 'x'", "render of [[triggers]] \"t\" in some.toml (timer) is 'x'; it must be MODULE:FUNCTION"),
    (WHOLE.replace('"a"', '"a b"'), "channel of [[triggers]] \"t\" in some.toml (timer): 'a b' is not a channel name"),
    (WHOLE + WHOLE, "two [[triggers]] have the name 't'; each needs its own."),
    (f'{COMMAND}argv = ["df"]', '[[triggers]] "c" in some.toml (command) has neither every nor lines; it needs one.'),
    (f'{COMMAND}argv = ["df"]\nlines = false', "has neither every nor lines"),
    (f'{COMMAND}argv = ["df"]\nlines = true\nevery = 1', "has every and lines; only one of them can be."),
    (f'{COMMAND}argv = ["df"]\nlines = true\ntimeout = 1', "has lines and timeout; only one of them can be."),
    (f'{COMMAND}argv = "df -h"\nevery = 1', "is not right; it must be a program and its arguments, such as"),
    (f"{COMMAND}argv = []\nevery = 1", "it must be a program and its arguments"),
    (f'{COMMAND}argv = [""]\nevery = 1', "it must be a program and its arguments"),
    (f'{COMMAND}argv = ["a\\u0000"]\nevery = 1', "has a NUL"),
    ('[[triggers]]\nname = "f"\nkind = "file"\nchannel = "a"\npath = " "', "it must be the path of a file"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def declared(text: str) -> tuple[Declared, ...]:
    Path("some.toml").write_text(text, encoding="utf-8")
    return load({"COMET_CONFIG": "some.toml"}).triggers


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        declared(text)
    return str(caught.value)


def test_every_kind_is_tried_here() -> None:
    """And each has a class."""
    assert RIGHT.keys() == KINDS.keys() == CLASSES.keys()


@pytest.mark.parametrize("kind", RIGHT)
def test_a_table_of_each_kind(kind: str) -> None:
    """Its keys are what the class is given; what it does not say is the class's own default."""
    text, options = RIGHT[kind]
    (trigger,) = declared(f'[[triggers]]\nname = "orders"\nkind = "{kind}"\ntemplate = "a.html"\n{text}')
    assert trigger == Declared("orders", kind, options, "a.html", "", "some.toml")


@pytest.mark.parametrize("kind", KINDS)
def test_keys_are_the_keyword_arguments_of_the_class(kind: str) -> None:
    """Each key of a kind, under its name; and what a kind needs has no default there."""
    module, _, name = CLASSES[kind].partition(":")
    pytest.importorskip(module, exc_type=ImportError)
    arguments = inspect.signature(getattr(import_module(module), name)).parameters
    keys = {f"{key}_" if key == "as" else key for key in KINDS[kind].keys}
    assert keys <= arguments.keys()
    needed = {name for name, each in arguments.items() if each.default is each.empty} - {"name"}
    assert needed <= set(KINDS[kind].needs)


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_a_wrong_table(text: str, told: str) -> None:
    """The start stops with one sentence that says where, what, and what would be right."""
    sentence = refusal(text)
    assert told in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "url",
    [
        "msyql://user:secret@db/shop",
        "mysql:/user:secret@db/shop",
        "user:secret@db",
        "mysql://user:secret@db/shop x",
        "http://user:secret@db/shop",
        ["mysql://user:secret@db/shop"],
    ],
)
def test_the_password_of_a_source(url: object) -> None:
    """A URL that is wrong is not shown: it may have a password."""
    text = f'[[triggers]]\nname = "o"\nkind = "mysql-outbox"\ntable = "t"\nurl = {url!r}'
    sentence = refusal(text)
    assert 'url of [[triggers]] "o" in some.toml (mysql-outbox) is not right; it must be mysql://' in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize(
    "text",
    [
        'triggers = ["mysql://u:secret@h"]',
        f'{COMMAND}argv = ["mysql", "-psecret", 5]',
        f'{SUP}ids = ["https://me:secret@h/feed"]',
    ],
)
def test_a_password_elsewhere(text: str) -> None:
    """Neither is what may have one."""
    assert "secret" not in refusal(text)


def test_several_triggers() -> None:
    """They keep their order, and a file without any has none."""
    both = declared(f'{WHOLE}[[triggers]]\nname = "u"\nkind = "file"\nchannel = "b"\npath = "x"\nrender = "m.n:r"\n')
    assert [(each.name, each.kind, each.render) for each in both] == [("t", "timer", ""), ("u", "file", "m.n:r")]
    assert declared("[comet]\nhistory = 5") == ()
