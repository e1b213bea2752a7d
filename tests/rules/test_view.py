"""What rules look at: batch norms, traces of folded ones, switches; and causes from findings."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import model, normal
from layers import fused, layers, random_statistics, switched, view
from onnx import numpy_helper

from bnopt.findings import Finding, Severity
from bnopt.rules.diagnosis import causes
from bnopt.rules.norms import Norm
from bnopt.rules.traces import Trace

W = {"W": normal(4, 3, 3, 3)}


def _finding(code: str, severity: Severity, site: str | None, message: str = "") -> Finding:
    return Finding(code, severity, site, message or f"{code} here", f"mend {code}")


def _causes(*findings: Finding, count: int = 4, producer: str = ""):
    stored = [random_statistics(4, n) for n in range(count)]
    return causes(findings, view(layers(*stored, producer=producer)))


def test_causes_are_ordered_by_gravity_then_share_then_rule() -> None:
    found = _causes(
        _finding("epsilon", "info", "main:y0"),
        _finding("dead-channels", "warning", "main:y0"),
        _finding("half-updated", "error", "main:y1"),
        _finding("never-updated", "error", "main:y0"),
        _finding("barely-updated", "error", "main:y2"),
        _finding("barely-updated", "error", "main:y3"),
        _finding("dead-channels", "warning", "main:y1"),
        _finding("zero-gamma", "warning", "main:y3"),
    )
    assert [(one.code, one.severity, one.found, one.of) for one in found] == [
        ("barely-updated", "error", 2, 4),
        ("never-updated", "error", 1, 4),
        ("half-updated", "error", 1, 4),
        ("dead-channels", "warning", 2, 4),
        ("zero-gamma", "warning", 1, 4),
        ("epsilon", "info", 1, 4),
    ]


def test_a_cause_is_as_grave_as_the_gravest_of_its_findings() -> None:
    (one,) = _causes(
        _finding("dead-channels", "info", "main:y0"),
        _finding("dead-channels", "error", "main:y1"),
        _finding("dead-channels", "warning", "main:y1"),
    )
    assert (one.severity, one.found, one.of) == ("error", 2, 4)


@pytest.mark.parametrize(
    ("producer", "reason"),
    [
        ("tf2onnx", "the update ops did not run with the train op"),
        ("pytorch", "the model was exported untrained"),
        ("", "the moving averages were not part of the training step"),
    ],
)
def test_a_cause_speaks_of_the_framework(producer: str, reason: str) -> None:
    (one,) = _causes(_finding("never-updated", "error", "main:y0"), producer=producer)
    assert one.message.startswith(f"1 of 4 batch norms were never updated: {reason}")
    assert one.fix == "mend never-updated"


def test_a_cause_of_the_whole_model_says_what_its_finding_says() -> None:
    (one,) = _causes(_finding("not-enough-data", "info", None, "only 7"))
    assert (one.message, one.found, one.of) == ("only 7", 0, 4)
    (one,) = _causes(_finding("wrong-data-range", "error", None, "first"), count=0)
    assert one.message == "first: the preprocessing of training is not that of this data"
    # A rule on batch norms that has none to name.
    (one,) = _causes(_finding("never-updated", "error", None, "all of it"))
    assert one.message.startswith("all of it: ")


def test_batch_norms_that_were_folded_away_count() -> None:
    found = causes([_finding("unrecoverable", "info", "main:y")], view(fused([1, 2, 3, 4])))
    assert (found[0].found, found[0].of) == (1, 1)
    (one,) = causes([_finding("unrecoverable", "info", None)], view(fused([1, 2, 3, 4])))
    assert (one.found, one.of) == (0, 1)
    assert found[0].message.startswith("1 of 1 batch norms have statistics that are folded away")


def _trace(text: str, **weights: np.ndarray) -> tuple[Trace, ...]:
    return view(model(f"g (float[N,3,8,8] x) => (float[N,4,6,6] y) {{ {text} }}", **weights)).traces


def _kernel(name: str) -> dict[str, np.ndarray]:
    return {name: normal(4, 3, 3, 3), "t": np.arange(4, dtype=np.float32)}


def test_a_trace_of_tf2onnx() -> None:
    (trace,) = _trace("y = Conv(x, k_weights_fused_bn, t)", **_kernel("k_weights_fused_bn"))
    assert (trace.site, trace.name, trace.by, trace.axis) == ("main:y", "y", "tf2onnx", 1)
    assert trace.evidence == "k_weights_fused_bn"
    assert trace.output.name == "y"
    assert trace.shift is not None
    assert trace.shift.tolist() == [0, 1, 2, 3]
    assert _trace("y = Conv(x, k, t)", **_kernel("k")) == ()
    # Only what a batch norm can be folded into is looked at.
    assert _trace("c = Conv(x, t1) y = Mul(c, k_weights_fused_bn)", t1=W["W"],
                  k_weights_fused_bn=normal(4, 1, 1)) == ()  # fmt: skip


def _merged(text: str, *names: str, **weights: np.ndarray) -> tuple[Trace, ...]:
    """Kernel and Conv output get the names that grappler gives, which ONNX text cannot spell."""
    proto = model(f"g (float[N,3,8,8] x) => (float[N,6,6,4] y) {{ {text} }}", k=W["W"], **weights)
    proto.graph.initializer[0].name = proto.graph.node[0].input[1] = "l/merged_input"
    for node, name in zip(proto.graph.node, names, strict=False):
        node.name = name
    return view(proto).traces


SHIFT = {"t": np.array([1, 2, 3, 4], np.float32)}
LAST = {"t": np.array([[[[1, 2, 3, 4]]]], np.float32)}


@pytest.mark.parametrize(
    ("text", "names", "found"),
    [
        ("y = Conv(x, k)", ("l/batchnorm/mul_1",), True),
        ("y = Conv(x, k)", ("l/batch_norm/mul_1",), True),
        ("y = Conv(x, k)", ("l/bn/mul_1",), True),
        ("y = Conv(x, k)", ("l/scale/mul_1",), False),
        ("batchnorm = Conv(x, k) y = Neg(batchnorm)", ("l/c",), True),
        ("y = Conv(x, k, bn_t)", ("l/c",), True),
        ("y = Conv(x, k, t)", ("l/c",), False),
        ("c = Conv(x, k) y = Add(c, t)", ("l/c", "l/batchnorm/add_1"), True),
        ("c = Conv(x, k) y = Add(c, t)", ("l/c", "l/add"), False),
        ("c = Conv(x, k) y = Sub(c, t)", ("l/c", "l/batchnorm/sub"), False),
    ],
)
def test_what_grappler_merged_is_a_batch_norm_by_its_names(text, names, found: bool) -> None:
    got = _merged(text, *names, bn_t=SHIFT["t"], **LAST)
    assert [trace.by for trace in got] == (["grappler"] if found else [])


@pytest.mark.parametrize(
    ("text", "output", "axis", "shift"),
    [
        ("y = Conv(x, k)", "y", 1, [0]),
        ("y = Conv(x, k, t)", "y", 1, [1, 2, 3, 4]),
        ("s = Neg(u) y = Conv(x, k, u)", "y", 1, None),
        ("c = Conv(x, k) y = Add(c, t)", "y", 1, [1, 2, 3, 4]),
        ("c = Conv(x, k) y = Add(t, c)", "y", 1, [1, 2, 3, 4]),
        ("c = Conv(x, k) p = Transpose<perm=[0,2,3,1]>(c) y = Add(t, p)", "y", 3, [1, 2, 3, 4]),
        ("c = Conv(x, k) p = Relu(c) y = Add(p, t)", "c", 1, [0]),
        ("c = Conv(x, k) p = Neg(c) y = Add(c, t)", "c", 1, [0]),
        ("c = Conv(x, k) y = Add(c, x)", "c", 1, [0]),
    ],
)
def test_what_is_added_behind_a_trace(text: str, output: str, axis: int, shift) -> None:
    kernel = "k_weights_fused_bn"
    text = text.replace(", k", f", {kernel}")
    graph = f"g (float[N,3,8,8] x, float[4] u) => (float[N,A,B,C] y) {{ {text} }}"
    (trace,) = view(model(graph, **{kernel: W["W"]}, **SHIFT)).traces
    assert (trace.output.name, trace.axis) == (output, axis)
    assert (None if trace.shift is None else trace.shift.tolist()) == shift


def test_the_channels_of_a_matrix_product_are_last() -> None:
    text = "g (float[N,5,3] x) => (float[N,5,4] y) { y = MatMul(x, k_weights_fused_bn) }"
    (trace,) = view(model(text, k_weights_fused_bn=normal(3, 4))).traces
    assert trace.axis == 2


NORM = "{} = BatchNormalization(x, g, b, m, v)"


def test_gated_nodes() -> None:
    seen = view(switched(NORM.format("t"), "f = Identity(x)", NORM.format("q") + " y = Add(q, z)"))
    assert [(norm.site.split(":")[1], norm.gated) for norm in seen.norms] == [
        ("q", False),
        ("t", True),
    ]
    assert [norm.site for norm in seen.live] == ["main:q"]
    (switch,) = seen.switches
    assert (switch.node.op_type, switch.inputs, switch.default) == ("If", ("p",), None)


def _where(first: str, second: str, condition: str = "bool p") -> tuple[bool, ...]:
    text = f"""g (float[N,4] x, {condition}) => (float[N,4] y) {{
        q = BatchNormalization(x, g, b, m, v)  r = BatchNormalization(x, g, b, v, g)
        y = Where(p, {first}, {second}) }}"""
    numbers = {name: np.ones(4, np.float32) for name in "gbmv"}
    return tuple(norm.gated for norm in view(model(text, **numbers)).norms)


def test_the_ways_of_a_where() -> None:
    assert _where("q", "r") == (True, True)
    assert _where("q", "q") == (False, True)
    assert _where("q", "x") == (True, True)
    assert _where("q", "r", "bool[1] p") == (True, True)
    # A mask of data is no switch.
    assert _where("q", "r", "bool[N,1] p") == (False, False)


def test_a_default_of_a_switch() -> None:
    proto = switched("t = Neg(x)", "f = Abs(x)")
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "p"))
    assert [switch.default for switch in view(proto).switches] == [True]


def _norm(body: str, **weights: np.ndarray) -> Norm:
    text = f"g (float[N,3,8,8] x) => (float[N,4,6,6] y) {{ c = Conv(x, W) {body} }}"
    arrays = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    (norm,) = view(model(text, **W, **arrays)).norms
    return norm


S = np.array([1.5, 2, 3, 4]).reshape(4, 1, 1)
T = np.array([5, 6, 7, 8]).reshape(4, 1, 1)


def test_a_chain_begins_behind_the_bias() -> None:
    norm = _norm("d = Add(c, a) k = Mul(d, s) y = Add(k, t)", a=T, s=S, t=T)
    assert [node.outputs[0].name for node in norm.nodes] == ["k", "y"]
    assert norm.input is not None
    assert norm.input.name == "d"
    assert norm.shift is not None
    assert (norm.shift.tolist(), norm.axis, norm.channels) == ([5, 6, 7, 8], 1, 4)
    norm = _norm("d = Add(c, a) e = Add(d, a) k = Mul(e, s) y = Add(k, t)", a=T, s=S, t=T)
    assert len(norm.nodes) == 2


def test_a_mean_is_what_is_subtracted_first() -> None:
    norm = _norm("d = Sub(c, a) k = Mul(d, s) y = Add(k, t)", a=T, s=S, t=T)
    assert norm.mean is not None
    assert norm.mean.tolist() == [5, 6, 7, 8]
    assert norm.scale is not None
    assert norm.shift is not None
    assert norm.shift.tolist() == (T - S * T).reshape(-1).tolist()
    for body in (
        "d = Sub(a, c) y = Mul(d, s)",
        "k = Mul(c, s) y = Sub(k, a)",
        "k = Div(c, s) y = Sub(k, a)",
    ):
        assert _norm(body, a=T, s=S).mean is None


def test_numbers_that_vary_along_other_axes_are_not_known() -> None:
    norm = _norm("k = Mul(c, s) y = Add(k, t)", s=S, t=normal(4, 6, 6))
    assert norm.shift is None
    assert norm.scale is not None
    assert norm.scale.size == 4
    norm = _norm("d = Sub(c, a) y = Mul(d, s)", a=normal(4, 6, 6), s=S)
    assert (norm.mean, norm.shift) == (None, None)
    # One summand for all channels is one for each.
    norm = _norm("k = Mul(c, s) y = Add(k, t)", s=S, t=[[[2.0]]])
    assert norm.shift is not None
    assert norm.shift.tolist() == [2, 2, 2, 2]
