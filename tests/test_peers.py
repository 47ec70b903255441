"""Peers: what a stream learns of the connection under it, on real sockets."""

from __future__ import annotations

import socket as native
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket

from comet.peers import NO_PEER, SEND_BUFFER, Peers, _is_prepared
from tests.timing import PATIENCE


@pytest.fixture
def peers() -> Iterator[Peers]:
    peers = Peers(write_timeout=0.3)
    peers.start()
    yield peers
    peers.stop()


@pytest.fixture(params=["tcp", "unix"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, native.socket]]:
    """(the server's end, the client's end)"""
    if request.param == "unix":
        here, there = native.socketpair()
    else:
        with native.create_server(("127.0.0.1", 0)) as listener:
            there = native.create_connection(listener.getsockname())
            here, _ = listener.accept()
    ours = socket.socket(fileno=here.detach())
    yield ours, there
    ours.close()
    there.close()


Pair = tuple[socket.socket, native.socket]


def wait(state: object) -> None:
    with gevent.Timeout(5 * PATIENCE):
        while not state():  # type: ignore[operator]
            gevent.sleep(0.001)


def test_a_peer_that_leaves_is_noticed_though_nothing_is_written(peers: Peers, pair: Pair) -> None:
    """The departure is told once."""
    ours, theirs = pair
    told: list[bool] = []
    peer = peers.of(ours)
    peer.watch(lambda: told.append(True))
    gevent.sleep(0.02)
    assert not told
    theirs.close()
    wait(lambda: told)
    gevent.sleep(0.02)
    assert told == [True]
    peer.release(last=True)


def test_a_peer_that_sends_no_more_is_taken_as_gone(peers: Peers, pair: Pair) -> None:
    """A half-closed connection can't be told from one that was left."""
    ours, theirs = pair
    told: list[bool] = []
    peer = peers.of(ours)
    peer.watch(lambda: told.append(True))
    theirs.shutdown(native.SHUT_WR)
    wait(lambda: told)
    peer.release(last=True)


def test_extra_bytes_are_not_a_departure(peers: Peers, pair: Pair) -> None:
    """A client that sends its next request early stays, and its later departure is noticed."""
    ours, theirs = pair
    told: list[bool] = []
    peer = peers.of(ours)
    peer.watch(lambda: told.append(True))
    theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
    gevent.sleep(0.02)
    assert not told
    theirs.close()
    wait(lambda: told)
    peer.release(last=True)


def test_a_released_peer_is_forgotten(peers: Peers, pair: Pair) -> None:
    """Its descriptor may be another connection's at once; nothing is told of it any more. Twice is harmless."""
    ours, theirs = pair
    told: list[bool] = []
    peer = peers.of(ours)
    peer.watch(lambda: told.append(True))
    peer.release(last=False)
    peer.release(last=True)
    theirs.close()
    gevent.sleep(0.02)
    assert not told
    assert not peers._by_fd


def test_a_released_last_peer_is_not_read_from_again(peers: Peers, pair: Pair) -> None:
    """The server sees the end at once instead of waiting for another request."""
    ours, _ = pair
    peers.of(ours).release(last=True)
    assert ours.recv(1) == b""


def test_a_write_on_which_nothing_is_taken_is_cut(peers: Peers, pair: Pair) -> None:
    """The writer fails quietly, with EPIPE."""
    ours, _ = pair
    peer = peers.of(ours)
    peer.watch(lambda: None)
    peer.writing()
    with gevent.Timeout(5 * PATIENCE), pytest.raises(BrokenPipeError):
        ours.sendall(b"x" * 50_000_000)
    peer.release(last=True)
    assert not peers.writers


@pytest.mark.alone
def test_a_slow_reader_that_takes_something_is_not_cut(peers: Peers) -> None:
    """The time begins anew with each byte that is acknowledged."""
    with native.create_server(("127.0.0.1", 0)) as listener:
        theirs = native.create_connection(listener.getsockname())
        here, _ = listener.accept()
    ours = socket.socket(fileno=here.detach())
    theirs.setblocking(False)
    peer = peers.of(ours)
    peer.watch(lambda: None)
    peer.writing()
    size = 12_000_000
    writer = gevent.spawn(ours.sendall, b"x" * size)
    read = 0
    with gevent.Timeout(20 * PATIENCE):
        while read < size:
            try:
                read += len(theirs.recv(400_000))
            except BlockingIOError:
                pass
            gevent.sleep(0.05)  # the whole takes several times the write timeout
    writer.get(timeout=5 * PATIENCE)
    peer.written()
    peer.release(last=True)
    ours.close()
    theirs.close()


def test_cutting_all_writers_ends_their_writes(peers: Peers, pair: Pair) -> None:
    """At the end of a drain nobody may hold the worker."""
    ours, _ = pair
    peer = peers.of(ours)
    peer.watch(lambda: None)
    peer.writing()
    writer = gevent.spawn(ours.sendall, b"x" * 50_000_000)
    gevent.sleep(0.02)
    peers.cut_all()
    with pytest.raises(BrokenPipeError):
        writer.get(timeout=5 * PATIENCE)
    peer.release(last=True)


def test_a_server_without_a_socket_has_no_peer(peers: Peers) -> None:
    """Then nothing is known, and nothing can be done."""
    assert peers.of(None) is NO_PEER
    NO_PEER.watch(lambda: None)
    NO_PEER.writing()
    NO_PEER.written()
    NO_PEER.cut()
    NO_PEER.release(last=True)
    assert not peers.writers


@pytest.mark.parametrize("prepared", [True, False])
def test_the_options_of_a_long_stream_are_its_ports_or_are_set(peers: Peers, prepared: bool) -> None:
    """With either, the kernel holds little for a slow reader, and gives up one that has vanished."""
    with native.create_server(("127.0.0.1", 0)) as listener:
        if prepared:
            peers.prepare(listener)
        there = native.create_connection(listener.getsockname())
        here, _ = listener.accept()
    ours = socket.socket(fileno=here.detach())
    with there, ours:
        assert _is_prepared(ours._sock, peers.write_timeout) == prepared
        peer = peers.of(ours)
        peer.watch(lambda: None)
        assert ours.getsockopt(native.SOL_SOCKET, native.SO_SNDBUF) == 2 * SEND_BUFFER  # the kernel's own share is half
        assert ours.getsockopt(native.SOL_SOCKET, native.SO_KEEPALIVE) == 1
        assert ours.getsockopt(native.IPPROTO_TCP, native.TCP_USER_TIMEOUT) == 5300
        assert ours.getsockopt(native.IPPROTO_TCP, native.TCP_KEEPCNT) == 3
        peer.release()
