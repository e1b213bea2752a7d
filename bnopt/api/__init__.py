"""The public functions: `inspect`, `check`, `calibrate`, `fold`, `validate` and `export`.

Each takes a path, an `onnx.ModelProto` or an `onnx_ir.Model`, and never changes its argument;
`export` takes models of TensorFlow, Keras and PyTorch.
"""

from __future__ import annotations

from bnopt.api.auditing import check, inspect
from bnopt.api.calibrating import calibrate
from bnopt.api.comparing import compare, validate
from bnopt.api.exporting import export
from bnopt.api.folding import fold
from bnopt.results import (
    CalibrateResult,
    CheckResult,
    ExportResult,
    FoldResult,
    InspectResult,
    NodeCounts,
    Timings,
    ValidateResult,
)

__all__ = [
    "CalibrateResult",
    "CheckResult",
    "ExportResult",
    "FoldResult",
    "InspectResult",
    "NodeCounts",
    "Timings",
    "ValidateResult",
    "calibrate",
    "check",
    "compare",
    "export",
    "fold",
    "inspect",
    "validate",
]
