"""How many batch norms stand one behind another: those of one depth can be measured together."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from bnopt.calibration.slots import Slot
from bnopt.graph.order import in_order
from bnopt.graph.uses import operands_of


def depths(graph: ir.Graph, slots: Sequence[Slot]) -> list[int]:
    """For each slot, how many slots the longest way from an input of the graph to it passes.

    What is measured at one depends on the statistics of those before it only, so a pass over the
    data for each depth is enough, and with fewer some would be measured too early.
    """
    own = {slot.node for slot in slots}
    behind: dict[ir.Value, int] = {}
    found: dict[ir.Node, int] = {}
    for node in in_order(graph):
        depth = max((behind.get(v, 0) for v in operands_of(node) if v is not None), default=0)
        found[node] = depth
        for output in node.outputs:
            behind[output] = depth + (node in own)
    return [found[slot.node] for slot in slots]
