"""Batch norms that a model holds in the form of Mul and Add; with onnx only, independent of bnopt.

Counted is every chain of Mul, Div, Add and Sub by constants, each result read by the next operator
only, in which a multiplier has more than one element along exactly one axis and one element along
all others; once per such axis. It must be applied to floating-point data of rank 2 or more (or of
unknown rank) that the constant does not broadcast, and that is not the tail of a normalization:
the output of an operator whose name ends in Normalization, BatchNormalization apart, or arithmetic
on a statistic of the data itself. A constant is an initializer, the output of a Constant node, or
of any operator whose inputs are all constant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx
from onnx import TensorProto, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

STANDARD = ("", "ai.onnx")
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
ARITHMETIC = frozenset({"Mul", "Div", "Add", "Sub"})
MOVES = frozenset("Cast Flatten Identity Reshape Squeeze Transpose Unsqueeze".split())
STATISTICS = frozenset("Add Clip Div Max Mul Neg Pow Reciprocal Sqrt Sub".split())
RANDOM = frozenset("Bernoulli Multinomial RandomNormal RandomUniform".split())

Dims = tuple[int | None, ...]


@dataclass
class _Scope:
    """One graph or function body, and those around it.

    Attributes:
        outer: The scope around it; None for the main graph and for function bodies.
        graph: What holds the nodes.
        opsets: To evaluate constant expressions at.
        tensors: Initializers.
        producers: Node by output name.
        readers: How often a name is read, graph outputs and subgraphs included.
        dims: Shapes, as far as they are known.
        constants: Constant expressions looked at so far; None for a value that is computed.
    """

    outer: _Scope | None
    graph: onnx.GraphProto | onnx.FunctionProto
    opsets: list[onnx.OperatorSetIdProto]
    tensors: dict[str, TensorProto] = field(default_factory=dict)
    producers: dict[str, onnx.NodeProto] = field(default_factory=dict)
    readers: Counter[str] = field(default_factory=Counter)
    dims: dict[str, Dims] = field(default_factory=dict)
    constants: dict[str, TensorProto | None] = field(default_factory=dict)

    def home(self, name: str) -> _Scope | None:
        """The innermost scope that defines a name with a producer or an initializer."""
        if name in self.producers or name in self.tensors:
            return self
        # A formal input hides an outer value of the same name.
        formal = name in {getattr(value, "name", value) for value in self.graph.input}
        return None if formal or self.outer is None else self.outer.home(name)

    def shape(self, name: str) -> Dims | None:
        """The shape of a value, if it is known."""
        if name in self.dims or self.outer is None:
            return self.dims.get(name)
        return self.outer.shape(name)


def count_decomposed(model: onnx.ModelProto) -> int:
    """Batch norms in the form of Mul and Add, in every scope."""
    return sum(_count(scope) for scope in _scopes(_inferred(model)))


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # an invalid model is counted too; its ranks are then unknown
        return model


def _scopes(model: onnx.ModelProto) -> Iterator[_Scope]:
    pending: list[tuple[_Scope | None, onnx.GraphProto | onnx.FunctionProto]] = [
        (None, model.graph),
        *((None, function) for function in model.functions),
    ]
    while pending:
        outer, graph = pending.pop()
        scope = _scope(outer, graph, list(model.opset_import))
        yield scope
        for node in graph.node:
            for inner in _subgraphs(node):
                pending.append((scope, inner))


def _subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    found: list[onnx.GraphProto] = []
    for attribute in node.attribute:
        found += [attribute.g] if attribute.HasField("g") else []
        found += attribute.graphs
    return found


def _scope(
    outer: _Scope | None,
    graph: onnx.GraphProto | onnx.FunctionProto,
    opsets: list[onnx.OperatorSetIdProto],
) -> _Scope:
    is_function = isinstance(graph, onnx.FunctionProto)
    scope = _Scope(outer, graph, list(graph.opset_import) if is_function else opsets)
    for node in graph.node:
        scope.producers.update((name, node) for name in node.output if name)
    scope.readers.update(_reads(graph))
    if not is_function:
        scope.tensors.update((tensor.name, tensor) for tensor in graph.initializer)
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.tensor_type.HasField("shape"):
                scope.dims[value.name] = tuple(
                    d.dim_value if d.HasField("dim_value") else None
                    for d in value.type.tensor_type.shape.dim
                )
    return scope


def _reads(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for inner in _subgraphs(node):
            yield from _reads(inner)
    yield from (getattr(value, "name", value) for value in graph.output)


def _count(scope: _Scope) -> int:
    """Chains are followed from their last operator back; `axes` are counted from the last one."""
    links = {node.output[0]: link for node in scope.graph.node if (link := _link(scope, node))}
    chained = {data for data, _ in links.values() if data in links and scope.readers[data] == 1}
    total = 0
    for last in links:
        if last in chained:
            continue
        axes: set[int] = set()
        name: str | None = last
        data = last
        while name is not None:
            data, axis = links[name]
            axes |= set() if axis is None else {axis}
            name = data if data in chained else None
        if axes and not _is_normalized(scope, data):
            total += len(axes)
    return total


def _link(scope: _Scope, node: onnx.NodeProto) -> tuple[str, int | None] | None:
    """(data, axis of the multiplier or None) of an operator that is affine in one operand."""
    if node.domain not in STANDARD or node.op_type not in ARITHMETIC or len(node.input) != 2:
        return None
    first, second = (constant(scope, name) for name in node.input)
    if (first is None) == (second is None) or (node.op_type == "Div" and first is not None):
        return None
    known = first if second is None else second
    data = node.input[1 if second is None else 0]
    assert known is not None
    if known.data_type not in FLOATS:
        return None
    varying = [i - len(known.dims) for i, n in enumerate(known.dims) if n > 1]
    dims = scope.shape(data)
    if dims is not None:
        # The operator would copy the data along these axes, which is more than an affine does.
        copied = any(-i > len(dims) or dims[i] == 1 for i in varying)
        if copied or len(dims) < max(2, len(known.dims)):
            return None
    multiplies = node.op_type in ("Mul", "Div") and len(varying) == 1
    return data, varying[0] if multiplies else None


def constant(scope: _Scope, name: str) -> TensorProto | None:
    """The value of a constant expression; None for anything that is computed from inputs."""
    home = scope.home(name)
    if home is None:
        return None
    if name in home.tensors:
        return home.tensors[name]
    if name not in home.constants:
        home.constants[name] = _evaluated(home, home.producers[name], name)
    return home.constants[name]


def _evaluated(scope: _Scope, node: onnx.NodeProto, name: str) -> TensorProto | None:
    random = node.op_type.removesuffix("Like") in RANDOM
    if node.domain not in STANDARD or random or _subgraphs(node):
        return None
    if any(attribute.ref_attr_name for attribute in node.attribute):
        return None
    inputs = {given: constant(scope, given) for given in node.input if given}
    if any(tensor is None for tensor in inputs.values()):
        return None
    graph = onnx.helper.make_graph([node], "g", [], [onnx.ValueInfoProto(name=name)])
    for given, tensor in inputs.items():
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = given
    model = onnx.helper.make_model(graph, opset_imports=scope.opsets)
    try:
        (value,) = ReferenceEvaluator(model).run(None, {})
        return numpy_helper.from_array(value)
    except Exception:  # an operator that the reference lacks: not a simple constant
        return None


def _is_normalized(scope: _Scope, name: str) -> bool:
    """Whether a value is data that was just normalized by statistics of its own, or one of them."""
    start = _producer(scope, name)
    while start is not None and start.op_type in MOVES:
        start = _producer(scope, start.input[0])
    if start is None:
        return False
    if start.op_type.endswith("Normalization"):
        return start.op_type != "BatchNormalization"
    computed = [given for given in start.input if constant(scope, given) is None]
    if start.op_type not in ("Sqrt", "Reciprocal") and (
        start.op_type not in ("Div", "Mul", "Sub") or len(computed) < 2
    ):
        return False
    pending, seen = computed, set()
    while pending:
        name = pending.pop()
        node = _producer(scope, name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Sqrt" or node.op_type.startswith("Reduce"):
            return True
        if node.op_type in STATISTICS or node.op_type in MOVES:
            pending += [given for given in node.input if constant(scope, given) is None]
    return False


def _producer(scope: _Scope, name: str) -> onnx.NodeProto | None:
    home = scope.home(name)
    return None if home is None else home.producers.get(name)
