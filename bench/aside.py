"""Aside: parts of the load in processes of their own, so that none of them makes another one late."""

from __future__ import annotations

import os
import socket
import time
from array import array
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from typing import Any, Self

from .load import PATIENCE, Connection, Crowd, Lost
from .servers import Server


class Aside:
    """Some work in a process of its own, to which one talks over a pipe."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        context = get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(work, theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def tell(self, message: Any = None) -> None:
        try:
            self._pipe.send(message)
        except BrokenPipeError:
            pass  # it has failed: what it raised is heard next

    def hear(self) -> Any:
        """Wait for what it says. Raises what it has raised."""
        if not self._pipe.poll(2 * PATIENCE):
            raise Lost("nothing was heard from a part of the load")
        message = self._pipe.recv()
        if isinstance(message, Exception):
            raise message
        return message

    def ask(self, message: Any = None) -> Any:
        self.tell(message)
        return self.hear()


def _run(work: Callable[..., None], pipe: Pipe, *arguments: Any) -> None:
    try:
        work(pipe, *arguments)
    except Exception as error:
        pipe.send(error)


def reader(pipe: Pipe, server: Server, count: int, source: str) -> None:
    """Subscribers that say when all are there; then, each time they are told the number of the last update and have
    it, how late each update came to each of them."""
    os.nice(19)  # when an update has come, the kernel says: reading it must not take the servers' time
    with Crowd(server, source, timed=True) as crowd:
        crowd.open(count)
        pipe.send(count)
        while True:
            crowd.late = array("d")
            while not pipe.poll():
                crowd.read(0.02)
            crowd.read_until(pipe.recv())
            pipe.send(crowd.late)


def probe(pipe: Pipe, server: Server) -> None:
    """One who asks ``/healthz`` 20 times a second until told to stop, and says how long each answer took."""
    took = array("d")
    request = server.request("GET", "/healthz")
    with Connection(server) as connection:
        while not pipe.poll(0.05):
            begun = time.monotonic()
            connection.ask(request)
            took.append(time.monotonic() - begun)
    pipe.send(took)


def slow_reader(pipe: Pipe, server: Server, count: int, rate: int) -> None:
    """Subscribers that take ``rate`` bytes a second each, and look at nothing. Says when all are there."""
    socks = []
    for _ in range(count):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        sock.settimeout(PATIENCE)
        sock.connect(server.address)
        sock.sendall(server.request("GET", server.stream))
        sock.recv(4096)
        sock.setblocking(False)
        socks.append(sock)
    pipe.send(count)
    turn = 0.05
    while not pipe.poll(turn):
        for sock in socks:
            try:
                sock.recv(int(rate * turn))
            except BlockingIOError:
                pass
