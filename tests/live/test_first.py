"""One update, from the publisher to the subscriber, through everything."""

from __future__ import annotations

import pytest

from tests.live.server import Server


pytestmark = pytest.mark.delivers


def test_an_update_reaches_a_waiting_subscriber(server: Server) -> None:
    """A stream that is open gets what is published, at once and in its wire."""
    with server.get("/channels/first/text", stream=True) as stream:
        server.publish("first", "hello")
        assert next(stream.iter_lines()) == b"hello"
