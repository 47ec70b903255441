"""How a command ends that can't do what it was asked for: one sentence on standard error, and an exit status."""

from __future__ import annotations

import sys
from typing import NoReturn

import click


#: Exit statuses: something was asked for that can't be right, or could not be done now.
WRONG, FAILED = 2, 1


def tell(sentence: str) -> None:
    """Say what goes on, on standard error."""
    click.echo(f"comet: {sentence}", err=True)


def fail(sentence: str, status: int) -> NoReturn:
    """End the process with a sentence that says what was wrong, and what would be right."""
    tell(sentence)
    sys.exit(status)
