"""The ports of a worker, beside what ``tests/live/test_handover.py`` shows of whole servers."""

from __future__ import annotations

import socket as plain
from contextlib import ExitStack, closing
from types import SimpleNamespace

import pytest
from gevent import socket, spawn
from gevent.pool import Pool

from comet.port import hold, is_closed, listen, make_ports


def worker(sock: object, **more: object) -> SimpleNamespace:
    return SimpleNamespace(sockets=[sock], cfg=SimpleNamespace(reuse_port=True, workers=2, backlog=10), **more)


def test_a_port_that_is_closed_still_knows_its_name() -> None:
    """And one that is open takes connections as before."""
    there = worker(socket.create_server(("127.0.0.1", 0)))
    name = there.sockets[0].getsockname()
    make_ports(there, shake=bool)
    (port,) = there.sockets
    accepting = spawn(port.accept)
    with socket.create_connection(name) as client:
        connection, address = accepting.get(timeout=10)
        assert address == client.getsockname()
        connection.close()
    port.close()
    assert port.getsockname() == name


def test_who_was_let_in_before_the_port_is_closed_is_served() -> None:
    served = []

    def handle(port: object, client: socket.socket, address: object) -> None:
        served.append(address)

    there = worker(socket.create_server(("127.0.0.1", 0)), handle=handle)
    make_ports(there, shake=bool)
    (port,) = there.sockets
    pool = Pool(100)
    door = there.server_class(port, spawn=pool)
    door.start()
    with ExitStack() as stack:
        # The hub has had no turn since: nobody is accepted yet.
        clients = [stack.enter_context(plain.create_connection(port.name)) for _ in range(5)]
        assert not served
        door.close()
        assert is_closed(there)
        pool.join(timeout=10)
        assert sorted(served) == sorted(client.getsockname() for client in clients)
        with pytest.raises(ConnectionRefusedError):
            plain.create_connection(port.name)


def test_a_port_that_is_held_lets_nobody_in_until_it_listens() -> None:
    with closing(plain.create_server(("127.0.0.1", 0))) as sock:
        there = worker(SimpleNamespace(sock=sock))
        hold(there)
        with pytest.raises(ConnectionRefusedError):
            plain.create_connection(sock.getsockname())
        there.sockets = [sock]
        listen(there)
        plain.create_connection(sock.getsockname()).close()
