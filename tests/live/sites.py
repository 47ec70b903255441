"""Other servers that browser tests need: a site of pages at an origin of its own, and a line that can be cut."""

from __future__ import annotations

import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """Pages of another origin."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Site:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self, body: str, *, head: str = "") -> str:
        """Publish a page; return its address."""
        text = f'<!doctype html><meta charset="utf-8"><title>a page</title>{head}<body>{body}'
        return self.answer(200, {"Content-Type": "text/html; charset=utf-8"}, text.encode())

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> str:
        """Say what is answered at an address of its own, and return that."""
        path = f"/{len(self.answers)}"
        self.answers[path] = status, headers or {}, body
        return self.origin + path

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        return Handler


class Line:
    """A line to a server, at a port of its own. ``cut`` breaks the connections that are there; new ones are taken.

    ``answers`` is all that came back over it. Of three connections it ``drops`` one at once, if it is to.
    """

    def __init__(self, port: int, *, drops: bool = False) -> None:
        self.to = port
        self.drops = drops
        self.taken = 0
        self.answers = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)

    def __enter__(self) -> Line:
        self._acceptor.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def cut(self) -> None:
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone already

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.taken += 1
            if self.drops and self.taken % 3 == 0:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # abruptly
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.to))
            self._ends += near, far
            for source, target, heard in ((near, far, bytearray()), (far, near, self.answers)):
                thread = threading.Thread(target=_copy, args=(source, target, heard))
                thread.start()
                self._threads.append(thread)


def _copy(source: socket.socket, target: socket.socket, heard: bytearray) -> None:
    try:
        while data := source.recv(65_536):
            heard += data
            target.sendall(data)
    except OSError:
        pass  # one of the two has gone
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
