"""Networks for the tests: hosts that have nothing in common but a cable between each of them and a middle.

Strategy: each is a network namespace, held by a process that ends with this one; the namespace and its interfaces
vanish with it, whatever happens. A thread that is ``inside`` opens its sockets, and starts its processes, there.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import need
from tests.timing import until


_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A host with its own network. Skips the test where the kernel allows none."""

    def __init__(self) -> None:
        need("ip", "unshare")
        self._holder = subprocess.Popen(
            ["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.pid = self._holder.pid
        try:
            until(lambda: self._is_there() or self._holder.poll() is not None, what="a network namespace")
            if self._holder.poll() is not None:
                assert self._holder.stderr is not None
                pytest.skip(f"no network namespaces here: {self._holder.stderr.read().decode().strip()}")
            self.run("ip link set lo up")
        except BaseException:
            self.close()
            raise

    def _is_there(self) -> bool:
        here, there = (Path(f"/proc/{pid}/ns/net").readlink() for pid in ("self", self.pid))
        return here != there

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Be there, with this thread."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            there = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
            try:
                _enter(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _enter(back)
        finally:
            os.close(back)

    def run(self, line: str) -> None:
        with self.inside():
            done = subprocess.run(line.split(), capture_output=True, text=True)
        if done.returncode:
            raise OSError(f"{line}: {done.stderr.strip()}")

    def join(self, other: Namespace, number: int) -> None:
        """A cable to another: 10.77.NUMBER.1 at this end, 10.77.NUMBER.2 at the other."""
        try:
            self.run(f"ip link add to-{number} type veth peer name out netns {other.pid}")
        except OSError as error:
            pytest.skip(f"no cables between network namespaces here: {error}")
        for end, name, last in ((self, f"to-{number}", 1), (other, "out", 2)):
            end.run(f"ip address add 10.77.{number}.{last}/24 dev {name}")
            end.run(f"ip link set {name} up")


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
