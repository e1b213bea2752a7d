"""Runs models in the worker: on onnxruntime, and through the float64 reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bnopt.errors import ExecutionError
from bnopt.judge.plan import noisy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from bnopt.judge.plan import Run
    from bnopt.judge.reference import ReferenceRun
    from bnopt.runtime.process import Worker
    from bnopt.runtime.session import Optimizations, SessionRun

    Outputs = dict[str, NDArray[Any]]

ONNXRUNTIME = "onnxruntime"

REFERENCE_OPERATIONS = 3e10
"""Operations that all reference runs of one comparison may take (about 5 s on two cores).

Counted rather than timed, so that the verdict does not depend on the machine.
"""

REFERENCE_WEIGHT_BYTES = 1 << 30
"""Models with more bytes of weights have no reference: it holds them in float64 beside the file."""


@dataclass(slots=True)
class Truths:
    """What the float64 reference has to say about the original.

    Attributes:
        outputs: Index of the run -> its outputs.
        moved: Outputs of run 0 with every weight moved by a unit in the last place.
        refusal: Why there is no reference; empty if there is one.
    """

    outputs: dict[int, Outputs] = field(default_factory=dict[int, "Outputs"])
    moved: list[Outputs] = field(default_factory=list["Outputs"])
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """One worker and the run-time questions a comparison asks it.

    Attributes:
        worker: Where everything runs.
        step: Called with a description before each job.
    """

    worker: Worker
    step: Callable[[str], None]

    def onnxruntime(
        self, path: Path, feeds: Sequence[Outputs], provider: str, optimizations: Optimizations
    ) -> SessionRun:
        """Run feeds through one fresh session.

        Raises:
            ProviderError: The provider is not there.
            ExecutionError: The model does not run; the message is the reason alone.
        """
        self.step(f"{path.name}: {provider}, optimizations {optimizations}")
        result = self.worker.call(
            "bnopt.runtime.session:run",
            str(path),
            feeds,
            provider=provider,
            optimizations=optimizations,
            task=ONNXRUNTIME,
        )
        return cast("SessionRun", result)

    def first_runnable(self, path: Path, feeds: Sequence[Outputs], provider: str) -> int:
        """Index of the first feed that the model runs on; see `session.first_runnable`."""
        self.step(f"{path.name}: trying input sizes")
        result = self.worker.call(
            "bnopt.runtime.session:first_runnable",
            str(path),
            feeds,
            provider=provider,
            task=ONNXRUNTIME,
        )
        return cast("int", result)

    def noise(self, path: Path, runs: Sequence[Run], provider: str) -> list[list[Outputs]]:
        """Per run, outputs of the original on noisy inputs; for run 0 also of a repetition.

        A repetition differs where the model draws random numbers or keeps state.
        """
        feeds: list[Outputs] = []
        counts: list[int] = []
        for number, run in enumerate(runs):
            batch = [noisy(run.feed, seed) for seed in range(2 if number == 0 else 1)]
            batch += [run.feed] if number == 0 else []
            feeds += batch
            counts.append(len(batch))
        outputs = iter(self.onnxruntime(path, feeds, provider, "off").outputs)
        return [[next(outputs) for _ in range(count)] for count in counts]

    def reference(
        self,
        path: Path,
        feeds: Sequence[Outputs],
        *,
        jitter: int | None = None,
        limit: float | None = REFERENCE_OPERATIONS,
    ) -> ReferenceRun:
        """Evaluate feeds in float64.

        Raises:
            ExecutionError: `no float64 reference of ` the model, and why.
        """
        self.step(f"{path.name}: float64 reference")
        result = self.worker.call(
            "bnopt.judge.reference:evaluate",
            str(path),
            feeds,
            jitter=jitter,
            limit=limit,
            task=f"no float64 reference of {path.name}",
        )
        return cast("ReferenceRun", result)

    def truths(self, path: Path, runs: Sequence[Run], weight_bytes: int) -> Truths:
        """The truth for run 0, its rounding floor, and as many more runs as the budget allows."""
        if weight_bytes > REFERENCE_WEIGHT_BYTES:
            size = weight_bytes / 2**30
            return Truths(refusal=f"no float64 reference of {path.name}: {size:.1f} GiB of weights")
        found = Truths()
        try:
            first = self.reference(path, [runs[0].feed])
            found.outputs[0] = first.outputs[0]
            unit_cost = first.operations[0] / max(runs[0].batch, 1)
            left = REFERENCE_OPERATIONS - first.operations[0]
            if left >= first.operations[0]:
                found.moved += self.reference(path, [runs[0].feed], jitter=0).outputs
                left -= first.operations[0]
            chosen: list[int] = []
            for number, run in enumerate(runs[1:], start=1):
                cost = unit_cost * max(run.batch, 1)
                if cost <= left:
                    chosen.append(number)
                    left -= cost
            if chosen:
                more = self.reference(path, [runs[number].feed for number in chosen])
                found.outputs.update(zip(chosen, more.outputs, strict=True))
        except ExecutionError as error:
            found.refusal = error.message
        return found
