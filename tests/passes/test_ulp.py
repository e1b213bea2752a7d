"""Folded numbers are within half a unit in the last place of the exact ones, in every data type."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import ml_dtypes
import numpy as np
import pytest
from graphs import conv_bn, decisions, folded, model, normal, operators, weight
from onnx import numpy_helper

DTYPES = {
    "float": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "double": np.dtype(np.float64),
}
EPSILON = float(np.float32(1e-5))
# For float32 and below the product of a weight and a scale is rounded to 53 bits first.
SLACK = Decimal(2) ** -24


def ulp(value: Decimal, dtype: np.dtype) -> Decimal:
    """The distance between the numbers of `dtype` around `value`."""
    info = ml_dtypes.finfo(dtype)
    if value == 0:
        return Decimal(float(info.smallest_subnormal))
    exponent = math.floor(value.copy_abs().ln() / Decimal(2).ln())
    step = Decimal(2) ** (exponent - info.nmant)
    return max(step, Decimal(float(info.smallest_subnormal)))


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("host", ["Conv", "ConvTranspose", "Gemm"])
def test_half_an_ulp(host: str, name: str) -> None:
    dtype = DTYPES[name]
    channels, inputs = 16, 5
    rng = np.random.default_rng(7)
    shape = {"Conv": (channels, inputs, 1, 2), "ConvTranspose": (inputs, channels, 1, 2)}
    w = (rng.normal(size=shape.get(host, (inputs, channels))) * 0.1).astype(dtype)
    bias = rng.normal(size=channels).astype(dtype)
    # Means close to the bias: the folded bias is a difference that nearly cancels.
    mean = (bias.astype(np.float64) * (1 + 1e-3 * rng.normal(size=channels))).astype(dtype)
    gamma, beta = (
        rng.normal(size=channels).astype(dtype),
        (rng.normal(size=channels) * 1e-3).astype(dtype),
    )
    variance = rng.uniform(0.1, 4, channels).astype(dtype)
    dims = "N,C" if host == "Gemm" else "N,C,H,W"
    text = f"""g ({name}[{dims}] x) => ({name}[{dims.replace("C", "D")}] y) {{
        c = {host}(x, W, B)
        y = BatchNormalization(c, g, b, m, v)
    }}"""
    proto = model(text, W=w, B=bias, g=gamma, b=beta, m=mean, v=variance)
    result, _ = folded(proto)
    assert operators(result) == [host]
    new_w = weight(result, "W").astype(np.float64)
    new_b = weight(result, "B").astype(np.float64)
    assert weight(result, "W").dtype == dtype
    axis = 0 if host == "Conv" else 1
    with localcontext() as context:
        context.prec = 60
        for c in range(channels):
            scale = (
                Decimal(float(gamma[c])) / (Decimal(float(variance[c])) + Decimal(EPSILON)).sqrt()
            )
            exact = (Decimal(float(bias[c])) - Decimal(float(mean[c]))) * scale + Decimal(
                float(beta[c])
            )
            assert abs(Decimal(float(new_b[c])) - exact) <= ulp(exact, dtype) * (
                Decimal("0.5") + SLACK
            )
            old = np.take(w, c, axis).astype(np.float64).ravel()
            for before, after in zip(old, np.take(new_w, c, axis).ravel(), strict=True):
                exact = Decimal(float(before)) * scale
                limit = ulp(exact, dtype) * (Decimal("0.5") + SLACK)
                assert abs(Decimal(float(after)) - exact) <= limit


def test_lazy_weights_are_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed block by block while they are written, or at once: the same numbers."""
    import onnx_ir as ir

    from bnopt import passes
    from bnopt.algebra import scaling
    from bnopt.graph import tensors

    text = """g (float[N,6,H,W] x) => (float[N,8,H,W] y) {
        c = ConvTranspose <group = 2> (x, W)
        y = BatchNormalization(c, g, b, m, v)
    }"""
    stats = {k: normal(8, seed=i) for i, k in enumerate("gbm")}
    proto = model(text, W=normal(6, 4, 3, 3), v=np.abs(normal(8)), **stats)
    at_once = weight(folded(proto)[0], "W")
    monkeypatch.setattr(scaling, "LAZY_BYTES", 0)
    monkeypatch.setattr(tensors, "BLOCK_BYTES", 40)
    graph = ir.from_proto(proto)
    passes.apply(graph, passes.plan(graph))
    lazy = graph.graph.initializers["W"].const_value
    assert isinstance(lazy, tensors.BlockwiseTensor)
    np.testing.assert_array_equal(lazy.numpy(), at_once)
    written = numpy_helper.to_array(ir.to_proto(graph).graph.initializer[0])
    assert written.tobytes() == at_once.tobytes() == lazy.tobytes()


@pytest.mark.parametrize(
    ("name", "gamma", "beta"),
    [
        ("float", 1e-40, 0.0),  # pruned channels of released models: the error is below 2**-100
        ("float16", 1e-6, 2.0),  # the shift's own rounding is larger than what is lost
    ],
)
def test_an_underflow_that_nobody_can_see_does_not_hold_a_fold_back(
    name: str, gamma: float, beta: float
) -> None:
    kind = DTYPES[name]
    zeros = np.zeros(4, kind)
    proto = conv_bn(
        name,
        kind,
        g=np.full(4, gamma, kind),
        b=np.full(4, beta, kind),
        m=zeros,
        v=zeros + kind.type(1),
    )
    assert decisions(proto) == ["folded"]
