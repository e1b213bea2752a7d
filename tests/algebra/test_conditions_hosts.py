"""Every condition of a host, by a graph that does not fulfil it: it says no, and says why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import pytest
from asking import affine, host, only_shift, place, reason
from graphs import decisions, model, normal, statistics

from bnopt.algebra import hosts
from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Absorption, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.scaling import rounded

IMAGE = "float[2,4,6,6]"
ALONG_1 = affine(1, 4, 1, 1, shift=(1, 4, 1, 1))
SCALE = affine(1, 4, 1, 1)
ALONG_3 = affine(1, 1, 1, 4)
ROWS = affine(4, 1, shift=(4, 1))
COLUMNS = affine(1, 4, shift=(1, 4))
TOKENS = affine(1, 1, 4, shift=(1, 1, 4))
HUGE = Affine.from_scale(DoubleDouble.of(np.full((1, 1, 1, 1), 1e300)))
HUGE_SHIFT = Affine.from_shift(DoubleDouble.of(np.full((1, 1, 1, 1), 1e300)))


ONES = DoubleDouble.of(np.ones(4))


def flat(wide: Affine, rank: int = 2) -> Affine:
    return wide.map(lambda array: array.reshape([1] * rank))


W = normal(4, 4, 1, 1)
M = normal(4, 4)
Q = np.ones((4, 4, 1, 1), np.int8)
S = np.float32(0.5)


class Case(NamedTuple):
    """Nodes up to the host that produces `y`, and what is asked of it in vain."""

    reason: str
    nodes: str
    after: Affine | None = None
    before: Affine | None = None
    source: str = IMAGE
    index: int = 0
    opset: int = 17
    weights: Mapping[str, Any] = MappingProxyType({})


CASES = [
    # The operator itself, and what only its data input takes.
    Case("unknown-attribute", "y = Conv<bias = 1>(x, W)", SCALE, weights={"W": W}),
    Case("dynamic-weight", "y = Conv(W, x)", before=SCALE, index=1, weights={"W": W}),
    Case(
        "overflow",
        "y = Conv(x, W)",
        Affine.from_scale(DoubleDouble.of(np.full((1, 1, 1, 1), np.inf))),
        weights={"W": W},
    ),
    Case(
        "overflow",
        "y = Conv(x, W)",
        Affine.from_shift(DoubleDouble.of(np.full((1, 1, 1, 1), np.inf))),
        weights={"W": W},
    ),
    # Conv and ConvTranspose.
    *[
        case
        for op in ("Conv", "ConvTranspose")
        for case in (
            Case("shape-mismatch", f"y = {op}(x)", SCALE),
            Case("dynamic-weight", f"y = {op}(x, x)", SCALE),
            Case(
                "shape-mismatch", f"y = {op}(x, W)", COLUMNS, source="float[2,4]", weights={"W": M}
            ),
            Case("shape-mismatch", f"y = {op}<group = 0>(x, W)", SCALE, weights={"W": W}),
            Case("shape-mismatch", f"y = {op}<group = 3>(x, W)", SCALE, weights={"W": W}),
            Case("channel-axis", f"y = {op}(x, W)", ALONG_3, weights={"W": W}),
            Case("channel-axis", f"y = {op}(x, W)", before=ALONG_3, weights={"W": W}),
            Case("shape-mismatch", f"y = {op}(x, W)", COLUMNS, weights={"W": W}),
            Case("channel-axis", f"y = {op}(x, W)", before=COLUMNS, weights={"W": W}),
            Case("shape-mismatch", f"y = {op}(x, W)", affine(1, 3, 1, 1), weights={"W": W}),
            Case("shape-mismatch", f"y = {op}(x, W)", only_shift(1, 3, 1, 1), weights={"W": W}),
            Case("shape-mismatch", f"y = {op}(x, W)", before=affine(1, 3, 1, 1), weights={"W": W}),
            Case("overflow", f"y = {op}(x, W)", HUGE, weights={"W": W}),
            Case("overflow", f"y = {op}(x, W)", HUGE_SHIFT, weights={"W": W}),
            Case("non-finite", f"y = {op}(x, W)", SCALE, weights={"W": W * np.float32(np.nan)}),
            Case("data-type", f"y = {op}(x, W)", SCALE, weights={"W": Q}),
            Case("dynamic-weight", f"y = {op}(x, W, x)", SCALE, weights={"W": W}),
            Case("shape-mismatch", f"y = {op}(x, W, B)", SCALE, weights={"W": W, "B": normal(1)}),
            Case(
                "data-type",
                f"y = {op}(x, W, B)",
                SCALE,
                weights={"W": W, "B": normal(4, dtype=np.float64)},
            ),
            Case(
                "overflow",
                f"y = {op}(x, W)",
                Affine.from_shift(DoubleDouble.of(np.full((1, 1, 1, 6), 1e300) * np.arange(1, 7))),
                weights={"W": W},
            ),
        )
    ],
    *[
        Case("padding", f"y = Conv<{how}>(x, W)", before=ALONG_1, weights={"W": normal(4, 4, 3, 3)})
        for how in ("pads = [0, 0, 0, 1]", 'auto_pad = "SAME_LOWER"')
    ],
    Case("padding", "y = ConvTranspose(x, W)", before=ALONG_1, weights={"W": W}),
    Case("shape-mismatch", "y = Conv(x, W)", before=only_shift(1, 3, 1, 1), weights={"W": W}),
    Case("channel-axis", "y = Conv(x, W)", before=only_shift(1, 1, 1, 4), weights={"W": W}),
    Case(
        "shape-mismatch",
        "y = ConvTranspose<group = 3>(x, W)",
        affine(1, 1, 1, 1),
        weights={"W": W},
    ),
    # Gemm.
    *[
        case._replace(source="float[4,4]")
        for case in (
            Case("dynamic-weight", "y = Gemm(x, x)", COLUMNS),
            Case("shape-mismatch", "y = Gemm(x)", COLUMNS),
            Case("shape-mismatch", "y = Gemm(x, W)", COLUMNS, weights={"W": normal(1, 4, 4)}),
            Case("channel-axis", "y = Gemm(x, W)", affine(4, 1), weights={"W": M}),
            Case("channel-axis", "y = Gemm(x, W)", before=affine(4, 1), weights={"W": M}),
            Case("overflow", "y = Gemm(x, W)", flat(HUGE), weights={"W": M}),
            Case("overflow", "y = Gemm(x, W)", flat(HUGE_SHIFT), weights={"W": M}),
            Case("dynamic-weight", "y = Gemm(x, W, x)", COLUMNS, weights={"W": M}),
            Case(
                "data-type",
                "y = Gemm(x, W, C)",
                COLUMNS,
                weights={"W": M, "C": normal(4, dtype=np.float64)},
            ),
            Case("shape-mismatch", "y = Gemm(x, W, C)", COLUMNS, weights={"W": M, "C": normal(3)}),
            Case(
                "shape-mismatch",
                "y = Gemm(x, W, C)",
                COLUMNS,
                weights={"W": M, "C": normal(1, 1, 4)},
            ),
            # MatMul.
            Case("dynamic-weight", "y = MatMul(x, x)", COLUMNS),
            Case("shape-mismatch", "y = MatMul(x)", COLUMNS),
            Case("channel-axis", "y = MatMul(x, W)", affine(4, 1), weights={"W": M}),
            Case("channel-axis", "y = MatMul(W, x)", affine(1, 4), weights={"W": M}),
            Case("channel-axis", "y = MatMul(x, W)", before=affine(4, 1), weights={"W": M}),
            Case(
                "channel-axis",
                "y = MatMul(x, W)",
                before=only_shift(4, 1),
                weights={"W": M},
            ),
            Case("channel-axis", "y = MatMul(x, W)", before=TOKENS, weights={"W": M}),
            Case("channel-axis", "y = MatMul(x, W)", before=COLUMNS, index=1, weights={"W": M}),
            Case("shape-mismatch", "y = MatMul(x, W)", TOKENS, weights={"W": M}),
            Case("shape-mismatch", "y = MatMul(x, W)", affine(1, 3), weights={"W": M}),
            Case("shape-mismatch", "y = MatMul(x, W)", before=affine(1, 3), weights={"W": M}),
            Case("channel-axis", "y = MatMul(x, W)", affine(4, 4), weights={"W": M}),
            Case("channel-axis", "y = MatMul(x, W)", affine(1), weights={"W": normal(4)}),
            Case("channel-axis", "y = MatMul(W, x)", affine(1), weights={"W": normal(4)}),
            Case("overflow", "y = MatMul(x, W)", flat(HUGE), weights={"W": M}),
            Case("overflow", "y = MatMul(x, W)", flat(HUGE_SHIFT), weights={"W": M}),
            Case("unknown-rank", "s = u.Strange(x) y = MatMul(s, W)", COLUMNS, weights={"W": M}),
            Case("unknown-rank", "y = MatMul(, W)", COLUMNS, weights={"W": M}),
        )
    ],
    Case("channel-axis", "y = MatMul(x, W)", affine(1), source="float[4]", weights={"W": M}),
    Case(
        "channel-axis",
        "y = MatMul(x, W)",
        affine(4, 1, 4),
        source="float[4,4,4]",
        weights={"W": normal(4, 4, 4)},
    ),
    Case(
        "channel-axis",
        "y = MatMul(x, W)",
        before=affine(1, 4, 1),
        source="float[4,4]",
        weights={"W": M},
    ),
    Case(
        "channel-axis",
        "y = MatMul(x, W)",
        affine(4, 1, 1),
        source="float[4,4,4]",
        weights={"W": M},
    ),
    # Gather.
    *[
        case._replace(source="int64[2,3]")
        for case in (
            Case("dynamic-weight", "s = u.Strange(x) y = Gather(s, x)", TOKENS),
            Case("unknown-rank", "y = Gather(, x)", TOKENS),
            Case("unknown-rank", "s = u.Strange(x) y = Gather(W, s)", TOKENS, weights={"W": M}),
            Case("data-type", "y = Gather(W, x)", TOKENS, weights={"W": Q[:, :, 0, 0]}),
            Case("shape-mismatch", "y = Gather(W, x)", COLUMNS, weights={"W": M}),
            Case("channel-axis", "y = Gather(W, x)", affine(1, 3, 1), weights={"W": M}),
            Case("channel-axis", "y = Gather(W, x)", only_shift(2, 1, 1), weights={"W": M}),
            Case("shape-mismatch", "y = Gather(W, x)", affine(1, 1, 3), weights={"W": M}),
            Case("overflow", "y = Gather(W, x)", flat(HUGE, 3), weights={"W": M}),
            Case("non-finite", "y = Gather(W, x)", TOKENS, weights={"W": M * np.float32(np.nan)}),
            Case(
                "quantized-weight",
                "t = DequantizeLinear(W, s) y = Gather(t, x)",
                TOKENS,
                weights={"W": Q[:, :, 0, 0], "s": S},
            ),
        )
    ],
    # DequantizeLinear of computed integers.
    *[
        case._replace(source="int8[2,4,6,6]")
        for case in (
            Case("dynamic-weight", "t = Cast<to = 1>(x) y = DequantizeLinear(x, t)", SCALE),
            Case("dynamic-weight", "y = DequantizeLinear(x, s, x)", SCALE, weights={"s": S}),
            Case("quantized-weight", "y = DequantizeLinear(x)", SCALE),
            Case(
                "quantized-weight",
                "y = DequantizeLinear<block_size = 2>(x, s)",
                SCALE,
                opset=21,
                weights={"s": normal(2, 2, 6, 6)},
            ),
            Case(
                "channel-axis", "y = DequantizeLinear(x, s)", affine(1, 4, 1, 6), weights={"s": S}
            ),
            Case(
                "channel-axis",
                "y = DequantizeLinear<axis = 2>(x, s)",
                SCALE,
                weights={"s": np.abs(normal(6))},
            ),
            Case(
                "channel-axis",
                "y = DequantizeLinear<axis = -2>(x, s)",
                SCALE,
                source="int8[2,4,4,4]",
                weights={"s": np.abs(normal(4))},
            ),
            Case(
                "quantized-weight", "y = DequantizeLinear(x, s)", SCALE, opset=12, weights={"s": S}
            ),
            Case(
                "quantized-weight",
                "y = DequantizeLinear(x, s)",
                affine(1, 4, 1, 1, negative=True),
                weights={"s": S},
            ),
            Case(
                "shape-mismatch",
                "y = DequantizeLinear(x, s)",
                affine(1, 3, 1, 1),
                weights={"s": np.ones(4, np.float32)},
            ),
            Case("overflow", "y = DequantizeLinear(x, s)", HUGE, weights={"s": S}),
            Case("overflow", "y = DequantizeLinear(x, s)", HUGE_SHIFT, weights={"s": S}),
        )
    ],
    Case(
        "underflow",
        "y = DequantizeLinear(x, s)",
        Affine.from_scale(DoubleDouble.of(np.full((1, 1, 1, 1), 1e-6))),
        source="int8[2,4,6,6]",
        weights={"s": np.float16(0.5)},
    ),
    # LSTM, GRU, RNN.
    *[
        case._replace(source="float[5,2,4]")
        for case in (
            Case(
                "not-linear",
                "y = LSTM<hidden_size = 3>(x, W, R)",
                TOKENS,
                weights={"W": normal(1, 12, 4), "R": normal(1, 12, 3)},
            ),
            Case("dynamic-weight", "y = LSTM<hidden_size = 3>(x, x, x)", before=TOKENS),
            Case("shape-mismatch", "y = LSTM<hidden_size = 3>(x)", before=TOKENS),
            Case("shape-mismatch", "y = RNN(x, W)", before=TOKENS, weights={"W": M}),
            Case(
                "channel-axis",
                "y = GRU(x, W)",
                before=affine(1, 2, 1),
                weights={"W": normal(1, 9, 4)},
            ),
            Case("overflow", "y = RNN(x, W)", before=flat(HUGE, 3), weights={"W": normal(1, 9, 4)}),
            Case(
                "overflow",
                "y = RNN(x, W)",
                before=flat(HUGE_SHIFT, 3),
                weights={"W": normal(1, 9, 4)},
            ),
            Case(
                "dynamic-weight",
                "y = RNN(x, W, W, x)",
                before=TOKENS,
                weights={"W": normal(1, 9, 4)},
            ),
            Case(
                "shape-mismatch",
                "y = RNN(x, W, W, B)",
                before=TOKENS,
                weights={"W": normal(1, 9, 4), "B": normal(1, 1)},
            ),
            Case(
                "shape-mismatch",
                "y = RNN(x, W, W, B)",
                before=TOKENS,
                weights={"W": normal(1, 9, 4), "B": normal(1, 18, dtype=np.float64)},
            ),
        )
    ],
    # Weights behind a DequantizeLinear.
    *[
        case._replace(nodes=f"{case.nodes} y = Conv(x, w)")
        for case in (
            Case(
                "quantized-weight",
                "w = DequantizeLinear(Q, s)",
                before=SCALE,
                after=SCALE,
                weights={"Q": Q, "s": S},
            ),
            Case(
                "quantized-weight",
                "w = DequantizeLinear<axis = 1>(Q, s)",
                SCALE,
                weights={"Q": Q, "s": np.ones(4, np.float32)},
            ),
            Case(
                "quantized-weight",
                "w = DequantizeLinear(Q, s)",
                SCALE,
                opset=12,
                weights={"Q": Q, "s": S},
            ),
            Case("overflow", "w = DequantizeLinear(Q, s)", HUGE, weights={"Q": Q, "s": S}),
            Case("overflow", "w = DequantizeLinear(Q, s)", HUGE, weights={"Q": 0 * Q, "s": S}),
            Case(
                "quantized-weight",
                "w = DequantizeLinear<block_size = 2>(Q, s)",
                SCALE,
                opset=21,
                weights={"Q": Q, "s": S},
            ),
            Case(
                "quantized-weight",
                "w = DequantizeLinear(Q, s)",
                affine(1, 1, 1, 1),
                weights={"Q": Q, "s": np.ones(3, np.float32)},
            ),
            Case(
                # The scale fits, its products do not.
                "overflow",
                "w = DequantizeLinear(Q, s)",
                Affine.from_scale(DoubleDouble.of(np.full((1, 1, 1, 1), 1e37))),
                weights={"Q": 100 * Q, "s": S},
            ),
            Case(
                "underflow",
                "w = DequantizeLinear(Q, s)",
                Affine.from_scale(DoubleDouble.of(np.full((1, 1, 1, 1), 1e-6))),
                source="float16[2,4,6,6]",
                weights={"Q": Q, "s": np.float16(0.5)},
            ),
            *[
                Case(
                    "quantized-weight",
                    "w = DequantizeLinear(Q, s, z)",
                    affine(1, 4, 1, 1, negative=True),
                    weights={"Q": np.full((4, 4, 1, 1), worst, kind), "s": S, "z": kind(zero)},
                )
                for kind, worst, zero in (
                    (np.int8, 127, -2),
                    (np.int8, -128, 0),
                    (np.uint8, 5, 131),
                )
            ],
            Case(
                "quantized-weight",
                "w = DequantizeLinear(Q, s) o = Neg(w)",
                SCALE,
                weights={"Q": Q, "s": S},
            ),
            Case(
                "quantized-weight",
                "w = DequantizeLinear(Q, s)",
                SCALE,
                weights={"Q": np.zeros((4, 0, 1, 1), np.int8), "s": S},
            ),
            Case(
                "unknown-attribute",
                "w = DequantizeLinear<saturate = 1>(Q, s)",
                SCALE,
                weights={"Q": Q, "s": S},
            ),
            Case(
                "quantized-weight",
                "w = DequantizeLinear<block_size = 2>(Q, s)",
                SCALE,
                opset=21,
                weights={"Q": Q, "s": np.ones((4, 2, 1, 1), np.float32)},
            ),
            Case(
                "dynamic-weight",
                "t = Cast<to = 3>(x) w = DequantizeLinear(t, s)",
                SCALE,
                weights={"s": S},
            ),
            Case("dynamic-weight", "w = DequantizeLinear(Q, x)", SCALE, weights={"Q": Q}),
            Case(
                "dynamic-weight", "w = DequantizeLinear(Q, s, x)", SCALE, weights={"Q": Q, "s": S}
            ),
            Case("shape-mismatch", "w = DequantizeLinear(Q)", SCALE, weights={"Q": Q}),
            Case("shape-mismatch", "w = DequantizeLinear(, s)", SCALE, weights={"s": S}),
            Case(
                "data-type",
                "w = DequantizeLinear(Q, s)",
                SCALE,
                weights={"Q": Q.astype(np.int32), "s": S},
            ),
            Case(
                "data-type",
                "w = DequantizeLinear(Q, s)",
                SCALE,
                weights={"Q": Q, "s": np.int32(1)},
            ),
            Case(
                "quantized-weight",
                "w = DequantizeLinear(Q, s)",
                SCALE,
                weights={"Q": Q, "s": np.ones(3, np.float32)},
            ),
            Case(
                "quantized-weight",
                "w = DequantizeLinear<axis = 0>(Q, s, z)",
                SCALE,
                weights={"Q": Q, "s": np.ones(4, np.float32), "z": np.zeros(1, np.int8)},
            ),
        )
    ],
    # A bias behind one.
    Case(
        "data-type",
        "b = DequantizeLinear(Q, s) y = Conv(x, W, b)",
        SCALE,
        weights={"W": W, "Q": np.ones(4, np.int16), "s": S},
    ),
]


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c.reason} {c.nodes}") for c in CASES])
def test_refused(case: Case) -> None:
    answer = host(
        f"({case.source} x) => (float y) {{ {case.nodes} }}",
        before=case.before,
        after=case.after,
        data_index=case.index,
        opset=case.opset,
        domains=', "u": 1',
        **case.weights,
    )
    assert reason(answer) == case.reason


@pytest.mark.parametrize("operator", ["Gather", "DequantizeLinear", "LSTM"])
@pytest.mark.parametrize("asked", [{"before": TOKENS, "after": TOKENS}, {}])
def test_hosts_of_one_side_refuse_the_other_and_nothing(operator: str, asked: Any) -> None:
    node, scope, context = place(f"(float[2,3,4] x) => (float y) {{ y = {operator}(x, x) }}", "y")
    request = Request(
        node, **{"before": None, "after": None, **asked}, scope=scope, context=context
    )
    answer = hosts.BY_TYPE[operator].absorb(request)
    assert isinstance(answer, Refusal)
    assert answer.reason == "not-linear"


def test_pads_of_zero_are_no_padding() -> None:
    text = f"({IMAGE} x) => (float y) {{ y = Conv<pads = [0, 0, 0, 0]>(x, W) }}"
    answer = host(text, before=ALONG_1, W=W)
    assert isinstance(answer, Absorption)
    assert [new.index for new in answer.operands] == [1, 2]


def test_a_table_or_weight_without_channels_is_no_crash() -> None:
    text = f"({IMAGE} x) => (float y) {{ y = Conv(x, W) }}"
    assert reason(host(text, after=SCALE, W=np.zeros((4, 0, 1, 1), np.float32))) is None


def test_a_scale_of_another_kind_is_no_crash() -> None:
    """No valid model: a scale is a float."""
    answer = host(
        "(int8[2,4,6,6] x) => (float y) { y = DequantizeLinear(x, s) }", after=SCALE, s=np.int32(1)
    )
    assert reason(answer) == "data-type"


def test_what_is_of_another_type_is_said() -> None:
    text = f"({IMAGE} x) => (float y) {{ w = DequantizeLinear(Q, s) y = Conv(x, w) }}"
    answer = host(text, after=SCALE, Q=Q, s=np.int32(1))
    assert isinstance(answer, Refusal)
    assert "the scale of DequantizeLinear 'w'" in answer.message


@pytest.mark.parametrize("dtype", [ir.DataType.INT32, ir.DataType.FLOAT8E8M0])
def test_new_constants_are_of_the_common_types(dtype: ir.DataType) -> None:
    answer = rounded(ONES, dtype, index=2, base="bias", what="it")
    assert isinstance(answer, Refusal)
    assert answer.reason == "data-type"


def test_weights_of_another_scope_stay() -> None:
    """A quantized weight that a subgraph captures: its DequantizeLinear serves all branches."""
    text = f"""g ({IMAGE} x, bool flag) => ({IMAGE} y) {{
        w = DequantizeLinear(Q, s)
        y = If (flag) <
            then_branch = t () => ({IMAGE} p) {{
                c = Conv(x, w) p = BatchNormalization(c, g, b, m, v) }},
            else_branch = e () => ({IMAGE} q) {{ q = Neg(x) }}>
    }}"""
    proto = model(text, Q=Q, s=S, **statistics(4))
    assert decisions(proto) == ["other-scope"]
