"""Peers: what a stream knows of the TCP connection under it.

A greenlet that waits for news learns nothing of a client that left, and a write to one that does not read blocks for
ever. So: one nested epoll notices every departure within milliseconds, TCP's own timers find peers that vanished, and
one sweeper cuts writes on which nothing was taken for too long.

A client that shuts down its sending side is taken as gone: it can't be told from one that left.

Where the bytes on a socket are plain HTTP/1, its *framing* says how a chunk looks on it; then whoever knows that its
greenlet sleeps may write to it directly. The way through greenlet, WSGI and server costs two to three times as much.
"""

from __future__ import annotations

import logging
import math
import select
import socket
import struct
import termios
import time
from collections.abc import Callable
from fcntl import ioctl
from typing import Any

import gevent
import gevent.socket
from gevent import get_hub, monkey

from .breath import breathe


log = logging.getLogger("comet")

#: The kernel's send buffer of a stream, in bytes: a slow reader blocks early, and holds no stale megabytes.
SEND_BUFFER = 131_072

_epoll = monkey.get_original("select", "epoll")
# struct tcp_info of Linux: bytes that the peer has acknowledged, since 4.1.
_BYTES_ACKED = 120


#: Makes of some bytes of the body what goes over the socket.
Framing = Callable[[bytes], bytes]


def chunked(text: bytes) -> bytes:
    return b"%X\r\n%b\r\n" % (len(text), text)


def bare(text: bytes) -> bytes:
    return text


#: How the server frames a body without a length.
FRAMINGS: dict[str, Framing] = {"HTTP/1.1": chunked, "HTTP/1.0": bare}


