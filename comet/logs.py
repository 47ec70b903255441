"""Logs: what gunicorn writes down, without tokens.

An address with ``?token=`` would stand in the access log, and in the error log with each request that fails. So every
line is redacted last of all, whatever its format, traces too.
"""

from __future__ import annotations

import logging
from typing import Any

from gunicorn import glogging

from .core.redaction import redact


class Logger(glogging.Logger):  # type: ignore[misc]
    """gunicorn's own. In another gunicorn.conf: ``logger_class = "comet.logs.Logger"``."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                if not isinstance(handler.formatter, Redacting):
                    handler.setFormatter(Redacting(handler.formatter))


class Redacting(logging.Formatter):
    """Another formatter's lines, without tokens."""

    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._formatter.format(record))
