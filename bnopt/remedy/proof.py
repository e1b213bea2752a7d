"""Proving that batch norms which had to be rewritten are the same batch norms."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bnopt.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnopt.findings import Validation
    from bnopt.remedy.ordinary import Ordinary
    from bnopt.source import Source


def prove(
    source: Source,
    before: ir.Model,
    ready: Ordinary,
    feeds: Sequence[dict[str, NDArray[Any]]],
    set_inputs: Mapping[str, object] | None,
    provider: str,
) -> Validation:
    """Compare the original with the rewritten model on one batch, whose statistics it is given.

    A batch norm that normalises with the statistics of its batch gives on that batch what an
    ordinary one gives that holds them. So the original and the copy have to agree on it, or what
    was put in place of the batch norm is not the same batch norm. One that was written out
    with constants still holds these, and has to agree as it is.
    """
    from bnopt import io
    from bnopt.algebra.base import Context
    from bnopt.calibration import dropout
    from bnopt.calibration.engine import LocalEngine
    from bnopt.calibration.methods import Session, precise
    from bnopt.calibration.slots import on
    from bnopt.judge import compare_models
    from bnopt.passes.specialise import bind
    from bnopt.runtime.dataset import open_dataset

    rewritten = [slot for slot in ready.slots if slot.rewritten]
    if rewritten:
        with LocalEngine() as engine:
            session = Session(
                open=lambda inputs: open_dataset(feeds, inputs),
                engine=engine,
                provider=provider,
                seed=None,
                resume=None,
                tell=lambda stage, done, total: None,
                # In the original each call of a layer normalises by its own batch.
                pool=False,
            )
            precise(before, on(before, rewritten), session)
    original = source.model.clone()
    if set_inputs:
        bind(original, set_inputs)
    if ready.silenced:
        dropout.switch_off(original, Context.of(original))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bnopt-")))
        verdict = compare_models(
            stack.enter_context(io.stage(original, folder / "original.onnx")).path,
            stack.enter_context(io.stage(before, folder / "rewritten.onnx")).path,
            providers=(provider,),
            data=feeds,
        )
    if verdict.equivalent is False:
        messages = [output.message for output in verdict.outputs if not output.equivalent]
        raise ValidationError(
            "the batch norms that were rewritten do not reproduce the original on its own batch, "
            f"so nothing was written: {next(iter([*messages, *verdict.notes]), '')}",
            validation=verdict,
        )
    return verdict
