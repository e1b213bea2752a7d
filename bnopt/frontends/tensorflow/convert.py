"""A frozen graph to ONNX by tf2onnx, with its clean-up but without its folding of batch norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnopt.errors import ExecutionError, UsageError
from bnopt.frontends.tensorflow import library
from bnopt.runtime.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FUSION = ("Conv", "BatchNormalization")


def to_onnx(
    graph_def: Any,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    *,
    opset: int,
    handlers: Mapping[str, Any],
    path: Path,
) -> list[str]:
    """Convert and save.

    Args:
        graph_def: A graph without variables.
        inputs: Name in the ONNX model -> tensor.
        outputs: The same; no tensor twice, none that is an input.
        opset: Version of the operator set.
        handlers: For tf2onnx's `custom_op_handlers`: operator -> (function, arguments).
        path: Where to write the model.

    Returns:
        Names of the model's inputs, those with a default included.

    Raises:
        UsageError: tf2onnx does not know the opset.
        ExecutionError: It cannot convert an operator, or fails.
    """
    onnx = library.load("onnx")
    model = _converted(graph_def, inputs, outputs, opset, handlers)
    unknown = sorted(
        {
            node.op_type
            for node in _all_nodes(model.graph)
            if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type)
        }
    )
    if unknown:
        raise ExecutionError(f"tf2onnx cannot convert: {', '.join(unknown)}")
    try:
        onnx.save(model, str(path))
    except ValueError as error:
        raise ExecutionError(f"the ONNX model cannot be saved: {one_line(error)}") from None
    return [value.name for value in model.graph.input]


def _converted(
    graph_def: Any,
    inputs: Mapping[str, str],
    outputs: Mapping[str, str],
    opset: int,
    handlers: Mapping[str, Any],
) -> Any:
    tf = library.load("tensorflow")
    tfonnx, optimizer = library.load("tf2onnx.tfonnx"), library.load("tf2onnx.optimizer")
    newest = library.load("tf2onnx.constants").OPSET_TO_IR_VERSION
    if opset not in newest:
        raise UsageError(f"tf2onnx has no opset {opset}; the newest is {max(newest)}")
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        try:
            converted = tfonnx.process_tf_graph(
                graph,
                opset=opset,
                input_names=list(inputs.values()),
                output_names=list(outputs.values()),
                tensors_to_rename={
                    tensor: name for name, tensor in [*inputs.items(), *outputs.items()]
                },
                custom_op_handlers=dict(handlers),
            )
            cleaned = optimizer.optimize_graph(converted, optimizers=_optimizers())
            return cleaned.make_model("converted by tf2onnx")
        except MemoryError:
            raise
        # tf2onnx raises whatever its converters raise.
        except Exception as error:
            raise ExecutionError(f"tf2onnx failed: {one_line(error)}") from None


def _optimizers() -> dict[str, Any]:
    """tf2onnx's own, but for what merges a batch norm into a convolution, or into another one.

    One place fuses Conv and BatchNormalization (`*_weights_fused_bn`); on its way to remove
    transposes, another multiplies the factors of a Mul into the weights of a Conv before it; and
    the one that merges equal nodes lets batch norms share statistics that are equal so far.
    """
    module = library.load("tf2onnx.optimizer")
    transposes = library.load("tf2onnx.optimizer.transpose_optimizer").TransposeOptimizer
    # A private table, but this process belongs to us, and to nobody who wants the fusion.
    library.load("tf2onnx.optimizer.back_to_back_optimizer")._func_map.pop(_FUSION, None)

    class KeepsFactors(transposes):
        """Moves transposes past a Mul, and leaves its factors where they are."""

        def _mul_handler(self, trans: Any, node: Any) -> Any:
            # It merges a constant only where that stands second.
            if node.inputs[1].is_const() and trans.inputs[0].type == "Conv":
                self._g.replace_inputs(node, [node.input[1], node.input[0]])
            return transposes._mul_handler(self, trans, node)

    chosen: dict[str, Any] = dict(module._get_optimizers())
    chosen["optimize_transpose"] = KeepsFactors
    chosen.pop("merge_duplication", None)
    return chosen


def _all_nodes(graph: Any) -> list[Any]:
    nodes: list[Any] = []
    stack = [graph]
    while stack:
        for node in stack.pop().node:
            nodes.append(node)
            for attribute in node.attribute:
                stack += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
    return nodes
