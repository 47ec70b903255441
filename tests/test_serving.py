"""What comet's gunicorn.conf makes of gunicorn, beside what ``tests/live/test_start.py`` shows of whole servers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.http import message
from gunicorn.http.unreader import IterUnreader

from comet import serving
from comet.heads import Bounded
from comet.serving import _settle, options
from comet.settings import Settings


def configuration(**values: object) -> Config:
    cfg = Config()
    for name, value in values.items():
        cfg.set(name, value)
    return cfg


def test_settings_are_what_they_were_when_they_are_settled() -> None:
    settled, asked = configuration(keepalive=7), configuration(keepalive=7)
    _settle(settled)
    assert vars(settled)["keepalive"] == 7
    for name in asked.settings:
        if not name.startswith(("on_", "pre_", "post_")):
            assert getattr(settled, name) == getattr(asked, name), name
    assert settled.is_ssl == asked.is_ssl and settled.address == asked.address


def test_requests_are_parsed_by_the_strict_parser_whatever_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_settings", None)  # as it was, afterwards
    monkeypatch.setattr(message, "_fast_parser_available", True)
    monkeypatch.setattr(message, "_fast_parser_module", SimpleNamespace(LimitRequestLine=ValueError))
    assert message._check_fast_parser(configuration())
    assert not message._check_fast_parser(configuration(http_parser=options(Settings())["http_parser"]))


def scheme(cfg: Config, peer: object) -> str:
    """What a request says of itself that a proxy there forwards from https."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n"
    return str(Bounded(cfg, IterUnreader([head]), peer).scheme)


def test_each_address_is_believed_or_not_however_often_it_asks() -> None:
    cfg = configuration(forwarded_allow_ips="192.0.2.1,198.51.100.0/24")
    Bounded._trusted.clear()
    for _ in range(3):
        assert scheme(cfg, ("192.0.2.1", 1)) == "https"
        assert scheme(cfg, ("192.0.2.2", 1)) == "http"
        assert scheme(cfg, ("198.51.100.9", 1)) == "https"
        assert scheme(cfg, ("2001:db8::1", 1, 0, 0)) == "http"
        assert scheme(cfg, b"") == "https"  # a Unix socket
    Bounded._trusted.clear()
