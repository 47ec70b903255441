"""ActiveMq: publishes the messages of a queue or a topic, and acknowledges each when it is published.

ActiveMQ gives again what was not acknowledged, and it does not always say so: its message-id is the key by which the
channel takes each once. What is acknowledged needs no checkpoint. What was given before is taken one by one, and noted
before it is tried: so a message that brings the whole worker down is found, and given up, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent
from gevent.event import Event

from ...breath import breathe
from ...core.errors import SettingsError
from ...core.update import check_channel, check_event
from .. import NOBODYS_FAULT, Publish
from .deaths import Deaths
from .link import Link
from .message import Message
from .server import Server


log = logging.getLogger("comet")

#: Messages that are published together at the most, and bytes that are enough.
TOGETHER = 100
ENOUGH = 1_048_576

#: Seconds before a message is tried again: the first time, and at the most.
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 1.0


class ActiveMq:
    """Publish to ``channel`` the messages of ``destination``, which is ``/queue/NAME`` or ``/topic/NAME``.

    ``durable`` names a subscription to a topic for which ActiveMQ keeps what comes while nobody is there. At most
    ``prefetch`` messages are under way. One that can't be published is tried ``attempts`` times; then it is ActiveMQ's
    again, which puts a persistent one into its dead-letter queue. Raises SettingsError for what makes no sense.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str,
        destination: str,
        channel: str,
        prefetch: int = 50,
        durable: str | None = None,
        attempts: int = 5,
        event: str | None = None,
    ) -> None:
        self.name = name
        self.server = Server.parse(url)
        self.destination = _check_destination(destination, durable)
        self.channel = check_channel(channel)
        self.prefetch = prefetch
        self.durable = durable
        self.attempts = attempts
        self.event = event if event is None else check_event(event)
        self._stopping = Event()
        self._link: Link | None = None

    def run(self, publish: Publish) -> None:
        self._stopping.clear()
        link = self._link = Link(self.server, self.destination, prefetch=self.prefetch, durable=self.durable)
        try:
            if not self._within(link.open):
                return
            deaths = Deaths(publish)
            while (messages := link.gather(TOGETHER, ENOUGH)) and not self._stopping.is_set():
                self._take(publish, link, deaths, messages)
                breathe()
        finally:
            self._link = None
            link.close()

    def stop(self) -> None:
        self._stopping.set()
        if self._link is not None:
            self._link.wake()

    def _within(self, work: Callable[[], object]) -> bool:
        """Do the work unless it is to stop meanwhile. Returns whether it is done. Raises what the work does."""
        outcome = gevent.spawn(_outcome, work)
        gevent.wait([outcome, self._stopping], count=1)
        if not outcome.ready():
            outcome.kill(block=False)
            return False
        if outcome.value is not None:
            raise outcome.value
        return True

    # Messages.

    def _take(self, publish: Publish, link: Link, deaths: Deaths, messages: list[Message]) -> None:
        """Publish them together; one by one where that fails, or where one of them has been given before."""
        if not any(message.redelivered for message in messages):
            try:
                publish([message.update(self.channel, self.event) for message in messages])
                link.acknowledge(messages)
                return
            except NOBODYS_FAULT:
                raise
            except Exception:
                pass  # which one's fault it is shows when each is tried
        for message in messages:
            if self._stopping.is_set() or not self._take_one(publish, link, deaths, message):
                return

    def _take_one(self, publish: Publish, link: Link, deaths: Deaths, message: Message) -> bool:
        """Publish it or give it up. Returns False if it was stopped meanwhile: then the message is given again."""
        update = message.update(self.channel, self.event)
        attempts, pause, why = deaths.begin(message), FIRST_PAUSE, "the worker has died of it each time"
        while attempts < self.attempts:
            try:
                publish([update], deaths.without(message))
                deaths.end(message)
                link.acknowledge([message])
                return True
            except NOBODYS_FAULT:
                raise
            except Exception as error:
                why = " ".join(f"{type(error).__name__}: {error}".split())
            attempts += 1
            if attempts < self.attempts and self._stopping.wait(pause):
                return False
            pause = min(2 * pause, LONGEST_PAUSE)
        self._give_up(publish, link, deaths, message, why)
        return True

    def _give_up(self, publish: Publish, link: Link, deaths: Deaths, message: Message, why: str) -> None:
        whither = "goes to the dead-letter queue" if message.persistent else "is not persistent, so ActiveMQ drops it"
        text = "comet: %s gives up a message of %s after %d attempts; it %s. Its message-id is %s. %s"
        log.error(text, self.name, self.destination, self.attempts, whither, message.id, why)
        if (checkpoint := deaths.without(message)) is not None:
            publish([], checkpoint)
            deaths.end(message)
        link.refuse(message)


def _outcome(work: Callable[[], object]) -> Exception | None:
    try:
        work()
    except Exception as error:
        return error
    return None


def _check_destination(destination: str, durable: str | None) -> str:
    kind, _, name = destination.removeprefix("/").partition("/")
    if not destination.startswith("/") or kind not in ("queue", "topic") or not name or any(map(str.isspace, name)):
        raise SettingsError(f"destination is {destination!r}; allowed are /queue/NAME and /topic/NAME.")
    if durable is not None and kind != "topic":
        raise SettingsError(f"durable is {durable!r}; only a topic has durable subscriptions, and a queue needs none.")
    return destination
