"""Logs: how a line is written. Whole logs are read in ``tests/live/test_logs.py``."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping

import pytest

from comet import serving
from comet.core.errors import SettingsError
from comet.logs import Json, Redacting
from comet.settings import Settings, load


def record(message: str, *arguments: object, name: str = "comet", **extra: object) -> logging.LogRecord:
    return logging.getLogger(name).makeRecord(name, logging.WARNING, "", 0, message, arguments, None, extra=extra)


def test_a_line_of_text() -> None:
    """As the formatter has it that was there, but for tokens."""
    formatter = Redacting(logging.Formatter("[%(levelname)s] %(message)s"))
    assert formatter.format(record("GET /x?token=%s", "SECRET")) == "[WARNING] GET /x?token=…"


def test_a_line_of_json() -> None:
    """What it says, and its fields as they are; whatever a text has, the line stays one object."""
    said = json.loads(Json().format(record('a "%s"\n', "b\\", fields={"count": 3, "address": "?token=SECRET"})))
    assert (said["level"], said["logger"], said["message"]) == ("warning", "comet", 'a "b\\"\n')
    assert (said["count"], said["address"]) == (3, "?token=…")
    assert said["time"].endswith("+00:00") and said["process"]


def test_a_token_before_a_quotation_mark() -> None:
    """It is taken out before the text is made JSON: what is left can be read."""
    assert json.loads(Json().format(record('"/x?token=SECRET" and more')))["message"] == '"/x?token=…" and more'


def test_a_trace() -> None:
    """It is a field of its own, without tokens."""
    line = record("it failed")
    try:
        raise RuntimeError("token=SECRET")
    except RuntimeError:
        line.exc_info = sys.exc_info()
    assert json.loads(Json().format(line))["trace"].splitlines()[-1] == "RuntimeError: token=…"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_the_level_is_gunicorns(level: str) -> None:
    """Its command line can say something else."""
    assert serving.options(Settings(log_level=level))["loglevel"] == level


def test_the_kind_of_the_lines() -> None:
    """Text, or JSON."""
    assert serving.options(Settings())["logger_class"] == "comet.logs.Logger"
    assert serving.options(Settings(log="json"))["logger_class"] == "comet.logs.JsonLogger"


@pytest.mark.parametrize("environ", [{"COMET_LOG": "xml"}, {"COMET_LOG_LEVEL": "loud"}])
def test_another_word_is_refused(environ: Mapping[str, str]) -> None:
    """With those that there are."""
    ((key, value),) = environ.items()
    with pytest.raises(SettingsError, match=f"{key} is '{value}'; it must be .* or "):
        load(environ)
