"""The plain app's cousin, made by a factory."""

from __future__ import annotations

from flask import Flask

from comet import Comet


comet = Comet(url_prefix="/push")


def create_app() -> Flask:
    app = Flask(__name__)
    comet.init_app(app)
    app.add_url_rule("/", "page", lambda: "the app's own page")
    return app
