"""Which batch norms are calls of one layer: they have one pair of statistics, from all calls."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import model, normal, run, statistics
from measuring import showing
from siamese import (
    BN,
    FEEDS,
    SIAMESE,
    UNTRAINED,
    P,
    assert_pooled,
    assert_read,
    is_one_function,
    read,
    siamese,
    together,
)

import bnopt

METHODS = pytest.mark.parametrize("method", ["precise", "sequential"])


@METHODS
@pytest.mark.parametrize(
    "trained",
    [UNTRAINED, statistics(4), {**UNTRAINED, "g": normal(4)}, {**UNTRAINED, "b": P[0, 0, 0, :4]}],
)
def test_a_siamese_network_stays_one_function(method, trained) -> None:
    proto = siamese(**trained)
    assert is_one_function(proto)
    result = bnopt.calibrate(proto, FEEDS, method=method, batch_size=7)
    assert is_one_function(result.model)
    assert_pooled(result.model, "c", "d", **FEEDS)
    first, second = result.layers
    assert first.count == second.count == 30 * (7 * 7 + 3 * 3)
    assert (first.mean, first.variance) == (second.mean, second.variance)
    mean, variance = together(*run(showing(proto, "c", "d"), **FEEDS))
    np.testing.assert_allclose(first.mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.variance, variance, rtol=1e-5)
    assert [note for note in result.notes if "called 2 times" in note and "'i', 'j'" in note]
    one, other = (node for node in result.model.graph.node if node.op_type == BN)
    assert one.input[3:] == other.input[3:]
    assert len(result.model.graph.initializer) == 5
    onnx.checker.check_model(result.model, full_check=True)


COPIES = SIAMESE.replace("(d, g, b, m, v)", "(d, hg, hb, hm, hv)")


def copies(numbers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**numbers, **{f"h{name}": array.copy() for name, array in numbers.items()}}


@METHODS
def test_copies_of_trained_statistics_are_one_layer(method) -> None:
    result = bnopt.calibrate(siamese(COPIES, **copies(statistics(4))), FEEDS, method=method)
    assert is_one_function(result.model)
    assert_pooled(result.model, "c", "d", **FEEDS)


@pytest.mark.parametrize("name", ["m", "v"])
def test_other_trained_statistics_are_another_layer(name: str) -> None:
    numbers = copies(statistics(4))
    numbers[f"h{name}"][1] += 1
    result = bnopt.calibrate(siamese(COPIES, **numbers), FEEDS)
    assert_own(result)
    assert not result.notes


def test_copies_of_initial_statistics_are_layers_of_their_own() -> None:
    """One batch norm for each domain, behind shared weights, before its averages have moved."""
    result = bnopt.calibrate(siamese(COPIES, **copies(UNTRAINED)), FEEDS)
    assert_own(result)
    assert not result.notes


@pytest.mark.parametrize("name", ["g", "b"])
def test_untrained_statistics_with_other_parameters_are_layers_of_their_own(name: str) -> None:
    text = SIAMESE.replace("(d, g, b, m, v)", f"(d, {'hg, b' if name == 'g' else 'g, hb'}, m, v)")
    numbers = {name: normal(4), f"h{name}": normal(4, seed=2)}
    assert_own(bnopt.calibrate(siamese(text, **numbers), FEEDS))


OTHER = SIAMESE.replace("Conv(q, W)", "Conv(q, V)")


def assert_own(result: bnopt.CalibrateResult) -> None:
    for found, values in zip(
        read(result.model), run(showing(result.model, "c", "d"), **FEEDS), strict=True
    ):
        assert_read(found, values)


def test_merged_initial_constants_are_no_layer() -> None:
    """Exporters merge equal constants: all ones and zeros of untrained layers are the same."""
    result = bnopt.calibrate(siamese(OTHER, V=normal(4, 3, 3, 3, seed=2)), FEEDS)
    assert_own(result)
    [note] = result.notes
    assert "layers of their own: 'i', 'j'" in note


@pytest.mark.parametrize(
    "trained",
    [
        statistics(4),
        {"g": normal(4)},
        {"b": normal(4)},
        {"m": normal(4)},
        {"v": 2 + P[0, 0, 0, :4] ** 2},
    ],
)
def test_what_was_trained_is_one_layer_behind_any_weights(trained) -> None:
    result = bnopt.calibrate(siamese(OTHER, V=normal(4, 3, 3, 3, seed=2), **trained), FEEDS)
    assert_pooled(result.model, "c", "d", **FEEDS)


def test_statistics_behind_identities() -> None:
    text = SIAMESE.replace("d = Conv", "n = Identity(m) o = Identity(v) d = Conv")
    result = bnopt.calibrate(siamese(text.replace("(d, g, b, m, v)", "(d, g, b, n, o)")), FEEDS)
    assert is_one_function(result.model)
    assert_pooled(result.model, "c", "d", **FEEDS)


@METHODS
def test_in_training_mode(method) -> None:
    proto = siamese(SIAMESE.replace(f"{BN}(", f"{BN}<training_mode = 1>("))
    result = bnopt.calibrate(proto, FEEDS, method=method)
    assert result.proof is not None
    assert result.proof.equivalent
    assert is_one_function(result.model)
    assert_pooled(result.model, "c", "d", **FEEDS)


def moments_of(value: str) -> str:
    """Mean and variance of the batch, as nodes."""
    nodes = """V0 = ReduceMean<axes = [0, 2, 3]>(V) V1 = Sub(V, V0) V2 = Mul(V1, V1)
        V3 = ReduceMean<axes = [0, 2, 3]>(V2) V4 = Squeeze(V0, a) V5 = Squeeze(V3, a)"""
    return nodes.replace("V", value)


def test_statistics_of_batches_are_not_shared() -> None:
    text = SIAMESE.replace(" i = ", f" {moments_of('c')} i = ").replace(
        "(c, g, b, m, v)", "(c, g, b, c4, c5)"
    )
    text = text.replace(" j = ", f" {moments_of('d')} j = ").replace(
        "(d, g, b, m, v)", "(d, g, b, d4, d5)"
    )
    result = bnopt.calibrate(siamese(text, a=np.array([0, 2, 3])), FEEDS)
    assert_own(result)
    assert not [note for note in result.notes if "called" in note]


WRITTEN_OUT = """g (float[N,3,9,9] p, float[N,3,5,5] q) => (float[N,4,7,7] y, float[N,4,3,3] z) {
    c = Conv(p, W) i = Mul(c, S) y = Add(i, B) d = Conv(q, W) j = Mul(d, S) z = Add(j, B) }"""


@pytest.mark.parametrize("scale", [np.ones(4), np.array([0.5, 2, 1.5, -1])])
def test_written_out(scale: np.ndarray) -> None:
    factor = (scale / np.sqrt(1.001)).astype(np.float32).reshape(1, 4, 1, 1)
    weights = {"W": normal(4, 3, 3, 3), "S": factor, "B": normal(1, 4, 1, 1)}
    proto = model(WRITTEN_OUT, **weights)
    result = bnopt.calibrate(proto, FEEDS, assume_never_updated=True)
    assert_pooled(result.model, "c", "d", **FEEDS)


@pytest.mark.parametrize("operands", ["g, b, m, {}5", "g, b, {}4, v"])
def test_one_stored_statistic_is_not_enough(operands: str) -> None:
    text = SIAMESE
    for value, result in (("c", "i"), ("d", "j")):
        text = text.replace(f" {result} = ", f" {moments_of(value)} {result} = ")
        text = text.replace(f"({value}, g, b, m, v)", f"({value}, {operands.format(value)})")
    proto = siamese(text, a=np.array([0, 2, 3]), **statistics(4))
    assert_own(bnopt.calibrate(proto, FEEDS, validate=False))


def test_two_data_types_share_nothing() -> None:
    text = f"""g (float[N,4] p, double[N,4] q) => (float[N,4] i, double[N,4] j) {{
        i = {BN}(p, g, b, m, v) j = {BN}(q, hg, hb, hm, hv) }}"""
    twins = {f"h{name}": array.astype(np.float64) for name, array in statistics(4).items()}
    feeds = {"p": normal(40, 4), "q": normal(40, 4, dtype=np.float64, seed=2) + 1}
    found = read(bnopt.calibrate(model(text, **statistics(4), **twins), feeds).model)
    for one, values in zip(found, feeds.values(), strict=True):
        assert_read(one, values)


BRANCH = f"""g (float[N,4] p, float[N,4] q, bool k) => (float[N,4] i, float[N,4] j) {{
    i = {BN}(p, g, b, m, v)
    j = If (k) <then_branch = t () => (float[N,4] s) {{ s = {BN}(q, g, b, m, v) }},
                else_branch = e () => (float[N,4] o) {{ o = Relu(q) }}> }}"""


@pytest.mark.parametrize(
    ("numbers", "found"), [(statistics(4), True), (UNTRAINED, False), ({"g": normal(4)}, False)]
)
def test_a_call_that_keeps_the_old_statistics_is_named(numbers, found: bool) -> None:
    feeds = {"p": normal(8, 4), "q": normal(8, 4, seed=2), "k": np.array(True)}
    result = bnopt.calibrate(model(BRANCH, **{**UNTRAINED, **numbers}), [feeds])
    assert [one.name for one in result.kept] == ["s"]
    assert any("'s', another call of 'i', keeps" in note for note in result.notes) == found


CONSTANTS = """i = Sub(p, m) n = Add(v, e) o = Sqrt(n) a = Div(i, o) c = Mul(a, g)
    l = Add(c, b)"""


@pytest.mark.parametrize("operands", ["g, b, y, y", "b, m, g, v"])
@pytest.mark.parametrize("first", [f"l = {BN}(p, g, b, m, v)", CONSTANTS])
def test_a_node_with_other_statistics_is_no_call_of_another(first: str, operands: str) -> None:
    text = BRANCH.replace(f"i = {BN}(p, g, b, m, v)", first).replace("] i,", "] l,")
    text = text.replace("bool k", "bool k, float[4] y").replace(
        "(q, g, b, m, v)", f"(q, {operands})"
    )
    feeds = {"p": normal(8, 4), "q": normal(8, 4), "k": np.array(True), "y": np.ones(4, "f")}
    result = bnopt.calibrate(model(text, e=np.full(1, 1e-3, "f"), **statistics(4)), [feeds])
    assert [one.name for one in result.kept] == ["s"]
    assert [one.name for one in result.layers] == ["l"]
    assert not [note for note in result.notes if "keeps" in note]


@pytest.mark.parametrize("before", ["V", "Relu(V)", "Add(V, V)", "Gemm(V, V)"])
def test_initial_numbers_behind_no_weights_are_layers_of_their_own(before: str) -> None:
    first, second = (before.replace("V", name) for name in "pq")
    first, second = (f"Identity({one})" if len(one) == 1 else one for one in (first, second))
    text = f"""g (float[4,4] p, float[4,4] q) => (float[4,4] i, float[4,4] j) {{
        c = {first} d = {second} i = {BN}(c, g, b, m, v) j = {BN}(d, g, b, m, v) }}"""
    feeds = {"p": normal(4, 4), "q": normal(4, 4, seed=2) + 1}
    result = bnopt.calibrate(model(text, **UNTRAINED), feeds)
    for found, values in zip(
        read(result.model), run(showing(result.model, "c", "d"), **feeds), strict=True
    ):
        assert_read(found, values)
    assert "layers of their own: 'i', 'j'" in result.notes[0]


@pytest.mark.parametrize(
    "between",
    [
        "d = Relu(c)",
        "e = Relu(c) d = MaxPool<kernel_shape = [2, 2]>(e)",
        "d = Mul(c, two)",
        "d = LeakyRelu<alpha = 0.5>(c)",
    ],
)
def test_initial_numbers_at_other_places_are_layers_of_their_own(between: str) -> None:
    text = f"""g (float[N,3,H,H] p) => (float[N,4,I,I] i, float[N,4,K,K] j) {{
        c = Conv(p, W) i = {BN}(c, g, b, m, v) {between} j = {BN}(d, g, b, m, v) }}"""
    feeds = {"p": P}
    result = bnopt.calibrate(siamese(text, two=np.float32(2)), feeds)
    for found, values in zip(
        read(result.model), run(showing(result.model, "c", "d"), **feeds), strict=True
    ):
        assert_read(found, values)


@pytest.mark.parametrize(
    "halves",
    [
        "c = LeakyRelu<alpha = 0.1>(n) d = LeakyRelu<alpha = 0.5>(n)",
        "c = Relu(n) d = Abs(n)",
        "c, d = Split<axis = 1>(n)",
        "c = Slice(n, zero, four, one) d = Slice(n, four, eight, one)",
    ],
)
def test_parts_of_one_tensor_are_inputs_of_layers_of_their_own(halves: str) -> None:
    width = 4 if "Relu" in halves else 8
    text = f"""g (float[N,3,9,9] p) => (float[N,4,7,7] i, float[N,4,7,7] j) {{
        n = Conv(p, V) {halves} i = {BN}(c, g, b, m, v) j = {BN}(d, g, b, m, v) }}"""
    at = {name: np.array([n]) for name, n in {"zero": 0, "four": 4, "eight": 8, "one": 1}.items()}
    proto = siamese(text, V=normal(width, 3, 3, 3), **at)
    feeds = {"p": P}
    result = bnopt.calibrate(proto, feeds)
    for found, values in zip(
        read(result.model), run(showing(result.model, "c", "d"), **feeds), strict=True
    ):
        assert_read(found, values)


def test_weights_are_found_behind_sums() -> None:
    text = SIAMESE.replace("(c, g,", "(cc, g,").replace("(d, g,", "(dd, g,")
    text = text.replace(" i = ", " cc = Add(c, c) i = ").replace(" j = ", " dd = Add(d, d) j = ")
    result = bnopt.calibrate(siamese(text), FEEDS)
    assert is_one_function(result.model)
    assert_pooled(result.model, "cc", "dd", **FEEDS)


def test_parameters_that_are_given_at_run_time() -> None:
    text = SIAMESE.replace("float[N,3,K,K] q", "float[N,3,K,K] q, float[4] g")
    weights = {name: array for name, array in UNTRAINED.items() if name != "g"}
    feeds = FEEDS | {"g": normal(4)}
    result = bnopt.calibrate(model(text, W=normal(4, 3, 3, 3), **weights), [feeds])
    assert_pooled(result.model, "c", "d", **feeds)
