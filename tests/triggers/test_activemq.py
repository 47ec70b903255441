"""ActiveMq, with a real ActiveMQ that is killed, frozen, and sent what nobody should send."""

from __future__ import annotations

import logging
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import gevent
import pytest
from gevent import socket
from gevent.server import StreamServer

from comet.brokers import Receipt
from comet.core.errors import Alarm, BrokerAway, LeaseLost, SettingsError, SourceFailed, TooLarge, TooManyChannels
from comet.core.update import BINARY, TEXT, Update
from comet.triggers.activemq import ActiveMq, link
from comet.triggers.activemq.deaths import Deaths
from comet.triggers.activemq.message import Message
from comet.triggers.activemq.server import Server
from comet.triggers.supervisor import Supervisor
from comet.triggers.supervisor.publishing import Render
from tests.activemq import PASSWORD, USER, ActiveMqServer, Stomp, numbered
from tests.live.server import free_port
from tests.timing import PATIENCE, Stopwatch
from tests.triggers.watching import Published, ended, wait


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveMqServer]:
    server = ActiveMqServer(tmp_path_factory.mktemp("activemq"))
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def producer(server: ActiveMqServer) -> Iterator[Stomp]:
    with Stomp(server.port) as stomp:
        yield stomp


@pytest.fixture
def queue() -> str:
    """One that nobody else uses."""
    return f"/queue/{uuid.uuid4()}"


@pytest.fixture
def topic() -> str:
    return f"/topic/{uuid.uuid4()}"


class Running:
    """A trigger under a supervisor that is not patient."""

    def __init__(
        self,
        server: ActiveMqServer,
        destination: str,
        publish: Callable[..., list[Receipt]],
        render: Render | None = None,
        **keys: object,
    ) -> None:
        keys = {"url": server.url, "channel": "c", **keys}
        self.trigger = ActiveMq("mq", destination=destination, **keys)  # type: ignore[arg-type]
        self.supervisor = Supervisor(publish, first_pause=0.05, longest_pause=0.2, alarm_pause=0.2)
        self.supervisor.add(self.trigger, render)
        self.state = self.supervisor.states[0]

    def __enter__(self) -> Running:
        self.supervisor.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.supervisor.stop()

    def wait_until_subscribed(self) -> None:
        wait(lambda: self.trigger._link is not None and self.trigger._link._subscribed.is_set())


# What a message becomes.

UTF8, LATIN1 = "né".encode(), "né".encode("latin-1")

TYPES = [
    ("nothing is said of text", None, UTF8, UTF8, TEXT),
    ("nothing is said of bytes", None, LATIN1, LATIN1, BINARY),
    ("an empty message", None, b"", b"", TEXT),
    ("a type", "application/json", b"{}", b"{}", "application/json"),
    ("a type with a parameter", 'text/csv; header="a b"', b"1", b"1", 'text/csv; header="a b"'),
    ("blanks around it", " image/png ", b"\x89", b"\x89", "image/png"),
    ("a type that is none", "text", UTF8, UTF8, TEXT),
    ("a type that is none, of bytes", "a b/c", LATIN1, LATIN1, BINARY),
    ("a type with a line feed", "text/html\nid: 1", b"x", b"x", TEXT),
    ("a type that is too long", "a/" + "b" * 127, b"x", b"x", TEXT),
    ("a type that is not ASCII", "text/é", b"x", b"x", TEXT),
    ("an empty type", "", b"x", b"x", TEXT),
    ("text in another charset", "text/html; charset=ISO-8859-1", LATIN1, UTF8, "text/html; charset=utf-8"),
    ("text in another charset, quoted", 'text/x; charset="latin1"', LATIN1, UTF8, "text/x; charset=utf-8"),
    ("text in UTF-8", "text/html; charset=UTF-8", UTF8, UTF8, "text/html; charset=UTF-8"),
    ("text in a charset that is none", "text/html; charset=klingon", LATIN1, LATIN1, BINARY),
    ("text in a charset that is no charset", "text/html; charset=hex", LATIN1, LATIN1, BINARY),
    ("text that is not in its charset", "text/html; charset=utf-16", b"x", b"x", BINARY),
    ("what is no text may have its own", "application/xml; charset=latin1", LATIN1, LATIN1, None),
]


