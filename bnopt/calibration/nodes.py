"""Writing nodes into a graph, in any operator set from 7 on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from bnopt.graph.names import Names

OLDEST_OPSET = 7
"""Before it, operators do not broadcast as numpy does."""

# Where the axes became an input. The others stay with what this package writes.
_AXES_AS_INPUT = {"ReduceSum": 13, "ReduceMean": 18}


class NodeWriter:
    """Adds nodes with fresh names to one graph: at its end, or before a node of it."""

    def __init__(self, graph: ir.Graph, names: Names, opset: int) -> None:
        self.anchor: ir.Node | None = None
        self._graph = graph
        self._names = names
        self._opset = opset

    def write(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Sequence[ir.Attr] = (),
        outputs: int = 1,
    ) -> Sequence[ir.Value]:
        """Add a node, and return all its outputs, each with a name."""
        node = ir.Node("", op_type, inputs, attributes, num_outputs=outputs)
        node.name = self._names.fresh(f"bnopt_{op_type.lower()}")
        for output in node.outputs:
            output.name = self._names.fresh(f"{node.name}_out")
        if self.anchor is None:
            self._graph.append(node)
        else:
            self._graph.insert_before(self.anchor, node)
        return node.outputs

    def node(self, op_type: str, *inputs: ir.Value, attributes: Sequence[ir.Attr] = ()) -> ir.Value:
        """Add a node of one output, and return that."""
        return self.write(op_type, inputs, attributes)[0]

    def constant(self, numbers: Any, dtype: Any) -> ir.Value:
        """Add a Constant node."""
        tensor = ir.tensor(np.array(numbers, dtype))
        return self.node("Constant", attributes=[ir.AttrTensor("value", tensor)])

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Add a Cast."""
        return self.node("Cast", value, attributes=[ir.AttrInt64("to", dtype)])

    def reduce(
        self, op_type: str, value: ir.Value, axes: Sequence[int], *, keep: bool = False
    ) -> ir.Value:
        """Add ReduceSum or ReduceMean over `axes`; `keep` keeps them with a length of 1."""
        attributes = [ir.AttrInt64("keepdims", int(keep))]
        if self._opset < _AXES_AS_INPUT[op_type]:
            return self.node(op_type, value, attributes=[*attributes, ir.AttrInt64s("axes", axes)])
        return self.node(op_type, value, self.constant(axes, np.int64), attributes=attributes)
