"""The stand-alone server: a Flask app with nothing but comet in it, its routes at the root."""

from __future__ import annotations

from flask import Flask
from werkzeug.exceptions import HTTPException

from . import demo
from .core.errors import CometError
from .extension import Comet
from .settings import Settings, load
from .views import problems, publishing, with_headers


def create_app(settings: Settings | None = None) -> Flask:
    """Build the server that ``wsgi.py`` serves. Without ``settings`` they come from the environment.

    Raises SettingsError with a sentence for the operator. Its background greenlets start with
    ``app.extensions["comet"].start(worker)`` in gunicorn's ``post_worker_init``, or with the first request.
    """
    settings = settings or load()
    app = Flask(__name__, static_folder=None)
    comet = Comet(app, url_prefix=None, settings=settings, direct_writes=settings.direct_writes)
    comet.worker.embedded = False
    # Routing fails outside of any blueprint: what is refused there must look the same.
    app.register_error_handler(CometError, problems.of_comet)
    app.register_error_handler(HTTPException, problems.of_http)
    app.register_error_handler(Exception, _failed)
    app.after_request(_always)
    if settings.demo:
        demo.add(app, comet)
    return app


def _always(response):  # type: ignore[no-untyped-def]
    from flask import request

    if request.blueprint is None:
        response = publishing.drop_body(with_headers(response))
    return response


def _failed(error: Exception):  # type: ignore[no-untyped-def]
    from flask import current_app

    current_app.logger.exception("comet: a request failed")
    return problems.problem(500, "the server failed at this; its log says why.")
