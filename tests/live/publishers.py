"""Publishers for the tests: they keep what was acknowledged, to be held against what subscribers saw."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import requests

from tests.live.readers import Seen, seq_of
from tests.live.server import Server


class Refused(Exception):
    """The server did not take a batch, and said so."""

    def __init__(self, answer: requests.Response) -> None:
        super().__init__(f"{answer.status_code}: {answer.text}")
        self.status = answer.status_code
        self.headers = answer.headers


class Publisher:
    """Publishes batches on one connection. ``acknowledged``: all that was answered with 201, in order."""

    def __init__(self, server: Server) -> None:
        self.url = f"{server.url}/channels"
        self.acknowledged: list[Seen] = []
        self._session = requests.Session()
        self._session.headers.update({**server.auth, "Content-Type": "application/x-ndjson"})

    def publish(self, updates: Iterable[tuple[str, str]]) -> list[Seen]:
        """Publish (channel, data) in one batch; return them with the ids that they were given. Raises Refused."""
        batch = list(updates)
        body = "\n".join(json.dumps({"channel": channel, "data": data}) for channel, data in batch)
        answer = self._session.post(self.url, body.encode(), timeout=20)
        if answer.status_code != 201:
            raise Refused(answer)
        epoch, _, first = answer.json()["first"].rpartition("-")
        assert seq_of(answer.json()["last"]) == int(first) + len(batch) - 1, "a batch has its places in a row"
        given = [Seen(data, f"{epoch}-{int(first) + place}", channel) for place, (channel, data) in enumerate(batch)]
        self.acknowledged += given
        return given

    def close(self) -> None:
        self._session.close()


@contextmanager
def in_background(*works: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Do each work again and again in a thread of its own; what is yielded stops that. Their failures fail the test."""
    stopped = threading.Event()
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            while not stopped.is_set():
                work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]

    def stop() -> None:
        stopped.set()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    for thread in threads:
        thread.start()
    try:
        yield stop
    finally:
        stop()
