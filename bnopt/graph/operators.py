"""What is known of an operator: its version in an opset, and its attributes there.

The schemas come from the installed onnx package. An opset it does not know, or a version of an
operator newer than the caller was written for, is not known to be exact, so callers refuse it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import onnx_ir as ir


def is_standard(node: ir.Node, model: ir.Model) -> bool:
    """Whether the node is an ONNX operator, not a custom one or a call of a local function."""
    return node.domain in ("", "ai.onnx") and node.op_identifier() not in model.functions


@lru_cache(maxsize=4096)
def since_version(op_type: str, opset: int) -> int | None:
    """The version of `op_type` that holds in `opset`; None if the onnx package cannot tell."""
    import onnx

    if not 1 <= opset <= onnx.defs.onnx_opset_version():
        return None
    try:
        return int(onnx.defs.get_schema(op_type, opset).since_version)
    except onnx.defs.SchemaError:
        return None


@lru_cache(maxsize=4096)
def known_attributes(op_type: str, opset: int) -> frozenset[str]:
    """The names of the attributes that `op_type` has in `opset`."""
    import onnx

    return frozenset(onnx.defs.get_schema(op_type, opset).attributes)


def unknown_attributes(node: ir.Node, opset: int) -> tuple[str, ...]:
    """Attributes that the operator does not have in `opset`, or that refer to a parameter."""
    known = known_attributes(node.op_type, opset)
    return tuple(
        name for name, value in node.attributes.items() if name not in known or value.is_ref()
    )


def get_int(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def get_float(node: ir.Node, name: str, default: float) -> float:
    """A float attribute (float32 in the model, exactly), or its default rounded to float32."""
    attribute = node.attributes.get(name)
    return float32(default) if attribute is None else attribute.as_float()


def float32(value: float) -> float:
    """The float32 nearest to `value`: what a model holds when it says 1e-5."""
    import numpy as np

    return float(cast("float", np.float32(value)))


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """An input; None if it is left out, be it by position or by the empty name."""
    if index >= len(node.inputs):
        return None
    value = node.inputs[index]
    return None if value is None or value.name == "" else value
