"""How many axes a tensor has, as far as the operators around it tell."""

from __future__ import annotations

from bnopt.frontends.tensorflow.dataflow.constants import const_value
from bnopt.frontends.tensorflow.dataflow.graph import Graph, Tensor

_RANKS = {
    **dict.fromkeys(("Conv3D", "MaxPool3D", "AvgPool3D"), 5),
    **dict.fromkeys(
        (
            "Conv2D",
            "Conv2DBackpropInput",
            "DepthwiseConv2dNative",
            "AvgPool",
            "MaxPool",
            "FusedBatchNorm",
            "FusedBatchNormV2",
        ),
        4,
    ),
    "MatMul": 2,
}
_SAME = frozenset(
    "BiasAdd Cast Elu Identity LeakyRelu Pad PadV2 Relu Relu6 Selu Sigmoid Softplus Square "
    "StopGradient Tanh".split()
)
_BROADCAST = frozenset("Add AddV2 Maximum Minimum Mul RealDiv SquaredDifference Sub".split())
_MAX_DEPTH = 16


def rank_of(graph: Graph, tensor: Tensor, depth: int = 0) -> int | None:
    """The number of a tensor's axes; None if it is not known.

    Args:
        graph: The graph it is in.
        tensor: Which.
        depth: How many nodes were passed on the way.
    """
    node = graph.nodes.get(tensor.node)
    if node is None or depth > _MAX_DEPTH or node.op in _RANKS:
        return None if node is None else _RANKS.get(node.op)
    if node.op.startswith("Placeholder"):
        shape = node.attr["shape"].shape
        # A graph of an old producer has no dimensions where it knows none.
        return len(shape.dim) or None
    operands = graph.operands(tensor.node)
    if node.op == "Reshape":
        shape = graph.nodes.get(operands[1].node)
        return const_value(shape).size if shape is not None and shape.op == "Const" else None
    count = 1 if node.op in _SAME else 2 if node.op in _BROADCAST else 0
    ranks = [rank_of(graph, operand, depth + 1) for operand in operands[:count]]
    # What is broadcast to the other has no more axes, or it would not fit a layer.
    return max((rank for rank in ranks if rank is not None), default=None)
