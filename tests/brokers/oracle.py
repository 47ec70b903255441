"""The oracle of what a subscriber must be told: the publishers' list of what was acknowledged.

Received and told as lost together are everything; nothing is both, and nothing comes twice. What was refused with "may
have been accepted" may come or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from comet.brokers import Receipt
from comet.core.cursor import Cursor
from comet.core.log import Gap
from comet.core.update import Update


@dataclass
class Oracle:
    """What was acknowledged: (channel, data) by id. ``maybe``: data whose fate its publisher does not know."""

    acknowledged: dict[Cursor, tuple[str, bytes]] = field(default_factory=dict)
    epochs: list[str] = field(default_factory=list)
    maybe: set[bytes] = field(default_factory=set)
    _sorted: dict[str, list[Cursor]] = field(default_factory=dict)

    def accepted(self, updates: Sequence[Update], receipts: Sequence[Receipt]) -> None:
        for update, receipt in zip(updates, receipts, strict=True):
            place = Cursor(receipt.epoch, receipt.seq)
            assert place not in self.acknowledged, f"{place} was given out twice"
            self.acknowledged[place] = (update.channel, update.data)
            if receipt.epoch not in self.epochs:
                self.epochs.append(receipt.epoch)
        self._sorted.clear()

    def check(self, names: Iterable[str], told: Sequence[Update | Gap]) -> None:
        """Raise AssertionError unless ``told`` is what a reader of these channels from the beginning had to be told.

        A gap is told once for all channels: each may have lost something up to the next of its updates, but nothing up
        to the cursor that the gap names.
        """
        expected = {name: self._places(name) for name in names}
        index = {place: n for places in expected.values() for n, place in enumerate(places)}
        behind = dict.fromkeys(names, -1)
        excused: dict[str, tuple[int, int]] = {}
        came: set[Cursor] = set()
        last, first, gap = Cursor("", 0), None, None
        for each in told:
            if isinstance(each, Gap):
                gap = each
                excused = dict.fromkeys(names, self._order(Cursor.parse(each.since))) | excused
                first = each.first
                if each.reason != "trimmed":
                    last = Cursor("", 0)  # everything that is kept comes after it
                continue
            place, name = Cursor(each.epoch, each.seq), each.channel
            assert name in names
            assert first in (None, each.id), f"{each.id} after a gap that ends with {first}"
            assert place not in came, f"{place} came twice"
            assert not last.epoch or (place.epoch == last.epoch and place.seq > last.seq), f"{place} after {last}"
            last, first = place, None
            came.add(place)
            if place not in index:
                assert each.data in self.maybe or self._was_relabelled(place, each), f"{place} was never published"
                continue
            assert self.acknowledged[place] == (name, each.data), f"{place} is another update"
            missed = expected[name][behind[name] + 1 : index[place]]
            if name in excused:
                since = excused.pop(name)
                had = [lost for lost in missed if self._order(lost) <= since]
                assert not had, f"{place}: had not been told {had[:5]}, which the {gap} takes for told"
            else:
                assert not missed, f"{place}: missed {missed[:5]}"
            assert index[place] > behind[name], f"{place} after {expected[name][behind[name]]}"
            behind[name] = index[place]
        for name in set(names) - set(excused):
            assert behind[name] == len(expected[name]) - 1, (
                f"missed {expected[name][behind[name] + 1 :][:5]} at the end"
            )

    def _places(self, channel: str) -> list[Cursor]:
        if channel not in self._sorted:
            places = [place for place, (name, _) in self.acknowledged.items() if name == channel]
            self._sorted[channel] = sorted(places, key=self._order)
        return self._sorted[channel]

    def _order(self, place: Cursor | None) -> tuple[int, int]:
        if place is None or place.epoch not in self.epochs:
            return (-1, 0)
        return (self.epochs.index(place.epoch), place.seq)

    def _was_relabelled(self, place: Cursor, update: Update) -> bool:
        """What an older copy of the log still has comes again in the new epoch, with its old number."""
        accepted = (update.channel, update.data)
        return any(self.acknowledged.get(Cursor(epoch, place.seq)) == accepted for epoch in self.epochs)

    def is_complete(self, names: Iterable[str], told: Sequence[Update | Gap]) -> bool:
        """Whether the reader has come to the end."""
        try:
            self.check(names, told)
        except AssertionError:
            return False
        return True
