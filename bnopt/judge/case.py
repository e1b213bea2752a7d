"""Everything known about the original on the runs that count, as yardsticks for a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.judge.compare import is_float, magnitude
from bnopt.judge.tolerance import Yardstick, rounding_floor, shares
from bnopt.judge.verdict import Judged, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bnopt.judge.bench import Outputs, Truths
    from bnopt.judge.plan import Run
    from bnopt.judge.verdict import Fixed


@dataclass(frozen=True, slots=True)
class Case:
    """The runs that count, with everything the original did on them.

    Attributes:
        runs: The runs.
        original: The original's outputs, per run.
        noise: Its outputs on noisy inputs, any number per run.
        truths: What the reference says.
        dtypes: Output name -> dtype; where none is declared, that of the array.
        steps: Whether the model has operators whose output jumps.
        skipped: Runs that do not count.
    """

    runs: list[Run]
    original: list[Outputs]
    noise: list[list[Outputs]]
    truths: Truths
    dtypes: dict[str, str]
    steps: bool
    skipped: frozenset[int] = frozenset()

    def yardsticks(self, name: str) -> list[Yardstick]:
        """One per run, for one output."""
        rounding = self._rounding(name)
        largest = max(
            (float(magnitude(outputs[name]).max(initial=0.0)) for outputs in self.original)
            if is_float(self.original[0][name])
            else [0.0]
        )
        found: list[Yardstick] = []
        for number, outputs in enumerate(self.original):
            found.append(
                Yardstick(
                    original=outputs[name],
                    truth=self._truth(number, name),
                    noise=tuple(n[name] for n in self.noise[number] if name in n),
                    dtype=self.dtypes.get(name, str(outputs[name].dtype)),
                    rounding=rounding,
                    steps=self.steps,
                    largest=largest,
                )
            )
        return found

    def _truth(self, number: int, name: str) -> NDArray[Any] | None:
        """The truth, unless it is NaN where the original is a number: on an empty tensor, say."""
        truth, original = self.truths.outputs.get(number, {}).get(name), self.original[number][name]
        if truth is None or not is_float(truth):
            return truth
        return None if np.isnan(truth).any() and not np.isnan(original).any() else truth

    def _rounding(self, name: str) -> tuple[NDArray[np.float64], ...] | None:
        original, truth = self.original[0][name], self._truth(0, name)
        if truth is None or not self.truths.moved or truth.shape != original.shape:
            return None
        if not is_float(original):
            return None
        moved = [outputs[name] for outputs in self.truths.moved]
        return rounding_floor(truth, moved, self.shares(name))

    def shares(self, name: str) -> tuple[NDArray[np.float64], ...]:
        """See `tolerance.shares`; of one output, over all runs."""
        return shares([outputs[name] for outputs in self.original])

    def judge(
        self, results: Sequence[Outputs], where: str, fixed: Fixed | None
    ) -> list[tuple[int, Judged]]:
        """(number of the run, judgement) of every output of every run, in a fixed order."""
        found: list[tuple[int, Judged]] = []
        for name, first in self.original[0].items():
            share = self.shares(name) if is_float(first) else ()
            for number, yardstick in enumerate(self.yardsticks(name)):
                if number in self.skipped:
                    continue
                label = f"{self.runs[number].label}, {where}"
                result = results[number].get(name)
                found.append((number, judge(name, result, yardstick, share, label, fixed)))
        return found
