"""For test suites: assert that two models compute the same thing.

    from bnopt.testing import assert_equivalent
    assert_equivalent("model.onnx", "model.folded.onnx")

The fixture `bnopt_equivalence` of the pytest plugin does the same with the providers given on
pytest's command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    import onnx
    import onnx_ir as ir

    from bnopt.findings import OutputComparison, Validation
    from bnopt.runtime.data import DataSource

__all__ = ["assert_equivalent"]

_SHOWN = 5


def assert_equivalent(
    original: str | os.PathLike[str] | onnx.ModelProto | ir.Model,
    candidate: str | os.PathLike[str] | onnx.ModelProto | ir.Model,
    *,
    providers: Sequence[str] = ("cpu",),
    data: DataSource | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Assert that `candidate` computes the same thing as `original`.

    Args:
        original: A path, `onnx.ModelProto` or `onnx_ir.Model`.
        candidate: Likewise; the kinds may differ.
        providers: Execution providers to compare on, of `cpu` and `cuda`.
        data: Inputs to compare on, not generated ones: a path as for `bnopt validate --data`, or
            an iterable of dicts from input name to array.
        rtol: Relative tolerance; given, it replaces the measured one.
        atol: Absolute tolerance, in units of the outputs; likewise.

    Raises:
        AssertionError: They differ, or nothing could run them, so that nothing is proven. The
            message names each bad output, the channel and element that is worst, both values,
            the difference, the tolerance, and the run.
        BnoptError: A model cannot be read, or a provider is not there.
    """
    from bnopt import api

    verdict = api.validate(
        original, candidate, providers=providers, data=data, rtol=rtol, atol=atol
    )
    if verdict.equivalent is not True:
        raise AssertionError(_message(verdict))


def _message(verdict: Validation) -> str:
    if verdict.equivalent is None:
        return "\n".join(
            ["equivalence is not proven: nothing could run the models", *_notes(verdict)]
        )
    bad = [output for output in verdict.outputs if not output.equivalent]
    count = f"{len(bad)} of {len(verdict.outputs)} outputs differ"
    lines = [f"the models are not equivalent: {count} (oracle: {verdict.oracle})"]
    lines += [_describe(output) for output in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  ... and {len(bad) - _SHOWN} more")
    return "\n".join([*lines, *_notes(verdict)])


def _notes(verdict: Validation) -> list[str]:
    return [f"  note: {note}" for note in verdict.notes]


def _describe(output: OutputComparison) -> str:
    worst = output.worst
    if worst is None:
        return f"  output '{output.name}': {output.message}"
    channel = "" if worst.channel is None else f", channel {worst.channel}"
    reference = "" if worst.reference is None else f", float64 reference {worst.reference:.9g}"
    return (
        f"  output '{output.name}'{channel}, element {list(worst.index)}: "
        f"difference {output.max_abs:.3g} > tolerance {output.tolerance:.3g}; "
        f"original {worst.original:.9g}, candidate {worst.candidate:.9g}{reference}; "
        f"run: {worst.run}"
    )
