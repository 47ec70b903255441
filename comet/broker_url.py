"""Which broker a URL names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from .brokers import Broker
from .brokers.memory import MemoryBroker
from .core.errors import SettingsError
from .settings import Settings


def make_broker(settings: Settings, limit: int) -> Broker:
    """The broker of ``COMET_BROKER``; ``limit`` bytes of history in this process. Raises SettingsError."""
    if settings.broker == "memory":
        return MemoryBroker(
            rules=settings.rules,
            limit=limit,
            max_channels=settings.max_channels,
            idempotency_seconds=settings.idempotency_seconds,
        )
    if settings.broker.startswith("sqlite:"):
        return _sqlite(settings, limit)
    return _redis(settings, limit)


def _sqlite(settings: Settings, limit: int) -> Broker:
    from .brokers.sqlite import SqliteBroker

    url = urlsplit(settings.broker)
    options = parse_qs(url.query)
    synchronous = options.pop("synchronous", ["normal"])[-1].upper()
    if options or synchronous not in ("NORMAL", "FULL"):
        raise SettingsError(
            f"COMET_BROKER is {settings.broker!r}; after the file it takes ?synchronous=normal or ?synchronous=full."
        )
    return SqliteBroker(
        Path(url.path.removeprefix("/")),
        rules=settings.rules,
        limit=limit,
        max_channels=settings.max_channels,
        idempotency_seconds=settings.idempotency_seconds,
        synchronous=synchronous,
    )


def _redis(settings: Settings, limit: int) -> Broker:
    try:
        from .brokers.redis import RedisBroker
    except ImportError as error:
        # Without the URL, which may have a password.
        raise SettingsError("COMET_BROKER is a Redis, and the driver is not installed: pip install redis") from error
    return RedisBroker(
        settings.broker,
        rules=settings.rules,
        limit=limit,
        max_channels=settings.max_channels,
        idempotency_seconds=settings.idempotency_seconds,
    )
