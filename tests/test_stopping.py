"""Stopping, beside what ``tests/live/test_handover.py`` shows of whole servers."""

from __future__ import annotations

from types import SimpleNamespace

from gevent import socket, spawn

from comet.stopping import name_ports


def test_a_port_that_is_closed_still_knows_its_name() -> None:
    """And one that is open takes connections as before."""
    worker = SimpleNamespace(sockets=[socket.create_server(("127.0.0.1", 0))])
    name = worker.sockets[0].getsockname()
    name_ports(worker)
    (port,) = worker.sockets
    accepting = spawn(port.accept)
    with socket.create_connection(name) as client:
        connection, address = accepting.get(timeout=10)
        assert address == client.getsockname()
        connection.close()
    port.close()
    assert port.getsockname() == name
