"""Whatever happens to a worker, to Redis, or between them: each subscriber is told everything, or its loss.

``COMET_TEST_SEED`` replays the storm of a seed.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.brokers.redis_server import RedisServer
from tests.live.cable import Cable
from tests.live.faults import FULL, OF_REDIS, OF_WORKERS, RULES, SMALL, WORKERS, Size, Storm, StormOverRedis
from tests.live.server import Server
from tests.timing import until


SEEDS = [int(seed) for seed in os.environ.get("COMET_TEST_SEED", "").split()] or range(20)


def serve(folder: Path, broker: str, dice: random.Random) -> Server:
    """Four workers. What they hold in memory is all of the history, or less: then they must ask their broker."""
    (folder / "comet.toml").write_text(RULES)
    settings = {"history": 1_000_000, "history_bytes": 100_000_000, "drain_seconds": 1, "poll_timeout": 5}
    memory = dice.choice((1 << 20, 1 << 28))
    return Server(broker=broker, workers=WORKERS, config=folder / "comet.toml", memory=memory, **settings)


def over_sqlite(folder: Path, seed: int, size: Size, times: int) -> None:
    dice = random.Random(seed)
    faults = OF_WORKERS * times
    dice.shuffle(faults)
    with serve(folder, f"sqlite:///{folder}/log.db", dice) as server:
        until(lambda: len(server.workers()) == WORKERS, what="four workers")
        storm(Storm(server, seed, size), faults)


def over_redis(folder: Path, seed: int, size: Size) -> None:
    dice = random.Random(seed)
    faults = [*OF_WORKERS, *OF_REDIS]
    dice.shuffle(faults)
    redis = RedisServer(folder).start()
    try:
        with Cable(redis.port) as cable, serve(folder, f"redis://127.0.0.1:{cable.port}", dice) as server:
            until(lambda: len(server.workers()) == WORKERS, what="four workers")
            storm(StormOverRedis(server, seed, size, redis, cable), faults)
    finally:
        redis.kill()


def storm(storm: Storm, faults: list) -> None:
    print(f"COMET_TEST_SEED={storm.seed}")
    try:
        storm.blow(faults)
    except BaseException:
        print(storm.server.log())
        raise


def test_nothing_is_lost_over_sqlite_whatever_happens_to_a_worker(tmp_path: Path) -> None:
    """One worker is killed, all are replaced, and one stands still for three seconds."""
    over_sqlite(tmp_path, seed=1, size=SMALL, times=1)


def test_nothing_is_lost_over_redis_whatever_happens(tmp_path: Path) -> None:
    """The same; and Redis is restarted, emptied, put back to an earlier state; ways to it are cut and mended."""
    over_redis(tmp_path, seed=1, size=SMALL)


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_storms_over_sqlite(tmp_path: Path, seed: int) -> None:
    """400 subscribers and 10,000 updates, each fault three times, in any order."""
    over_sqlite(tmp_path, seed, FULL, times=3)


@pytest.mark.soak
@pytest.mark.parametrize("seed", SEEDS)
def test_storms_over_redis(tmp_path: Path, seed: int) -> None:
    """The same over Redis, with all that happens there."""
    over_redis(tmp_path, seed, FULL)
