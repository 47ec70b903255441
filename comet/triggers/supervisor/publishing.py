"""Publishing, as a trigger does it: what it publishes is rendered and noted, and its checkpoint is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

from ...breath import breathe
from ...brokers import Receipt
from ...core.update import Update
from .. import Publish, Trigger
from .checkpoints import Checkpoints
from .state import State
from .turns import Turn


#: Makes of an update what is published instead.
Render = Callable[[Update], Update]


#: Whether anything is kept of a channel that was published to at this place.
Keeps = Callable[[str, Receipt], bool]


class Noted:
    """Publish what ``render`` makes of the updates, and note it in the state.

    ``source`` says what its checkpoints are of: others that were remembered under its name are as good as none.
    """

    def __init__(
        self, publish: Alone | Turn, state: State, *, source: str, keeps: Keeps, render: Render | None = None
    ) -> None:
        self.publish = publish
        self.state = state
        self.source = source
        self.keeps = keeps
        self.render = render

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        if self.render is not None:
            updates = list(self._rendered(updates, self.render))
        receipts = self.publish(updates, None if checkpoint is None else f"{self.source} {checkpoint}")
        self.state.published(updates, receipts)
        if checkpoint is not None:
            self.state.stands(checkpoint)
        return receipts

    @staticmethod
    def _rendered(updates: Sequence[Update], render: Render) -> Iterator[Update]:
        for update in updates:
            yield render(update)
            breathe()  # there may be hundreds, each with a template

    @property
    def lasts(self) -> bool:
        return self.publish.lasts

    @property
    def kept(self) -> bool:
        return self.state.newest is None or self.keeps(*self.state.newest)

    def checkpoint(self) -> str | None:
        source, _, text = (self.publish.checkpoint() or "").partition(" ")
        found = text if source == self.source else None
        self.state.stands(found)
        return found


def source_of(trigger: Trigger) -> str:
    """What the checkpoints of a trigger are of, in one word: its kind, and what it reads."""
    what = getattr(trigger, "source", "")
    kind = type(trigger).__name__
    return f"{kind}:{blake2b(what.encode(), digest_size=6).hexdigest()}" if what else kind


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


def _is_what_triggers_are_given(noted: Noted) -> Publish:
    return noted  # checked by mypy
