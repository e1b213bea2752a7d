"""Default values that a caller may replace also decide how a carrier moves its data."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from graphs import decisions, model, normal, statistics
from onnx import helper

from bnopt import passes

BN = "BatchNormalization"
BEHIND = (
    f"c = Conv(x, W) d = Transpose<perm = [0, 1, 3, 2]>(c) e = Pad(d, p) y = {BN}(e, g, b, m, v)"
)
AHEAD = f'c = {BN}(x, g, b, m, v) e = Pad<mode = "edge">(c, p) y = Conv(e, W)'


def network(body: str) -> onnx.ModelProto:
    text = f"g (float[2,4,6,6] x) => (float[2,4,8,8] y) {{ {body} }}"
    pads = normal(8).astype("int64") * 0 + [0, 0, 1, 1, 0, 0, 1, 1]
    # With a shift of zero a Pad lets the scale through.
    stats = {**statistics(4), "b": statistics(4)["b"] * 0, "m": statistics(4)["m"] * 0}
    proto = model(text, W=normal(4, 4, 1, 1), p=pads, **stats)
    proto.graph.input.append(helper.make_tensor_value_info("p", onnx.TensorProto.INT64, [8]))
    return proto


@pytest.mark.parametrize("body", [BEHIND, AHEAD], ids=["behind", "ahead"])
def test_sizes_that_the_caller_may_set(body: str) -> None:
    assert decisions(network(body), keep_overridable=True) == ["overridable"]
    assert decisions(network(body)) == ["folded"]
    assert "p" in passes.plan(ir.from_proto(network(body))).overridable


SHAPED_BEHIND = f"c = Conv(x, W) d = Reshape(c, s) y = {BN}(d, g, b, m, v)"
SHAPED_AHEAD = f"c = {BN}(x, g, b, m, v) d = Reshape(c, s) y = Conv(d, V)"


@pytest.mark.parametrize("body", [SHAPED_BEHIND, SHAPED_AHEAD], ids=["behind", "ahead"])
def test_a_shape_that_the_caller_may_set(body: str) -> None:
    """Nothing but the shape of what comes out depends on it."""
    text = f"g (float[2,4,6,6] x) => (float[2,4,36] y) {{ {body} }}"
    weights = {"W": normal(4, 4, 1, 1), "V": normal(4, 4, 1)}
    shape = normal(3).astype("int64") * 0 + [2, 4, 36]
    proto = model(text, **weights, s=shape, **statistics(4))
    proto.graph.input.append(helper.make_tensor_value_info("s", onnx.TensorProto.INT64, [3]))
    assert decisions(proto) == ["folded"]
    assert decisions(proto, keep_overridable=True) == ["overridable"]
