"""The systemd unit of ``deploy/`` with its settings: what it starts is started here, without systemd."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from comet.settings import Settings
from tests.conftest import need
from tests.live.proxies import deployed
from tests.live.server import KEY, ROOT, Server
from tests.timing import until


UNIT = (ROOT / "deploy" / "comet.service").read_text(encoding="utf-8")


def setting(name: str) -> str:
    """A setting of the unit, that stands there once."""
    (value,) = re.findall(rf"^{name}=(.+)$", UNIT, re.MULTILINE)
    return str(value)


class Service(Server):
    """What the unit starts, with its environment and its settings; only where these things are is changed."""

    def __init__(self) -> None:
        super().__init__()
        places = {"/etc/comet/": f"{self.folder.name}/", "/var/lib/comet/": f"{self.folder.name}/"}
        text = deployed("comet.env", {**places, "127.0.0.1:4071": f"127.0.0.1:{self.port}"})
        variables = dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
        self.settings = {name.removeprefix("COMET_").lower(): value for name, value in variables.items()}
        changes = {"^# publish_key = .*": f'publish_key = "{KEY}"', "^max_streams = .*": "max_streams = 100"}
        self.file("comet.toml").write_text(deployed("comet.toml", changes))

    def command(self) -> list[str]:
        program, *arguments = shlex.split(setting("ExecStart"))
        assert program.endswith("/bin/python")
        return [sys.executable, *arguments]


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> socket.socket:
    """What systemd is told."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(10)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    return sock


def test_the_service(notified: socket.socket) -> None:
    """It tells systemd when it is there, serves with the settings of the files, reloads keys, and stops in time."""
    assert setting("Type") == "notify"
    with notified, Service() as service:
        assert b"READY=1" in notified.recv(4096)
        until(lambda: service.get("/readyz").ok)
        assert len(service.workers()) == int(service.settings["workers"])
        known = service.publish("a", "one")["id"]

        file = service.file("comet.toml")
        file.write_text(file.read_text().replace(KEY, "new-key"))
        old = set(service.workers())
        assert service.process is not None
        reload = setting("ExecReload").replace("$MAINPID", str(service.process.pid))
        subprocess.run(shlex.split(reload), check=True)
        until(lambda: not old & set(service.workers()), seconds=40)
        until(lambda: service.get("/metrics", headers={"Authorization": "Bearer new-key"}).ok)
        assert service.get("/metrics", headers=service.auth).status_code == 401
        assert service.get("/channels/a/latest").headers["ETag"] == f'"{known}"'

        service.signal(signal.SIGTERM)
        assert service.wait(int(setting("TimeoutStopSec"))) == 0


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Every line of it, and it finds that the service can do little harm."""
    need("systemd-analyze")
    unit = tmp_path / "comet.service"
    unit.write_text(deployed("comet.service", {"/opt/comet/venv/bin/python": sys.executable}))
    environ = {**os.environ, "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}

    def analyze(*arguments: str) -> str:
        command = ["systemd-analyze", *arguments, str(unit)]
        done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert analyze("verify", "--man=no") == ""
    analyze("security", "--offline=true", "--threshold=20")


def test_the_unit_stops_nothing_that_still_drains() -> None:
    """It waits for longer than gunicorn does, which waits for the drain and ten seconds more."""
    assert int(setting("TimeoutStopSec")) > Settings().drain_seconds + 10
