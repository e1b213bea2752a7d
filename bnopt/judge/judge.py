"""`compare_models`: run both models, measure the original's own error, and give a verdict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from bnopt.errors import UsageError
from bnopt.findings import Validation
from bnopt.judge.bench import Bench
from bnopt.judge.contract import mismatches
from bnopt.judge.feasible import make_plan
from bnopt.judge.measure import Comparison, measure_onnxruntime, measure_reference
from bnopt.judge.tally import Tally
from bnopt.judge.verdict import Fixed, failed
from bnopt.runtime.interface import read_interface
from bnopt.runtime.process import Worker
from bnopt.runtime.providers import check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bnopt.runtime.data import DataSource


def compare_models(
    original: Path,
    candidate: Path,
    *,
    providers: Sequence[str] = ("cpu",),
    data: DataSource | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    timeout: float = 300.0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Validation:
    """Decide whether a candidate computes what the original does.

    The original runs with onnxruntime's optimizations off, the candidate with them off and at
    the default level, on every provider; a float64 reference measures how wrong the original is
    itself, and the candidate may be as wrong up to a small factor (`bnopt.judge.tolerance`).
    The same arguments give the same verdict.

    Args:
        original: Path of the original model.
        candidate: Path of the model that should compute the same.
        providers: `cpu`, `cuda` or both; each is proven to have run the models.
        data: User data (`bnopt.runtime.data`) instead of generated inputs.
        rtol: With `atol`, a fixed tolerance `atol + rtol * |original|` instead of the measured one.
        atol: See `rtol`; either alone leaves the other at 0.
        seed: Seed of the generated inputs.
        timeout: Seconds that one job may take in the worker.
        progress: Called with (what is being done, jobs done, jobs expected); the last is a guess.

    Returns:
        The verdict; `equivalent` is None where nothing could run the original.

    Raises:
        UsageError: An unknown provider, a negative tolerance.
        LoadError: A file that is not a model.
        DataError: User data that does not fit the model.
        DependencyError: No usable onnxruntime.
        ProviderError: A provider that was asked for is not there or did not run the model.
    """
    started = time.perf_counter()
    names = check_names(providers)
    fixed = _fixed(rtol, atol)
    ours, theirs = read_interface(original), read_interface(candidate)
    broken = mismatches(ours, theirs)
    if broken:
        outputs = tuple(failed(name, message).comparison for name, message in broken.items())
        return Validation(False, "none", outputs=outputs, seconds=time.perf_counter() - started)
    tally = Tally([info.name for info in ours.outputs])
    with Worker(timeout) as worker:
        bench = Bench(worker, _stepper(progress, expected=6 + 3 * len(names)))
        plan = make_plan(bench, Path(original), ours, names[0], data, seed)
        tally.note(*plan.notes)
        what = Comparison(Path(original), Path(candidate), ours, fixed, seed)
        if plan.on_onnxruntime:
            measure_onnxruntime(bench, what, plan.runs, names, tally)
        elif plan.runs:
            measure_reference(bench, what, plan.runs, tally)
    return _validation(tally, time.perf_counter() - started)


def _fixed(rtol: float | None, atol: float | None) -> Fixed | None:
    if rtol is None and atol is None:
        return None
    fixed = Fixed(rtol or 0.0, atol or 0.0)
    if not (fixed.rtol >= 0.0 and fixed.atol >= 0.0):
        raise UsageError(f"rtol and atol must not be negative, got {rtol} and {atol}")
    return fixed


def _stepper(
    progress: Callable[[str, int, int], None] | None, expected: int
) -> Callable[[str], None]:
    done = 0

    def step(what: str) -> None:
        nonlocal done
        if progress is not None:
            progress(what, done, max(expected, done + 1))
        done += 1

    return step


def _validation(tally: Tally, seconds: float) -> Validation:
    outputs = tuple(tally.comparisons())
    return Validation(
        equivalent=tally.equivalent(),
        oracle=tally.oracle,
        providers=tuple(tally.proofs),
        outputs=outputs,
        runs=len(tally.labels),
        batch_sizes=tuple(dict.fromkeys(tally.batches)),
        notes=tuple(dict.fromkeys(note for note in tally.notes if note)),
        seconds=seconds,
    )
