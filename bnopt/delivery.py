"""From a folded graph to a file: write it beside its target, compare, then put it in place."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bnopt.errors import ValidationError
from bnopt.findings import Validation
from bnopt.results import FoldResult
from bnopt.source import Source

if TYPE_CHECKING:
    from bnopt.io import StagedModel
    from bnopt.runtime.data import DataSource

Progress: TypeAlias = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


class Clock:
    """Wall seconds between one lap and the next."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap, or since the clock was made."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        return seconds


@dataclass(frozen=True, slots=True)
class Proof:
    """How a fold is to be proven.

    Attributes:
        wanted: Whether to compare at all.
        data: Inputs to compare on, not generated ones.
        providers: Execution providers to compare on.
        set_inputs: Input name -> value that the fold bound it to; the original is run on it too.
    """

    wanted: bool
    data: DataSource | None
    providers: Sequence[str]
    set_inputs: Mapping[str, object]


def prove_and_write(
    source: Source,
    result: FoldResult,
    target: Path | None,
    proof: Proof,
    tell: Progress,
) -> FoldResult:
    """Write beside the target, compare, and only then put it in its place.

    Args:
        source: The original.
        result: The fold; its model is written.
        target: Where to; None compares only.
        proof: How to compare.
        tell: Called with (stage, done, total).

    Raises:
        ValidationError: Not equivalent; nothing was written.
        SaveError: The target cannot be written.
    """
    if target is None and not proof.wanted:
        return result
    clock = Clock()
    with ExitStack() as stack:
        tell("save", 0, 1)
        staged = _stage(source, result, target, stack)
        save_seconds = clock.lap()
        verdict: Validation | None = None
        if proof.wanted:
            verdict = _prove(source, staged, result, proof, tell, stack)
        validate_seconds = clock.lap()
        written = None if target is None else staged.commit()
        timings = replace(
            result.timings, validate=validate_seconds, save=save_seconds + clock.lap()
        )
        return replace(result, validation=verdict, output=written, timings=timings)


def _stage(
    source: Source, result: FoldResult, target: Path | None, stack: ExitStack
) -> StagedModel:
    from bnopt import io

    if target is None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bnopt-"))
        target = Path(folder) / "folded.onnx"
    accepted = source.path is not None and io.checker_complaint(source.path) is None
    return stack.enter_context(io.stage(result.model, target, must_check=accepted))


def _prove(
    source: Source,
    staged: StagedModel,
    result: FoldResult,
    proof: Proof,
    tell: Progress,
    stack: ExitStack,
) -> Validation:
    from bnopt.judge import compare_models

    verdict = compare_models(
        _oracle(source, proof.set_inputs, stack),
        staged.path,
        providers=proof.providers,
        data=proof.data,
        progress=tell,
    )
    if verdict.equivalent is False:
        raise ValidationError(
            f"the folded model is not equivalent, so it was not written: {_complaint(verdict)}",
            validation=verdict,
            result=replace(result, validation=verdict),
        )
    return verdict


def _oracle(source: Source, set_inputs: Mapping[str, object], stack: ExitStack) -> Path:
    """The original as a file; with inputs set, a copy in which they are constants, no more."""
    if not set_inputs:
        return source.on_disk(stack)
    from bnopt import io
    from bnopt.passes.specialise import bind

    model = source.model.clone()
    bind(model, set_inputs)
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bnopt-"))
    return stack.enter_context(io.stage(model, Path(folder) / "original.onnx")).path


def _complaint(verdict: Validation) -> str:
    messages = [output.message for output in verdict.outputs if not output.equivalent]
    return next(iter([*messages, *verdict.notes]), "the outputs differ")
