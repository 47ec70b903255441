"""The SQLite broker does what every broker does."""

from __future__ import annotations

import time
from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comet.brokers import Broker, Deliver
from comet.brokers.sqlite import SqliteBroker
from tests.brokers.contract import BrokerContract, Make, WatchingContract


class TestSqlite(BrokerContract, WatchingContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Iterator[Make]:
        """Brokers with a file each, whose time passes when the test says so."""
        self.passed = 0.0
        made: list[SqliteBroker] = []

        def make(*, deliver: Deliver = lambda names: None, **options: object) -> SqliteBroker:
            broker = SqliteBroker(tmp_path / f"{len(made)}.db", **options)  # type: ignore[arg-type]
            broker._store.options = replace(broker._store.options, clock=lambda: time.time() + self.passed)
            broker.start(deliver)
            made.append(broker)
            return broker

        yield make
        for broker in made:
            broker.stop()

    def let_pass(self, broker: Broker, seconds: float, used: Container[str] = ()) -> None:
        assert isinstance(broker, SqliteBroker)
        begun = self.passed
        for step in range(0, int(seconds) + 10, 10):
            self.passed = begun + min(step, seconds)
            for _ in broker.tick(time.time() + self.passed, used):
                pass
            broker._tidy()
            broker.catch_up()
