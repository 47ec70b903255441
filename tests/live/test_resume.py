"""Resume: whoever comes back with its last cursor has every update once and in order, whatever broke."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Iterator

import pytest

from tests.live.clients import Subscriber
from tests.live.publishers import Publisher, in_background
from tests.live.readers import Item, Seen
from tests.live.server import Server


pytestmark = pytest.mark.delivers


CUTS = 200
#: A publisher waits when it is so many updates ahead: so that a client is now in the history, now at the head.
AHEAD = 200


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(history=100_000, history_bytes=50_000_000) as running:
        yield running


@pytest.fixture
def seed() -> int:
    """The seed of a run. To repeat a run that failed, set COMET_TEST_SEED to what it printed."""
    seed = int(os.environ.get("COMET_TEST_SEED") or random.randrange(1 << 32))
    print(f"COMET_TEST_SEED={seed}")
    return seed


class Unlucky:
    """A client whose connections are cut."""

    def __init__(self, server: Server, channels: tuple[str, ...], cursor: str, chance: random.Random) -> None:
        self.server = server
        self.channels = channels
        self.cursor = cursor
        self.chance = chance
        self.seen: list[Seen] = []
        self.wires: set[str] = set()

    def live(self, most: int) -> None:
        """Come back, on any wire, and be cut after exactly ``most`` bytes, by FIN or RST."""
        with self._come_back() as subscriber:
            while subscriber.received < most and not subscriber.over:
                if subscriber.answered:
                    subscriber.ask()
                subscriber.receive(most - subscriber.received)
            subscriber.leave(reset=self.chance.random() < 0.5)
            self.cursor = subscriber.cursor or self.cursor

    def catch_up(self, last: Seen) -> None:
        """Come back once more, if there is anything left, and read until the last update is here."""
        if self.cursor != last.id:
            with self._come_back() as subscriber:
                subscriber.until(lambda it: it.cursor == last.id)

    def _come_back(self) -> Subscriber:
        wire = self.chance.choice(["sse", "envelope", "poll", "ndjson"])
        self.wires.add(wire)
        subscriber = Subscriber(
            self.server,
            wire,
            *self.channels,
            since=self.cursor,
            in_header=self.chance.random() < 0.5,
            version=self.chance.choice(["1.1", "1.1", "1.0"]) if wire != "poll" else "1.1",
        )
        subscriber.take = self._take
        return subscriber

    def _take(self, items: Iterable[Item]) -> None:
        for item in items:
            assert isinstance(item, Seen), item
            self.seen.append(item)


def some_data(chance: random.Random, label: str) -> str:
    """A label and something after it: lines, signs that wires must wrap, now and then more than a piece of a frame."""
    length = chance.choice([0, 20, 100, 300, 300, 1000, 90_000 if chance.random() < 0.05 else 0])
    return label + " " + "".join(chance.choices('abc äß€😀\n\u2028\x85"\\<>&:{}', k=length))


@pytest.mark.parametrize(
    ("channels", "sets"),
    [
        pytest.param(("one",), [("one",)], id="one channel"),
        pytest.param(
            ("a", "b", "c"), [("a", "b"), ("b", "c"), ("c", "a")], id="three channels, overlapping publishers"
        ),
    ],
)
def test_a_client_that_is_cut_at_any_byte_has_everything_once(
    server: Server, seed: int, channels: tuple[str, ...], sets: list[tuple[str, ...]]
) -> None:
    """A client is cut 200 times, and comes back with its last cursor on a wire at random: nothing is missing, nothing
    comes twice, and all is in the order of the ids."""
    chance = random.Random(seed)
    publishers = [Publisher(server) for _ in sets]
    (begin,) = publishers[0].publish([(channels[0], "begin")])
    client = Unlucky(server, channels, begin.id, chance)

    def publisher(number: int) -> None:
        if sum(len(publisher.acknowledged) for publisher in publishers) - len(client.seen) > AHEAD:
            time.sleep(0.001)
            return
        mine = random.Random(f"{seed} {number} {len(publishers[number].acknowledged)}")
        count = mine.randint(1, 20)
        publishers[number].publish(
            (mine.choice(sets[number]), some_data(mine, f"{number}-{place}")) for place in range(count)
        )

    with in_background(*[lambda number=number: publisher(number) for number in range(len(sets))]) as stop:
        for _ in range(CUTS):
            client.live(
                chance.choice([chance.randrange(1, 600), chance.randrange(1, 5000), chance.randrange(1, 60_000)])
            )
        stop()

    published = sorted((update for publisher in publishers for update in publisher.acknowledged), key=lambda u: u.seq)
    client.catch_up(published[-1])
    assert client.wires == {"sse", "envelope", "poll", "ndjson"}
    assert [(seen.id, seen.data) for seen in client.seen] == [(each.id, each.data) for each in published[1:]]
    for publisher in publishers:
        publisher.close()
