"""Which tensors of a graph are the model's inputs and outputs, and what they are called in ONNX."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bnopt.errors import LoadError, UsageError
from bnopt.frontends.tensorflow.graphs import (
    PLACEHOLDERS,
    ancestors,
    node_name,
    nodes_by_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_LISTED = 8
_DEFAULT_SIGNATURE = "serving_default"
# Where TensorFlow 1 puts what only training and saving need.
_TRAINING_SCOPES = ("gradients", "save")
_TRAINING_OPS = ("Assign", "Apply", "Save", "Summary", "Restore", "ScatterUpdate", "Assert")
_NO_RESULTS = ("Const", "NoOp", "Shape", "ShapeN", "Size", "Rank", *PLACEHOLDERS)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked for; None leaves it to what the source says.

    Attributes:
        signature: Name of a SavedModel's signature.
        inputs: Names of a signature's inputs, or of tensors or nodes.
        outputs: The same for outputs.
    """

    signature: str | None = None
    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None


@dataclass(slots=True)
class Ends:
    """Inputs and outputs.

    Attributes:
        inputs: Name in the ONNX model -> tensor (`node:0`).
        outputs: The same.
        notes: What was found rather than given.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    notes: list[str] = field(default_factory=list[str])


def of_signature(graph: Any, signatures: Mapping[str, Any], wanted: Wanted) -> Ends:
    """Inputs and outputs of one signature of a SavedModel.

    Args:
        graph: The `tf.Graph`.
        signatures: Name -> SignatureDef.
        wanted: What was asked for; names may be the signature's or those of tensors.

    Raises:
        UsageError: There is no such signature, input or output, or several signatures and none
            is named.
        LoadError: There is no signature, or one with inputs that are no plain tensors.
    """
    public = {name: value for name, value in signatures.items() if not name.startswith("__")}
    if not public and wanted.outputs is not None:
        return of_graph(graph, wanted, trained=True)
    chosen = _signature(public, wanted.signature)
    inputs, outputs = _tensors(chosen.inputs), _tensors(chosen.outputs)
    if wanted.inputs is not None:
        inputs = _named(graph, wanted.inputs, inputs)
    if wanted.outputs is not None:
        outputs = _named(graph, wanted.outputs, outputs)
    return _distinct(Ends(inputs, outputs))


def of_graph(graph: Any, wanted: Wanted, *, trained: bool) -> Ends:
    """Inputs and outputs of a graph without a signature: those given, or those it shows.

    Args:
        graph: The `tf.Graph`.
        wanted: What was asked for.
        trained: Whether what stands there was made to be trained: then only one result that is
            clearly no part of training counts as an output.

    Raises:
        UsageError: There is no such input or output, or the outputs are not clear.
        LoadError: The graph has no result at all.
    """
    nodes = nodes_by_name(graph.as_graph_def())
    notes: list[str] = []
    if wanted.signature is not None:
        raise UsageError("only a SavedModel has signatures")
    if wanted.outputs is not None:
        outputs = _named(graph, wanted.outputs, {})
    else:
        outputs = _found_outputs(graph, nodes, trained=trained)
        notes.append(f"outputs found in the graph: {_some(outputs)}")
    if wanted.inputs is not None:
        inputs = _named(graph, wanted.inputs, {})
    else:
        needed = ancestors(nodes, map(node_name, outputs.values()))
        # One with a default is an option of the model, such as is_training, and no input.
        free = [
            node.name
            for node in nodes.values()
            if node.name in needed and node.op in ("Placeholder", "PlaceholderV2")
        ]
        inputs = {name: f"{name}:0" for name in free}
        notes.append(f"inputs found in the graph: {_some(inputs)}")
    return _distinct(Ends(inputs, outputs, notes))


def _signature(signatures: Mapping[str, Any], name: str | None) -> Any:
    if not signatures:
        raise LoadError("a SavedModel without signatures; name its outputs")
    if name is None:
        if _DEFAULT_SIGNATURE in signatures:
            return signatures[_DEFAULT_SIGNATURE]
        if len(signatures) == 1:
            return next(iter(signatures.values()))
        raise UsageError(f"several signatures and no default; choose one of: {_some(signatures)}")
    if name not in signatures:
        raise UsageError(f"no signature '{name}'; there are: {_some(signatures)}")
    return signatures[name]


def _tensors(infos: Mapping[str, Any]) -> dict[str, str]:
    for key, info in infos.items():
        if info.WhichOneof("encoding") not in ("name", None):
            raise LoadError(f"'{key}' of the signature is no plain tensor")
    # A protocol buffer's map has no order of its own.
    return {key: infos[key].name for key in sorted(infos)}


def _named(graph: Any, names: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """Name in the ONNX model -> tensor, for names as users write them."""
    found: dict[str, str] = {}
    for name in names:
        if name in known:
            found[name] = known[name]
            continue
        tensor = name if ":" in name else f"{name}:0"
        try:
            graph.get_tensor_by_name(tensor)
        except (KeyError, ValueError):
            there = f"; there are: {_some(known)}" if known else ""
            raise UsageError(f"the graph has no tensor '{tensor}'{there}") from None
        found[name.removesuffix(":0")] = tensor
    return found


def _distinct(ends: Ends) -> Ends:
    """With every name once: ONNX has one name space for inputs and outputs."""
    for name in [name for name in ends.outputs if name in ends.inputs]:
        fresh = f"{name}_output"
        while fresh in ends.inputs or fresh in ends.outputs:
            fresh += "_"
        ends.outputs = {
            fresh if key == name else key: tensor for key, tensor in ends.outputs.items()
        }
        ends.notes.append(f"output '{name}' is called '{fresh}': an input has that name")
    return ends


def _found_outputs(graph: Any, nodes: Mapping[str, Any], *, trained: bool) -> dict[str, str]:
    """Results that nothing goes on with but training."""
    going_on = {
        node_name(tensor)
        for node in nodes.values()
        if not (trained and _looks_on(node))
        for tensor in node.input
    }
    sinks = [
        operation
        for operation in graph.get_operations()
        if operation.name not in going_on and _is_result(operation, nodes, trained=trained)
    ]
    if not sinks or (trained and len(sinks) > 1):
        found = "several results" if sinks else "no result that is clearly the model's"
        candidates = sinks or list(_before_the_loss(graph, nodes))
        listed = f"; candidates: {_some(op.name for op in candidates)}" if candidates else ""
        raise UsageError(f"the graph has {found}; name the outputs{listed}")
    return {
        (op.name if index == 0 else tensor.name): tensor.name
        for op in sinks
        for index, tensor in enumerate(op.outputs)
        # Of a node such as FusedBatchNorm, only the first result is meant.
        if index == 0 or op.type in ("Split", "SplitV", "Unpack", "IdentityN", "TopKV2")
    }


def _is_training(node: Any) -> bool:
    scope = node.name.partition("/")[0].rstrip("_0123456789")
    return scope in _TRAINING_SCOPES or any(part in node.op for part in _TRAINING_OPS)


def _looks_on(node: Any) -> bool:
    """Whether a node takes part in no result of its own: a gradient, a summary, a saver."""
    return _is_training(node) and "Assign" not in node.op


def _is_result(operation: Any, nodes: Mapping[str, Any], *, trained: bool) -> bool:
    if operation.type in _NO_RESULTS or not operation.outputs:
        return False
    if trained and _is_training(nodes[operation.name]):
        return False
    first = operation.outputs[0]
    if first.dtype.name in ("string", "resource", "variant") or first.dtype.name.endswith("_ref"):
        return False
    # A loss or an accuracy.
    if trained and first.shape.rank == 0:
        return False
    return any(nodes[name].op in PLACEHOLDERS for name in ancestors(nodes, [operation.name]))


def _before_the_loss(graph: Any, nodes: Mapping[str, Any]) -> Iterator[Any]:
    """What a loss compares with the labels, which is where a trained graph's results go."""
    seen: set[str] = set()
    for operation in graph.get_operations():
        if "CrossEntropy" not in operation.type and "logistic_loss" not in operation.name:
            continue
        if _is_training(nodes[operation.name]):
            continue
        for tensor in operation.inputs:
            source = tensor.op
            while source.type in ("Reshape", "Identity") and source.inputs:
                source = source.inputs[0].op
            floats = tensor.dtype.is_floating and "logistic_loss" not in source.name
            if floats and source.type not in _NO_RESULTS and source.name not in seen:
                seen.add(source.name)
                yield source


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
