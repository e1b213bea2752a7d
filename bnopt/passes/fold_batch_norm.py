"""The fold as an onnx_ir pass, to stand in a pipeline of such passes."""

from __future__ import annotations

import onnx_ir as ir

from bnopt.passes.apply import apply
from bnopt.passes.plan import Lower, plan


class FoldBatchNorm(ir.passes.InPlacePass):
    """Fold every batch norm that can be folded exactly; `modified` says whether any was.

    Args:
        keep_overridable: Refuse what depends on initializers that are graph inputs.
        lower: How to write batch norms that stay; see `plan`.
    """

    def __init__(self, *, keep_overridable: bool = False, lower: Lower = "keep") -> None:
        super().__init__()
        self.keep_overridable = keep_overridable
        self.lower: Lower = lower

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Plan and apply on `model` in place."""
        found = plan(model, keep_overridable=self.keep_overridable, lower=self.lower)
        apply(model, found)
        return ir.passes.PassResult(model, bool(found.moves))
