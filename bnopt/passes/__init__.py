"""Planning and applying folds; `FoldBatchNorm` is the same as an onnx_ir pass."""

from __future__ import annotations

from bnopt.passes.apply import apply as apply
from bnopt.passes.fold_batch_norm import FoldBatchNorm as FoldBatchNorm
from bnopt.passes.moves import Move as Move
from bnopt.passes.plan import Plan as Plan
from bnopt.passes.plan import plan as plan

__all__ = ["FoldBatchNorm", "Move", "Plan", "apply", "plan"]
