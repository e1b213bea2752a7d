"""Which values are constants, and their numbers.

A constant is an initializer, a Constant node, or an expression over constants. Exporters hide
parameters behind long expressions (`Shape(W) -> Expand`, `CastLike(Const, x)`,
`ConstantOfShape -> Cast`), which are evaluated here with the ONNX reference implementation, one
node at a time. Values of a function's formal parameters are never resolved, whatever their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bnopt.graph.operators import get_int, is_standard, operand, since_version, unknown_attributes
from bnopt.graph.scopes import scopes
from bnopt.graph.types import Types

# Deterministic operators without side effects whose result depends on nothing but their inputs.
EVALUATED = frozenset(
    "Abs Add And Cast CastLike Ceil Concat ConstantOfShape DequantizeLinear Div Equal Exp Expand "
    "Flatten Floor Gather Greater GreaterOrEqual Less LessOrEqual Log Max Min Mod Mul Neg Not Or "
    "Pow QuantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "Reshape Shape Sign Size Slice Split Sqrt Squeeze Sub Sum Tile Transpose Unsqueeze Where "
    "Xor".split()
)
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value that is known before the model runs.

    Attributes:
        tensor: The numbers; external data stays on disk until it is read.
        overridable: Graph inputs whose default value went into it: the caller may replace them.
    """

    tensor: ir.TensorProtocol
    overridable: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, all integers."""
        return tuple(int(dim) for dim in self.tensor.shape.numpy())

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy data type, an ml_dtypes type for bfloat16."""
        return self.tensor.dtype.numpy()

    def array(self) -> npt.NDArray[Any]:
        """The numbers; do not write to them."""
        return self.tensor.numpy()


class Constants:
    """Resolves the values of one model; valid until the model is edited."""

    def __init__(self, model: ir.Model, types: Types) -> None:
        self._model = model
        self._types = types
        self._known: dict[int, Constant | None] = {}
        self._opsets = {id(scope.graph): scope.opset for scope in scopes(model)}

    def resolve(self, value: ir.Value | None) -> Constant | None:
        """The constant behind `value`, or None if it depends on data or cannot be evaluated."""
        return None if value is None else self._resolve(value, 0)

    def _resolve(self, value: ir.Value, depth: int) -> Constant | None:
        key = id(value)
        if key not in self._known:
            if depth > _MAX_DEPTH:
                return None
            self._known[key] = self._compute(value, depth)
        return self._known[key]

    def _compute(self, value: ir.Value, depth: int) -> Constant | None:
        if value.const_value is not None and value.is_initializer():
            names = (value.name or "",) if value.is_graph_input() else ()
            return Constant(value.const_value, names)
        node = value.producer()
        if node is None or not is_standard(node, self._model):
            return None
        if node.op_type == "Constant":
            return _constant_node(value, node)
        if node.op_type == "Identity":
            source = node.inputs[0]
            return None if source is None else self._resolve(source, depth + 1)
        if node.op_type not in EVALUATED or node.graph is None:
            return None
        return self._evaluate(value, node, depth)

    def _evaluate(self, value: ir.Value, node: ir.Node, depth: int) -> Constant | None:
        opset = self._opsets.get(id(node.graph), 0)
        if since_version(node.op_type, opset) is None or unknown_attributes(node, opset):
            return None
        if node.op_type == "Shape" and (known := self._static_shape(node)) is not None:
            return Constant(ir.tensor(known, name=value.name))
        operands: list[Constant | None] = []
        for index, source in enumerate(node.inputs):
            if source is None or source.name == "":
                operands.append(None)
                continue
            if node.op_type == "CastLike" and index == 1:
                # Only the type of the second operand counts, so it may depend on data.
                dtype = self._types.of(source).dtype
                if dtype is None:
                    return None
                operands.append(Constant(ir.Tensor(np.zeros((), dtype.numpy()))))
                continue
            constant = self._resolve(source, depth + 1)
            if constant is None:
                return None
            operands.append(constant)
        if node.op_type == "Unsqueeze":
            array = _unsqueezed(node, operands)
        else:
            array = _run_node(node, operands, opset, value.index() or 0)
        if array is None or not self._has_inferred_shape(value, array):
            return None
        names = dict.fromkeys(n for c in operands if c is not None for n in c.overridable)
        return Constant(ir.tensor(array, name=value.name), tuple(names))

    def _has_inferred_shape(self, value: ir.Value, array: npt.NDArray[Any]) -> bool:
        """Whether a result has the shape that inference says; the reference has its errors."""
        dims = self._types.of(value).dims
        return dims is None or (
            len(dims) == array.ndim
            and all(n in (None, m) for n, m in zip(dims, array.shape, strict=True))
        )

    def _static_shape(self, node: ir.Node) -> npt.NDArray[np.int64] | None:
        """What a Shape node gives, if the dimensions it asks for do not depend on the caller."""
        source = operand(node, 0)
        dims = None if source is None else self._types.of(source).dims
        if dims is None or any(attribute.is_ref() for attribute in node.attributes.values()):
            return None
        asked = dims[get_int(node, "start", 0) : get_int(node, "end", len(dims))]
        if any(dim is None for dim in asked):
            return None
        return np.array(asked, np.int64)


def _constant_node(value: ir.Value, node: ir.Node) -> Constant | None:
    attribute = node.attributes.get("value")
    held = attribute.as_tensor() if attribute is not None and not attribute.is_ref() else None
    name = None if held is None else held.name
    try:
        tensor = ir.convenience.get_const_tensor(value)
    except ValueError:  # a sparse value, or a malformed node
        return None
    finally:
        # The helper renames the tensor, which clones of the model share.
        if held is not None:
            held.name = name
    return None if tensor is None else Constant(tensor)


def _unsqueezed(node: ir.Node, operands: list[Constant | None]) -> npt.NDArray[Any] | None:
    """Unsqueeze; onnx's reference puts several negative axes in the wrong places."""
    data, attribute = operands[0], node.attributes.get("axes")
    given = operands[1] if len(operands) > 1 else None
    if attribute is not None:
        axes = list(attribute.as_ints())
    elif given is not None:
        axes = [int(axis) for axis in given.array().reshape(-1)]
    else:
        return None
    if data is None:
        return None
    try:
        return np.expand_dims(data.array(), tuple(axes))
    except ValueError:  # repeated axes, or axes out of range: no valid model
        return None


def _run_node(
    node: ir.Node, operands: list[Constant | None], opset: int, output: int
) -> npt.NDArray[Any] | None:
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    names = ["" if constant is None else f"i{k}" for k, constant in enumerate(operands)]
    outputs = [f"o{k}" for k in range(len(node.outputs))]
    proto = ir.serde.serialize_node(node)
    del proto.input[:], proto.output[:]
    proto.input.extend(names)
    proto.output.extend(outputs)
    graph = helper.make_graph(
        [proto],
        "constant",
        [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in names if n],
        [helper.make_tensor_value_info(outputs[output], TensorProto.UNDEFINED, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    feeds = {n: c.array() for n, c in zip(names, operands, strict=True) if c is not None}
    try:
        # The model's own numbers may overflow or divide by zero; the result says so by itself.
        with np.errstate(all="ignore"):
            results = cast("list[Any]", ReferenceEvaluator(model).run(None, feeds))
    except Exception:
        # Whatever the reference implementation cannot compute is not known to be constant. It
        # raises bare exceptions of many kinds, and onnxruntime may well run the node.
        return None
    array = results[0]
    return cast("npt.NDArray[Any]", array) if isinstance(array, np.ndarray) else None
