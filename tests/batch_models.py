"""Small models whose batch norms take their statistics from the batch."""

from __future__ import annotations

import numpy as np
import onnx
from graphs import model, normal, statistics

MOMENTS = """
    mk = ReduceMean<axes = [0, 2, 3]>(c)
    d = Sub(c, mk)
    dd = Mul(d, d)
    vk = ReduceMean<axes = [{axes}]>(dd)
"""
IN_NODE = (
    MOMENTS.format(axes="0, 2, 3")
    + """
    m2 = Squeeze(mk, a)
    v2 = Squeeze(vk, a)
    y = BatchNormalization(c, g, b, m2, v2)
"""
)
IN_CHAIN = (
    MOMENTS
    + """
    ve = Add(vk, e)
    r = Sqrt(ve)
    q = Div(d, r)
    s = Mul(q, G)
    y = Add(s, B)
"""
)
EXTRA = {
    "a": np.array([0, 2, 3], np.int64),
    "e": np.array(1e-3, np.float32),
    "G": normal(1, 4, 1, 1),
    "B": normal(1, 4, 1, 1),
}


def batch_model(body: str, inputs: str = "", **extra: np.ndarray) -> onnx.ModelProto:
    """A Conv, then `body`, which may use the parameters of a batch norm."""
    text = f"g (float[N,3,8,8] x{inputs}) => (float[N,4,6,6] y) {{ c = Conv(x, W) {body} }}"
    return model(text, W=normal(4, 3, 3, 3), **statistics(4), **EXTRA, **extra)
