"""Of two exact ways the cheaper one is taken: fewest nodes, then fewest bytes."""

from __future__ import annotations

import numpy as np
from graphs import folded, model, normal, operators, statistics

from bnopt.findings import Folded

BN = "BatchNormalization"


def test_ahead_where_an_add_would_stay_behind() -> None:
    """A MatMul has no bias, and a Gemm has one."""
    text = f"""g (float[2,3] x) => (float[2,5] y) {{
        a = MatMul(x, K) c = {BN}(a, g, b, m, v) y = Gemm(c, W, d) }}"""
    proto = model(text, K=normal(3, 4), W=normal(4, 5), d=normal(5), **statistics(4))
    assert operators(folded(proto)[0]) == ["MatMul", "Gemm"]


def test_ahead_where_a_large_weight_would_be_copied_behind() -> None:
    text = f"""g (float[2,300] x, float[2,300] z) => (float[2,5] y, float[2,300] w) {{
        a = MatMul(x, K) w = MatMul(z, K) c = {BN}(a, g, b, m, v) y = Gemm(c, W, d) }}"""
    zero = np.zeros(300, np.float32)
    weights = {**statistics(300), "b": zero, "m": zero}
    proto = model(text, K=normal(300, 300), W=normal(300, 5), d=normal(5), **weights)
    result, plan = folded(proto)
    assert operators(result) == ["MatMul", "MatMul", "Gemm"]
    decision = plan.sites[0].decision
    assert isinstance(decision, Folded)
    assert "Gemm" in decision.message
