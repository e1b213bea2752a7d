"""What one rule says about a small model."""

from __future__ import annotations

from types import ModuleType

import onnx
import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.findings import Finding
from bnopt.rules.base import Rule
from bnopt.rules.view import View


def findings(module: ModuleType, proto: onnx.ModelProto) -> list[Finding]:
    """The findings of the rule that `module` defines."""
    model = ir.from_proto(proto)
    return list(Rule.of(module).check(View.of(model, Context.of(model))))
