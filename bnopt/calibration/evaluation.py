"""Nodes of a graph, run on given numbers in double precision, whatever type the model computes in.

Two formulas that are the same but for the order of their steps agree here to about 1e-12, and two
that are not (a division by n - 1 for one by n) differ by far more, for tensors of any size that is
run here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.graph.operators import get_int

if TYPE_CHECKING:
    from onnx.reference import ReferenceEvaluator

Numbers = npt.NDArray[Any]

Key = int | tuple[int, int]
"""A value, by its identity; or what one node reads, by the node's identity and the input."""

FLOATS = frozenset(ir.DataType.from_numpy(dtype) for dtype in FOLDABLE_DTYPES)


def is_recast(node: ir.Node, dtype: np.dtype[Any]) -> bool:
    """Whether a node is a Cast to another type than `dtype`."""
    to = get_int(node, "to", 0) if node.op_type == "Cast" else None
    return to is not None and to != ir.DataType.from_numpy(dtype)


class Evaluation:
    """Runs nodes of one graph with the ONNX reference implementation, one at a time.

    Args:
        context: Of the model.
        opset: The operator set that holds for the nodes.
    """

    def __init__(self, context: Context, opset: int) -> None:
        self._context = context
        self._opset = opset
        self._prepared: dict[int, ReferenceEvaluator] = {}

    def run(self, nodes: Iterable[ir.Node], known: Mapping[Key, Numbers]) -> dict[Key, Numbers]:
        """The numbers of the values that `nodes` produce.

        Args:
            nodes: In topological order, with one output each.
            known: The numbers of some values, which are not computed, and of some reads.

        Returns:
            `known`, and by its identity each value that could be computed; floats of any type as
            float64.
        """
        found = dict(known)
        for node in nodes:
            if id(node.outputs[0]) in found:
                continue
            operands = [self._operand(node, index, found) for index in range(len(node.inputs))]
            if any(
                array is None and value is not None and value.name
                for array, value in zip(operands, node.inputs, strict=True)
            ):
                continue
            result = self._run(node, operands)
            if result is not None:
                found[id(node.outputs[0])] = result
        return found

    def _operand(self, node: ir.Node, index: int, found: Mapping[Key, Numbers]) -> Numbers | None:
        value = node.inputs[index]
        if value is None:
            return None
        for key in ((id(node), index), id(value)):
            if key in found:
                return found[key]
        constant = self._context.constants.resolve(value)
        if constant is None:
            return None
        array = constant.array()
        return array.astype(np.float64) if constant.dtype in FOLDABLE_DTYPES else array

    def _run(self, node: ir.Node, operands: list[Numbers | None]) -> Numbers | None:
        feeds = {f"i{k}": array for k, array in enumerate(operands) if array is not None}
        try:
            if id(node) not in self._prepared:
                self._prepared[id(node)] = _prepare(node, operands, self._opset)
            # Zero variances and the like are part of the test; the result says so by itself.
            with np.errstate(all="ignore"):
                results = cast("list[Any]", self._prepared[id(node)].run(None, feeds))
        except Exception:
            # The reference implementation raises bare exceptions of many kinds; what it cannot
            # compute is not known.
            return None
        return np.asarray(results[0])


def _prepare(node: ir.Node, operands: list[Numbers | None], opset: int) -> ReferenceEvaluator:
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    proto = ir.serde.serialize_node(node)
    del proto.input[:], proto.output[:]
    names = ["" if array is None else f"i{k}" for k, array in enumerate(operands)]
    proto.input.extend(names)
    proto.output.append("o")
    for attribute in proto.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
            attribute.i = TensorProto.DOUBLE
    graph = helper.make_graph(
        [proto],
        "node",
        [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in names if n],
        [helper.make_tensor_value_info("o", TensorProto.UNDEFINED, None)],
    )
    return ReferenceEvaluator(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    )
