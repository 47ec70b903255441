"""Two hosts that share one Redis on a third: what is published at one is received at the other, after a cut too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests

from tests.brokers.redis_server import RedisServer
from tests.live.clients import Crowd, Subscriber, crowd
from tests.live.network import Namespace
from tests.live.readers import TELLING
from tests.live.server import Server
from tests.timing import PATIENCE, Stopwatch


class Host:
    """A server in a network of its own."""

    def __init__(self, middle: Namespace, number: int, redis: RedisServer, stack: ExitStack) -> None:
        self.middle = middle
        self.network = Namespace()
        stack.callback(self.network.close)
        middle.join(self.network, number)
        self.ends = {"near": (self.network, "out"), "far": (middle, f"to-{number}")}
        with self.network.inside():
            broker = f"redis://10.77.{number}.1:{redis.port}"
            self.server = stack.enter_context(Server(broker=broker, workers=2, heartbeat=1))

    def link(self, end: str, state: str) -> None:
        network, name = self.ends[end]
        network.run(f"ip link set {name} {state}")

    def publish(self, data: str) -> str:
        """Publish, and return the id."""
        with self.network.inside():
            return str(self.server.publish("news", data)["id"])

    def try_to_publish(self, data: str) -> requests.Response:
        """With a key: it may be accepted although the answer says that it may not."""
        headers = {**self.server.auth, "Idempotency-Key": data}
        with self.network.inside():
            return requests.post(f"{self.server.url}/channels/news", data, headers=headers, timeout=10)

    def is_ready(self) -> bool:
        """Whether all its workers are. One of two that is not, is found by 20 questions."""
        with self.network.inside():
            return all(self.server.get("/readyz").status_code == 200 for _ in range(20))

    def is_not_ready(self) -> bool:
        with self.network.inside():
            return all(self.server.get("/readyz").status_code == 503 for _ in range(20))

    def subscribe(self, people: Crowd, wire: str, since: str) -> Subscriber:
        parameters = {"callback": "callback"} if wire == "jsonp" else {}
        with self.network.inside():
            return people.add(Subscriber(self.server, wire, "news", since=since, **parameters))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    with ExitStack() as stack:
        middle = Namespace()
        stack.callback(middle.close)
        with middle.inside():
            redis = RedisServer(tmp_path_factory.mktemp("redis"), bind="0.0.0.0", protected_mode="no").start()
            stack.callback(redis.kill)
        yield Host(middle, 1, redis, stack), Host(middle, 2, redis, stack)


def texts(stream: Subscriber) -> list[str]:
    return [update.data for update in stream.seen]


def test_what_is_published_at_one_host_is_received_at_the_other(hosts: tuple[Host, Host]) -> None:
    """On every wire that carries cursors, both ways."""
    begin = hosts[0].publish("begin")
    with crowd() as people:
        streams = [host.subscribe(people, wire, begin) for host in hosts for wire in TELLING]
        for n in range(10):
            hosts[n % 2].publish(str(n))
        people.until(lambda: all(len(texts(stream)) == 10 for stream in streams), what="ten updates")
        assert all(texts(stream) == [str(n) for n in range(10)] for stream in streams)


@pytest.mark.alone
@pytest.mark.parametrize("end", ["near", "far"])
def test_a_host_that_is_cut_off_says_so_and_misses_nothing(hosts: tuple[Host, Host], end: str) -> None:
    """Its streams stay open and their hearts beat; publishing there is 503 within two seconds, and so is /readyz. When
    the link is mended all are live within five, and nothing is missing."""
    one, two = hosts
    tried, begin = f"tried, {end}", one.publish("begin")
    with crowd() as people:
        lasting = [two.subscribe(people, wire, begin) for wire in ("sse", "envelope", "ndjson", "iframe")]
        streams = [*lasting, *(host.subscribe(people, wire, begin) for host in hosts for wire in ("poll", "ndjson"))]
        people.until(lambda: all(stream.opened for stream in lasting), what="streams")
        two.link(end, "down")
        try:
            with Stopwatch() as watch:
                answer = two.try_to_publish(tried)
            assert watch.seconds < 3 * PATIENCE
            assert answer.status_code == 503
            assert "may have been accepted" in answer.json()["detail"]
            people.until(two.is_not_ready, what="the host that is cut off to say so")
            assert one.is_ready()
            cursor = one.publish("meanwhile")
            came = [stream.received for stream in lasting]
            beaten = [received + 2 for received in came]
            people.until(lambda: _all_at_least(lasting, beaten), what="two heartbeats")
            late = two.subscribe(people, "ndjson", cursor)
            people.until(lambda: late.opened, what="an answer")
            assert late.response.status == 503, "whether this cursor is good, nobody can know"
        finally:
            two.link(end, "up")
        with Stopwatch() as watch:
            people.until(two.is_ready, what="the host that was cut off")
        assert watch.seconds < 5 * PATIENCE
        assert two.try_to_publish(tried).status_code in (200, 201)
        two.publish("after")
        people.until(lambda: all("after" in texts(stream) for stream in streams), what="everything")
        assert {tuple(texts(stream)) for stream in streams} == {("meanwhile", tried, "after")}
        assert not any(stream.missed or stream.over for stream in streams)


def _all_at_least(streams: list[Subscriber], received: list[int]) -> bool:
    return all(stream.received >= least for stream, least in zip(streams, received, strict=True))
