"""What must hold when any model is folded, checked against the float64 reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from bnopt import passes
from bnopt.findings import Folded, Kept, Merged, Site
from random_graphs.reference import Arrays, evaluate

# Doubles are compared so closely that any mistake shows; rounding is six digits further down.
DOUBLE_TOLERANCE = 1e-9
# What rounding every weight once more changes, times this, covers what rounding them once did.
NOISE_FACTOR = 8.0
JITTERS = 2
# Arithmetic in the data type rounds every step as well.
RUNTIME_FACTOR = 32.0
EPSILON_DOUBLE = 2.0**-52
EPSILON = {
    TensorProto.FLOAT: 2.0**-23,
    TensorProto.FLOAT16: 2.0**-10,
    TensorProto.BFLOAT16: 2.0**-7,
}


@dataclass
class Seen:
    """What the models held and what was decided: the coverage of a run."""

    models: int = 0
    operators: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)


def check(model: onnx.ModelProto, seen: Seen | None = None, *, runtime: bool = True) -> None:
    """Fold a model; an AssertionError or any other exception is a failure.

    Args:
        model: Straight from `models()`.
        seen: Where to count what it held and what was decided.
        runtime: Whether to compare the reference itself with onnxruntime.
    """
    seen = seen if seen is not None else Seen()
    onnx.checker.check_model(model, full_check=True)
    folded, sites = _fold(model)
    onnx.checker.check_model(folded, full_check=True)
    _check_interface(model, folded)
    _check_sites(folded, sites)
    _check_idempotent(folded)
    seen.models += 1
    seen.operators.update({node.domain or node.op_type for node in _nodes(model)})
    seen.decisions.update(_word(site) for site in sites)
    for index in range(2):
        feeds = _feeds(model, index)
        seen.compared[compare(model, folded, feeds)] += 1
        if runtime and index == 0:
            seen.compared[_check_runtime(model, feeds)] += 1


def _clone(model: onnx.ModelProto) -> ir.Model:
    return ir.from_proto(onnx.ModelProto.FromString(model.SerializeToString()))


def _fold(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[Site, ...]]:
    graph = _clone(model)
    before = ir.to_proto(graph).SerializeToString(deterministic=True)
    plan = passes.plan(graph)
    after = ir.to_proto(graph).SerializeToString(deterministic=True)
    assert after == before, "planning changed the model"
    assert passes.plan(_clone(model)).sites == plan.sites, "two plans of one model differ"
    passes.apply(graph, plan)
    if not plan.moves:
        unchanged = ir.to_proto(graph).SerializeToString(deterministic=True)
        assert unchanged == before, "a plan without moves changed the model"
    return ir.to_proto(graph), plan.sites


def _check_interface(model: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    def described(values: Iterator[onnx.ValueInfoProto]) -> list[tuple[str, int]]:
        return [(value.name, value.type.tensor_type.elem_type) for value in values]

    outputs = described(iter(model.graph.output))
    assert described(iter(folded.graph.output)) == outputs, "outputs changed"
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = described(value for value in model.graph.input if value.name not in stored)
    kept = described(value for value in folded.graph.input if value.name not in stored)
    assert kept == inputs, "inputs changed"


def _check_sites(folded: onnx.ModelProto, sites: tuple[Site, ...]) -> None:
    left = [node.name for node in _nodes(folded) if node.op_type == "BatchNormalization"]
    kept = [site for site in sites if isinstance(site.decision, Kept)]
    count = sum(site.form != "decomposed" for site in kept)
    assert len(left) <= count, f"{len(left)} batch norms are left, {count} were to be kept"


def _check_idempotent(folded: onnx.ModelProto) -> None:
    again = passes.plan(_clone(folded))
    more = [_word(site) for site in again.sites if isinstance(site.decision, Folded | Merged)]
    assert not more, f"folding once more would still do something: {more}"
    assert not again.moves, "folding once more would still change the model"


def _word(site: Site) -> str:
    decision = type(site.decision).__name__.lower()
    reason = f" {site.decision.reason}" if isinstance(site.decision, Kept) else ""
    return f"{decision}{reason} ({site.form})"


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    pending = [model.graph.node, *(function.node for function in model.functions)]
    while pending:
        for node in pending.pop():
            yield node
            pending += [attribute.g.node for attribute in node.attribute if attribute.g.node]


def _feeds(model: onnx.ModelProto, index: int) -> Arrays:
    """Normal numbers, of both signs; a condition is true first, then false."""
    stored = {tensor.name for tensor in model.graph.initializer}
    feeds: Arrays = {}
    for value in model.graph.input:
        if value.name in stored:
            continue
        kind = value.type.tensor_type.elem_type
        if kind == TensorProto.BOOL:
            feeds[value.name] = np.asarray(index == 0)
            continue
        shape = [int(n) for n in model.metadata_props[0].value.split(",")]
        array = np.random.default_rng(index).normal(size=shape) * (1, 3)[index]
        feeds[value.name] = array.astype(helper.tensor_dtype_to_np_dtype(kind))
    return feeds


def compare(model: onnx.ModelProto, folded: onnx.ModelProto, feeds: Arrays) -> str:
    """Hold the folded model's outputs against the original's, both in float64.

    Returns:
        How closely: as `double`, as `float`, or not at all because of infinities.

    Raises:
        AssertionError: They differ by more than rounding the weights explains.
    """
    names = {value.name for value in folded.graph.input}
    feeds_after = {name: array for name, array in feeds.items() if name in names}
    expected, actual = evaluate(model, feeds), evaluate(folded, feeds_after)
    magnitude = max(_magnitude(expected), _magnitude(actual))
    if not np.isfinite(magnitude):
        return "not finite"
    noise: dict[str, float] = {}
    epsilon = _coarsest(model)
    if epsilon:
        noise = _noise(model, feeds, expected)
        for name, value in _noise(folded, feeds_after, actual).items():
            noise[name] = max(noise.get(name, 0.0), value)
    for output in model.graph.output:
        name = output.name
        assert actual[name].shape == expected[name].shape, f"{name} changed its shape"
        error = _distance(actual[name], expected[name])
        allowed = DOUBLE_TOLERANCE * magnitude
        if epsilon:
            allowed = NOISE_FACTOR * (noise[name] + epsilon * magnitude)
        assert error <= allowed, f"{name} is off by {error:.3g}, {allowed:.3g} is allowed"
    return "float" if epsilon else "double"


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference; a condition is an output too, now and then."""
    difference = first.astype(np.float64) - second.astype(np.float64)
    return float(np.max(np.abs(difference), initial=0.0))