class Peer:
    """The connection of one stream. ``release`` it when the response is over, whatever way it ended.

    ``framing`` None: only the server can write to it.
    """

    __slots__ = ("_peers", "_progress", "_server_sock", "_sock", "_whom", "deadline", "fd", "framing", "on_gone")

    def __init__(self, peers: Peers, sock: Any, framing: Framing | None = None) -> None:
        self._peers = peers
        self._server_sock = sock
        self._sock = sock._sock  # the real socket: gevent's shutdown would raise in whoever writes
        self.framing = framing
        self._progress = 0
        self.fd: int = sock.fileno()
        self.deadline: float | None = None
        self.on_gone: Callable[..., None] | None = None
        self._whom: tuple[object, ...] = ()

    def watch(self, on_gone: Callable[..., None], *whom: object) -> None:
        """Call ``on_gone(*whom)``, once, when the peer leaves. Sets the socket's options for a long stream."""
        self.on_gone, self._whom = on_gone, whom
        self._peers.register(self)

    def writing(self) -> None:
        """A write begins: if the peer takes nothing of it for too long, the connection is cut."""
        self.deadline = time.monotonic() + self._peers.write_timeout
        self._peers.writers.add(self)

    def written(self) -> None:
        self._peers.writers.discard(self)

    @property
    def send(self) -> Callable[[bytes], int]:
        """Writes framed bytes, as many as go at once, and returns how many went. Raises BlockingIOError: none; any
        other OSError: it has gone. Not while the server writes. It is the socket's own: a call costs little more."""
        send: Callable[[bytes], int] = self._sock.send
        return send

    def push(self, rest: memoryview) -> None:
        """Write the framed bytes that ``send`` has left. Blocks; raises OSError as the server's own writing does."""
        self.writing()
        self._server_sock.sendall(rest)
        self.written()

    def overdue(self, now: float) -> bool:
        """Whether the peer has taken nothing for too long. Ask again and again while it is written to."""
        taken = self._taken()
        if taken != self._progress:
            self._progress = taken
            self.deadline = now + self._peers.write_timeout
        return self.deadline is not None and now >= self.deadline

    def _taken(self) -> int:
        """A number that changes when the peer takes something."""
        try:
            if self._sock.family == socket.AF_UNIX:
                # What waits to be read. It falls by whole buffers of up to 32 KiB, not byte by byte.
                return int(struct.unpack("=i", ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
            info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            return int(struct.unpack_from("=Q", info, _BYTES_ACKED)[0])
        except (OSError, struct.error):
            return self._progress  # closed already

    def cut(self) -> None:
        """End the connection at once. A write under way fails quietly."""
        self.deadline = -math.inf
        _shutdown(self._sock, socket.SHUT_RDWR)

    @property
    def was_cut(self) -> bool:
        """Whether it was given up, and did not leave by itself."""
        return self.deadline == -math.inf

    def gone(self) -> None:
        """The peer has left."""
        if self.on_gone is not None:
            # A write to it would block, or fail with a traceback in the server's log.
            _shutdown(self._sock, socket.SHUT_RDWR)
            self.on_gone(*self._whom)

    def release(self, *, last: bool = True) -> None:
        """The response is over. ``last``: so is the connection; nothing more is read from it."""
        self.written()
        self._peers.unregister(self)
        self.on_gone, self._whom = None, ()  # who was watched knows this peer: a circle, that only gc would find
        if last:
            # Else the server would wait for another request and hold the connection open for its keep-alive time.
            _shutdown(self._sock, socket.SHUT_RD)


class NoPeer(Peer):
    """Where the server hands no socket over: nothing is known, and nothing can be done."""

    __slots__ = ()

    def __init__(self) -> None:
        self.on_gone = None
        self.framing = None
        self.deadline = None

    def watch(self, on_gone: Callable[..., None], *whom: object) -> None:
        pass

    def writing(self) -> None:
        pass

    def written(self) -> None:
        pass

    def cut(self) -> None:
        pass

    def release(self, *, last: bool = True) -> None:
        pass


NO_PEER = NoPeer()


class Peers:
    """All peers of this worker. ``write_timeout`` in seconds."""

    def __init__(self, *, write_timeout: float = 20.0) -> None:
        self.write_timeout = write_timeout
        #: How many took nothing for so long that they were cut.
        self.cuts = 0
        self.writers: set[Peer] = set()
        #: Those whose request is still coming.
        self.readers: set[Peer] = set()
        self._by_fd: dict[int, Peer] = {}
        self._epoll: Any = None
        self._watcher: Any = None
        self._sweeper: gevent.Greenlet | None = None

    def of(self, sock: Any, framing: Framing | None = None) -> Peer:
        """The peer behind a server's socket; ``NO_PEER`` if it is not one of gevent's. What is not plain, TLS for
        instance, has no framing."""
        if not (hasattr(sock, "_sock") and hasattr(sock, "fileno")):
            return NO_PEER
        return Peer(self, sock, framing if type(sock) is gevent.socket.socket else None)

    def shake(self, sock: Any) -> bool:
        """Shake hands over TLS, within ``write_timeout``. Return whether that came about."""
        peer = self.of(sock)
        self.readers.add(peer)  # a worker that ends does not wait for it
        try:
            with gevent.Timeout(self.write_timeout, False):
                sock.do_handshake()
                return True
        except OSError:
            pass  # plain HTTP, somebody who looks for open ports, or who does not trust the certificate
        finally:
            self.readers.discard(peer)
        return False

    def start(self) -> None:
        """Begin to watch. Call it in the worker, once."""
        self._epoll = _epoll()
        # One descriptor for all peers: epolls nest, and this costs 48 bytes a stream where a watcher each costs 300.
        self._watcher = get_hub().loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self._departures)
        self._sweeper = gevent.spawn(self._sweep)

    def stop(self) -> None:
        if self._sweeper:
            self._sweeper.kill()
            self._watcher.stop()
            self._epoll.close()
            self._sweeper = self._epoll = None

    def cut_all(self) -> None:
        """Cut everybody who is still being written to, or read from."""
        for peer in [*self.writers, *self.readers]:
            peer.cut()

    def prepare(self, port: socket.socket) -> None:
        """Set the options of a long stream on a listening socket: its connections begin with them."""
        _set_options(port, self.write_timeout)

    def register(self, peer: Peer) -> None:
        if not _is_prepared(peer._sock, self.write_timeout):
            _set_options(peer._sock, self.write_timeout)
        if self._epoll is not None:
            self._by_fd[peer.fd] = peer
            # One shot: after the first event the peer is gone, and would only wake us again and again.
            self._epoll.register(peer.fd, select.EPOLLRDHUP | select.EPOLLONESHOT)

    def unregister(self, peer: Peer) -> None:
        # Before the server closes the descriptor: its number is given to the next connection at once.
        if self._by_fd.get(peer.fd) is peer:
            del self._by_fd[peer.fd]
            try:
                self._epoll.unregister(peer.fd)
            except OSError as error:
                log.warning("comet: descriptor %d had left the epoll before its stream ended: %s", peer.fd, error)

    def _departures(self) -> None:
        for fd, _ in self._epoll.poll(0):
            if peer := self._by_fd.get(fd):
                peer.gone()

    def _sweep(self) -> None:
        while True:
            gevent.sleep(min(1.0, self.write_timeout / 10))
            for peer in list(self.writers):
                if peer in self.writers and not peer.was_cut and peer.overdue(time.monotonic()):
                    self.cuts += 1
                    peer.cut()
                breathe()


def _is_prepared(sock: socket.socket, write_timeout: float) -> bool:
    """Whether it has the options from its port: one question in place of six orders."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == _milliseconds(write_timeout)
    except OSError:
        return False  # no TCP


def _milliseconds(write_timeout: float) -> int:
    """When the kernel gives up a peer that does not answer: after our own sweeper, which cuts quietly."""
    return int(write_timeout * 1000) + 5000


def _set_options(sock: socket.socket, write_timeout: float) -> None:
    options = [(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)]
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        seconds = max(1, int(write_timeout / 4))
        options += [
            # A peer that vanished without a word is asked while nothing is written …
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, int(write_timeout))),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, seconds),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
            # … and given up when it does not answer what was written. The last one: see _is_prepared.
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _milliseconds(write_timeout)),
        ]
    for level, option, value in options:
        try:
            sock.setsockopt(level, option, value)
        except OSError:
            return  # already gone; the epoll says so


def _shutdown(sock: socket.socket, how: int) -> None:
    try:
        sock.shutdown(how)
    except OSError:
        pass  # gone already
