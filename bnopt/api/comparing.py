"""`validate`: do two models compute the same thing?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bnopt.delivery import Progress
from bnopt.findings import Validation
from bnopt.results import ValidateResult
from bnopt.source import Model, Source

if TYPE_CHECKING:
    from bnopt.runtime.data import DataSource


def validate(
    original: Model,
    candidate: Model,
    *,
    providers: Sequence[str] = ("cpu",),
    data: DataSource | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Judge whether `candidate` computes the same thing as `original`.

    Args:
        original: A path, `onnx.ModelProto` or `onnx_ir.Model`.
        candidate: Likewise.
        providers: Execution providers to run on, of `cpu` and `cuda`.
        data: Inputs to compare on instead of generated ones.
        rtol: Relative tolerance; given, it replaces the measured one.
        atol: Absolute tolerance, in units of the outputs; likewise.
        progress: Called with (stage, done, total).

    Raises:
        LoadError: A model cannot be read.
        ProviderError: A provider that was asked for is not there.
        DataError: The data does not fit the model's inputs.
    """
    return compare(
        original,
        candidate,
        providers=providers,
        data=data,
        rtol=rtol,
        atol=atol,
        progress=progress,
    ).validation


def compare(
    original: Model,
    candidate: Model,
    *,
    providers: Sequence[str] = ("cpu",),
    data: DataSource | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    progress: Progress | None = None,
) -> ValidateResult:
    """The same as `validate`, with what both models say of themselves."""
    from bnopt.judge import compare_models

    first, second = Source(original), Source(candidate)
    with ExitStack() as stack:
        verdict = compare_models(
            first.on_disk(stack),
            second.on_disk(stack),
            providers=providers,
            data=data,
            rtol=rtol,
            atol=atol,
            progress=progress,
        )
    return ValidateResult(first.info(), second.info(), verdict)