@pytest.mark.parametrize(("declared", "body", "data", "type"), [row[1:] for row in TYPES], ids=[r[0] for r in TYPES])
def test_what_a_message_becomes(declared: str | None, body: bytes, data: bytes, type: str | None) -> None:
    """Its body with its type. No type keeps it from being published, and text is UTF-8."""
    update = Message("1", "1", "/queue/q", body, declared).update("c", "event")
    assert update == Update("c", data, type or declared or "", "event", "/queue/q 1")


@pytest.mark.parametrize("id", ["x" * 129, "a\nb", "é"], ids=["long", "two lines", "not ASCII"])
def test_an_id_that_is_no_key(id: str) -> None:
    """It is hashed, with its destination."""
    keys = {Message(id, "", source, b"").key for source in ("/queue/a", "/queue/a", "/queue/b")}
    assert sorted(map(len, keys)) == [64, 64]


def test_a_message_without_an_id() -> None:
    """ActiveMQ gives none; another server's are not taken for one and the same."""
    message = Message.of("/queue/q", {"redelivered": "true"}, None)
    assert (message.key, message.update("c").key) == (None, None)
    deaths = Deaths(Published())
    assert (deaths.begin(message), deaths.begin(message), deaths.without(message)) == (0, 0, None)


URLS = [
    ("stomp://h", Server("h", 61613)),
    ("stomp://h/", Server("h", 61613)),
    ("stomp://user@h:1", Server("h", 1, "user")),
    ("stomp://us%40er:p%2F%3Aw@[::1]:1", Server("::1", 1, "us@er", "p/:w")),
]


@pytest.mark.parametrize(("url", "server"), URLS, ids=lambda value: str(value))
def test_where_a_server_is(url: str, server: Server) -> None:
    """The parts of its URL, decoded; the port may be left out."""
    assert Server.parse(url) == server
    assert str(server).startswith("ActiveMQ at ") and "p/:w" not in f"{server} {server!r}"
    assert server.hide("a\np/:w") == ("a ***" if server.password else "a p/:w")


WRONG = [
    ({"url": "tcp://u:secret@h"}, "url is not of the form stomp://user:password@host:61613."),
    ({"url": "stomp://"}, "url is not of the form"),
    ({"url": "stomp://u:secret@h/x"}, "url is not of the form"),
    ({"url": "stomp://u:secret@h:port"}, "a port that is none"),
    ({"destination": "orders"}, "'orders'; allowed are /queue/NAME and /topic/NAME."),
    ({"destination": "/queue/"}, "allowed are"),
    ({"destination": "/exchange/x"}, "allowed are"),
    ({"destination": "/queue/a\nb"}, "allowed are"),
    ({"durable": "me"}, "only a topic"),
]


@pytest.mark.parametrize(("keys", "told"), WRONG, ids=lambda value: str(value))
def test_what_makes_no_sense(keys: dict[str, str], told: str) -> None:
    """One sentence says what would, without the secret."""
    with pytest.raises(SettingsError) as error:
        ActiveMq("mq", **{"url": "stomp://h", "destination": "/queue/q", "channel": "c", **keys})  # type: ignore[arg-type]
    assert told in str(error.value) and "secret" not in str(error.value)


def test_a_password_that_passes_for_a_port() -> None:
    """Not even the trace of the error has it."""
    url = "stomp://u:secret/x@h:61613"
    with pytest.raises(SettingsError) as error:
        ActiveMq("mq", url=url, destination="/queue/q", channel="c")
    assert "secret" not in "".join(traceback.format_exception(error.value))


# From ActiveMQ to the channel.


