"""Carry out a plan: original, noise, truth, candidate; judge every output of every run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnopt.errors import ExecutionError
from bnopt.findings import ProviderProof
from bnopt.judge.bench import REFERENCE_OPERATIONS, Truths
from bnopt.judge.case import Case
from bnopt.judge.feasible import cannot_run, has_nan, small_runs
from bnopt.judge.plan import noisy
from bnopt.judge.tolerance import STEP_OPERATORS, K
from bnopt.runtime.interface import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bnopt.judge.bench import Bench, Outputs
    from bnopt.judge.plan import Run
    from bnopt.judge.tally import Tally
    from bnopt.judge.verdict import Fixed, Judged
    from bnopt.runtime.interface import Interface


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        original: Path of the original.
        candidate: Path of the candidate.
        interface: The original's interface.
        fixed: A fixed tolerance, or None for the measured one.
        seed: Seed of generated feeds.
    """

    original: Path
    candidate: Path
    interface: Interface
    fixed: Fixed | None
    seed: int

    @property
    def steps(self) -> bool:
        """Whether the original has operators whose output jumps."""
        return bool(self.interface.op_types & STEP_OPERATORS)

    @property
    def dtypes(self) -> dict[str, str]:
        """Output name -> numpy's name of its declared dtype."""
        known = {info.name: numpy_dtype(info.dtype) for info in self.interface.outputs}
        return {name: str(dtype) for name, dtype in known.items() if dtype is not None}


def measure_onnxruntime(
    bench: Bench, what: Comparison, runs: list[Run], providers: Sequence[str], tally: Tally
) -> None:
    """Compare on onnxruntime, with the float64 truth where it is to be had.

    Raises:
        ProviderError: A provider is not there or did not run the model.
    """
    truths: Truths | None = None
    for provider in providers:
        try:
            runs, original, skipped = _original(bench, what, runs, provider, truths is None, tally)
        except ExecutionError as error:
            tally.miss(f"provider '{provider}': {cannot_run(error.message)}")
            continue
        if not runs:
            return
        if truths is None:
            truths = _truths(bench, what, runs, tally)
            tally.labels += [run.label for run in runs]
            tally.batches += [run.batch for run in runs]
        noise: list[list[Outputs]] = [[] for _ in runs]
        if what.fixed is None:
            noise = bench.noise(what.original, runs, provider)
        case = Case(runs, original, noise, truths, what.dtypes, what.steps, skipped)
        _candidate(bench, what, case, provider, tally)


def _original(
    bench: Bench, what: Comparison, runs: list[Run], provider: str, first: bool, tally: Tally
) -> tuple[list[Run], list[Outputs], frozenset[int]]:
    """The runs that count, the original's outputs on them, and which to skip after all.

    The first provider decides which runs count; a later one can only skip some.
    """
    outputs = bench.onnxruntime(what.original, [run.feed for run in runs], provider, "off").outputs
    bad = frozenset(number for number, found in enumerate(outputs) if has_nan(found))
    if not bad:
        return runs, outputs, bad
    for number in sorted(bad):
        if not runs[number].generated:
            tally.fail(f"{runs[number].label}: the original itself yields NaN")
        else:
            tally.note(f"discarded: the original yields NaN on {runs[number].label}, {provider}")
    if not first:
        return runs, outputs, bad
    good = [number for number in range(len(runs)) if number not in bad]
    if good:
        return [runs[n] for n in good], [outputs[n] for n in good], frozenset()
    if runs[0].generated:
        smaller = small_runs(what.interface, runs[0], what.seed)
        if smaller:
            feeds = [run.feed for run in smaller]
            outputs = bench.onnxruntime(what.original, feeds, provider, "off").outputs
            if not any(has_nan(found) for found in outputs):
                return smaller, outputs, frozenset()
        tally.miss("the original yields NaN on every generated input; give real ones with --data")
    return [], [], frozenset()


def _truths(bench: Bench, what: Comparison, runs: list[Run], tally: Tally) -> Truths:
    if what.fixed is not None:
        tally.oracle = "tolerance"
        return Truths()
    truths = bench.truths(what.original, runs, what.interface.weight_bytes)
    tally.oracle = "float64+onnxruntime" if truths.outputs else "onnxruntime"
    tally.note(truths.refusal)
    if truths.outputs and len(truths.outputs) < len(runs):
        tally.note(f"float64 truth for {len(truths.outputs)} of {len(runs)} runs")
    return truths


