"""Every condition of a recognizer, by a node that is no affine, or that is not known to be one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
import pytest
from asking import place
from graphs import model, normal, statistics

from bnopt.algebra import recognizers
from bnopt.algebra.base import Context, Recognized, Refusal
from bnopt.algebra.recognizers import batch_normalization
from bnopt.graph.scopes import scopes

IMAGE = "float[2,4,6,6]"
FOUR = normal(4, 1, 1)
STATS = statistics(4)
BN = "y = BatchNormalization(x, g, b, m, v)"
GLOBAL = (
    "y = BatchNormWithGlobalNormalization"
    "<variance_epsilon = 0.001, scale_after_normalization = 1>(x, m, v, b, g)"
)
NAN = np.array([1, np.nan, 1, 1], np.float32)
FUNCTION = '<domain: "", opset_import: ["": 17]>\n{} (x, a, b, c, d) => (y) {{ y = Neg(x) }}'


class Case(NamedTuple):
    """Nodes up to the one that produces `y`, and what it is: a reason, or None for no affine."""

    answer: str | None
    nodes: str
    source: str = IMAGE
    opset: int = 17
    weights: Mapping[str, Any] = MappingProxyType({})
    functions: str = ""


ARITHMETIC = [
    Case(None, "y = Relu(x)"),
    Case("unknown-attribute", "y = Add<broadcast = 1>(x, a)", weights={"a": FOUR}),
    Case(
        "unknown-operator",
        "y = Neg(x)",
        functions=FUNCTION.replace(" Neg(x)", " Abs(x)").format("Neg"),
    ),
    Case("unknown-rank", "s = u.Strange(x) y = Add(s, a)", weights={"a": FOUR}),
    Case("unknown-rank", "s = u.Strange(x) y = Neg(s)"),
    Case(
        "data-type", "y = Add(x, a)", "int32[2,4,6,6]", weights={"a": np.ones((4, 1, 1), np.int32)}
    ),
    Case("bias-shape", "y = Add(x, a)", "float[4,6,6]", weights={"a": normal(1, 4, 1, 1)}),
    Case("bias-shape", "y = Add(x, a)", "float[2,1,6,6]", weights={"a": FOUR}),
    Case("bias-shape", "y = Add(x, a)", "float[2,C,6,6]", weights={"a": FOUR}),
    Case("bias-shape", "y = Add(x, a)", opset=6, weights={"a": normal(1, 1, 1)}),
    Case(
        "bias-shape",
        "y = Add<broadcast = 1, axis = 3>(x, a)",
        "float[2,4,6,4]",
        6,
        weights={"a": normal(4, 1)},
    ),
    Case("non-finite", "y = Mul(x, a)", weights={"a": NAN.reshape(4, 1, 1)}),
    Case(
        "non-finite", "y = Div(x, a)", weights={"a": np.array([1, 0, 1, 1]).reshape(4, 1, 1) * FOUR}
    ),
    Case(None, "y = Div(a, x)", weights={"a": FOUR}),
    Case(None, "y = Neg()"),
    Case(None, "y = Neg(a)", weights={"a": FOUR}),
    *[Case(None, "y = Neg(x)", f"int{bits}[2,4,6,6]") for bits in (8, 16, 32, 64)],
    Case(None, "y = Add(, a)", weights={"a": FOUR}),
    Case(None, "y = Add(a, )", weights={"a": FOUR}),
    Case(None, "y = Add(x, a, a)", weights={"a": FOUR}),
    Case(None, "y = Add(a, a)", weights={"a": FOUR}),
    Case(None, "y = Add(x, x)"),
    Case(None, "y = Add<broadcast = 1>(a, x)", opset=6, weights={"a": normal(2, 4, 6, 6)}),
]
BATCH_NORMS = [
    Case("unknown-opset", BN, opset=99, weights=STATS),
    Case("training-mode", BN, opset=6, weights=STATS),
    Case("training-mode", BN.replace("(", "<training_mode = 1>("), weights=STATS),
    Case("training-mode", BN.replace("y", "y, o", 1), opset=9, weights=STATS),
    Case("extra-outputs", BN.replace("y", "y, o", 1), weights=STATS),
    Case("training-mode", BN.replace("y", "y, o, p, q, r", 1), opset=13, weights=STATS),
    Case("extra-outputs", BN.replace("y", "y, o, p, q, r, s", 1), opset=13, weights=STATS),
    Case("shape-mismatch", BN.replace("(x", "("), weights=STATS),
    Case("shape-mismatch", BN.replace(", v", ""), weights=STATS),
    Case("dynamic-statistics", BN.replace(" v", " t"), f"{IMAGE} t, {IMAGE}", weights=STATS),
    Case(
        "batch-statistics",
        f"m = ReduceMean<axes = [0, 2, 3], keepdims = 0>(x) {BN}",
        weights={name: array for name, array in STATS.items() if name != "m"},
    ),
    Case(
        "dynamic-statistics",
        f"r = Relu(x) m = ReduceMean<axes = [0, 2, 3], keepdims = 0>(r) {BN.replace('x', 'z')}",
        f"{IMAGE} z, {IMAGE}",
        weights={name: array for name, array in STATS.items() if name != "m"},
    ),
    Case("data-type", BN, weights={**STATS, "b": np.ones(4, np.int32)}),
    *[Case("non-finite", BN, weights={**STATS, name: NAN}) for name in STATS],
    Case("non-finite", BN, weights={**STATS, "m": np.array([np.inf, 1, 1, 1], np.float32)}),
    Case("negative-variance", BN, weights={**STATS, "v": np.array([1, 1, -1, 1], np.float32)}),
    Case(
        "negative-variance",
        BN.replace("(", "<epsilon = 0.0>("),
        weights={**STATS, "v": np.array([1, 1, 0, 1], np.float32)},
    ),
    Case("shape-mismatch", BN, weights={**STATS, "m": normal(1)}),
    Case("shape-mismatch", BN, "float[2,3,6,6]", weights=STATS),
    Case("shape-mismatch", BN, "float[4]", weights=STATS),
    Case("shape-mismatch", BN, weights={name: a.reshape(4, 1) for name, a in STATS.items()}),
    Case("unknown-rank", f"s = u.Strange(x) {BN.replace('(x', '(s')}", weights=STATS),
]
LAST = "float[2,6,6,4]"
GLOBALS = [
    Case(
        "unknown-operator",
        GLOBAL,
        LAST,
        functions=FUNCTION.format("BatchNormWithGlobalNormalization"),
        weights=STATS,
    ),
    Case("unknown-attribute", GLOBAL.replace("variance_epsilon", "epsilon"), LAST, weights=STATS),
    Case("unknown-attribute", GLOBAL.replace("1>", "1, mode = 2>"), LAST, weights=STATS),
    Case("unknown-rank", GLOBAL.replace("(x", "("), LAST, weights=STATS),
    Case("unknown-rank", f"s = u.Strange(x) {GLOBAL.replace('(x', '(s')}", LAST, weights=STATS),
    Case("dynamic-statistics", GLOBAL.replace(" m", " x"), LAST, weights=STATS),
    Case("data-type", GLOBAL.replace(" m", " "), LAST, weights=STATS),
    Case("data-type", GLOBAL, LAST, weights={**STATS, "b": np.ones(4, np.int32)}),
    Case("shape-mismatch", GLOBAL, "float[2,6,6,3]", weights=STATS),
    Case("shape-mismatch", GLOBAL, LAST, weights={**STATS, "b": normal(1)}),
    *[Case("non-finite", GLOBAL, LAST, weights={**STATS, name: NAN}) for name in STATS],
    Case("negative-variance", GLOBAL, LAST, weights={**STATS, "v": -np.ones(4, np.float32)}),
]


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=f"{c.answer} {c.nodes}") for c in (*ARITHMETIC, *BATCH_NORMS, *GLOBALS)],
)
def test_no_affine(case: Case) -> None:
    node, scope, context = place(
        f"({case.source} x) => (float y) {{ {case.nodes} }}",
        "y",
        opset=case.opset,
        functions=case.functions,
        domains=', "u": 1',
        **case.weights,
    )
    answer = recognizers.recognize(node, scope, context)
    assert (answer.reason if isinstance(answer, Refusal) else answer) == case.answer


def test_an_attribute_that_refers_to_a_parameter_has_no_number() -> None:
    text = f"({LAST} x) => (float y) {{ y = f.Block<e = 0.1>(x) }}"
    body = GLOBAL.replace("variance_epsilon = 0.001", "variance_epsilon: float = @e")
    ones = "".join(f"{n} = Constant<value = float[4] {{1, 1, 1, 1}}>() " for n in "gbmv")
    functions = f'<domain: "f", opset_import: ["": 17]>\nBlock <e> (x) => (y) {{ {ones} {body} }}'
    graph = ir.from_proto(model(f"g {text}", functions=functions, domains=', "f": 1'))
    context = Context.of(graph)
    (scope,) = [scope for scope in scopes(graph) if scope.graph is not graph.graph]
    node = next(node for node in scope.graph if node.op_type.startswith("BatchNorm"))
    answer = recognizers.recognize(node, scope, context)
    assert isinstance(answer, Refusal)
    assert answer.reason == "unknown-attribute"


def test_what_the_caller_may_set_is_no_constant_if_it_is_to_stay_so() -> None:
    proto = model(f"g ({IMAGE} x, float[4,1,1] a) => (float y) {{ y = Add(x, a) }}", a=FOUR)
    graph = ir.from_proto(proto)
    (scope,) = scopes(graph)
    for keep in (False, True):
        context = Context.of(graph, keep_overridable=keep)
        answer = recognizers.recognize(graph.graph.node(0), scope, context)
        assert isinstance(answer, Refusal if keep else Recognized)


@pytest.mark.parametrize("node", ["com.foo::BatchNormalization", "LayerNormalization"])
def test_only_batch_norms_are_batch_norms(node: str) -> None:
    domain, _, operator = node.rpartition("::")
    assert not batch_normalization.matches(ir.Node(domain, operator, []))
    assert batch_normalization.matches(ir.Node("ai.onnx", "BatchNormalization", []))
