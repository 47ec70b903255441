"""An app of which a function is called by a trigger in its comet.toml."""

from __future__ import annotations

import itertools

from flask import Flask

from comet import Comet


app = Flask(__name__)
comet = Comet(app)
numbers = itertools.count(1)


def count() -> int:
    return next(numbers)
