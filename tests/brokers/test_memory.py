"""The broker in the memory of one process."""

from __future__ import annotations

import os
import time

import pytest

from comet.brokers import Deliver
from comet.brokers.memory import KEYS_OF_A_CHANNEL, MemoryBroker
from comet.core.errors import TooManyChannels
from comet.core.ring import OVERHEAD
from comet.core.rules import Rule, Rules
from comet.core.update import Closed, Update
from tests.brokers.contract import BrokerContract, Make, WatchingContract


def made(*, deliver: Deliver = lambda names: None, **options: object) -> MemoryBroker:
    broker = MemoryBroker(**options)  # type: ignore[arg-type]
    broker.start(deliver)
    return broker


class TestMemory(BrokerContract, WatchingContract):
    @pytest.fixture
    def make(self) -> Make:
        return made

    def test_beyond_the_memory_the_oldest_history_goes_first(self, make: Make) -> None:
        """A told gap, whatever the channels' own rules would keep."""
        broker = make(limit=20 * (OVERHEAD + 1000))
        receipts = [receipt for _ in range(50) for receipt in self.publish(broker, "x" * 1000)]
        kept = len(broker.log.rings["a"])
        assert 15 < kept <= 20
        self.exactly(broker, receipts, kept=kept)

    def test_the_last_keys_of_a_channel_are_remembered_however_fast_they_come(self, make: Make) -> None:
        """10,000 of each; the oldest beyond that are forgotten."""
        broker = make()
        for start in range(0, KEYS_OF_A_CHANNEL + 1, 1000):
            keys = range(start, min(start + 1000, KEYS_OF_A_CHANNEL + 1))
            broker.publish([Update("a", b"", key=str(key)) for key in keys])
        assert self.publish(broker, "x", key=str(KEYS_OF_A_CHANNEL))[0].duplicate
        assert self.publish(broker, "x", key="1")[0].duplicate
        assert not self.publish(broker, "x", key="0")[0].duplicate

    def test_a_known_key_needs_no_room_for_its_channel(self, make: Make) -> None:
        """The channel was forgotten, all places are taken: a repetition is answered as one."""
        broker = make(rules=Rules(Rule(history_seconds=30)), max_channels=1)
        (first,) = self.publish(broker, "1", key="k")
        self.let_pass(broker, 200)
        self.publish(broker, "1", channel="b")
        (again,) = self.publish(broker, "1", key="k")
        assert again.duplicate and again.id == first.id
        with pytest.raises(TooManyChannels):
            self.publish(broker, "1", key="another")
        with pytest.raises(TooManyChannels):
            broker.publish([Update("a", b"", key="k"), Update("a", b"")])

    def test_a_long_tick_lets_others_run(self, make: Make) -> None:
        """Keys of many channels are looked through in pieces, and nothing is left of those that have expired."""
        broker = make(idempotency_seconds=5)
        broker.publish([Update(f"c{n}", b"", key="k") for n in range(450)])
        pauses = len(list(broker.tick(time.time(), ())))
        assert pauses == 4  # two for the channels, two for their keys
        self.let_pass(broker, 20)
        assert len(list(broker.tick(time.time(), ()))) == 2
        assert not any(receipt.duplicate for receipt in broker.publish([Update("c7", b"", key="k")]))

    def test_after_the_end_nobody_is_woken(self, make: Make) -> None:
        """Stopped, it delivers no more."""
        seen: list[str] = []
        broker = make(deliver=seen.extend)
        self.publish(broker, "1")
        broker.stop()
        self.publish(broker, "2")
        assert seen == ["a"]

    def test_a_forked_process_goes_on_in_an_epoch_of_its_own(self, make: Make) -> None:
        """What was published before the fork is there, under other ids: two processes never give out the same."""
        broker = make()
        (first,) = self.publish(broker, "before")
        self.publish(broker, "x", channel="b")
        broker.publish([Closed("b")])
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:  # nothing of the test's own may go on in here
            try:
                broker.start(lambda names: None)
                (receipt,) = self.publish(broker, "after")
                told = self.texts(self.told(broker, "a", since=first.id))
                os.write(writing, " ".join([receipt.id, *told]).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            id, *told = pipe.read().split(" ")
        (own,) = self.publish(broker, "after")
        assert own.id.startswith(broker.log.epoch) and not id.startswith(broker.log.epoch)
        assert told == ["gap", "epoch", "before", "after"]
