"""The plain app in a module that patches by itself, as many a tutorial says."""

from gevent import monkey


monkey.patch_all()

from tests.live.apps.plain import app  # noqa: E402


__all__ = ["app"]
