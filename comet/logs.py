"""Logs: what gunicorn and comet write down, without tokens.

An address with ``?token=`` would stand in the access log, and in the error log with each request that fails. So every
line is redacted last of all, whatever its format, traces too.

What comet itself says goes where gunicorn's own error log goes, in the same format and from the same level on. In
somebody else's app, whose gunicorn has another logger, that app's logging decides.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
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
                    handler.setFormatter(self.formatter(handler.formatter))
        self._show("comet")

    def formatter(self, formatter: logging.Formatter | None) -> logging.Formatter:
        """What writes the lines in place of this."""
        return Redacting(formatter)

    def _show(self, name: str) -> None:
        """Let the lines of a logger go where the errors go, unless a configuration has its own place for them."""
        log = logging.getLogger(name)
        if all(getattr(handler, "_gunicorn", False) for handler in log.handlers):
            log.handlers = list(self.error_log.handlers)
            log.setLevel(self.error_log.level)
            log.propagate = False


class JsonLogger(Logger):
    """The same, each line a JSON object; Python's warnings, too."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logging.captureWarnings(True)
        self._show("py.warnings")

    def formatter(self, formatter: logging.Formatter | None) -> logging.Formatter:
        return Json()


class Redacting(logging.Formatter):
    """Another formatter's lines, without tokens."""

    def __init__(self, formatter: logging.Formatter | None = None) -> None:
        super().__init__()
        self._formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._formatter.format(record))


class Json(Redacting):
    """JSON objects without tokens, with what a line of the access log or of a stream's end tells as fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        line |= getattr(record, "fields", {}) or _of_access(record)
        return json.dumps({key: redact(value) if isinstance(value, str) else value for key, value in line.items()})


def take_over(hub: Any) -> None:
    """Let what fails in a greenlet that nobody waits for be a line of the log, as all else, where this hub of gevent's
    would print it."""
    printed = hub.print_exception

    def log_exception(context: Any, kind: Any, value: Any, trace: Any) -> None:
        try:
            # Of a thread of a pool it is a pair, with what the thread has called.
            failed = context[-1] if isinstance(context, tuple) else getattr(context, "_run", context)
            name = getattr(failed, "__qualname__", type(failed).__name__)
            logging.getLogger("comet").error("comet: %s failed", name, exc_info=(kind, value, trace))
        except Exception:  # gevent must get no error from here
            printed(context, kind, value, trace)

    hub.print_exception = log_exception


def _of_access(record: logging.LogRecord) -> dict[str, object]:
    """The fields of a line of the access log: gunicorn's atoms, under names that say what they are."""
    atoms: Any = record.args
    if record.name != "gunicorn.access" or not isinstance(atoms, Mapping):
        return {}
    return {
        "peer": atoms["h"],
        "method": atoms["m"],
        "path": atoms["U"],
        "status": int(atoms["s"]),
        "bytes": atoms["B"],
        "seconds": float(atoms["L"]),
        "agent": atoms["a"],
    }
