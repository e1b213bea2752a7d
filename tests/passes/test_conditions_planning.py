"""Every condition of the search for a place: a graph on which it matters, and what comes of it."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import assert_same, decisions, folded, model, normal, operators, statistics
from planning import (
    BN,
    IMAGE,
    NO_WAY_AHEAD,
    PAST_A_RELU,
    W,
    X,
    graph,
    in_half,
    ints,
    kept,
    positive,
    site,
)

from bnopt.findings import Folded, Kept, Merged

# Upstream.


def chain(count: int, start: str) -> str:
    return " ".join(f"i{k} = Identity({f'i{k - 1}' if k else start})" for k in range(count))


def test_far_away_is_too_far() -> None:
    """Every step is a call of Python, which has no room for a thousand."""
    behind = f"a = Conv(x, W) {chain(150, 'a')} {BN.replace('(c', '(i149')}"
    decision = kept(graph(behind))
    assert decision.reason == "not-carried"
    assert "is too far away" in decision.message
    near = f"a = Conv(x, W) {chain(20, 'a')} {BN.replace('(c', '(i19')}"
    assert decisions(graph(near)) == ["folded"]
    ahead = f"c = Abs(x) r = BatchNormalization(c, g, b, m, v) {chain(150, 'r')} y = Conv(i149, W)"
    assert "is too far away" in kept(graph(ahead)).message


def test_an_outer_scope_says_so() -> None:
    """An input of the model that a subgraph reads has no producer."""
    nodes = f"""y = If (flag) <
        then_branch = t () => ({IMAGE} p) {{ p = BatchNormalization(x, g, b, m, v) }},
        else_branch = e () => ({IMAGE} q) {{ q = Neg(x) }}>"""
    assert kept(graph(nodes, inputs=", bool flag")).reason == "other-scope"


SLICES = """c = Conv(x, W) p = Slice(c, s0, e0, a) q = Slice(c, s1, e1, a)
    r = BatchNormalization(p, g, b, m, v) n = Neg(q) y = Concat<axis = 1>(r, n)"""
CUT = {"a": ints(1), "s0": ints(0), "e0": ints(2), "s1": ints(2), "e1": ints(4)}
TWO = statistics(2)


def test_slices_that_share_a_convolution_and_do_not_overlap() -> None:
    proto = graph(SLICES, **CUT, **TWO)
    assert decisions(proto) == ["folded"]
    assert_same(proto, x=X)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("n = Neg(q)", "z = Relu(c) n = Neg(q)"),  # somebody reads it all
        ("n = Neg(q)", "z = Abs(c) n = Neg(q)"),
        ("q = Slice(c, s1, e1, a)", "q = Slice(c, s0, e0, a)"),  # somebody reads the same part
        ("q = Slice(c, s1, e1, a)", "q = Slice(c, s1, d, a)"),  # somebody reads who knows what
        ("q = Slice(c, s1, e1, a)", "q = Slice(x, c, e1, a)"),  # or where to start (no valid model)
    ],
)
def test_slices_that_share_a_convolution_with_others(old: str, new: str) -> None:
    proto = graph(SLICES.replace(old, new), inputs=", int64[1] d", **CUT, **TWO)
    assert decisions(proto) == ["shared-output"]


def test_slices_of_what_is_an_output() -> None:
    assert decisions(graph(SLICES, f"{IMAGE} y, {IMAGE} c", **CUT, **TWO)) == ["graph-output"]


def test_slices_of_what_a_subgraph_reads() -> None:
    nodes = """c = Conv(x, W) p = Slice(c, s0, e0, a)
    r = BatchNormalization(p, g, b, m, v) n = If (flag) <
        then_branch = t () => (float[2,2,6,6] h) { h = Slice(c, s1, e1, a) },
        else_branch = e () => (float[2,2,6,6] l) { l = Slice(c, s1, e1, a) }>
    y = Concat<axis = 1>(r, n)"""
    assert decisions(graph(nodes, inputs=", bool flag", **CUT, **TWO)) == ["captured"]


def test_a_slice_besides_a_batch_norm_that_reads_it_all() -> None:
    nodes = f"c = Conv(x, W) z = Slice(c, s0, e0, a) {BN}"
    proto = graph(nodes, f"{IMAGE} y, float[2,2,6,6] z", **CUT)
    assert decisions(proto) == ["shared-output"]


def test_a_computed_constant_is_one() -> None:
    nodes = "c = Transpose(k) z = BatchNormalization(c, g, b, m, v) y = Add(x, z)"
    assert decisions(graph(nodes, k=normal(6, 6, 4, 2))) == ["constant-input"]


def test_a_sum_needs_all_its_terms() -> None:
    """The second term alone could take it."""
    stats = positive(g=np.full(4, 2, np.float32), b=np.zeros(4, np.float32))
    for nodes in (
        "a = Abs(x) e = Conv(x, W) c = Concat<axis = 0>(a, e)",
        "a = Abs(x) e = Conv(x, W) c = Add(a, e)",
    ):
        first = "4" if "Concat" in nodes else "2"
        proto = graph(f"{nodes} {BN}", f"float[{first},4,6,6] y", **stats)
        assert isinstance(site(proto).decision, Kept)


@pytest.mark.parametrize(
    ("terms", "constant", "reason", "message"),
    [
        ("a, ", None, "shape-mismatch", "lacks an operand"),
        ("a, k", np.ones((2, 4, 6, 6), np.int32), "data-type", "the constant of Concat"),
        ("a, k", normal(4, 6, 6), "data-type", "the constant of Concat"),
        ("a, k", normal(2, 1, 6, 6), "shape-mismatch", "is broadcast"),
        ("a, k", normal(2, 4, 6, 6) * np.float32(1e38), "overflow", "Concat"),
    ],
)
def test_terms_that_cannot_take_it(
    terms: str, constant: np.ndarray | None, reason: str, message: str
) -> None:
    """Most of them are no valid models, so no shape is inferred; what reads it tells the rank."""
    proto = graph(
        f"s = u.Strange(x) a = Conv(s, W) c = Concat<axis = 0>({terms}) {BN} z = Conv(y, K3)",
        "float[4,4,6,6] y, float z",
        k=constant,
        **positive(g=np.full(4, 40, np.float32)),
    )
    if terms == "a, ":
        next(n for n in proto.graph.node if n.op_type == "Concat").input.append("")
    decision = kept(proto)
    assert decision.reason == reason
    assert message in decision.message


def test_the_second_term_takes_the_shift() -> None:
    """The first cannot: a Relu lets a scale through only."""
    nodes = f"a = Conv(x, W) r = Relu(a) e = Conv(x, W) c = Add(r, e) {BN}"
    proto = graph(nodes)
    assert decisions(proto) == ["folded"]
    assert operators(folded(proto)[0]) == ["Conv", "Relu", "Conv", "Add"]
    assert_same(proto, x=X)


ONE = {"b": np.ones(4, np.float32), "m": np.zeros(4, np.float32)}
PAD = ints(0, 0, 1, 1, 0, 0, 1, 1)


def test_a_pad_gets_the_value_that_the_affine_makes_of_its_own() -> None:
    nodes = f"a = Conv(x, W, b) c = Pad(a, p) {BN}"
    proto = graph(nodes, "float[2,4,8,8] y", p=PAD, **ONE)
    assert operators(folded(proto)[0]) == ["Conv", "Pad"]
    assert_same(proto, x=X)


@pytest.mark.parametrize("between", ["Identity", "Relu"])
@pytest.mark.parametrize("shift", ["z", "b"])
def test_two_affines_past_one_pad(between: str, shift: str) -> None:
    """The first changes what is padded with, so the second finds another number there."""
    nodes = f"""a = Conv(x, W, o) d = Pad(a, p) c = BatchNormalization(d, g, b, m, v)
        r = {between}(c) y = BatchNormalization(r, g, {shift}, m, v)"""
    proto = graph(nodes, "float[2,4,8,8] y", p=PAD, o=normal(4), z=np.zeros(4, np.float32), **ONE)
    assert_same(proto, x=X)


def test_a_gain_ahead_of_a_relu_keeps_its_scale() -> None:
    """Shift and all cannot pass the Relu; the gain must not be lost when the scale alone does."""
    nodes = f"a = Conv(x, W) r = Relu(a) h = Mul(r, half) c = Identity(h) {BN}"
    proto = graph(nodes, half=np.float32(0.5))
    assert isinstance(site(proto).decision, Folded)
    assert_same(proto, x=X)


@pytest.mark.parametrize("start", ["x", "r"])
def test_a_bias_on_the_way(start: str) -> None:
    """It takes the shift where only the scale goes on, and nothing where not even that does."""
    nodes = f"a = Conv(x, W) r = Relu(a) h = Add({start}, k) c = Identity(h) {BN}"
    proto = graph(nodes, k=normal(4, 1, 1))
    assert isinstance(site(proto).decision, Folded if start == "r" else Merged | Kept)
    assert_same(proto, x=X)


def test_a_bias_on_the_way_overflows_float64() -> None:
    wide = {name: a.astype(np.float64) for name, a in positive().items()}
    text = """g (double[2,4,6,6] x) => (double[2,4,6,6] y) { a = Conv(x, W) r = Relu(a)
        h = Add(r, k) c = Identity(h) y = BatchNormalization(c, g, b, m, v) }"""
    proto = model(
        text,
        W=W.astype(np.float64),
        k=np.full((4, 1, 1), 1e300),
        **{**wide, "g": np.full(4, 1e300)},
    )
    assert decisions(proto) == ["overflow"]


@pytest.mark.parametrize("opset", [6, 17])
def test_a_bias_on_the_way_that_cannot_be_written(opset: int) -> None:
    how, test = ("<broadcast = 1, axis = 1>", "<is_test = 1>") if opset < 7 else ("", "")
    nodes = f"""a = Conv(x, W) r = Relu(a) h = Add{how}(r, k) c = Identity(h)
        y = BatchNormalization{test}(c, g, b, m, v)"""
    huge = {"k": np.full((4, 1, 1), 1e30, np.float32), **positive(g=np.full(4, 1e10, np.float32))}
    proto = graph(nodes, opset=opset, **({"k": normal(4)} if opset < 7 else huge))
    assert isinstance(site(proto).decision, Kept)


# Downstream.


def test_what_one_node_reads_twice() -> None:
    nodes = "c = BatchNormalization(x, g, b, m, v) d = Concat<axis = 1>(c, c) y = Conv(d, V)"
    assert "is read twice by one node" in kept(graph(nodes, V=normal(4, 8, 1, 1))).message


def test_what_a_subgraph_reads() -> None:
    nodes = f"""c = BatchNormalization(x, g, b, m, v) y = If (flag) <
        then_branch = t () => ({IMAGE} p) {{ p = Conv(c, W) }},
        else_branch = e () => ({IMAGE} q) {{ q = Conv(c, W) }}>"""
    assert "inside a subgraph" in kept(graph(nodes, inputs=", bool flag")).message


def test_what_stands_behind_a_carrier_counts() -> None:
    for nodes, message in (
        ("c = BatchNormalization(x, g, b, m, v) y = Transpose<perm = [0, 1, 3, 2]>(c)", "output"),
        ("c = BatchNormalization(x, g, b, m, v) y = Abs(c)", "reads it"),
        ("c = BatchNormalization(x, g, b, m, v) y = Softmax(c)", "reads it"),
    ):
        decision = kept(graph(nodes))
        assert decision.reason == "graph-input"
        assert message in decision.message


def test_all_readers_or_none() -> None:
    nodes = "c = BatchNormalization(x, g, b, m, v) d = Conv(c, W) e = Conv(c, W) y = Sub(d, e)"
    proto = graph(nodes)
    assert decisions(proto) == ["folded"]
    assert_same(proto, x=X)
    assert decisions(graph(nodes.replace("e = Conv(c, W)", "e = Abs(c)"))) == ["graph-input"]


def test_past_a_flatten_into_a_gemm() -> None:
    nodes = "c = BatchNormalization(x, g, b, m, v) f = Flatten(c) y = Gemm(f, M, n)"
    proto = graph(nodes, "float[2,5] y", M=normal(144, 5), n=normal(5))
    assert decisions(proto) == ["folded"]
    assert operators(folded(proto)[0]) == ["Flatten", "Gemm"]
    assert_same(proto, x=X)


def test_a_padded_convolution_takes_the_scale_only() -> None:
    nodes = "c = BatchNormalization(x, g, b, m, v) y = Conv<pads = [1, 1, 1, 1]>(c, K3)"
    proto = graph(nodes)
    decision = site(proto).decision
    assert isinstance(decision, Folded)
    assert decision.leaves_add
    assert operators(folded(proto)[0]) == ["Add", "Conv"]
    assert_same(proto, x=X)


def test_a_scale_of_zero_cannot_stand_behind_its_shift() -> None:
    nodes = "c = BatchNormalization(x, g, b, m, v) y = Conv<pads = [1, 1, 1, 1]>(c, K3)"
    proto = graph(nodes, **positive(g=np.array([1, 0, 1, 1], np.float32)))
    assert decisions(proto) == ["padding"]


@pytest.mark.parametrize("nodes", ["a = Conv(x, W) c = Relu(a)", "c = Abs(x)"])
def test_before_opset_7_no_add_can_stay(nodes: str) -> None:
    behind = BN.replace("(", "<is_test = 1>(", 1).replace("y =", "z =")
    nodes = f"{nodes} {behind} y = Conv<pads = [1, 1, 1, 1]>(z, K3)"
    proto = graph(nodes, opset=6)
    assert isinstance(site(proto).decision, Kept)
    # The same in an opset that has one.
    assert isinstance(site(graph(nodes.replace("<is_test = 1>", ""))).decision, Folded)


def test_a_value_that_comes_to_mean_something_else_gets_another_name() -> None:
    """The Add behind the product takes the shift, which the product no longer has."""
    text = """g (float[5,4] x) => (float[5,3] y) {
        c = BatchNormalization(x, g, b, m, v) h = MatMul(c, M) y = Add(h, k) }"""
    result, _ = folded(model(text, M=normal(4, 3), k=normal(3), **statistics(4)))
    assert operators(result) == ["MatMul", "Add"]
    assert list(result.graph.node[0].output) != ["h"]


def test_two_branches_that_are_joined() -> None:
    nodes = f"""a = Conv(x, W) e = ConvTranspose(x, V, o) c = Concat<axis = 1>(a, e)
        {BN.replace("(c", "(c")}"""
    stats = statistics(7)
    proto = graph(nodes, "float[2,7,6,6] y", V=normal(4, 3, 1, 1), o=normal(3), **stats)
    assert decisions(proto) == ["folded"]
    assert operators(folded(proto)[0]) == ["Conv", "ConvTranspose", "Concat"]
    assert_same(proto, x=X)


# Merging.


def test_batch_norms_around_glue_become_one() -> None:
    nodes = """r = Abs(x) h = Mul(r, half) e = Add(h, k) c = Transpose<perm = [0, 1, 3, 2]>(e)
        d = BatchNormalization(c, g, b, m, v) i = Identity(d) f = Sub(i, k) y = Mul(f, k)"""
    proto = graph(nodes, half=np.float32(0.5), k=normal(4, 1, 1))
    result, plan = folded(proto)
    assert isinstance(plan.sites[0].decision, Kept | Merged)
    assert_same(proto, x=X)
    assert len(operators(result)) < 8


def test_batch_norms_past_a_relu_merge_their_scale() -> None:
    proto = graph(PAST_A_RELU, **NO_WAY_AHEAD)
    assert decisions(proto)[1] == "merged"
    assert operators(folded(proto)[0]) == ["Abs", "BatchNormalization", "Relu"]
    assert_same(proto, x=X)


def test_a_merger_that_cannot_be_written_is_none() -> None:
    """One works along the channels, one on each activation; before opset 7 there is no Mul."""
    each = {f"h{k}": np.abs(normal(4, 6, 6, seed=i)) for i, k in enumerate("gbmv")}
    nodes = """a = Abs(x) d = BatchNormalization<is_test = 1>(a, g, b, m, v) r = Identity(d)
        y = BatchNormalization<is_test = 1, spatial = 0>(r, hg, hb, hm, hv)"""
    result, plan = folded(graph(nodes, opset=6, **each))
    assert all(isinstance(site.decision, Kept) for site in plan.sites)
    assert operators(result) == ["Abs", "BatchNormalization", "Identity", "BatchNormalization"]


def test_a_merger_overflows() -> None:
    wide = {name: a.astype(np.float64) for name, a in statistics(4).items()} | {
        "g": np.full(4, 1e300)
    }
    text = """g (double[2,4,6,6] x) => (double[2,4,6,6] y) { a = Abs(x)
        d = BatchNormalization(a, g, b, m, v) i = Identity(d)
        y = BatchNormalization(i, g, b, m, v) }"""
    decision = site(model(text, **wide)).decision
    assert isinstance(decision, Kept)
    assert "overflows float64" in decision.message


IN_A_ROW = """a = Abs(x) d = BatchNormalization(a, g, b, m, v)
    y = BatchNormalization(d, hg, hb, hm, hv)"""


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        # gamma would be 1e-3 * 0.02
        ({"g": 0.02, "v": 4e-4, "b": 1}, {"g": 2e-5, "v": 4e-4}, ["Mul", "Add"]),
        # gamma would be 1224 * 245, or 1224 * 100
        ({"g": 1000, "v": 6e4, "b": 1}, {"g": 3e4, "v": 1e4}, ["Mul", "Add"]),
        # beta would be 1.2e5
        ({"b": 6e4}, {"g": 2}, ["Add", "BatchNormalization"]),
    ],
)
def test_parameters_that_the_type_does_not_hold(
    first: dict[str, float], second: dict[str, float], left: list[str]
) -> None:
    result, _ = folded(in_half(IN_A_ROW, first, second))
    assert operators(result) == ["Abs", *left]


def test_a_chain_stays_where_another_reads_its_middle() -> None:
    nodes = f"a = Conv(x, W) c = Add(a, k) z = Abs(c) {BN}"
    proto = graph(nodes, f"{IMAGE} y, {IMAGE} z", k=normal(4, 1, 1))
    assert isinstance(site(proto).decision, Kept)
    assert_same(proto, x=X)


def test_batch_norms_along_different_axes_do_not_merge() -> None:
    nodes = "c = Abs(x) d = BatchNormalization(c, g, b, m, v) i = Identity(d) y = Mul(i, k)"
    result, plan = folded(graph(nodes, k=normal(6)))
    assert operators(result) == ["Abs", "BatchNormalization", "Identity", "Mul"]
    assert all(isinstance(site.decision, Kept) for site in plan.sites)


def test_who_reads_only_the_type_reads_no_numbers() -> None:
    for second, reason in (("CastLike(x, a)", "folded"), ("CastLike(a, x)", "shared-output")):
        nodes = f"a = Conv(x, W) z = {second} c = Identity(a) {BN}"
        assert decisions(graph(nodes, f"{IMAGE} y, {IMAGE} z")) == [reason]


def test_a_batch_norm_and_a_gain_of_more_axes() -> None:
    """Together they are no batch norm, so both stay."""
    nodes = "c = Abs(x) d = BatchNormalization(c, g, b, m, v) y = Mul(d, k)"
    proto = graph(nodes, k=normal(4, 1, 6))
    assert operators(folded(proto)[0]) == ["Abs", "BatchNormalization", "Mul"]
    zero = np.zeros(4, np.float32)
    proto = graph(nodes, k=normal(4, 1, 6), b=zero, m=zero)
    assert operators(folded(proto)[0]) == ["Abs", "Mul"]
    assert_same(proto, x=X)


def test_statistics_for_each_activation_stay_so() -> None:
    """All the same, so they could be read as one for each channel."""
    same = {k: np.full((4, 6, 6), n, np.float32) for k, n in zip("gbmv", (2, 1, 3, 4), strict=True)}
    nodes = """c = Abs(x) d = BatchNormalization<spatial = 0>(c, g, b, m, v) e = Add(d, k)
        y = Mul(e, k)"""
    proto = graph(nodes, opset=7, k=normal(4, 1, 1), **same)
    result, _ = folded(proto)
    shapes = {tuple(t.dims) for t in result.graph.initializer if "parameter" in t.name}
    assert not shapes
    old = graph(
        nodes.replace(" e = Add(d, k)\n        y = Mul(e, k)", " y = Neg(d)"), opset=7, **same
    )
    assert isinstance(site(old).decision, Kept)


def test_a_chain_that_cannot_be_written_shorter_stays() -> None:
    each = {k: np.abs(normal(4, 6, 6, seed=i)) for i, k in enumerate("gbmv")}
    nodes = """c = Abs(x) d = BatchNormalization<is_test = 1, spatial = 0>(c, g, b, m, v)
        y = Add<broadcast = 1, axis = 1>(d, k)"""
    result, plan = folded(graph(nodes, opset=6, k=normal(4), **each))
    assert operators(result) == ["Abs", "BatchNormalization", "Add"]
    assert not plan.moves


def test_what_is_no_batch_norm_is_left_alone() -> None:
    nodes = "r = Abs(x) p = Add(r, k) q = Add(p, k) y = Sub(q, k)"
    _, plan = folded(graph(nodes, k=normal(4, 1, 1)))
    assert not plan.moves


def test_what_nobody_reads_is_left_alone() -> None:
    nodes = "y = Abs(x) p = Add(y, k) q = BatchNormalization(p, g, b, m, v)"
    result, plan = folded(graph(nodes, k=normal(4, 1, 1)))
    assert [s.decision.reason for s in plan.sites] == ["unread"]
    assert not plan.moves
    assert operators(result) == ["Abs", "Add", "BatchNormalization"]


# Obstacles.


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ("c = Strange(x)", "unknown-operator"),
        ("c = u.Strange(x)", "unknown-operator"),
        ("c = Div(x, k)", "non-finite"),
        ("c = Abs(x)", "not-linear"),
    ],
)
def test_obstacles(nodes: str, reason: str) -> None:
    """The convolution behind tells the rank, and as the output is one it takes nothing."""
    proto = graph(
        f"{nodes} {BN} z = Conv(y, W)", f"{IMAGE} y, float z", k=np.zeros((4, 1, 1), np.float32)
    )
    assert kept(proto).reason == reason
