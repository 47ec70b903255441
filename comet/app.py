"""The stand-alone server: a Flask app with nothing but comet in it, its routes at the root."""

from __future__ import annotations

from flask import Flask

from . import demo
from .extension import Comet
from .serving import current_settings, refusing
from .settings import Settings
from .views import add_everywhere


def create_app(settings: Settings | None = None) -> Flask:
    """Build the server that ``wsgi.py`` serves. Without ``settings`` they come from the environment.

    Raises SettingsError with a sentence for the operator. Its background greenlets start with
    ``app.extensions["comet"].start(worker)`` in gunicorn's ``post_worker_init``, or with the first request.
    """
    with refusing():
        settings = settings.validate() if settings else current_settings()
    app = Flask(__name__, static_folder=None)
    comet = Comet(app, url_prefix=None, settings=settings, direct_writes=True)
    comet.worker.embedded = False
    add_everywhere(app)
    if settings.demo:
        demo.add(app, comet)
    return app
