"""The fold as an onnx_ir pass, to stand in a pipeline of such passes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from bnopt.passes.apply import apply
from bnopt.passes.outcome import Lower
from bnopt.passes.prepare import prepare


class FoldBatchNorm(ir.passes.InPlacePass):
    """Fold every batch norm that can be folded exactly; `modified` says whether any was.

    Args:
        set_inputs: Graph inputs to bind, name -> value: a number, a boolean, an array, nested
            lists, or text as on the command line. They become constants, and what they decide goes.
        keep_overridable: Refuse what depends on initializers that are graph inputs.
        lower: What to write for a batch norm that is left: `keep`, `mul-add` or `depthwise-conv`.

    Raises:
        UsageError: When called: a value in `set_inputs` that does not fit the model.
    """

    def __init__(
        self,
        *,
        set_inputs: Mapping[str, object] | None = None,
        keep_overridable: bool = False,
        lower: Lower = "keep",
    ) -> None:
        super().__init__()
        self.set_inputs = dict(set_inputs or {})
        self.keep_overridable = keep_overridable
        self.lower: Lower = lower

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Prepare, plan and apply on `model` in place."""
        prepared = prepare(
            model,
            set_inputs=self.set_inputs,
            keep_overridable=self.keep_overridable,
            lower=self.lower,
        )
        apply(model, prepared.plan)
        return ir.passes.PassResult(model, prepared.modified)
