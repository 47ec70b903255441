"""Settings: every key from the environment and from a file, and a sentence for each wrong value."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest

from comet.core.errors import SettingsError
from comet.core.rules import Rule
from comet.settings import MOST_STREAMS, Settings, is_loopback, load, room_for_streams


#: field, text in the environment, the same as a TOML value, what it means
RIGHT = [
    ("bind", "127.0.0.1:80", '"127.0.0.1:80"', "127.0.0.1:80"),
    ("bind", "[::1]:4071", '"[::1]:4071"', "[::1]:4071"),
    ("bind", ":4071", '":4071"', ":4071"),
    ("bind", "unix:/run/comet.sock", '"unix:/run/comet.sock"', "unix:/run/comet.sock"),
    ("workers", "1", "1", 1),
    ("broker", "memory", '"memory"', "memory"),
    ("broker", "sqlite:///var/x.db", '"sqlite:///var/x.db"', "sqlite:///var/x.db"),
    ("broker", "redis://h:1/2", '"redis://h:1/2"', "redis://h:1/2"),
    ("publish_key", "one", '"one"', ("one",)),
    ("publish_key", "one, two,", '["one", "two"]', ("one", "two")),
    ("publish_key", "", "[]", ()),
    ("open", "1", "true", True),
    ("open", "0", "0", False),
    ("open", "", "false", False),
    ("history", "7", "7", 7),
    ("history_bytes", "4096", "4096", 4096),
    ("history_seconds", "1.5", "1.5", 1.5),
    ("replay", "0", "0", 0),
    ("memory", "1000000", "1000000", 1_000_000),
    ("heartbeat", "0.5", "0.5", 0.5),
    ("poll_timeout", "60", "60", 60.0),
    ("max_update", "10", "10", 10),
    ("max_streams", "5", "5", 5),
    ("max_channels", "3", "3", 3),
    ("idempotency_seconds", "60", "60", 60.0),
    ("write_timeout", "2", "2", 2.0),
    ("drain_seconds", "0", "0", 0.0),
    ("allowed_origins", "https://A.example,http://b:81", '["https://a.example", "http://b:81"]',
     ("https://a.example", "http://b:81")),
    ("allowed_origins", "*", '"*"', ("*",)),
    ("trusted_proxies", "127.0.0.1, 2001:db8::/32,unix", '["127.0.0.1", "2001:db8::/32", "unix"]',
     ("127.0.0.1", "2001:db8::/32", "unix")),
    ("trusted_proxies", "none", '"none"', ("none",)),
    ("streams_per_peer", "0", "0", 0),
    ("streams_per_token", "8", "8", 8),
    ("publish_rate", "0.5", "0.5", 0.5),
    ("publish_bytes_rate", "100000", "100000", 100_000),
    ("direct_writes", "0", "false", False),
    ("demo", "1", "1", True),
    ("checkpoints", "var/read.json", '"var/read.json"', "var/read.json"),
    ("public_url", "https://push.example/x/", '"https://push.example/x"', "https://push.example/x"),
]  # fmt: skip

#: field, a wrong text, what the sentence says beside the key and the value
WRONG = [
    ("bind", "4071", "ADDRESS:PORT"),
    ("bind", "127.0.0.1:65536", "ADDRESS:PORT"),
    ("bind", "127.0.0.1:80,127.0.0.1:81", "ADDRESS:PORT"),
    ("bind", "::1:80", "ADDRESS:PORT"),
    ("bind", "unix:", "unix:PATH"),
    ("workers", "0", "a whole number from 1 to 1000"),
    ("workers", "two", "a whole number from 1 to 1000"),
    ("broker", "memroy", "memory"),
    ("broker", "sqlite:x.db", "memory, sqlite:///FILE, or redis://"),
    ("broker", "redis://", "memory, sqlite:///FILE, or redis://"),
    ("open", "yes", "0 or 1"),
    ("history", "0", "a whole number of updates from 1 to 10000000"),
    ("history", "-5", "a whole number of updates from 1 to 10000000"),
    ("history", "٣", "a whole number of updates from 1 to 10000000"),
    ("history", "1_0", "a whole number of updates from 1 to 10000000"),
    ("history", "1.5", "a whole number of updates from 1 to 10000000"),
    ("history", "9" * 5000, "a whole number of updates from 1 to 10000000"),
    ("history_bytes", "1k", "a whole number of bytes"),
    ("history_seconds", "0", "a number of seconds from 0.1"),
    ("replay", "", "a whole number of updates from 0"),
    ("memory", "64M", "a whole number of bytes from 65536 to 1099511627776"),
    ("heartbeat", "nan", "a number of seconds from 0.1 to 3600"),
    ("heartbeat", "0", "a number of seconds from 0.1 to 3600"),
    ("poll_timeout", "61", "a number of seconds from 1 to 60"),
    ("max_update", "inf", "a whole number of bytes"),
    ("max_streams", "0", "a whole number of streams from 1 to"),
    ("max_channels", "0", "a whole number of channels"),
    ("idempotency_seconds", "0", "a number of seconds from 1"),
    ("write_timeout", "0", "a number of seconds from 0.1"),
    ("drain_seconds", "-1", "a number of seconds from 0 to 3600"),
    ("allowed_origins", "https://a.example/", "no path, no slash at the end"),
    ("allowed_origins", "a.example", "an origin such as https://app.example"),
    ("allowed_origins", "null", "an origin such as https://app.example"),
    ("trusted_proxies", "10.0.0.0/33", "a network such as 10.0.0.0/8"),
    ("trusted_proxies", "10.0.0", "an address such as 127.0.0.1"),
    ("trusted_proxies", "proxy.example", "unix, or none"),
    ("trusted_proxies", "127.0.0.1:80", "an address such as 127.0.0.1"),
    ("trusted_proxies", "0.0.0.0/0", "an address such as 127.0.0.1"),
    ("trusted_proxies", "::/0", "an address such as 127.0.0.1"),
    ("trusted_proxies", "*", "an address such as 127.0.0.1"),
    ("streams_per_peer", "-1", "a whole number of streams from 0 to 1000000"),
    ("streams_per_token", "1.5", "a whole number of streams from 0 to 1000000"),
    ("publish_rate", "10/s", "a number of updates a second from 0 to 1000000000"),
    ("publish_bytes_rate", "1M", "a whole number of bytes a second from 0 to 1099511627776"),
    ("direct_writes", "2", "0 or 1"),
    ("demo", "on", "0 or 1"),
    ("checkpoints", "", "the path of a file"),
    ("public_url", "push.example", "a URL such as https://push.example"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def in_file(text: str) -> dict[str, str]:
    Path("some.toml").write_text(text, encoding="utf-8")
    return {"COMET_CONFIG": "some.toml"}


@pytest.mark.parametrize(("name", "text", "toml", "meant"), RIGHT)
def test_a_right_value(name: str, text: str, toml: str, meant: object) -> None:
    """Each key means the same in the environment and in the file."""
    assert getattr(load({f"COMET_{name.upper()}": text}), name) == meant
    assert getattr(load(in_file(f"[comet]\n{name} = {toml}")), name) == meant


@pytest.mark.parametrize(("name", "text", "allowed"), WRONG)
def test_a_wrong_value(name: str, text: str, allowed: str) -> None:
    """The start stops with one sentence that names the key, the value and what is allowed."""
    with pytest.raises(SettingsError) as caught:
        load({f"COMET_{name.upper()}": text})
    sentence = str(caught.value)
    assert f"COMET_{name.upper()}" in sentence
    assert repr(text) in sentence
    assert allowed in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[comet]\nhistory = true", "history in some.toml is True"),
        ("[comet]\nhistory = '5 '\nheartbeat = []", "heartbeat in some.toml is []"),
        ("[comet]\nhistory_seconds = nan", "history_seconds in some.toml is nan"),
        ("[comet]\nbind = 4071", "bind in some.toml is 4071; it must be text"),
        ("[comet]\npublish_key = [1]", "publish_key in some.toml is [1]"),
        ("[comet]\nhistroy = 5", "'histroy' under [comet] is not a setting. Did you mean history?"),
        ("[comet]\nHISTORY = 5", "'HISTORY' under [comet] is not a setting."),
        ("comet = 5", "some.toml: [comet] is 5; it must be a table."),
        ("channels = 5", "some.toml: [channels] is 5; it must be a table."),
        ("[channels]\norders = 5", 'some.toml: [channels."orders"] is 5; it must be a table.'),
        ("[channels.orders]\nhistroy = 5", "under [channels.\"orders\"] is not a rule. Did you mean history?"),
        ("[channels.orders]\nhistory = 0", 'history of [channels."orders"] in some.toml is 0'),
        ("[channels.orders]\nconflate = 'yes'", 'conflate of [channels."orders"] in some.toml is \'yes\''),
        ("[channels.'a b']", "'a b' is not a channel name"),
        ("[channels.'a*b']", "'a*b' is not a channel name"),
        ("[channels.'comet.*']", "reserved"),
        ("[channels.open]", "reserved"),
        ("[demo]", "'demo' is not a table of comet"),
        ("[comet", "some.toml is not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_file(text: str, told: str) -> None:
    """What is wrong in a file is told with its place."""
    with pytest.raises(SettingsError) as caught:
        load(in_file(text))
    assert told in str(caught.value)


def test_no_setting_at_all() -> None:
    """The defaults are those of the documentation."""
    settings = load({"HOME": "/", "PATH": "/bin"})
    room = min(MOST_STREAMS, room_for_streams())
    assert settings == Settings()
    assert (settings.bind, settings.workers, settings.broker) == ("127.0.0.1:4071", 1, "memory")
    assert (settings.publish_key, settings.open, settings.allowed_origins) == ((), False, ())
    assert (settings.jwt_key, settings.jwt_public_key) == ((), ())
    assert (settings.history, settings.history_bytes, settings.history_seconds) == (100, 1_048_576, 3600)
    assert (settings.replay, settings.memory, settings.heartbeat, settings.poll_timeout) == (1, 268_435_456, 15, 25)
    assert (settings.max_update, settings.max_streams, settings.max_channels) == (262_144, room, 10_000)
    assert (settings.idempotency_seconds, settings.write_timeout, settings.drain_seconds) == (3600, 20, 5)
    assert (settings.direct_writes, settings.demo) == (True, False)
    assert (settings.checkpoints, settings.triggers) == ("comet-checkpoints.json", ())


def test_environment_and_file_disagree() -> None:
    """The environment wins."""
    environ = in_file("[comet]\nhistory = 5\nreplay = 3")
    settings = load({**environ, "COMET_HISTORY": "7"})
    assert (settings.history, settings.replay) == (7, 3)


def test_the_file_lies_in_the_folder() -> None:
    """comet.toml is read where the server starts, unless COMET_CONFIG names another."""
    Path("comet.toml").write_text("[comet]\nhistory = 5")
    assert load({}).history == 5
    assert load(in_file("[comet]\nhistory = 6")).history == 6


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_the_named_file_can_not_be_read(content: bytes | None) -> None:
    """A file that is named must be there and be TOML."""
    if content is not None:
        Path("other.toml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"other\.toml"):
        load({"COMET_CONFIG": "other.toml"})


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("COMET_HISTROY", "COMET_HISTORY"),
        ("COMET_PUBLISH_KEYS", "COMET_PUBLISH_KEY"),
        ("COMET_history", "COMET_HISTORY"),
    ],
)
def test_an_unknown_variable(key: str, nearest: str) -> None:
    """It is warned about, with the nearest name that is known; nothing else comes of it."""
    with pytest.warns(UserWarning, match=f"{key} is not a setting of comet.*Did you mean {nearest}"):
        assert load({key: "5"}) == Settings()


def test_the_command_lines_own_variable() -> None:
    """COMET_URL tells the command line where a server is, COMET_TOKEN who asks: no settings, and no mistake."""
    assert load({"COMET_URL": "http://127.0.0.1:1", "COMET_TOKEN": "x.y.z"}) == Settings()


def test_a_secret_for_tokens_that_can_be_guessed() -> None:
    """The sentence names the variable and the place, and not the key."""
    good = "g" * 32
    assert load({"COMET_JWT_KEY": f"{good}, {good}2"}).jwt_key == (good, f"{good}2")
    for wrong, told in (("short", "key 2 has less than 32 bytes"), ("-----BEGIN PRIVATE KEY-----", "PEM")):
        with pytest.raises(SettingsError) as caught:
            load({"COMET_JWT_KEY": f"{good},{wrong}"})
        assert "COMET_JWT_KEY" in str(caught.value)
        assert told in str(caught.value)
        assert good not in str(caught.value)
        assert wrong not in str(caught.value)


PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"


def test_public_keys_for_tokens() -> None:
    """As text, or in a file that is named; a file may hold several."""
    Path("keys.pem").write_text(f"of last year:\n{PEM}\nof this one:\n{PEM}\n")
    for text, count in ((PEM, 1), (f"{PEM},{PEM}", 2), ("keys.pem", 2), (f"keys.pem, {PEM}", 3), ("", 0)):
        assert load({"COMET_JWT_PUBLIC_KEY": text}).jwt_public_key == (PEM,) * count


def test_public_keys_that_can_not_be_read() -> None:
    """The sentence names the file; it never shows a key."""
    Path("none.pem").write_text("nothing here")
    Path("bytes.pem").write_bytes(b"\xff")
    for text, told in (
        ("nowhere.pem", "No such file"),
        ("none.pem", "'none.pem'"),
        ("bytes.pem", "not text"),
        (".", "directory"),
        ("-----BEGIN PUBLIC KEY-----\nMFkw", "without a whole key"),
    ):
        with pytest.raises(SettingsError) as caught:
            load({"COMET_JWT_PUBLIC_KEY": text})
        assert "COMET_JWT_PUBLIC_KEY" in str(caught.value)
        assert told in str(caught.value)
        assert "MFkw" not in str(caught.value)


def test_a_key_that_no_header_can_carry() -> None:
    """The sentence names the variable and not the key: it is a secret."""
    with pytest.raises(SettingsError) as caught:
        load({"COMET_PUBLISH_KEY": "good,pass word"})
    assert "COMET_PUBLISH_KEY" in str(caught.value)
    assert "pass" not in str(caught.value)


def test_the_password_of_a_broker() -> None:
    """A URL that is wrong is told without it: it is a secret."""
    with pytest.raises(SettingsError) as caught:
        load({"COMET_BROKER": "reddis://user:pa:s/s@word@host"})
    assert "reddis://…@host" in str(caught.value)


def test_several_workers_with_the_memory_broker() -> None:
    """They are refused with the two brokers that serve them."""
    with pytest.raises(SettingsError, match=r"4 workers.*sqlite:///FILE.*redis://"):
        load({"COMET_WORKERS": "4"})


@pytest.mark.parametrize("broker", ["memory", "sqlite:///x.db"])
def test_flask_sse_without_its_redis(broker: str) -> None:
    """It publishes to a Redis: another broker never hears of it."""
    with pytest.raises(SettingsError, match="COMET_FLASK_SSE is set, and COMET_BROKER is not the Redis"):
        load({"COMET_FLASK_SSE": "sse", "COMET_BROKER": broker})


@pytest.mark.parametrize("prefix", ["*", "sse*", "a b", "-", "comet.", "é", "x" * 129])
def test_flask_sse_takes_what_names_begin_with(prefix: str) -> None:
    """Several, and each the beginning of a channel's name."""
    assert load({"COMET_FLASK_SSE": "sse, user-,", "COMET_BROKER": "redis://h"}).flask_sse == ("sse", "user-")
    with pytest.raises(SettingsError, match=r"COMET_FLASK_SSE is .* what names of channels begin with"):
        load({"COMET_FLASK_SSE": prefix, "COMET_BROKER": "redis://h"})


