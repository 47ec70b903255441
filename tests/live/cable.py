"""A cable: the way of several processes to one server, which can be cut for one of them.

Strategy: a forwarder in a process of its own, told by lines on its standard input: ``cut PID``, ``pull PID``,
``mend``. It knows whose a connection is by the sockets that a process holds.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from tests.live.server import ROOT


class Cable:
    """The test's end of it. ``cut``: nothing comes through, and nobody says so. ``pull``: connections end, at once."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.port = 0

    def __enter__(self) -> Cable:
        line = [sys.executable, "-m", "tests.live.cable", str(self.to)]
        self._process = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._heard())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def cut(self, pid: int) -> None:
        self._say(f"cut {pid}")

    def pull(self, pid: int) -> None:
        self._say(f"pull {pid}")

    def mend(self) -> None:
        """What has not come through comes now."""
        self._say("mend")

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._heard() == "done"

    def _heard(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def ports(pid: int) -> list[int]:
    """The local ports of all TCP sockets of a process, those that listen too."""
    sockets = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.update(re.findall(r"socket:\[(\d+)\]", str(file.readlink())))
        except OSError:
            pass  # closed just now
    rows = [row.split() for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].partition(":")[2], 16) for row in rows if row[9] in sockets]


class Forwarder:
    """The other end. ``out``: whose way is cut now, if anybody's."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.out: int | None = None
        self.pulled = False
        self.connections: dict[int, asyncio.StreamWriter] = {}
        self.dead: set[int] = set()
        self.mended = asyncio.Event()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("peername")[1]
        self.connections[port] = writer
        there = None
        try:
            if self.out and port in ports(self.out):
                self.cut(port)
            there_reader, there = await asyncio.open_connection("127.0.0.1", self.to)
            ways = [self.pass_on(reader, there, port), self.pass_on(there_reader, writer, port)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        except OSError:
            pass  # nobody is there: the connection ends
        finally:
            del self.connections[port]
            self.dead.discard(port)
            for end in (writer, there):
                if end:
                    end.close()

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        try:
            while text := await reader.read(65_536):
                while port in self.dead:
                    await self.mended.wait()
                writer.write(text)
                await writer.drain()
        except OSError:
            pass

    def cut(self, port: int) -> None:
        if self.pulled:
            self.connections[port].transport.abort()
        else:
            self.dead.add(port)

    def obey(self, verb: str, pid: str = "") -> None:
        if verb == "mend":
            self.out = None
            self.dead.clear()
            self.mended.set()
        else:
            self.out, self.pulled = int(pid), verb == "pull"
            self.mended.clear()
            for port in self.connections.keys() & ports(self.out):
                self.cut(port)


async def main(to: int) -> None:
    forwarder = Forwarder(to)
    async with await asyncio.start_server(forwarder.accept, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        while line := await orders.readline():
            forwarder.obey(*line.decode().split())
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
