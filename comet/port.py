"""Port: where one gunicorn worker listens, from its first connection to its last.

Of several workers each has a socket of its own at the same address (``reuse_port``), and the kernel spreads connections
over all that listen, whether anybody takes them or not. So a worker that comes beside others does not listen before it
serves; and one that ceases to listen first takes those whom the kernel has let in already: they would be reset.

Read in gunicorn's master too: see ``serving``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def hold(worker: Any) -> None:
    """Let nobody in yet. As soon as this worker is forked: nobody can have come so soon."""
    import socket

    for each in worker.sockets:
        each.sock.shutdown(socket.SHUT_RDWR)  # it keeps its address, and can listen again


def make_ports(worker: Any, shake: Callable[[Any], bool]) -> None:
    """Let this worker listen in our way. In the worker, before it serves.

    ``shake`` shakes hands with whoever comes over TLS, and returns whether that came about.
    """
    from gevent.server import StreamServer  # only here, where everything is patched
    from gevent.socket import socket as Socket

    class Port(Socket):  # type: ignore[misc]
        """A listening socket that knows its name when it is closed, too.

        gunicorn asks for it with each connection, when it gets round to it: one that has come through a moment before
        would end with a traceback, and its client with nothing.
        """

        def __init__(self, sock: Any) -> None:
            self.name = sock.getsockname()
            super().__init__(sock.family, sock.type, fileno=sock.detach())

        def getsockname(self) -> Any:
            return self.name

    class Door(StreamServer):  # type: ignore[misc]
        """Serves who comes to a port, and, when it is closed, those who have been let in."""

        max_accept = StreamServer.max_accept if worker.cfg.workers == 1 else 1

        def __init__(self, port: Port, **options: Any) -> None:
            tls = {name: options[name] for name in ("ssl_context",) if name in options}
            super().__init__(port, partial(worker.handle, port), spawn=options["spawn"], **tls)

        def wrap_socket_and_handle(self, client: Any, address: Any) -> None:
            # gevent would wait for ever for hands to be shaken, and log a traceback for each port scanner.
            wrapped = self.wrap_socket(client, do_handshake_on_connect=False, **self.ssl_args)
            try:
                if shake(wrapped):
                    self.handle(wrapped, address)
            finally:
                wrapped.close()

        def close(self) -> None:
            if worker.cfg.reuse_port and not self.closed:
                while not self.full() and (last := self.do_read()):
                    self.do_handle(*last)
            super().close()

    worker.sockets = [Port(each) for each in worker.sockets]
    worker.server_class = Door


def listen(worker: Any) -> None:
    """Let in who comes."""
    import socket

    for each in worker.sockets:
        if not each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            each.listen(worker.cfg.backlog)


def is_closed(worker: Any) -> bool:
    """Whether nobody is let in any more."""
    return all(each.fileno() < 0 for each in worker.sockets)
