"""Link: one connection to ActiveMQ, with one subscription. All that is known of stomp.py is here.

stomp.py does not say why it can't connect, ends its reader at any exception of whoever listens, and waits without limit
for what a frozen broker does not say. So socket and heart-beats are made here, whoever listens only puts what it hears
into a queue, and nothing that stomp.py could wait for is asked of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.queue import Queue
from stomp.exception import StompException
from stomp.listener import ConnectionListener
from stomp.protocol import Protocol12
from stomp.transport import Transport

from ...breath import breathe
from ...core.errors import Alarm, CometError, SourceFailed
from .message import Message
from .server import Server


#: Seconds that connecting and subscribing may take.
CONNECT = 10.0

#: Seconds within which ActiveMQ hears of us, and we of it. ActiveMQ waits three times as long (measured): when a worker
#: has frozen, its messages are the next one's soon after it is that one's turn.
SAYS = 3.0
HEARS = 5.0

#: How often that long it may be silent: it leaves out every other beat after it has said something (measured).
PATIENCE = 2.5

#: Bytes that are read at once.
PIECE = 65_536

#: What ActiveMQ says of what no repetition mends.
HOPELESS = ("password", "not authorized", "not authenticated", "authentication")

# It would tell each lost connection with a traceback; the supervisor has a sentence for it.
logging.getLogger("stomp.py").setLevel(logging.CRITICAL)


class Link:
    """Connects once. Then ``gather`` messages, and ``acknowledge`` or ``refuse`` each. ``close`` it in any case."""

    def __init__(self, server: Server, destination: str, *, prefetch: int, durable: str | None = None) -> None:
        self.server = server
        self.destination = destination
        self.prefetch = prefetch
        self.durable = durable
        self._fault: CometError | None = None
        self._connected = Event()
        self._subscribed = Event()
        # Messages, and None for the end. It holds what may be under way, and no more (see _hear).
        self._heard: Queue = Queue()
        self._transport = _Transport(auto_decode=False, recv_bytes=PIECE)
        self._transport.override_threading(self._spawn_reader)
        self._stomp = Protocol12(self._transport)
        self._transport.set_listener("comet", _Listener(self))
        self._beat: gevent.Greenlet | None = None

    def open(self) -> None:
        """Connect and subscribe. Raises SourceFailed or Alarm, and says why."""
        silent = SourceFailed(f"{self.server} does not answer to STOMP within {CONNECT:g} seconds.")
        with gevent.Timeout(CONNECT, silent):
            self._transport.socket = self._dial()
            self._transport.current_host_and_port = (self.server.host, self.server.port)
            self._transport.start()
            headers = {"heart-beat": f"{SAYS * 1000:.0f},{HEARS * 1000:.0f}"}
            if self.durable is not None:
                headers["client-id"] = self.durable
            self._say(lambda: self._connect(headers))
            self._wait(self._connected)
            self._beat = gevent.spawn(self._keep_alive)
            self._say(self._subscribe)
            self._wait(self._subscribed)

    def gather(self, most: int, size: int) -> list[Message]:
        """Wait for messages, and return those that have come, up to so many and so many bytes; none: it was woken.

        Raises what has ended the connection, after the last message.
        """
        messages: list[Message] = []
        while not messages or (self._heard.qsize() and len(messages) < most and size > 0):
            message = self._heard.get()
            if message is None:
                self._heard.put(None)  # the end stays the end
                break
            messages.append(message)
            size -= len(message.body)
        if not messages and self._fault is not None:
            raise self._fault
        return messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """They are published. If the connection is lost, ActiveMQ gives them again."""
        for message in messages:
            self._say(lambda message=message: self._stomp.ack(message.ack))  # type: ignore[misc]
            breathe()

    def refuse(self, message: Message) -> None:
        """It can't be published: a persistent one goes to the dead-letter queue."""
        self._say(lambda: self._stomp.nack(message.ack))

    def wake(self) -> None:
        """Let ``gather`` return. Never waits."""
        self._heard.put(None)

    def close(self) -> None:
        """Let go of the connection. What was not acknowledged is given again, to whoever asks next."""
        if self._fault is None and self._connected.is_set():
            self._say(lambda: self._stomp.send_frame("DISCONNECT"))
        self._fail("is not asked any more")
        self._transport.disconnect_socket()
        if self._beat is not None:
            self._beat.kill(block=False)

    # Connecting.

    def _dial(self) -> Any:
        try:
            return socket.create_connection((self.server.host, self.server.port))
        except socket.gaierror as error:
            raise SourceFailed(f"{self.server}: the host's name is not known.") from error
        except OSError as error:
            raise SourceFailed(f"{self.server} can't be reached: {(error.strerror or str(error)).lower()}.") from error

    def _connect(self, headers: dict[str, str]) -> None:
        # The other command, STOMP, would escape the password, and ActiveMQ does not take that back.
        self._stomp.connect(self.server.user, self.server.password, headers=headers, with_connect_command=True)

    def _subscribe(self) -> None:
        headers = {"activemq.prefetchSize": str(self.prefetch), "receipt": "subscribed"}
        if self.durable is not None:
            headers["activemq.subscriptionName"] = self.durable
        if self.destination.startswith("/queue/"):
            headers["activemq.exclusive"] = "true"  # a worker that was thought dead must not have some of them
        self._stomp.subscribe(self.destination, id="comet", ack="client-individual", headers=headers)

    def _wait(self, event: Event) -> None:
        event.wait()
        if self._fault is not None:
            raise self._fault

    def _say(self, frame: Callable[[], object]) -> None:
        """Send a frame. That the connection is lost, the reader tells."""
        try:
            frame()
        except (OSError, StompException) as error:
            self._fail(f"can't be written to: {error or type(error).__name__}")

    def _keep_alive(self) -> None:
        while self._fault is None:
            gevent.sleep(SAYS / 2)
            silent = time.monotonic() - self._transport.heard
            if silent > PATIENCE * HEARS:
                self._fail(f"has said nothing for {silent:.0f} seconds")
                self._transport.disconnect_socket()
            else:
                self._say(lambda: self._transport.send(b"\n"))

    def _fail(self, what: str) -> None:
        self._end(SourceFailed(f"{self.server} {self.server.hide(what)}."))

    def _end(self, fault: CometError) -> None:
        """The connection has ended, and why. The first reason counts."""
        if self._fault is None:
            self._fault = fault
            self._connected.set()
            self._subscribed.set()
            self._heard.put(None)

    # Reading. Nothing here may raise, or wait.

    def _spawn_reader(self, loop: Callable[[], object]) -> gevent.Greenlet:
        return gevent.spawn(loop)

    def _hear(self, message: Message) -> None:
        if self._heard.qsize() > 2 * self.prefetch:
            self._fail(f"sends more than the {self.prefetch} messages that it may have under way")
            self._transport.disconnect_socket()
        elif self._fault is None:
            self._heard.put(message)

    def _hear_error(self, text: str) -> None:
        text = self.server.hide(text)[:300]
        if any(word in text.lower() for word in HOPELESS):
            self._end(
                Alarm(f"{self.server} refuses: {text}. Mend user and password in url, or what they may do there.")
            )
        else:
            self._fail(f"refuses: {text}")


class _Listener(ConnectionListener):  # type: ignore[misc]
    def __init__(self, link: Link) -> None:
        self.link = link

    def on_connected(self, frame: Any) -> None:
        self.link._connected.set()

    def on_receipt(self, frame: Any) -> None:
        self.link._subscribed.set()

    def on_message(self, frame: Any) -> None:
        self.link._hear(Message.of(self.link.destination, frame.headers, frame.body))

    def on_error(self, frame: Any) -> None:
        self.link._hear_error(frame.headers.get("message", "it does not say why").rstrip("."))

    def on_disconnected(self) -> None:
        known = self.link._connected.is_set()
        self.link._fail("has closed the connection" + ("" if known else "; it may not speak STOMP at this port"))


class _Transport(Transport):  # type: ignore[misc]
    """With a socket that was made before. ``heard``: when something came over it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.heard = time.monotonic()

    def attempt_connection(self) -> None:
        self.heard = time.monotonic()

    def receive(self) -> Any:
        breathe()  # a socket that always has more never lets anybody else run
        data = super().receive()
        self.heard = time.monotonic()
        return data
