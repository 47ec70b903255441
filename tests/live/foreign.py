"""Somebody else's app, served in their way: gunicorn with a configuration that is not ours, or ``flask run``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.live.server import Server


#: What the documentation says about draining.
TWO_LINES = """
def post_worker_init(worker):
    worker.wsgi.extensions["comet"].start(worker)
"""


class Foreign(Server):
    """``arguments`` go to gunicorn, ``lines`` into its configuration."""

    def __init__(self, app: str, *arguments: str, lines: str = "", **settings: object) -> None:
        super().__init__(*arguments, app=f"tests.live.apps.{app}", **settings)
        conf = Path(self.folder.name) / "their.conf.py"
        conf.write_text(f"bind = '127.0.0.1:{self.port}'\ncontrol_socket_disable = True\n{lines}")
        self.conf = str(conf)


class FlaskRun(Server):
    """Flask's own development server."""

    def __init__(self, app: str, **settings: object) -> None:
        super().__init__(app=f"tests.live.apps.{app}", **settings)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "flask", "--app", self.app, "run", "--port", str(self.port)]
