"""A network that calls one layer twice, and what its statistics should be."""

from __future__ import annotations

import numpy as np
import onnx
from graphs import model, normal, run, weight
from measuring import showing

BN = "BatchNormalization"

SIAMESE = f"""g (float[N,3,H,H] p, float[N,3,K,K] q) => (float[N,4] z) {{
    c = Conv(p, W) i = {BN}(c, g, b, m, v) r = Relu(i) s = GlobalAveragePool(r) t = Flatten(s)
    d = Conv(q, W) j = {BN}(d, g, b, m, v) u = Relu(j) w = GlobalAveragePool(u) x = Flatten(w)
    z = Sub(t, x) }}"""

P, Q = normal(30, 3, 9, 9, seed=3) * 3 + 1, normal(30, 3, 5, 5, seed=4) / 2 - 2

FEEDS = {"p": P, "q": Q}

UNTRAINED = {
    "g": np.ones(4, np.float32),
    "b": np.zeros(4, np.float32),
    "m": np.zeros(4, np.float32),
    "v": np.ones(4, np.float32),
}


def siamese(text: str = SIAMESE, opset: int = 17, **replace: np.ndarray) -> onnx.ModelProto:
    weights = {"W": normal(4, 3, 3, 3), **UNTRAINED, **replace}
    return model(text, opset, **weights)


def together(*arrays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population variance of all numbers of each channel."""
    rows = [np.moveaxis(a.astype(np.float64), 1, 0).reshape(a.shape[1], -1) for a in arrays]
    numbers = np.concatenate(rows, axis=1)
    return numbers.mean(axis=1), numbers.var(axis=1)


def read(proto: onnx.ModelProto) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance that each batch norm reads."""
    norms = [node for node in proto.graph.node if node.op_type == BN]
    return [(weight(proto, node.input[3]), weight(proto, node.input[4])) for node in norms]


def assert_read(found: tuple[np.ndarray, np.ndarray], *inputs: np.ndarray) -> None:
    for numbers, wanted in zip(found, together(*inputs), strict=True):
        np.testing.assert_allclose(numbers, wanted, rtol=1e-5, atol=1e-6)


def assert_pooled(proto: onnx.ModelProto, *names: str, **feeds: np.ndarray) -> None:
    """Every batch norm holds the moments of all tensors `names`, as the model computes them."""
    inputs = run(showing(proto, *names), **feeds)
    for found in read(proto):
        assert_read(found, *inputs)


def is_one_function(proto: onnx.ModelProto) -> bool:
    x = normal(5, 3, 7, 7, seed=9)
    z = run(proto, p=x, q=x)[0]
    assert np.isfinite(z).all()
    return not z.any()
