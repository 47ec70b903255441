"""What a command prints on standard output: at once, whole, and past Python's buffers.

A reader that has gone ends the command quietly (``| head -1``); what can't be written ends it with a sentence.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from .failures import FAILED, fail


STDOUT = 1


def say(text: str | bytes) -> None:
    """Print this, and a line feed if it ends in none."""
    data = text.encode() if isinstance(text, str) else text
    write(data if data.endswith(b"\n") else data + b"\n")


def write(data: bytes) -> None:
    """Print these bytes as they are."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(STDOUT, view) :]
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        refuse(error)


def refuse(error: OSError) -> NoReturn:
    """End because standard output takes no more."""
    # What Python holds back of it yet must not fail once more at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
    fail(f"can't write to standard output: {(error.strerror or str(error)).lower()}.", FAILED)
