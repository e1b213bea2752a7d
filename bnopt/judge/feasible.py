"""What can run the original, on which feeds?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnopt.errors import DataError, ExecutionError
from bnopt.judge.bench import ONNXRUNTIME
from bnopt.judge.compare import is_float
from bnopt.judge.plan import data_runs, generated_runs
from bnopt.runtime.data import load_data
from bnopt.runtime.feeds import Sizes, generate, ladder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bnopt.judge.bench import Bench, Outputs
    from bnopt.judge.plan import Run
    from bnopt.runtime.data import DataSource
    from bnopt.runtime.interface import Interface

# With a symbol of 1 nothing is left of most convolutional networks, so the reference tries a few
# sizes only: a failing try may cost as much as a run.
_REFERENCE_TRIES = 6


@dataclass(frozen=True, slots=True)
class Plan:
    """What a comparison will run.

    Attributes:
        runs: The feeds; empty if nothing can run the model.
        on_onnxruntime: Whether onnxruntime runs the original.
        notes: Why not, what was left out.
    """

    runs: list[Run]
    on_onnxruntime: bool
    notes: tuple[str, ...] = ()


def make_plan(
    bench: Bench,
    original: Path,
    interface: Interface,
    provider: str,
    data: DataSource | None,
    seed: int,
) -> Plan:
    """Choose the feeds, and try out whether the original runs on them.

    Raises:
        DataError: User data that does not fit the model.
        ProviderError: The provider is not there.
    """
    if data is not None:
        user = load_data(data, interface.inputs)
        return _try_runs(bench, original, provider, data_runs(user.feeds), list(user.notes))
    rungs = list(ladder(interface.inputs))
    try:
        feeds = [generate(interface.inputs, seed=seed, sizes=sizes) for sizes in rungs]
    except DataError as error:
        return Plan([], on_onnxruntime=False, notes=(error.message,))
    try:
        sizes = rungs[bench.first_runnable(original, feeds, provider)]
    except ExecutionError as error:
        return _reference_plan(bench, original, interface, rungs, seed, error.message)
    return _try_runs(bench, original, provider, generated_runs(interface.inputs, sizes, seed), [])


def small_runs(interface: Interface, like: Run, seed: int) -> list[Run]:
    """Feeds of small values and the sizes of `like`, for an original that gives NaN on others."""
    for sizes in ladder(interface.inputs):
        runs = generated_runs(interface.inputs, sizes, seed, small=True)
        if {k: v.shape for k, v in runs[0].feed.items()} == {
            k: v.shape for k, v in like.feed.items()
        }:
            return [run for run in runs if run.batch == like.batch]
    return []


def has_nan(outputs: Outputs) -> bool:
    """Whether any floating-point output holds a NaN."""
    return any(
        is_float(array) and bool(np.isnan(array.astype(np.complex128)).any())
        for array in outputs.values()
    )


def _try_runs(
    bench: Bench, original: Path, provider: str, runs: Sequence[Run], notes: list[str]
) -> Plan:
    """Keep the runs that onnxruntime carries out; the first run of each batch size decides."""
    kept: list[Run] = []
    refused: dict[int, str] = {}
    for batch in dict.fromkeys(run.batch for run in runs):
        same = [run for run in runs if run.batch == batch]
        try:
            bench.first_runnable(original, [same[0].feed], provider)
        except ExecutionError as error:
            refused[batch] = error.message
            continue
        kept += same
    if not kept:
        reason = next(iter(refused.values()), "no feed")
        return Plan(list(runs), on_onnxruntime=False, notes=(*notes, cannot_run(reason)))
    notes += [f"batch size {batch} left out: {why}" for batch, why in refused.items()]
    return Plan(kept, on_onnxruntime=True, notes=tuple(notes))


def cannot_run(reason: str) -> str:
    """The note for an original that onnxruntime refuses."""
    return f"onnxruntime cannot run this model ({reason.removeprefix(f'{ONNXRUNTIME}: ')})"


def _reference_plan(
    bench: Bench,
    original: Path,
    interface: Interface,
    rungs: Sequence[Sizes],
    seed: int,
    reason: str,
) -> Plan:
    refusal = ""
    for sizes in rungs[:_REFERENCE_TRIES]:
        runs = generated_runs(interface.inputs, sizes, seed)
        try:
            bench.reference(original, [runs[0].feed])
        except ExecutionError as error:
            refusal = refusal or error.message
            continue
        return Plan(runs, on_onnxruntime=False, notes=(cannot_run(reason),))
    return Plan([], on_onnxruntime=False, notes=(cannot_run(reason), refusal))
