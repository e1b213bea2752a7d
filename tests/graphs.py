"""Small models for tests, written as ONNX text plus numpy weights, and ways to run them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx.reference
import onnx_ir as ir
from onnx import numpy_helper

from bnopt import passes
from bnopt.findings import Folded, Kept, Merged


def model(
    graph: str,
    opset: int = 17,
    ir_version: int = 8,
    functions: str = "",
    domains: str = "",
    **weights: np.ndarray,
) -> onnx.ModelProto:
    """`graph` in the syntax of onnx.parser; `weights` become initializers."""
    header = f'<ir_version: {ir_version}, opset_import: ["": {opset}{domains}]>\n'
    proto = onnx.parser.parse_model(header + graph + "\n" + functions)
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return proto


def statistics(
    channels: int, dtype: Any = np.float32, seed: int = 0, prefix: str = ""
) -> dict[str, np.ndarray]:
    """Trained-looking parameters g, b, m, v of a batch norm."""
    rng = np.random.default_rng(seed)
    return {
        f"{prefix}g": rng.normal(1, 0.5, channels).astype(dtype),
        f"{prefix}b": rng.normal(0, 1, channels).astype(dtype),
        f"{prefix}m": rng.normal(0, 1, channels).astype(dtype),
        f"{prefix}v": rng.uniform(0.2, 3, channels).astype(dtype),
    }


def normal(*shape: int, dtype: Any = np.float32, seed: int = 1) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def conv_bn(
    dtype: str = "float",
    kind: Any = np.float32,
    opset: int = 17,
    epsilon: float = 1e-5,
    **replace: Any,
) -> onnx.ModelProto:
    """Conv without bias, then a batch norm: the smallest thing to fold."""
    weights = {"W": normal(4, 3, 3, 3, dtype=kind), **statistics(4, kind), **replace}
    text = f"""g ({dtype}[N,3,8,8] x) => ({dtype}[N,4,6,6] y) {{
        c = Conv(x, W)
        y = BatchNormalization<epsilon = {epsilon}>(c, g, b, m, v)
    }}"""
    return model(text, opset, **weights)


def folded(proto: onnx.ModelProto, **options: Any) -> tuple[onnx.ModelProto, passes.Plan]:
    """The folded model and its plan."""
    graph = ir.from_proto(onnx.ModelProto.FromString(proto.SerializeToString()))
    plan = passes.plan(graph, **options)
    passes.apply(graph, plan)
    return ir.to_proto(graph), plan


def decisions(proto: onnx.ModelProto, **options: Any) -> list[str]:
    """`folded`, `merged`, or the reason it was kept, for each batch norm."""
    _, plan = folded(proto, **options)
    words = {Folded: "folded", Merged: "merged"}
    return [
        site.decision.reason if isinstance(site.decision, Kept) else words[type(site.decision)]
        for site in plan.sites
    ]


def operators(proto: onnx.ModelProto) -> list[str]:
    """The operators of the main graph, in order."""
    return [node.op_type for node in proto.graph.node]


def weight(proto: onnx.ModelProto, name: str) -> np.ndarray:
    """An initializer of the main graph."""
    return next(numpy_helper.to_array(t) for t in proto.graph.initializer if t.name == name)


def run(proto: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    """Outputs by onnxruntime with all its optimizations off."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def evaluate(proto: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    """Outputs by the ONNX reference implementation."""
    return onnx.reference.ReferenceEvaluator(proto).run(None, feeds)


def assert_same(proto: onnx.ModelProto, rtol: float = 1e-5, **feeds: np.ndarray) -> None:
    """The folded model is valid and gives what the original gives, on onnxruntime."""
    result, _ = folded(proto)
    onnx.checker.check_model(result, full_check=True)
    for expected, actual in zip(run(proto, **feeds), run(result, **feeds), strict=True):
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        scale = float(np.max(np.abs(expected.astype(np.float64))))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * max(scale, 1e-30))