def _check_runtime(model: onnx.ModelProto, feeds: Arrays) -> str:
    """Hold the reference itself against onnxruntime, where that knows the types."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=providers)
        found = session.run(None, feeds)
    except Exception as error:  # onnxruntime's own exception types share no base class
        return f"onnxruntime cannot: {type(error).__name__}"
    expected = evaluate(model, feeds)
    noise = _noise(model, feeds, expected)
    # Here the values themselves are rounded, to the types of inputs and casts as well.
    kinds = {value.type.tensor_type.elem_type for value in model.graph.input}
    casts = [node for node in _nodes(model) if node.op_type == "Cast"]
    kinds |= {attribute.i for node in casts for attribute in node.attribute}
    narrowest = max(EPSILON.get(kind, EPSILON_DOUBLE) for kind in kinds)
    epsilon = max(_coarsest(model), narrowest)
    for output, actual in zip(model.graph.output, found, strict=True):
        exact = expected[output.name]
        assert actual.shape == exact.shape, f"the reference gives {output.name} another shape"
        error = float(np.max(np.abs(actual.astype(np.float64) - exact), initial=0.0))
        allowed = RUNTIME_FACTOR * (noise[output.name] + epsilon * _magnitude(expected))
        message = f"the reference and onnxruntime differ in {output.name} by {error:.3g}"
        assert error <= allowed, f"{message}, {allowed:.3g} is allowed"
    return "onnxruntime agrees"


def _magnitude(values: Mapping[str, np.ndarray]) -> float:
    floats = [np.abs(v) for v in values.values() if getattr(v, "dtype", None) == np.float64]
    return max((float(np.max(v, initial=0.0)) for v in floats), default=0.0)


def _noise(model: onnx.ModelProto, feeds: Arrays, exact: Arrays) -> dict[str, float]:
    """By how much each output moves when each weight moves by one unit in its last place."""
    moved = [evaluate(model, feeds, jitter=seed) for seed in range(JITTERS)]
    return {
        output.name: max(_distance(run[output.name], exact[output.name]) for run in moved)
        for output in model.graph.output
    }


def _coarsest(model: onnx.ModelProto) -> float:
    """Machine epsilon of the narrowest floating-point type of any weight; 0 if all are double."""
    # These operands are never double, and never folded into.
    apart = {
        name
        for node in _nodes(model)
        if node.op_type in ("Resize", "Upsample", "Dropout")
        for name in node.input[1:]
    }
    kinds = {tensor.data_type for tensor in _tensors(model) if tensor.name not in apart}
    return max((EPSILON.get(kind, 0.0) for kind in kinds), default=0.0)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in _nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.g.initializer
