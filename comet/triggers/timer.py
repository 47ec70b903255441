"""Timer: calls a function at a steady pace and publishes what it returns."""

from __future__ import annotations

from collections.abc import Callable

from gevent.event import Event

from ..core.update import Update
from . import Publish, beats


class Timer:
    """Each ``every`` seconds, publish to ``channel`` what ``call`` returns: str, bytes, anything JSON, an Update, or
    None for nothing. What did not change is published again only with ``repeat``, or where nothing of it is kept.

    It runs while ``channel`` is watched, or ``always``.
    """

    def __init__(
        self,
        name: str,
        *,
        call: Callable[[], object],
        every: float,
        channel: str,
        type: str | None = None,
        event: str | None = None,
        repeat: bool = False,
        always: bool = False,
    ) -> None:
        self.name = name
        self.call = call
        self.every = every
        self.channel = channel
        self.type = type
        self.event = event
        self.repeat = repeat
        self.always = always
        self._stopping = Event()
        self._before: tuple[object, ...] | None = None

    def run(self, publish: Publish) -> None:
        if self._stopping.is_set():
            self._before = None  # stopped: who comes now is to have a fresh value
        self._stopping.clear()
        for _ in beats(self.every, self._stopping):
            self._beat(publish)

    def stop(self) -> None:
        self._stopping.set()

    def _beat(self, publish: Publish) -> None:
        value = self.call()
        if value is None or self._stopping.is_set():
            return
        update = value if isinstance(value, Update) else self._update(value)
        now = (update.channel, update.data, update.type, update.event)
        if self.repeat or now != self._before or not publish.kept:
            publish([update])
            self._before = now

    def _update(self, value: object) -> Update:
        return Update.of(self.channel, value, type=self.type, event=self.event)
