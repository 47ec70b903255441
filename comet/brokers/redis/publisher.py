"""Publisher: what this worker publishes, in calls of the script, one after the other.

What comes while a call is under way goes together in the next. Each call has a number, so that it may be repeated once
where no answer comes: Redis knows what it has done already, and what came too late.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import gevent
from gevent.event import AsyncResult, Event

from ...core.errors import BrokerAway, CometError, LeaseLost, NotFound, TooLarge, TooManyChannels
from ...core.log import Entry
from ...core.update import Update
from .. import Lease, Receipt
from .entries import mark
from .link import AWAY, Answer, Link


#: Updates that are published in one call at the most, each 10 kB counting as one: Redis serves nobody else meanwhile.
#: A batch is always one call; this is the largest.
GROUP = 100
LARGEST = 10_000

#: Seconds that a publisher waits before it is told that the broker is away.
PATIENCE = 2.0

MAYBE = "The update may have been accepted; with the same Idempotency-Key it is safe to repeat it."


@dataclass(slots=True, eq=False)
class Job:
    """Entries that are accepted together. Under a lease: only while it holds, and with the checkpoint."""

    entries: Sequence[Entry]
    lease: Lease | None = None
    checkpoint: str | None = None
    result: AsyncResult = field(default_factory=AsyncResult)

    @property
    def size(self) -> int:
        return 1 + sum(1 + len(entry.data) // 10_000 for entry in self.entries if isinstance(entry, Update))


class Publisher:
    """Publishes over a link. ``run`` it in a greenlet; until then each publisher does its own."""

    def __init__(self, link: Link, *, max_channels: int, idempotency_seconds: float) -> None:
        self.link = link
        self.max_channels = max_channels
        self.idempotency_seconds = idempotency_seconds
        self.me = ""
        self._number = 0
        self._jobs: deque[Job] = deque()
        self._work = Event()

    def publish(self, job: Job) -> list[Receipt]:
        """Return when it is accepted. Raises what a broker raises (see ``Broker.publish``)."""
        if len(job.entries) > LARGEST:
            raise TooLarge(f"{len(job.entries)} updates in one batch; Redis takes at most {LARGEST} together.")
        self._jobs.append(job)
        if self.me:
            self._work.set()
        else:
            self._commit(self._gather())
        try:
            with gevent.Timeout(PATIENCE, BrokerAway(f"Redis at {self.link.name} does not answer. {MAYBE}")):
                outcome: list[Receipt] | CometError = job.result.get()
        except BrokerAway:
            if job in self._jobs:
                self._jobs.remove(job)
            raise
        if isinstance(outcome, CometError):
            raise outcome
        return outcome

    def begin(self) -> None:
        """From now on it runs. The name is made here: a worker may be forked from what was made before."""
        self.me = secrets.token_hex(8)

    def run(self) -> None:
        """Publish what has gathered, group after group, for ever."""
        while True:
            self._work.wait()
            self._work.clear()
            while self._jobs:
                self._commit(self._gather())

    def _gather(self) -> list[Job]:
        jobs = [self._jobs.popleft()]
        size = jobs[0].size
        while self._jobs and (size := size + self._jobs[0].size) <= GROUP:
            jobs.append(self._jobs.popleft())
        return jobs

    def _commit(self, jobs: Sequence[Job]) -> None:
        try:
            answer = self._call(jobs)
        except (Exception, gevent.Timeout) as error:
            self.link.failed(error)
            for job in jobs:
                job.result.set(BrokerAway(f"{self.link.fault} {MAYBE}"))
        else:
            for job, says in zip(jobs, (answer.says or "").split("\n"), strict=True):
                job.result.set(self._outcome(job, says, answer))

    def _call(self, jobs: Sequence[Job]) -> Answer:
        self._number += 1
        arguments = [self.me or secrets.token_hex(8), self._number, self.max_channels, self.idempotency_seconds]
        arguments += [argument for job in jobs for argument in self._arguments(job)]
        with gevent.Timeout(PATIENCE):
            try:
                return self.link.call("publish", *arguments)
            except AWAY:
                return self.link.call("publish", *arguments)

    def _arguments(self, job: Job) -> Iterator[object]:
        checkpoint = "" if job.checkpoint is None else f"={job.checkpoint}"
        yield from (job.lease.name, job.lease.fence, checkpoint) if job.lease else ("", "", "")
        yield len(job.entries)
        for entry in job.entries:
            yield entry.channel
            yield self.link.rule(entry.channel)
            yield (entry.key or "") if isinstance(entry, Update) else ""
            yield mark(entry)
            yield entry.data if isinstance(entry, Update) else ""

    def _outcome(self, job: Job, says: str, answer: Answer) -> list[Receipt] | CometError:
        if says == "!full":
            return TooManyChannels(
                f"{self.max_channels} channels exist already (COMET_MAX_CHANNELS); "
                "one without history and subscribers is forgotten after 60 seconds."
            )
        if says.startswith("!unknown"):
            return NotFound(f"there is no channel {says.split()[1]}.")
        if says == "!lease":
            return LeaseLost(f"another worker runs {job.lease and job.lease.name} now.")
        return [_receipt(text, answer) for text in says.split(";") if text]


def _receipt(text: str, answer: Answer) -> Receipt:
    seq, prev, *earlier = text.split(" ")
    epoch, when = earlier or (answer.epoch, answer.time)
    return Receipt(str(epoch), int(seq), int(prev), float(when), duplicate=bool(earlier))
