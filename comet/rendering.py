"""Rendering: what is published in place of a trigger's updates: a template filled with them, or what a function makes.

What goes wrong in a template or a function is one sentence with its place, as SourceFailed: the supervisor tries
again, and the others do not notice. A template that is mended is taken at the next attempt.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template, TemplateError, TemplateNotFound, TemplateSyntaxError

from .breath import breathe
from .core.errors import BadRequest, CometError, SettingsError, SourceFailed
from .core.update import Update


HTML = "text/html; charset=utf-8"


class Templated:
    """Fill the template ``name``, looked for in ``folders``, with an update; the result is HTML, and escaped.

    Event and key stay. Raises SettingsError if there is no such template, or if it can't be read as one.
    """

    def __init__(self, name: str, folders: Sequence[Path]) -> None:
        self.name = name
        self.folders = folders
        self._environment = Environment(autoescape=True, loader=FileSystemLoader(folders))
        try:
            self._template()
        except TemplateNotFound as error:
            places = ", ".join(str(folder) for folder in folders)
            raise SettingsError(f"the template {error.name!r} is in none of these folders: {places}.") from error
        except (TemplateError, UnicodeDecodeError) as error:
            raise SettingsError(self._told(error)) from error

    def __call__(self, update: Update) -> Update:
        try:
            html = "".join(self._pieces(update))
        except CometError:
            raise
        except Exception as error:
            raise SourceFailed(self._told(error)) from error
        return Update.of(update.channel, html, type=HTML, event=update.event, key=update.key)

    def _pieces(self, update: Update) -> Iterator[str]:
        for piece in self._template().generate(context(update)):
            yield piece
            breathe()  # there may be thousands of rows

    def _template(self) -> Template:
        return self._environment.get_template(self.name)  # read again if the file has changed

    def _told(self, error: Exception) -> str:
        file, line = self._place(error)
        place = f"the template {file}" + (f", line {line}" if line else "")
        return f"{place}: {said(error)}."

    def _place(self, error: Exception) -> tuple[str, int | None]:
        """The file and the line of an error, as far as they are known."""
        if isinstance(error, TemplateSyntaxError) and error.filename:
            return self._shown(error.filename) or self.name, error.lineno
        # Jinja gives the frames of templates the names and lines of their files.
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if file := self._shown(frame.filename):
                return file, frame.lineno
        return self.name, None

    def _shown(self, file: str) -> str:
        """The path of a template, as seen from one of the folders; nothing for another file."""
        folders = [folder for folder in self.folders if Path(file).is_relative_to(folder)]
        return str(Path(file).relative_to(folders[0])) if folders else ""


class Called:
    """Publish what ``call`` makes of an update: str, bytes, anything JSON, or an Update.

    An Update is published as it is; of anything else channel and event stay. The key stays in any case.
    """

    def __init__(self, call: Callable[[Update], object], name: str) -> None:
        self.call = call
        self.name = name

    def __call__(self, update: Update) -> Update:
        value = self.call(update)
        if value is None:
            raise SourceFailed(f"{self.name} has returned None; it must return what is to be published.")
        if isinstance(value, Update):
            return value if value.key else replace(value, key=update.key)
        try:
            return Update.of(update.channel, value, event=update.event, key=update.key)
        except BadRequest as error:
            raise SourceFailed(f"{self.name}: {error}") from error


def context(update: Update) -> dict[str, Any]:
    """What a template knows of an update.

    ``data``: what JSON says, or text, or bytes that are none; ``rows``: data that is a list; ``row`` and ``before``: of
    a change in a table; without these, ``row`` is data that is an object. And ``event``, ``channel``, and ``time``:
    now, as a datetime.
    """
    data = _data(update)
    fields: dict[str, Any] = {"data": data, "row": None, "before": None, "rows": []}
    if isinstance(data, list):
        fields["rows"] = data
    elif isinstance(data, dict):
        change = data.keys() == {"row", "before"}
        fields |= {"row": data["row"], "before": data["before"]} if change else {"row": data}
    return fields | {"event": update.event, "channel": update.channel, "time": datetime.now().astimezone()}


def _data(update: Update) -> Any:
    text = update.text
    if text is not None and (update.essence == "application/json" or update.essence.endswith("+json")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return update.data if text is None else text


def said(error: Exception) -> str:
    """An error in one line, without a full stop."""
    text = " ".join(str(getattr(error, "message", error)).split()).rstrip(".")
    return f"{type(error).__name__}{text and f': {text}'}"
