"""There is no batch norm in the graph.

What it does: says so of a graph with convolutions or matrix products, so that nobody takes the
silence of the other checks for a good sign. Where names show that an optimizer has merged batch
norms into the weights, `unrecoverable` is reported instead.

Why it is bad: it need not be. But if the network was written with batch norms, they have been
folded into the weights before bnopt saw them, and whether their statistics were ever updated can no
longer be told.

How it happens: the network has none; or the graph was frozen and run through TensorFlow's graph
transforms (fold_batch_norms), grappler, or a converter, and only the weights of the convolutions
are left.

Severity: an info.

How to fix: nothing, if the network has none. Else export from the checkpoint or the SavedModel, not
from the optimized graph, or give calibration data to `bnopt check`.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.frontends.tensorflow.dataflow.graph import Graph
from bnopt.frontends.tensorflow.dataflow.view import View

CODE = "no-batch-norm"
SEVERITY: Severity = "info"
SUMMARY = ""
CAUSES: dict[str, str] = {}
FIX = "if the network was written with batch norms, export from its checkpoint or SavedModel"

_HOSTS = frozenset(
    "BatchMatMul BatchMatMulV2 Conv2D Conv2DBackpropInput Conv3D DepthwiseConv2dNative "
    "MatMul".split()
)


def check(view: View) -> Iterator[Finding]:
    """One finding, if there are hosts and no batch norm, merged or not."""
    hosts = [name for name in view.graph.nodes if name in view.cone and _is_host(view.graph, name)]
    if view.layers or not hosts or merged(view):
        return
    message = f"no batch norm in the graph; {len(hosts)} convolutions or matrix products have none"
    yield Finding(CODE, SEVERITY, None, message, FIX, {"hosts": len(hosts)})


def merged(view: View) -> list[str]:
    """Hosts whose weights grappler has merged something into, batch norms by all that is known."""
    return [
        name
        for name in view.graph.nodes
        if name in view.cone
        and _is_host(view.graph, name)
        and any("merged_input" in operand.node for operand in view.graph.operands(name))
    ]


def _is_host(graph: Graph, name: str) -> bool:
    return graph.op(name) in _HOSTS
