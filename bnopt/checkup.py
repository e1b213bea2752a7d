"""Everything `check` has to go on: the model's own numbers, and what running it shows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bnopt.delivery import Progress
from bnopt.errors import ExecutionError
from bnopt.source import Source

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnopt.algebra.base import Context
    from bnopt.calibration.taps import Tap
    from bnopt.rules import View
    from bnopt.runtime.data import DataSource


@dataclass(frozen=True, slots=True)
class Examination:
    """A model and what was seen of it.

    Attributes:
        view: What the rules look at.
        samples: Samples of data that were run.
        notes: What could not be run, and why.
    """

    view: View
    samples: int = 0
    notes: tuple[str, ...] = ()


def examine(
    work: ir.Model,
    context: Context,
    *,
    data: DataSource | None,
    run: bool,
    provider: str = "cpu",
    max_samples: int = 1024,
    tell: Progress,
) -> Examination:
    """Look at a model, and run it if asked to.

    Args:
        work: The model, prepared for planning; only read.
        context: Of `work`.
        data: Samples to measure the input of each batch norm on; None measures none.
        run: Whether to run the model on a batch and on its samples.
        provider: `cpu` or `cuda`.
        max_samples: Samples of `data` beyond this are left out, with a note.
        tell: Called with (stage, done, total).

    Raises:
        DataError: Data that does not fit the model.
        DependencyError: No usable onnxruntime.
        ProviderError: The provider is not there.
    """
    from bnopt.rules import View

    view = View.of(work, context)
    if not run and data is None:
        return Examination(view)
    from bnopt.calibration.gather import gather
    from bnopt.judge.behaviour import observe

    notes: list[str] = []
    samples = 0
    with ExitStack() as stack:
        path = Source(work).on_disk(stack)
        if run:
            behaviour = observe(path, data=data, provider=provider, progress=tell)
            notes += behaviour.notes
            view = replace(view, behaviour=behaviour)
        if data is not None:
            try:
                found = gather(
                    work,
                    _taps(view),
                    data,
                    provider=provider,
                    max_samples=max_samples,
                    progress=tell,
                )
            except ExecutionError as error:
                notes.append(f"nothing could be measured: {error.message}")
            else:
                samples = found.samples
                notes += found.notes
                view = replace(view, measured=found.moments)
    return Examination(view, samples, tuple(dict.fromkeys(notes)))


def _taps(view: View) -> Sequence[Tap]:
    """Where to measure: the input of each batch norm, the output of what one was folded into."""
    from bnopt.calibration.taps import Tap

    taps: list[Tap] = []
    for norm in view.norms:
        if norm.input is not None and norm.axis is not None:
            taps.append(Tap(norm.site, norm.input, norm.axis))
    for trace in view.traces:
        taps.append(Tap(trace.site, trace.output, trace.axis))
    return taps
