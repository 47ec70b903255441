"""The settings of the environment, as a command reads them."""

from __future__ import annotations

from ..core.errors import SettingsError
from ..settings import Settings, load
from .failures import WRONG, fail


def settings() -> Settings:
    """Those that hold now; a wrong one ends the process with its sentence."""
    try:
        return load()
    except SettingsError as error:
        fail(str(error), WRONG)
