"""A batch norm goes back past a Cast from float16 only if its result returns to float16.

In float32 it may reach 1e6; computed in float16 it would be infinite, unless whoever reads it makes
it so anyway.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import decisions, model, normal, statistics

HALF, FLOAT, DOUBLE = 10, 1, 11
BN = "BatchNormalization(d, g, b, m, v)"


def network(body: str, output: str = "float16", outputs: str = "") -> onnx.ModelProto:
    text = f"""g (float16[2,3,6,6] x) => ({output}[2,4,6,6] y{outputs}) {{
        c = Conv(x, W) d = Cast<to = {FLOAT}>(c) {body} }}"""
    weights = {"W": normal(4, 3, 1, 1, dtype=np.float16), "k": normal(4, 1, 1), "h": normal(6, 1)}
    stats = statistics(4)
    # All scales are positive, so that a Relu lets them through.
    return model(text, **weights, s=np.float32(0.001), **{**stats, "g": np.abs(stats["g"])})


RETURNS = [
    f"e = {BN} y = Cast<to = {HALF}>(e)",
    f"e = {BN} r = Relu(e) t = Transpose<perm = [0, 1, 3, 2]>(r) y = Cast<to = {HALF}>(t)",
    f"e = {BN} l = Clip(e) y = Cast<to = {HALF}>(l)",
    f"f = Mul(d, k) e = Add(f, k) y = Cast<to = {HALF}>(e)",
    f"i = Identity(d) e = Mul(i, k) y = Cast<to = {HALF}>(e)",
]
STAYS = {
    "another type": (f"e = {BN} y = Cast<to = {DOUBLE}>(e)", "double"),
    "an output": (f"e = {BN} y = Identity(e)", "float"),
    "an output and a reader": (f"y = {BN} e = Cast<to = {HALF}>(y) n = Neg(e)", "float"),
    "another operator": (f"e = {BN} n = Sigmoid(e) y = Cast<to = {HALF}>(n)", "float16"),
    "a smaller scale behind a Relu": (
        f"e = {BN} r = Relu(e) n = Mul(r, s) y = Cast<to = {HALF}>(n)",
        "float16",
    ),
    "a scale along another axis": (
        f"e = {BN} n = Mul(e, h) y = Cast<to = {HALF}>(n)",
        "float16",
    ),
    "two computed values": (f"e = {BN} n = Mul(e, e) y = Cast<to = {HALF}>(n)", "float16"),
    "too far": (
        f"e = {BN} i0 = Identity(e) "
        + " ".join(f"i{i + 1} = Identity(i{i})" for i in range(20))
        + f" y = Cast<to = {HALF}>(i20)",
        "float16",
    ),
}


@pytest.mark.parametrize("body", RETURNS)
def test_the_result_returns(body: str) -> None:
    assert decisions(network(body)) == ["folded"]


@pytest.mark.parametrize("case", STAYS)
def test_the_result_stays_wide(case: str) -> None:
    body, output = STAYS[case]
    assert decisions(network(body, output))[0] == "not-carried"


def test_a_cast_to_the_same_type_is_none() -> None:
    text = f"""g (float[2,3,6,6] x) => (float[2,4,6,6] y) {{
        c = Conv(x, W) d = Cast<to = {FLOAT}>(c) y = {BN} }}"""
    assert decisions(model(text, W=normal(4, 3, 1, 1), **statistics(4))) == ["folded"]
