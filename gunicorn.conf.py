"""gunicorn's configuration: every value comes from COMET_* (see comet/serving.py)."""

from comet import serving


globals().update(serving.options(serving.read_settings()))
