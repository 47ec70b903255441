"""The real ActiveMQ, started by the tests in a folder of its own, and a STOMP client that knows nothing of stomp.py."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import gevent
from gevent import socket

from tests.conftest import need
from tests.live.server import free_port
from tests.program import Program
from tests.timing import PATIENCE, until


JAR = Path("/usr/share/activemq/bin/activemq.jar")
CONFIGURATION = Path(__file__).with_suffix(".xml")

#: Who may log in, beside guest (password visitor), who may do nothing. Without user and password everybody may.
USER, PASSWORD = "comet", "s3c:ret/w\\ord"


class ActiveMqServer(Program):
    """One ActiveMQ, whose store survives being killed."""

    def __init__(self, folder: Path) -> None:
        need("java", "activemq")
        self.folder = folder
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"stomp://127.0.0.1:{self.port}"

    def start(self) -> ActiveMqServer:
        """Started, and it answers."""
        self.spawn()
        until(self.is_up, seconds=60, what="ActiveMQ", sleep=gevent.sleep)
        return self

    def spawn(self) -> None:
        (self.folder / "data" / "tmp").mkdir(parents=True, exist_ok=True)
        (self.folder / "conf").mkdir(exist_ok=True)
        shutil.copy(CONFIGURATION, self.folder / "conf")
        line = ["java", "-Xms32m", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
        for name, value in {
            "java.io.tmpdir": self.folder / "data" / "tmp",
            "activemq.home": JAR.parent.parent,
            "activemq.base": self.folder,
            "activemq.conf": self.folder / "conf",
            "activemq.data": self.folder / "data",
            "activemq.classpath": self.folder / "conf",
            "stomp.port": self.port,
        }.items():
            line.append(f"-D{name}={value}")
        line += ["-jar", str(JAR), "start", f"xbean:file:{self.folder}/conf/{CONFIGURATION.name}"]
        with (self.folder / "activemq.log").open("ab") as log:
            self.process = subprocess.Popen(line, cwd=self.folder, stdout=log, stderr=log)

    def is_up(self) -> bool:
        assert self.process is not None
        log = self.folder / "activemq.log"
        assert self.process.poll() is None, f"ActiveMQ ended:\n{log.read_text(errors='replace')}"
        try:
            with Stomp(self.port):
                return True
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Frame:
    """What ActiveMQ says."""

    command: str
    headers: dict[str, str]
    body: bytes


class Refused(OSError):
    """ActiveMQ answered with an ERROR."""


class Stomp:
    """A connection, as a program that sends has one. It waits in greenlets."""

    def __init__(self, port: int, **headers: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10 * PATIENCE)
        self._file = self._socket.makefile("rb")
        self._waiting: list[Frame] = []
        try:
            self._write("CONNECT", {"accept-version": "1.2", "host": "test", **headers})
            self._expect("CONNECTED")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Stomp:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, destination: str, *bodies: bytes, persistent: bool = True, **headers: str) -> None:
        """Send each; return when ActiveMQ has them all."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        for body in bodies:
            length = {"content-length": str(len(body))}
            fixed = {"destination": destination, "receipt": "r", "persistent": str(persistent).lower()}
            self._write("SEND", {**fixed, **length, **headers}, body)
        for _ in bodies:
            self._expect("RECEIPT")

    def subscribe(self, destination: str, **headers: str) -> None:
        """Be given its messages, which need no acknowledgement."""
        self._write("SUBSCRIBE", {"destination": destination, "id": "test", "ack": "auto", "receipt": "r", **headers})
        self._expect("RECEIPT")

    def receive(self, count: int) -> list[Frame]:
        """The next messages."""
        while len(self._waiting) < count:
            self._waiting.append(self._read("MESSAGE"))
        messages, self._waiting = self._waiting[:count], self._waiting[count:]
        return messages

    def _expect(self, command: str) -> Frame:
        while True:
            frame = self._read(command, "MESSAGE")
            if frame.command == command:
                return frame
            self._waiting.append(frame)

    def _write(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        lines = [command, *(f"{name}:{value}" for name, value in headers.items()), "", ""]
        self._socket.sendall("\n".join(lines).encode() + body + b"\0")

    def _read(self, *commands: str) -> Frame:
        line = b"\n"
        while line == b"\n":
            line = self._file.readline()
        if not line:
            raise ConnectionResetError("ActiveMQ has closed the connection")
        headers: dict[str, str] = {}
        while (header := self._file.readline()) != b"\n":
            if not header:
                raise ConnectionResetError("ActiveMQ has closed the connection")
            name, _, value = header.decode().rstrip("\n").partition(":")
            headers.setdefault(name, value.replace("\\c", ":"))
        if "content-length" in headers:
            body = self._file.read(int(headers["content-length"]) + 1)[:-1]
        else:
            body = b"".join(iter(lambda: self._file.read(1), b"\0"))
        frame = Frame(line.decode().strip(), headers, body)
        if frame.command not in commands:
            raise Refused(frame)
        return frame


def numbered(count: int, begin: int = 0) -> Iterable[bytes]:
    return (str(number).encode() for number in range(begin, begin + count))
