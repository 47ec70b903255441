"""Publishing, as a trigger does it: what it publishes is rendered and noted, and its checkpoint is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ...breath import breathe
from ...brokers import Receipt
from ...core.update import Update
from .. import Publish
from .checkpoints import Checkpoints
from .state import State


#: Makes of an update what is published instead.
Render = Callable[[Update], Update]


class Noted:
    """Publish what ``render`` makes of the updates, and note it in the state."""

    def __init__(self, publish: Publish, state: State, render: Render | None = None) -> None:
        self.publish = publish
        self.state = state
        self.render = render

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        if self.render is not None:
            updates = list(self._rendered(updates, self.render))
        receipts = self.publish(updates, checkpoint)
        self.state.published(receipts, checkpoint)
        return receipts

    @staticmethod
    def _rendered(updates: Sequence[Update], render: Render) -> Iterator[Update]:
        for update in updates:
            yield render(update)
            breathe()  # there may be hundreds, each with a template

    @property
    def lasts(self) -> bool:
        return self.publish.lasts

    def checkpoint(self) -> str | None:
        self.state.position = self.publish.checkpoint()
        return self.state.position


class Alone:
    """Publish where no other worker shares the log. Without ``checkpoints`` nothing is remembered."""

    lasts = False

    def __init__(
        self, name: str, publish: Callable[[Sequence[Update]], list[Receipt]], checkpoints: Checkpoints | None
    ) -> None:
        self.name = name
        self.publish = publish
        self.checkpoints = checkpoints

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        receipts = self.publish(updates)
        if checkpoint is not None and self.checkpoints is not None:
            self.checkpoints.remember(self.name, checkpoint)
        return receipts

    def checkpoint(self) -> str | None:
        return None if self.checkpoints is None else self.checkpoints.get(self.name)
