"""Run data through a tapped model and merge what comes out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnopt.algebra.base import Context
from bnopt.calibration.engine import LocalEngine, Task
from bnopt.calibration.runner import Part, sound
from bnopt.calibration.tally import Tally, run_pass
from bnopt.calibration.taps import Tap, Tapped, tapped
from bnopt.evidence import Measured
from bnopt.io import stage
from bnopt.runtime.dataset import open_dataset
from bnopt.runtime.interface import read_interface

if TYPE_CHECKING:
    import onnx_ir as ir

    from bnopt.runtime.data import DataSource

BATCH = 8
"""Samples in a feed where the model leaves it open: small, so that tensors stay in the cache."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was measured.

    Attributes:
        samples: How many samples were run.
        moments: Site id -> moments, for every tap that could be measured.
        notes: What was left out.
    """

    samples: int
    moments: dict[str, Measured]
    notes: tuple[str, ...] = ()


def gather(
    work: ir.Model,
    taps: Sequence[Tap],
    data: DataSource,
    *,
    provider: str = "cpu",
    max_samples: int = 1024,
    progress: Callable[[str, int, int], None] | None = None,
    timeout: float = 300.0,
) -> Gathered:
    """Measure the moments per channel of the tensors at `taps`, over all of `data`.

    They are computed inside onnxruntime at its default optimizations; what leaves it are a few
    numbers per channel. Only what the taps need is run.

    Args:
        work: Only read.
        taps: Where to measure.
        data: As for validation (`bnopt.runtime.data`).
        provider: `cpu` or `cuda`.
        max_samples: Samples of `data` beyond this are left out, with a note.
        progress: Called with (`measure`, samples done, samples in all).
        timeout: Seconds that one chunk of feeds may take.

    Raises:
        DataError: Data that does not fit the model.
        DependencyError: No usable onnxruntime.
        ProviderError: The provider is not there.
        ExecutionError: The model does not run.
    """
    found = tapped(Context.of(work), taps)
    if not found.places:
        return Gathered(0, {}, found.notes)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bnopt-"))
        path = stack.enter_context(stage(found.model, Path(folder) / "tapped.onnx")).path
        inputs = read_interface(path).inputs
        dataset = open_dataset(data, inputs, max_samples=max_samples, usual=BATCH)
        engine = stack.enter_context(LocalEngine(timeout))
        task = Task(path, found.places, inputs, dataset, provider, singly=True)
        tell = progress or _silent
        whole = run_pass(
            engine,
            task,
            Tally.of(len(found.places)),
            keep=lambda: None,
            tell=lambda done, total: tell("measure", done, total),
        )
    return _gathered(found, whole, [*dataset.notes, *engine.notes])


def _gathered(found: Tapped, whole: Part, notes: list[str]) -> Gathered:
    moments: dict[str, Measured] = {}
    odd = 0
    for place, one in zip(found.places, whole.moments, strict=True):
        if one is None or not sound(one):
            odd += len(place.sites)
            continue
        measured = Measured(
            whole.samples, one.count, tuple(one.mean.tolist()), tuple(one.variance.tolist())
        )
        moments.update((site, measured) for site in place.sites)
    if odd:
        notes.append(f"{odd} of {odd + len(moments)} inputs of batch norms are not finite or empty")
    return Gathered(whole.samples, moments, tuple(dict.fromkeys((*found.notes, *notes))))


def _silent(stage: str, done: int, total: int) -> None:
    return None