@pytest.mark.parametrize("bind", ["0.0.0.0:80", ":80", "[::]:80", "192.0.2.1:80", "example.com:80", "unix:/tmp/x"])
def test_open_beyond_this_machine(bind: str) -> None:
    """COMET_OPEN is refused where others reach the server; a Unix socket has a proxy before it."""
    assert not is_loopback(bind)
    with pytest.raises(SettingsError, match="COMET_OPEN"):
        load({"COMET_OPEN": "1", "COMET_BIND": bind, "COMET_PUBLISH_KEY": "key"})


def test_settings_that_a_program_makes() -> None:
    """An app is not made of settings that would be refused at the start."""
    from comet import create_app

    with pytest.raises(SettingsError, match="COMET_OPEN"):
        create_app(Settings(open=True, bind="0.0.0.0:80"))


@pytest.mark.parametrize("bind", ["127.0.0.1:80", "127.1.2.3:80", "[::1]:80", "localhost:80", "[::ffff:127.0.0.1]:80"])
def test_open_on_this_machine(bind: str) -> None:
    """COMET_OPEN is taken on every loopback address, beside a key too."""
    assert load({"COMET_OPEN": "1", "COMET_BIND": bind, "COMET_PUBLISH_KEY": "key"}).open


@pytest.mark.parametrize(
    ("hard", "most"),
    [(1024, 568), (100_000, MOST_STREAMS), (500, 44), (400, 1), (resource.RLIM_INFINITY, MOST_STREAMS)],
)
def test_streams_by_open_files(monkeypatch: pytest.MonkeyPatch, hard: int, most: int) -> None:
    """Without a number, there are as many streams as open files minus 456, at most 50,000."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, hard))
    assert load({}).max_streams == most


def test_more_streams_than_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that the limit of open files can't hold is refused, or publishing would fail when it is reached."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 1024))
    assert load({"COMET_MAX_STREAMS": "568"}).max_streams == 568
    with pytest.raises(SettingsError, match=r"COMET_MAX_STREAMS is '569'.* from 1 to 568.*open files"):
        load({"COMET_MAX_STREAMS": "569"})


RULES = """
[comet]
history = 50
replay = 2
[channels."orders"]
history = 500
replay = 20
[channels."orders.*"]
conflate = true
[channels."orders.eu.*"]
history = 7
[channels."message*"]
private = true
[channels."*"]
history_seconds = 9
history_bytes = 8
"""


@pytest.mark.parametrize(
    ("channel", "changed"),
    [
        ("orders", {"history": 500, "replay": 20}),
        ("orders.us", {"conflate": True}),
        ("orders.", {"conflate": True}),
        ("orders.eu.1", {"history": 7}),
        ("messages", {"private": True}),
        ("other", {"history_seconds": 9.0, "history_bytes": 8}),
    ],
)
def test_rules_of_channels(channel: str, changed: dict[str, Any]) -> None:
    """The exact name, else the longest prefix; what a rule does not say is as for all channels."""
    rules = load(in_file(RULES)).rules
    assert rules[channel] == Rule(**{"history": 50, "replay": 2, **changed})


def test_rules_and_the_environment() -> None:
    """What the environment says for all channels holds where a rule says nothing else."""
    settings = load({**in_file(RULES), "COMET_REPLAY": "9"})
    assert (settings.rules["orders"].replay, settings.rules["other"].replay) == (20, 9)


def test_streams_of_an_address() -> None:
    """They are limited as soon as it is known whom to believe about addresses; what could not work is refused."""
    assert Settings().validate().streams_of_a_peer == 0
    assert Settings(trusted_proxies=("none",)).validate().streams_of_a_peer == 1000
    assert Settings(trusted_proxies=("none",), streams_per_peer=0).validate().streams_of_a_peer == 0
    assert Settings(trusted_proxies=("unix",), streams_per_peer=5, bind="unix:x").validate().streams_of_a_peer == 5
    with pytest.raises(SettingsError, match="COMET_STREAMS_PER_PEER is 5, and COMET_TRUSTED_PROXIES"):
        Settings(streams_per_peer=5).validate()
    with pytest.raises(SettingsError, match="does not list the word unix"):
        Settings(trusted_proxies=("10.0.0.0/8",), bind="unix:x").validate()
    with pytest.raises(SettingsError, match="COMET_TRUSTED_PROXIES has none among others"):
        load({"COMET_TRUSTED_PROXIES": "none,::1"})