def _candidate(bench: Bench, what: Comparison, case: Case, provider: str, tally: Tally) -> None:
    feeds = [run.feed for run in case.runs]
    for level in ("off", "default"):
        where = f"{provider}, optimizations {level}"
        try:
            done = bench.onnxruntime(what.candidate, feeds, provider, level)
        except ExecutionError as error:
            if level == "default" and not _runs(bench, what, feeds, provider):
                tally.note(f"{where}: onnxruntime runs neither model ({error.message})")
            else:
                tally.fail(f"the candidate does not run ({where}): {error.message}")
            continue
        if level == "default":
            tally.proofs.append(ProviderProof(provider, done.session_provider, done.assignment))
        judged = case.judge(done.outputs, where, what.fixed)
        if level == "default" and any(one.ratio > 1.0 for _, one in judged):
            judged = _excused(bench, what, case, provider, judged, tally)
        for _, one in judged:
            tally.add(one)


def _runs(bench: Bench, what: Comparison, feeds: Sequence[Outputs], provider: str) -> bool:
    try:
        bench.onnxruntime(what.original, feeds, provider, "default")
    except ExecutionError:
        return False
    return True


def _excused(
    bench: Bench,
    what: Comparison,
    case: Case,
    provider: str,
    judged: list[tuple[int, Judged]],
    tally: Tally,
) -> list[tuple[int, Judged]]:
    """Without those failures of the default level that the original shows just as well.

    onnxruntime's own optimizations change some models; that is no fault of the candidate's.
    """
    feeds = [run.feed for run in case.runs]
    try:
        outputs = bench.onnxruntime(what.original, feeds, provider, "default").outputs
    except ExecutionError:
        return judged
    own = case.judge(outputs, f"original, {provider}, optimizations default", what.fixed)
    kept: list[tuple[int, Judged]] = []
    excused: dict[str, str] = {}
    for one, (_, theirs) in zip(judged, own, strict=True):
        if one[1].ratio > 1.0 and theirs.ratio > 1.0 and one[1].ratio <= K * theirs.ratio:
            excused.setdefault(theirs.comparison.name, theirs.comparison.message)
        else:
            kept.append(one)
    for message in excused.values():
        tally.note(
            f"onnxruntime's default optimizations change the original itself ({message}), "
            "so there the candidate was judged with them off only"
        )
    return kept


def measure_reference(bench: Bench, what: Comparison, runs: list[Run], tally: Tally) -> None:
    """Compare through the float64 reference only, for an original that onnxruntime cannot run.

    The yardstick is what one rounding of all weights and inputs costs (see `tolerance`).
    """
    try:
        first = bench.reference(what.original, [runs[0].feed])
        # Each run costs the original, two noisy ones and the candidate.
        unit_cost = 4.0 * first.operations[0] / max(runs[0].batch, 1)
        chosen = [runs[0]]
        left = 4.0 * REFERENCE_OPERATIONS - unit_cost * max(runs[0].batch, 1)
        for run in runs[1:]:
            if unit_cost * max(run.batch, 1) <= left:
                chosen.append(run)
                left -= unit_cost * max(run.batch, 1)
        feeds = [run.feed for run in chosen]
        original = bench.reference(what.original, feeds).outputs
        bad = frozenset(number for number, found in enumerate(original) if has_nan(found))
        for number in sorted(bad):
            tally.note(f"discarded: the original yields NaN on {chosen[number].label}")
        if len(bad) == len(chosen):
            tally.miss("the original yields NaN on every input; give others with --data")
            return
        noise = [
            bench.reference(what.original, [noisy(feed, seed) for feed in feeds], jitter=seed)
            for seed in range(2)
        ]
    except ExecutionError as error:
        tally.note(error.message)
        return
    tally.note("checked against the float64 reference only")
    tally.oracle = "float64" if what.fixed is None else "tolerance"
    counted = [run for number, run in enumerate(chosen) if number not in bad]
    tally.labels += [run.label for run in counted]
    tally.batches += [run.batch for run in counted]
    try:
        results = bench.reference(what.candidate, feeds, limit=None).outputs
    except ExecutionError as error:
        tally.fail(f"the candidate cannot be evaluated: {error.message}")
        return
    case = Case(
        chosen,
        original,
        [[one.outputs[number] for one in noise] for number in range(len(chosen))],
        Truths(outputs=dict(enumerate(original))),
        {name: what.dtypes.get(name, "float32") for name in original[0]},
        what.steps,
        bad,
    )
    for _, judged in case.judge(results, "float64 reference", what.fixed):
        tally.add(judged)
