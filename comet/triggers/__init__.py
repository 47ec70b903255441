"""The seam to the sources of updates. A trigger has two verbs; the supervisor runs it and starts it again."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from gevent.event import Event

from ..brokers import Receipt
from ..core.errors import Alarm, TooManyChannels, Unavailable
from ..core.update import Update


#: Errors of publishing for which no update is to blame: it waits in its source until they have passed.
NOBODYS_FAULT = (Unavailable, TooManyChannels, Alarm)


class Publish(Protocol):
    """What a trigger is given to publish with. A checkpoint is the trigger's own text: where its source goes on."""

    @property
    def lasts(self) -> bool:
        """Whether what is published outlives this process. Checkpoints do."""

    @property
    def kept(self) -> bool:
        """Whether anything is kept of the channel that was published to last. If not, who comes now sees nothing: what
        tells how something is, and not what has happened, is published again then, changed or not.
        """

    def __call__(self, updates: Sequence[Update], checkpoint: str | None = None, /) -> list[Receipt]:
        """Publish the updates, all or none, and remember the checkpoint: with a broker that workers share, both or
        neither. Without updates the checkpoint alone. Raises what publishing raises; LeaseLost: let go of the source.
        """

    def checkpoint(self) -> str | None:
        """What was remembered last, in whichever worker and before whichever restart; None: nothing yet, or only of
        what was another kind of trigger, or had another ``source``, under the same name.
        """


class Trigger(Protocol):
    """A source that is watched in a greenlet of its own.

    Where a checkpoint is of no use for another file, table or the like, it has an attribute ``source``, which names it.
    """

    name: str

    def run(self, publish: Publish) -> None:
        """Watch the source and publish, until ``stop``. What it raises, the supervisor tells and tries again.

        Raise SourceFailed where the source is not well, and Alarm for what no repetition mends: of these the log has
        the sentence alone.
        """

    def stop(self) -> None:
        """Return from ``run`` at once. Called from another greenlet; must not wait."""


@runtime_checkable
class Rereads(Protocol):
    """A trigger that can read its source again. Unless ``always``, it runs only while its channel is watched, or one of
    its ``other_channels``, if it has any.

    What it has published before a ``stop`` may be gone, or another's, when it runs again: it publishes afresh.
    """

    channel: str
    always: bool


def beats(seconds: float, stopping: Event) -> Iterator[None]:
    """Yield at a steady pace until ``stopping`` is set: at once, and then every ``seconds``.

    The pace does not drift: beats are counted from the start, and those that slow work has missed are left out.
    """
    begun, beat = time.monotonic(), 0
    while not stopping.is_set():
        yield
        # At least the next one: a timer may ring a moment early, and one beat must not be two.
        beat = max(beat + 1, math.ceil((time.monotonic() - begun) / seconds))
        stopping.wait(max(0.0, begun + beat * seconds - time.monotonic()))
