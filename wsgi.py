"""The WSGI application: ``gunicorn -c gunicorn.conf.py wsgi:app``."""

from gevent import monkey


# gunicorn's gevent worker has patched already. This is for shells and scripts that import the app without it.
monkey.patch_all()

from comet import create_app  # noqa: E402


app = create_app()
