"""Jobs for the worker process: evaluate a model file in double precision, without onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx

from bnopt.errors import ExecutionError
from bnopt.judge.evaluator import BUDGET, Budget, Float64Evaluator, NoReferenceError, reads
from bnopt.runtime.tensors import from_ort_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ReferenceRun:
    """What the reference computed.

    Attributes:
        outputs: One dict of output name -> array per feed; floating-point outputs in float64.
        operations: Operations spent per feed, a measure of cost that no clock enters.
    """

    outputs: list[dict[str, NDArray[Any]]]
    operations: tuple[float, ...]


def evaluate(
    path: str,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    *,
    jitter: int | None = None,
    limit: float | None = None,
) -> ReferenceRun:
    """Evaluate the real-number function that a model file stands for.

    Weights are what the file stores, taken as exact; casts between floating-point types are not
    applied; integers and quantized values keep their types.

    Args:
        path: The model file.
        feeds: Input name -> array of the model's own dtype.
        jitter: Seed; every weight is then moved by one unit in the last place of its dtype, up or
            down at random. The change of the outputs is what one rounding of the weights costs.
        limit: Operations per feed after which to give up.

    Raises:
        ExecutionError: The model has no reference, and why.
    """
    try:
        model = _load(path)
        budget = Budget(limit=limit, epsilon=_coarsest_epsilon(model))
        token = BUDGET.set(budget)
        outputs: list[dict[str, NDArray[Any]]] = []
        operations: list[float] = []
        try:
            with np.errstate(all="ignore"):
                evaluator = Float64Evaluator(model)
                for feed in feeds:
                    budget.spent = 0.0
                    # The same weights for every feed of one seed.
                    budget.jitter = None if jitter is None else np.random.default_rng(jitter)
                    outputs.append(_named(evaluator, dict(feed)))
                    operations.append(budget.spent)
        finally:
            BUDGET.reset(token)
    except NoReferenceError as error:
        raise ExecutionError(str(error)) from None
    return ReferenceRun(outputs, tuple(operations))


def _named(evaluator: Float64Evaluator, feed: dict[str, Any]) -> dict[str, NDArray[Any]]:
    values = evaluator.run(None, feed)
    tensors: dict[str, NDArray[Any]] = {}
    for name, value in zip(cast("list[str]", evaluator.output_names), values, strict=True):
        tensors.update(from_ort_value(name, value))
    return tensors


def _load(path: str) -> onnx.ModelProto:
    model = onnx.load(path)
    for entry in model.opset_import:
        if entry.domain == "ai.onnx":
            entry.domain = ""
    _sort_nodes(model.graph)
    if model.functions:
        ordered = _callees_first(list(model.functions))
        del model.functions[:]
        model.functions.extend(ordered)
    return model


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Put nodes after what they read; onnxruntime does not insist on the order, so files exist."""
    nodes = list(graph.node)
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = [{producer[name] for name in reads(node) if name in producer} for node in nodes]
    if all(max(need, default=-1) < i for i, need in enumerate(needs)):
        return
    try:
        order = list(TopologicalSorter(dict(enumerate(needs))).static_order())
    except CycleError:
        raise NoReferenceError("the graph has a cycle") from None
    del graph.node[:]
    graph.node.extend(nodes[i] for i in order)


def _callees_first(functions: list[onnx.FunctionProto]) -> list[onnx.FunctionProto]:
    """The evaluator of onnx resolves calls in file order, the format promises none."""
    by_key = {(function.domain, function.name): function for function in functions}
    ordered: dict[tuple[str, str], onnx.FunctionProto] = {}

    def visit(function: onnx.FunctionProto, above: frozenset[tuple[str, str]]) -> None:
        key = (function.domain, function.name)
        if key in above:
            raise NoReferenceError(f"function {function.name} calls itself")
        for call in _calls(function.node):
            if call in by_key and call not in ordered:
                visit(by_key[call], above | {key})
        ordered.setdefault(key, function)

    for function in functions:
        visit(function, frozenset())
    return list(ordered.values())


def _calls(nodes: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for node in nodes:
        found.append((node.domain, node.op_type))
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                found += _calls(graph.node)
    return found


def _coarsest_epsilon(model: onnx.ModelProto) -> float:
    """Machine epsilon of the narrowest floating-point type among the weights; float32's if none."""
    epsilons: dict[int, float] = {
        onnx.TensorProto.FLOAT16: 2.0**-10,
        onnx.TensorProto.BFLOAT16: 2.0**-7,
        onnx.TensorProto.FLOAT: 2.0**-23,
        onnx.TensorProto.DOUBLE: 2.0**-52,
    }
    found = [
        epsilons[tensor.data_type]
        for tensor in model.graph.initializer
        if tensor.data_type in epsilons and tensor.dims
    ]
    return max(found, default=2.0**-23)
