"""Dimensions of values, also where shape inference of the whole graph gives up.

A custom operator anywhere upstream makes shape inference know nothing; but the channels of a
convolution stand in its weight, and elementwise operators keep the shape of their data.
"""

from __future__ import annotations

from typing import TypeAlias

import onnx_ir as ir

from bnopt.graph.constants import Constants
from bnopt.graph.operators import get_int, is_standard, operand
from bnopt.graph.types import Types

Shape: TypeAlias = tuple[int | None, ...]

# Operators whose output has the shape of their first input, whatever their other inputs are.
_SAME_AS_DATA = frozenset(
    "BatchNormalization Cast Dropout Identity LeakyRelu Neg Relu Sigmoid Tanh".split()
)
_MAX_DEPTH = 64


class Dims:
    """The shapes of one model's values; valid until the model is edited."""

    def __init__(self, constants: Constants, types: Types, model: ir.Model) -> None:
        self._constants = constants
        self._types = types
        self._model = model
        self._known: dict[int, Shape | None] = {}

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of `value`, None for an unknown dimension; None if not even the rank is known.

        A dimension that is named by a symbol counts as unknown.
        """
        return None if value is None else self._of(value, 0)

    def _of(self, value: ir.Value, depth: int) -> Shape | None:
        key = id(value)
        if key not in self._known:
            if depth > _MAX_DEPTH:
                return None
            self._known[key] = self._merge(self._types.of(value).dims, self._local(value, depth))
        return self._known[key]

    @staticmethod
    def _merge(first: Shape | None, second: Shape | None) -> Shape | None:
        if first is None or second is None or len(first) != len(second):
            return first if first is not None else second
        return tuple(a if a is not None else b for a, b in zip(first, second, strict=True))

    def _local(self, value: ir.Value, depth: int) -> Shape | None:
        node = value.producer()
        if node is None or value.index() != 0 or not is_standard(node, self._model):
            return None
        data = operand(node, 0)
        if data is not None and node.op_type in _SAME_AS_DATA:
            return self._of(data, depth + 1)
        weight = self._constants.resolve(operand(node, 1))
        if weight is None:
            return None
        shape = weight.shape
        if node.op_type == "Conv" and len(shape) > 2:
            return (None, shape[0], *[None] * (len(shape) - 2))
        if node.op_type == "ConvTranspose" and len(shape) > 2:
            features = shape[1] * get_int(node, "group", 1)
            return (None, features, *[None] * (len(shape) - 2))
        if node.op_type == "Gemm" and len(shape) == 2:
            return (None, shape[0] if get_int(node, "transB", 0) else shape[1])
        if node.op_type == "MatMul" and len(shape) >= 2 and data is not None:
            inner = self._of(data, depth + 1)
            if inner is not None and len(inner) >= max(len(shape), 2):
                lead = inner[:-1] if len(shape) == 2 else (*[None] * (len(inner) - 2), inner[-2])
                return (*lead, shape[-1])
        if node.op_type in ("Add", "Sub", "Mul", "Div") and data is not None:
            inner = self._of(data, depth + 1)
            if inner is not None and get_int(node, "broadcast", 0):
                return inner
            if inner is not None and len(shape) <= len(inner):
                aligned = (1,) * (len(inner) - len(shape)) + shape
                return tuple(c if c > 1 else n for n, c in zip(inner, aligned, strict=True))
        return None
