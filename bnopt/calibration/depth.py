"""How many batch norms stand one behind another: those of one depth can be measured together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from bnopt.calibration.layers import Layer
from bnopt.calibration.slots import Slot
from bnopt.errors import RefusalError
from bnopt.graph.order import in_order
from bnopt.graph.uses import operands_of


def depths(graph: ir.Graph, slots: Sequence[Slot]) -> list[int]:
    """For each slot, how many slots the longest way from an input of the graph to it passes.

    What is measured at one depends on the statistics of those before it only, so a pass over the
    data for each depth is enough, and with fewer some would be measured too early.
    """
    found = _depths(in_order(graph), {slot.node: 0 for slot in slots})
    return [found[slot.node] for slot in slots]


def layer_depths(graph: ir.Graph, layers: Sequence[Layer]) -> list[int]:
    """For each layer, how many layers the longest way to any of its calls passes.

    Raises:
        RefusalError: A call depends on another call of the same layer, so that no call of it has
            its final input before the layer has its final statistics.
    """
    nodes = in_order(graph)
    before = levels = [0] * len(layers)
    for _ in range(len(layers) + 1):
        least = {
            slot.node: level for layer, level in zip(layers, levels, strict=True) for slot in layer
        }
        found = _depths(nodes, least)
        before, levels = levels, [max(found[slot.node] for slot in layer) for layer in layers]
        if levels == before:
            return levels
    rising = [
        layer
        for layer, level, earlier in zip(layers, levels, before, strict=True)
        if level > earlier
    ]
    # A layer that only stands behind such a one rises with it.
    layer = next((one for one in rising if max(depths(graph, one)) > 0), rising[0])
    raise RefusalError(
        f"'{layer[0].name}' and '{layer[-1].name}' are calls of one layer, and the input of one "
        "depends on the statistics that both are to get; take the method precise"
    )


def _depths(nodes: Sequence[ir.Node], least: Mapping[ir.Node, int]) -> dict[ir.Node, int]:
    """How many of the nodes in `least`, which have at least these depths, stand before each."""
    behind: dict[ir.Value, int] = {}
    found: dict[ir.Node, int] = {}
    for node in nodes:
        depth = max((behind.get(v, 0) for v in operands_of(node) if v is not None), default=0)
        depth = max(depth, least.get(node, 0))
        found[node] = depth
        for output in node.outputs:
            behind[output] = depth + (node in least)
    return found
