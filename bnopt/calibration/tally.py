"""The parts of a pass as they come in, merged in the order of their shards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bnopt.calibration.runner import Part
from bnopt.errors import InternalError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bnopt.calibration.engine import Engine, Task


@dataclass(slots=True)
class Tally:
    """What is known of a pass so far. As a container: the numbers of the shards that are done.

    Attributes:
        merged: All shards below `following`, merged in their order.
        following: The first shard that is not in `merged`.
        waiting: Shards that finished before one below them did, by number.
    """

    merged: Part
    following: int = 0
    waiting: dict[int, Part] = field(default_factory=dict[int, Part])

    @staticmethod
    def of(places: int) -> Tally:
        """Nothing yet."""
        return Tally(Part.empty(places))

    def __contains__(self, number: object) -> bool:
        # not a condition: only numbers are asked for
        return isinstance(number, int) and (number < self.following or number in self.waiting)

    def add(self, number: int, part: Part) -> None:
        """Take in a shard; one that is known already counts once."""
        if number in self:
            return
        self.waiting[number] = part
        while self.following in self.waiting:
            self.merged = self.merged.merge(self.waiting.pop(self.following))
            self.following += 1

    @property
    def samples(self) -> int:
        """Samples in all shards that are done."""
        return self.merged.samples + sum(part.samples for part in self.waiting.values())

    @property
    def feeds(self) -> int:
        """Feeds in all shards that are done."""
        return self.merged.feeds + sum(part.feeds for part in self.waiting.values())


def run_pass(
    engine: Engine,
    task: Task,
    tally: Tally,
    *,
    keep: Callable[[], None],
    tell: Callable[[int, int], None],
) -> Part:
    """Run what is left of a pass.

    Args:
        engine: Where to run.
        task: What.
        tally: What is known already; added to.
        keep: Called after each shard.
        tell: Called with (samples done, samples in all; 0 if that is not known).

    Returns:
        The moments of the whole dataset.

    Raises:
        InternalError: The engine has left out a shard.
        UsageError: An earlier run had more data than there are now.
    """
    total = task.dataset.samples or 0
    earlier = {*tally.waiting}
    tell(tally.samples, total)
    for number, part in engine.parts(task, tally):
        tally.add(number, part)
        keep()
        tell(tally.samples, total)
    if tally.waiting and earlier.issuperset(tally.waiting):
        raise UsageError("the data has become shorter since the partial moments were written")
    if tally.waiting or task.shards not in (None, tally.following):
        raise InternalError("an engine has left out a shard of the data")
    return tally.merged
