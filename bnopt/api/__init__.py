"""The public functions: `inspect`, `check`, `calibrate`, `fold` and `validate`.

Each takes a path, an `onnx.ModelProto` or an `onnx_ir.Model`, and never changes its argument.
"""

from __future__ import annotations

from bnopt.api.auditing import check, inspect
from bnopt.api.calibrating import calibrate
from bnopt.api.comparing import compare, validate
from bnopt.api.folding import fold
from bnopt.results import (
    CalibrateResult,
    CheckResult,
    FoldResult,
    InspectResult,
    NodeCounts,
    Timings,
    ValidateResult,
)

__all__ = [
    "CalibrateResult",
    "CheckResult",
    "FoldResult",
    "InspectResult",
    "NodeCounts",
    "Timings",
    "ValidateResult",
    "calibrate",
    "check",
    "compare",
    "fold",
    "inspect",
    "validate",
]