def test_messages_are_published_in_order(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """Those that were there before, and those that come; each is acknowledged, and given to nobody again."""
    published = Published()
    producer.send(queue, *numbered(300))
    with Running(server, queue, published, event="tick") as running:
        producer.send(queue, *numbered(300, begin=300))
        wait(lambda: len(published) == 600)
    assert published.texts == [str(number) for number in range(600)]
    assert {(update.channel, update.event, update.type) for update in published} == {("c", "tick", TEXT)}
    assert (running.state.updates, running.state.duplicates, running.state.reconnects) == (600, 0, 0)
    with Running(server, queue, published):
        producer.send(queue, b"last")
        wait(lambda: published.texts[600:] == ["last"])


def test_bytes_are_what_they_were(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """Every byte, also one that is a NUL, and a large message; text that came without a length, too."""
    published = Published()
    every = bytes(range(256))
    large = every * 4096 * 10
    with Running(server, queue, published):
        producer.send(queue, every, content_type="image/png")
        producer.send(queue, large)
        producer.send(queue, b"")
        producer._write("SEND", {"destination": queue, "content-type": "text/html"}, "<b>é</b>".encode())
        wait(lambda: len(published) == 4)
    assert [(update.data, update.type) for update in published] == [
        (every, "image/png"),
        (large, BINARY),
        (b"", TEXT),
        ("<b>é</b>".encode(), "text/html"),
    ]


def test_a_header_forges_nothing(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """Whatever a program writes there; what is published is acknowledged."""
    published = Published()
    with Running(server, queue, published) as running:
        headers = {"content_type": "text/html\\nid: 1\\c", "redelivered": "nonsense", "ack": "x", "message_id": "mine"}
        producer.send(queue, b"1", **headers)
        producer.send(queue, b"2", **headers)
        wait(lambda: len(published) == 2)
    with Running(server, queue, published) as again:
        producer.send(queue, b"3")
        wait(lambda: len(published) == 3)
    assert [(update.data, update.type) for update in published] == [(b"1", TEXT), (b"2", TEXT), (b"3", TEXT)]
    assert again.state.duplicates == running.state.reconnects == 0


def test_no_more_than_the_prefetch_is_under_way(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """While publishing takes its time the others stay with ActiveMQ."""
    gate, published, gathered = gevent.event.Event(), Published(), [0]

    def publish(updates: Sequence[Update]) -> list[Receipt]:
        gathered[0] = len(updates)
        gate.wait()
        return published(updates)

    producer.send(queue, *numbered(200))
    with Running(server, queue, publish, prefetch=10) as running:

        def under_way() -> int:
            return gathered[0] + (running.trigger._link._heard.qsize() if running.trigger._link else 0)

        wait(lambda: under_way() >= 10)
        producer.send(queue, b"200")  # ActiveMQ has had the time to give more
        gevent.sleep(0.05)
        assert under_way() == 10
        gate.set()
        wait(lambda: len(published) == 201)
    assert published.texts == [str(number) for number in range(201)]


def test_it_is_acknowledged_only_when_it_is_published(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """What publishing refuses for want of a log is given again, and published once; it is no fault of the message."""
    published = Published()
    failures: list[Exception] = [BrokerAway("away."), TooManyChannels("many."), LeaseLost("lost."), BrokerAway("away.")]

    def publish(updates: Sequence[Update]) -> list[Receipt]:
        if updates and len(failures) % 2:
            published(updates)  # accepted, and the answer is lost
        if updates and failures:
            raise failures.pop()
        return published(updates)

    with Running(server, queue, publish, attempts=1) as running:
        producer.send(queue, *numbered(20))
        wait(lambda: running.state.duplicates)
        producer.send(queue, b"20")
        wait(lambda: published.texts[-1:] == ["20"])
    assert published.texts == [str(number) for number in range(21)]
    assert running.state.reconnects == 4


@pytest.mark.alone
def test_stop_is_at_once(server: ActiveMqServer, producer: Stomp, queue: str, published: Published) -> None:
    """While it waits, while it connects, and while it tries a message again; and it can run again."""
    trigger = ActiveMq("mq", url=server.url, destination=queue, channel="c")
    for _ in range(2):
        running = gevent.spawn(trigger.run, published)
        wait(lambda: trigger._link is not None and trigger._link._subscribed.is_set())
        _stop_at_once(trigger, running)
    running = gevent.spawn(trigger.run, published)
    gevent.sleep(0)
    assert trigger._link is not None and not trigger._link._connected.is_set()
    _stop_at_once(trigger, running)

    def refuse(updates: Sequence[Update], checkpoint: str | None = None) -> list[Receipt]:
        raise ValueError("never")

    refuse.checkpoint = lambda: None  # type: ignore[attr-defined]
    producer.send(queue, b"x")
    patient = ActiveMq("mq", url=server.url, destination=queue, channel="c", attempts=1000)
    running = gevent.spawn(patient.run, refuse)
    wait(lambda: patient._link is not None and patient._link._subscribed.is_set())
    gevent.sleep(0.3)
    _stop_at_once(patient, running)


def _stop_at_once(trigger: ActiveMq, running: gevent.Greenlet) -> None:
    with Stopwatch() as watch:
        trigger.stop()
        ended(running)
    assert watch.seconds < 0.5 * PATIENCE


# Topics.


def test_a_topic_gives_what_comes_while_somebody_is_there(server: ActiveMqServer, producer: Stomp, topic: str) -> None:
    """Nobody keeps the rest."""
    published = Published()
    producer.send(topic, b"before")
    with Running(server, topic, published) as running:
        running.wait_until_subscribed()
        producer.send(topic, *numbered(500))
        wait(lambda: len(published) == 500)
    assert published.texts == [str(number) for number in range(500)]


def test_a_durable_topic_keeps_what_comes_while_nobody_is_there(
    server: ActiveMqServer, producer: Stomp, topic: str
) -> None:
    """From the first time on."""
    published = Published()
    producer.send(topic, b"before")
    for begin in (0, 200, 400):
        with Running(server, topic, published, durable="comet") as running:
            wait(lambda begin=begin: len(published) == begin)  # type: ignore[misc]
            running.wait_until_subscribed()
            producer.send(topic, *numbered(100, begin))
            wait(lambda begin=begin: len(published) == begin + 100)  # type: ignore[misc]
        producer.send(topic, *numbered(100, begin + 100))
    assert published.texts == [str(number) for number in range(500)]


def test_a_durable_subscription_that_somebody_has(server: ActiveMqServer, topic: str, caplog: object) -> None:
    """It is told, and tried again until the other one lets go."""
    published = Published()
    with Stomp(server.port, **{"client-id": "taken"}), Running(server, topic, published, durable="taken") as running:
        wait(lambda: "already connected" in running.state.error)
        assert running.state.error.startswith("SourceFailed: ActiveMQ at 127.0.0.1:")
        assert running.state.phase == "failed"
    with Running(server, topic, published, durable="taken") as running:
        running.wait_until_subscribed()


def test_a_virtual_topic_is_a_queue_for_each_application(server: ActiveMqServer, producer: Stomp) -> None:
    """What is sent while nobody is there is kept, and another application has all of it, too."""
    name = f"VirtualTopic.{uuid.uuid4()}"
    mine, others = Published(), Published()
    queues = [(f"/queue/Consumer.comet.{name}", mine), (f"/queue/Consumer.other.{name}", others)]
    for begin in (0, 100):
        with Running(server, *queues[0]) as one, Running(server, *queues[1]) as other:
            one.wait_until_subscribed()
            other.wait_until_subscribed()
            producer.send(f"/topic/{name}", *numbered(50, begin))
            wait(lambda begin=begin: len(mine) == len(others) == begin + 50)  # type: ignore[misc]
        producer.send(f"/topic/{name}", *numbered(50, begin + 50))
    assert mine.texts == others.texts == [str(number) for number in range(150)]


# Poison.


def test_a_message_that_can_not_be_published(
    server: ActiveMqServer, producer: Stomp, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After so many attempts it is in the dead-letter queue, and the log says why; the others go on, in order."""
    published, tried = Published(), [0]

    def publish(updates: Sequence[Update]) -> list[Receipt]:
        if any(update.data == b"poison" for update in updates):
            tried[0] += len(updates) == 1
            raise TooLarge("6 bytes; an update has at most 5 (COMET_MAX_UPDATE).")
        return published(updates)

    bodies = [*numbered(20), b"poison", *numbered(20, 20)]
    producer.send(queue, *bodies)
    producer.send(queue, b"poison", persistent=False)
    producer.send(queue, b"end")
    with Running(server, queue, publish, attempts=3) as running, Stomp(server.port) as dead:
        dead.subscribe("/queue/ActiveMQ.DLQ")
        wait(lambda: "end" in published.texts and tried[0] == 6)
        (letter,) = dead.receive(1)
    assert published.texts == [*(str(number) for number in range(40)), "end"]
    assert (letter.body, letter.headers["original-destination"]) == (b"poison", queue)
    assert running.state.reconnects == 0
    kept, dropped = (record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
    assert kept.startswith(
        f"comet: mq gives up a message of {queue} after 3 attempts; it goes to the dead-letter queue"
    )
    assert kept.endswith("TooLarge: 6 bytes; an update has at most 5 (COMET_MAX_UPDATE).")
    assert letter.headers["message-id"] in kept
    assert "it is not persistent, so ActiveMQ drops it" in dropped


def test_a_message_that_a_template_can_not_show(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """It is no failure of the source, although a template's error looks like one."""
    published = Published()

    def render(update: Update) -> Update:
        if update.data == b"poison":
            raise SourceFailed("the template x.html, line 1: UndefinedError: 'row' is undefined.")
        return Update.of("c", f"<b>{update.text}</b>", key=update.key)

    producer.send(queue, b"0", b"poison", b"1")
    with Running(server, queue, published, render, attempts=2) as running, Stomp(server.port) as dead:
        dead.subscribe("/queue/ActiveMQ.DLQ")
        wait(lambda: len(published) == 2)
        assert dead.receive(1)[0].body == b"poison"
    assert published.texts == ["<b>0</b>", "<b>1</b>"]
    assert running.state.reconnects == 0


def test_what_failed_for_a_moment_is_published(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """Before those after it."""
    published, failures = Published(), [ValueError("a")] * 4

    def publish(updates: Sequence[Update]) -> list[Receipt]:
        if updates[0].data == b"1" and failures:
            raise failures.pop()
        return published(updates)

    with Running(server, queue, publish) as running:
        producer.send(queue, *numbered(10))
        wait(lambda: len(published) == 10)
    assert published.texts == [str(number) for number in range(10)]
    assert running.state.reconnects == 0


def test_a_message_of_which_the_worker_dies(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """It is given up, too: what is noted before it is tried, the next worker finds."""
    published = Published()

    class Died(BaseException):
        """As when the process is killed: nothing more is done."""

    def publish(updates: Sequence[Update], checkpoint: str | None = None) -> list[Receipt]:
        if any(update.data == b"poison" for update in updates):
            raise Died
        return published(updates, checkpoint)

    publish.checkpoint = published.checkpoint  # type: ignore[attr-defined]
    producer.send(queue, b"0", b"poison", b"1")
    lives = 0
    with Stomp(server.port) as dead:
        dead.subscribe("/queue/ActiveMQ.DLQ")
        while published.texts != ["0", "1"]:
            trigger = ActiveMq("mq", url=server.url, destination=queue, channel="c", attempts=3)
            life = gevent.spawn(_outlive, trigger, publish, Died)
            wait(lambda life=life: life.ready() or published.texts == ["0", "1"])  # type: ignore[misc]
            trigger.stop()
            lives += life.get()
        assert dead.receive(1)[0].body == b"poison"
    assert lives == 4  # the first time nobody could know
    assert published.checkpoint() == "{}"


def _outlive(trigger: ActiveMq, publish: Published, death: type[BaseException]) -> bool:
    try:
        trigger.run(publish)
    except death:
        return True
    return False


def test_deaths_are_bounded(published: Published) -> None:
    """Of many that were never seen again the oldest are forgotten; what is no note is none."""
    deaths = Deaths(published)
    for number in range(150):
        assert deaths.begin(Message(str(number), "", "/queue/q", b"", redelivered=True)) == 0
    again = Deaths(published)
    assert again.begin(Message("149", "", "/queue/q", b"", redelivered=True)) == 1
    assert again.begin(Message("0", "", "/queue/q", b"", redelivered=True)) == 0
    for text in ("[1]", "mysql-bin.000003:1234", ""):
        published.checkpoints.append(text)
        assert Deaths(published).begin(Message("149", "", "/queue/q", b"", redelivered=True)) == 0


# What happens to ActiveMQ.


class Dammed(Published):
    """It holds back what is beyond ``limit``."""

    limit = 0

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        wait(lambda: len(self) + len(updates) <= self.limit)
        return super().__call__(updates, checkpoint)


def test_nothing_is_lost_when_activemq_is_killed(tmp_path: Path, queue: str, topic: str) -> None:
    """Nor published twice, of a queue and of a durable topic: killed and started again while messages are under way."""
    server = ActiveMqServer(tmp_path)
    of_queue, of_topic = both = Dammed(), Dammed()
    try:
        server.start()
        with (
            Running(server, queue, of_queue, prefetch=20) as one,
            Running(server, topic, of_topic, prefetch=20, durable="d") as other,
        ):
            one.wait_until_subscribed()
            other.wait_until_subscribed()
            for begin in (0, 300):
                for published in both:
                    published.limit = begin + 150
                with Stomp(server.port) as producer:
                    producer.send(queue, *numbered(300, begin))
                    producer.send(topic, *numbered(300, begin))
                wait(lambda begin=begin: all(len(published) > begin + 130 for published in both))  # type: ignore[misc]
                server.kill()
                for published in both:
                    published.limit = begin + 301
                server.start()
            with Stomp(server.port) as producer:
                producer.send(queue, b"600")
                producer.send(topic, b"600")
            wait(lambda: all(len(published) >= 601 for published in both))
    finally:
        server.kill()
    assert of_queue.texts == of_topic.texts == [str(number) for number in range(601)]
    assert one.state.duplicates and other.state.duplicates  # so ActiveMQ has given them twice


def test_a_frozen_activemq_is_noticed(
    server: ActiveMqServer, producer: Stomp, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody says so: it is silent. Connecting to one fails in time, too."""
    monkeypatch.setattr(link, "HEARS", 0.5)
    monkeypatch.setattr(link, "SAYS", 0.5)
    monkeypatch.setattr(link, "CONNECT", 0.5)
    published = Published()
    with Running(server, queue, published) as running:
        running.wait_until_subscribed()
        gevent.sleep(1.5)
        assert running.state.reconnects == 0
        server.freeze()
        try:
            wait(lambda: "has said nothing for" in running.state.error)
            wait(lambda: "does not answer to STOMP within 0.5 seconds" in running.state.error)
        finally:
            server.thaw()
        producer.send(queue, b"after")
        wait(lambda: published.texts == ["after"])


def test_a_worker_that_freezes_is_forgotten(
    server: ActiveMqServer, producer: Stomp, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages are the next one's before that has waited long, in order: nothing goes past it meanwhile."""
    monkeypatch.setattr(link, "SAYS", 0.5)
    published = Published()
    first = ActiveMq("mq", url=server.url, destination=queue, channel="c", prefetch=5)
    gate = gevent.event.Event()

    def never(updates: Sequence[Update]) -> list[Receipt]:
        gate.wait()
        raise LeaseLost("another worker runs it now.")

    never.checkpoint = lambda: None  # type: ignore[attr-defined]
    frozen = gevent.spawn(_ends_with, LeaseLost, first.run, never)
    wait(lambda: first._link is not None and first._link._subscribed.is_set())
    assert first._link is not None and first._link._beat is not None
    producer.send(queue, *numbered(20))
    first._link._beat.kill()
    with Running(server, queue, published):
        wait(lambda: len(published) == 20)
    assert published.texts == [str(number) for number in range(20)]
    gate.set()
    ended(frozen)


def _ends_with(kind: type[Exception], work: Callable[..., object], *arguments: object) -> None:
    with pytest.raises(kind):
        work(*arguments)


def test_an_activemq_that_gives_too_much(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """It is let go of, before memory grows."""
    heard = link.Link(Server.parse(server.url), queue, prefetch=2)
    try:
        heard.open()
        for number in range(10):
            heard._hear(Message(str(number), "", queue, b""))
        assert [message.id for message in heard.gather(100, 1000)] == ["0", "1", "2", "3", "4"]
        with pytest.raises(SourceFailed, match="more than the 2 messages"):
            heard.gather(100, 1000)
    finally:
        heard.close()


# Who can't connect.


def failure(url: str, destination: str = "/queue/q", **keys: str) -> Exception:
    """What a run ends with."""
    trigger = ActiveMq("mq", url=url, destination=destination, channel="c", **keys)  # type: ignore[arg-type]
    with pytest.raises((Alarm, SourceFailed)) as error, gevent.Timeout(20 * PATIENCE):
        trigger.run(Published())
    return error.value


def test_the_right_password(server: ActiveMqServer, producer: Stomp, queue: str) -> None:
    """With what a URL must encode."""
    published = Published()
    url = f"stomp://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}"
    with Running(server, queue, published, url=url):
        producer.send(queue, b"x")
        wait(lambda: published.texts == ["x"])


def test_a_wrong_password(server: ActiveMqServer) -> None:
    """An alarm: no repetition helps. It does not say the secret."""
    error = failure(f"stomp://{USER}:wrong-one@127.0.0.1:{server.port}")
    assert isinstance(error, Alarm)
    assert str(error) == (
        f"ActiveMQ at 127.0.0.1:{server.port} refuses: User name [comet] or password is invalid. "
        "Mend user and password in url, or what they may do there."
    )


def test_a_queue_that_one_may_not_read(server: ActiveMqServer) -> None:
    """An alarm, too, with what ActiveMQ says of it."""
    error = failure(f"stomp://guest:visitor@127.0.0.1:{server.port}", "/queue/orders")
    assert isinstance(error, Alarm)
    assert "User guest is not authorized to" in str(error) and "queue://orders" in str(error)


def test_a_port_where_nobody_listens() -> None:
    """One sentence."""
    port = free_port()
    error = failure(f"stomp://u:secret@127.0.0.1:{port}")
    assert str(error) == f"ActiveMQ at 127.0.0.1:{port} can't be reached: connection refused."


def test_a_host_that_nobody_knows() -> None:
    """One sentence."""
    assert str(failure("stomp://u:secret@nowhere.invalid")) == (
        "ActiveMQ at nowhere.invalid:61613: the host's name is not known."
    )


ANSWERS = [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "has closed the connection; it may not speak STOMP at this port."),
    (b"\x00\x00\x01<\x01ActiveMQ\x00\x00\x00\x0c\xff\xfe\x00", "may not speak STOMP"),
    (b"ERROR\nmessage:u:secret is unwanted\n\n\0", "refuses: u:*** is unwanted."),
    (b"ERROR\n\n\0", "refuses: it does not say why."),
    (b"\n\n\n", "has closed the connection"),
]


@pytest.mark.parametrize(("answer", "told"), ANSWERS, ids=lambda value: str(value))
def test_a_server_that_is_no_activemq(answer: bytes, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One sentence, and nothing on standard error."""

    def serve(accepted: socket.socket, peer: object) -> None:
        accepted.recv(1000)
        accepted.sendall(answer)

    with StreamServer(("127.0.0.1", 0), serve) as listener:
        listener.start()
        error = failure(f"stomp://u:secret@127.0.0.1:{listener.server_port}")
    assert isinstance(error, SourceFailed) and told in str(error)
    assert capfd.readouterr().err == ""
