"""Graphs to plan, around x [2,4,6,6], and what is decided about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from graphs import folded, model, normal, statistics

from bnopt.findings import Kept, Site

BN = "y = BatchNormalization(c, g, b, m, v)"
IMAGE = "float[2,4,6,6]"
W = normal(4, 4, 1, 1)
K3 = normal(4, 4, 3, 3)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def positive(**replace: Any) -> dict[str, np.ndarray]:
    """Statistics whose scales are positive."""
    stats = statistics(4)
    return {**stats, "g": np.abs(stats["g"]), **replace}


def graph(nodes: str, target: str = f"{IMAGE} y", opset: int = 17, **weights: Any) -> Any:
    every = {"W": W, "K3": K3, **positive(), **weights}
    inputs = weights.get("inputs", "")
    every.pop("inputs", None)
    old = {"ir_version": 3} if opset < 7 else {}
    used = {name: a for name, a in every.items() if a is not None}
    text = f"g ({IMAGE} x{inputs}) => ({target}) {{ {nodes} }}"
    return model(text, opset, domains=', "u": 1', **old, **used)


def site(proto: onnx.ModelProto, index: int = 0, **options: Any) -> Site:
    """A site of the plan; the plan can be carried out."""
    _, plan = folded(proto, **options)
    return plan.sites[index]


def kept(proto: onnx.ModelProto, index: int = 0, **options: Any) -> Kept:
    decision = site(proto, index, **options).decision
    assert isinstance(decision, Kept)
    return decision


X = normal(2, 4, 6, 6)

# A scale of zero cannot stand behind its shift, and the other one has no shift.
PAST_A_RELU = """a = Abs(x) d = BatchNormalization(a, zg, b, m, v) r = Relu(d)
    y = BatchNormalization(r, g, z, z, v)"""
NO_WAY_AHEAD = {"z": np.zeros(4, np.float32), "zg": np.array([1, 0, -1, 2], np.float32)}


def half(value: float) -> np.ndarray:
    """That number for each of four channels."""
    return np.full(4, value, np.float16)


def in_half(nodes: str, first: dict[str, float], second: dict[str, float]) -> onnx.ModelProto:
    """A graph of float16 with parameters g, b, m, v and hg, hb, hm, hv, uniform in each."""
    weights = {k: half(x) for k, x in {"g": 1, "b": 0, "m": 0, "v": 1, **first}.items()}
    weights |= {f"h{k}": half(x) for k, x in {"g": 1, "b": 0, "m": 0, "v": 1, **second}.items()}
    text = f"g (float16[2,4,6,6] x) => (float16[2,4,6,6] y) {{ {nodes} }}"
    return model(text, **weights)
