"""Axes, lengths, and statistics per activation."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import conv_bn, model, normal, statistics
from rule_findings import findings

from bnopt.rules import channel_axis, parameter_shape, per_activation


def _behind_conv(body: str, shape: str = "N,4,6,6", **extra: np.ndarray) -> onnx.ModelProto:
    text = f"g (float[N,3,8,8] x) => (float[{shape}] y) {{ c = Conv(x, W) {body} }}"
    return model(text, W=normal(4, 3, 3, 3), **extra)


NORM = "y = BatchNormalization({0}, g, b, m, v)"
LAST = "t = Transpose<perm = [0, 2, 3, 1]>(c)"


def test_axis_1_of_channels_last_data() -> None:
    proto = _behind_conv(LAST + NORM.format("t"), "N,6,6,4", **statistics(6))
    (finding,) = findings(channel_axis, proto)
    assert (finding.severity, finding.site) == ("warning", "main:y")
    assert finding.message == (
        "BatchNormalization 'y' normalises axis 1, but the features of Conv 'c' lie in axis 3"
    )
    assert finding.evidence == {"axis": 1, "feature_axis": 3}


def test_past_activations_and_biases() -> None:
    body = LAST + "r = Relu(t) a = Add(k, r) p = Identity(a)" + NORM.format("p")
    proto = _behind_conv(body, "N,6,6,4", k=normal(4), **statistics(6))
    assert len(findings(channel_axis, proto)) == 1


@pytest.mark.parametrize(
    "body",
    [
        NORM.format("c"),
        LAST + "u = Transpose<perm = [0, 3, 1, 2]>(t)" + NORM.format("u"),
        # A residual, a reduction: what the axes hold is not known.
        "a = Add(c, c)" + "u = Transpose<perm = [0, 2, 1, 3]>(a)" + NORM.format("u"),
    ],
)
def test_axis_1_of_channels_first_data(body: str) -> None:
    channels = 6 if "2, 1, 3" in body else 4
    shape = "N,6,4,6" if channels == 6 else "N,4,6,6"
    assert findings(channel_axis, _behind_conv(body, shape, **statistics(channels))) == []


def test_a_chain_along_the_height() -> None:
    chain = "s = Mul(t, G) y = Add(s, B)"
    proto = _behind_conv(LAST + chain, "N,6,6,4", G=normal(1, 6, 1, 1), B=normal(1, 6, 1, 1))
    (finding,) = findings(channel_axis, proto)
    assert finding.evidence == {"axis": 1, "feature_axis": 3}


def test_a_chain_along_the_width_of_channels_first_data() -> None:
    proto = _behind_conv("s = Mul(c, G) y = Add(s, B)", G=normal(6), B=normal(6))
    assert findings(channel_axis, proto)[0].evidence == {"axis": 3, "feature_axis": 1}


@pytest.mark.parametrize(
    "body",
    [
        "y = Mul(c, G)",
        "s = Mul(c, G) y = Add(s, k)",
    ],
)
def test_half_a_batch_norm_is_a_window(body: str) -> None:
    proto = _behind_conv(body, G=normal(6), k=np.float32(0.5))
    assert findings(channel_axis, proto) == []


def test_a_node_may_have_no_shift() -> None:
    numbers = {**statistics(6), "b": np.zeros(6, np.float32), "m": np.zeros(6, np.float32)}
    proto = _behind_conv(LAST + NORM.format("t"), "N,6,6,4", **numbers)
    assert len(findings(channel_axis, proto)) == 1


@pytest.mark.parametrize(
    ("move", "length"), [("t = Transpose(c)", 6), (LAST + " t2 = other.Relu(t)", 6)]
)
def test_what_is_not_known_is_not_judged(move: str, length: int) -> None:
    name = "t2" if "t2" in move else "t"
    text = f"""g (float[6,3,8,8] x) => (float[A,B,C,D] y) {{
        c = Conv(x, W) {move} {NORM.format(name)}
    }}"""
    weights = {"W": normal(4, 3, 3, 3), **statistics(length)}
    assert findings(channel_axis, model(text, domains=', "other": 1', **weights)) == []


def test_a_chain_along_the_channels() -> None:
    chain = "s = Mul(t, G) y = Add(s, B)"
    proto = _behind_conv(LAST + chain, "N,6,6,4", G=normal(4), B=normal(4))
    assert findings(channel_axis, proto) == []


def _behind_linear(body: str, shape: str, length: int = 6, channels: int = 6) -> onnx.ModelProto:
    text = f"g (float[N,{length},5] x) => (float[{shape}] y) {{ {body} }}"
    weights = {"W": normal(5, 6), "U": normal(6, 6), "L": normal(6, 6)}
    return model(text, **weights, **statistics(channels))


def test_the_steps_of_a_sequence() -> None:
    proto = _behind_linear("c = MatMul(x, W)" + NORM.format("c"), "N,6,6")
    (finding,) = findings(channel_axis, proto)
    assert finding.message.endswith(
        "normalises axis 1, but the features of MatMul 'c' lie in axis 2"
    )
    body = "r = MatMul(x, W) c = MatMul(r, U) d = Relu(c)" + NORM.format("d")
    assert len(findings(channel_axis, _behind_linear(body, "N,6,6"))) == 1


@pytest.mark.parametrize(
    ("body", "length", "channels"),
    [
        # Whoever gives another length than that of the features knows what it is for.
        ("c = MatMul(x, W)" + NORM.format("c"), 7, 7),
        ("r = MatMul(x, W) c = Transpose<perm = [0, 2, 1]>(r)" + NORM.format("c"), 6, 6),
        # Linear over time, as in a mixer.
        (
            "r = MatMul(x, W) t = Transpose<perm = [0, 2, 1]>(r) c = MatMul(t, U)"
            + NORM.format("c"),
            6,
            6,
        ),
        ("r = MatMul(x, W) s = Softmax(r) c = MatMul(s, U)" + NORM.format("c"), 6, 6),
        ("r = MatMul(x, W) c = MatMul(L, r)" + NORM.format("c"), 6, 6),
    ],
)
def test_linear_layers_that_are_as_meant(body: str, length: int, channels: int) -> None:
    proto = _behind_linear(body, f"N,{length},6", length, channels)
    assert findings(channel_axis, proto) == []


def test_a_product_with_a_vector_has_no_features() -> None:
    text = f"g (float[N,5,5,5] x) => (float[N,5,5] y) {{ c = MatMul(x, W) {NORM.format('c')} }}"
    assert findings(channel_axis, model(text, W=normal(5), **statistics(5))) == []


def test_data_of_two_axes() -> None:
    text = f"g (float[N,5] x) => (float[N,6] y) {{ c = MatMul(x, W) {NORM.format('c')} }}"
    assert findings(channel_axis, model(text, W=normal(5, 6), **statistics(6))) == []


@pytest.mark.parametrize("name", "gbmv")
def test_parameters_of_different_lengths(name: str) -> None:
    (finding,) = findings(parameter_shape, conv_bn(**{name: np.ones(3, np.float32)}))
    assert (finding.severity, finding.site) == ("error", "main:y")
    words = {"g": "scale", "b": "bias", "m": "mean", "v": "variance"}
    assert finding.evidence == {
        word: [3 if letter == name else 4] for letter, word in words.items()
    }


def test_parameters_that_do_not_fit_the_data() -> None:
    (finding,) = findings(parameter_shape, conv_bn(**statistics(5)))
    assert "have shape (5,), its data" in finding.message
    assert findings(parameter_shape, conv_bn()) == []


ACTIVATIONS = "s = Mul({0}, G) y = Add(s, B)"
FULL = {"G": normal(6, 6, 4), "B": normal(6, 6, 4, seed=2)}


def test_a_chain_per_activation() -> None:
    proto = _behind_conv(LAST + ACTIVATIONS.format("t"), "N,6,6,4", **FULL)
    (finding,) = findings(per_activation, proto)
    assert (finding.severity, finding.site) == ("warning", "main:y")
    assert finding.message == "Add 'y' has statistics for each of 6 x 6 x 4 activations"
    assert finding.evidence == {"shape": [6, 6, 4]}


def test_spatial_0() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,4,6,6] y) {
        c = Conv<kernel_shape = [3, 3]>(x, W)
        y = BatchNormalization<spatial = 0>(c, g, b, m, v)
    }"""
    arrays = {name: np.ones((4, 6, 6), np.float32) for name in "gbmv"}
    (finding,) = findings(per_activation, model(text, 7, W=normal(4, 3, 3, 3), **arrays))
    assert (finding.site, finding.evidence) == ("main:y", {"shape": [4, 6, 6]})
    assert findings(per_activation, conv_bn()) == []


def test_by_its_names_behind_anything() -> None:
    text = """g (float[N,6,6,4] x) => (float[N,6,6,4] y) {{
        r = Relu(x) s = Mul(r, {0}) y = Add(s, B)
    }}"""
    named = {"batchnorm_mul": FULL["G"], "B": FULL["B"]}
    assert len(findings(per_activation, model(text.format("batchnorm_mul"), **named))) == 1
    # Anchors, masks and positions look the same.
    assert findings(per_activation, model(text.format("G"), **FULL)) == []


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        ("y = Add(t, B)", FULL),  # positions
        ("y = Mul(t, G)", FULL),  # a mask
        (ACTIVATIONS.format("t"), {"G": normal(6, 1, 4), "B": normal(6, 1, 4)}),
        (ACTIVATIONS.format("t"), {"G": normal(4), "B": normal(4)}),
        (ACTIVATIONS.format("t"), {"G": np.ones((6, 6, 4), np.float32), "B": normal(6, 6, 4)}),
        # The gain of a layer norm over all axes.
        ("n = LayerNormalization<axis = 1>(t, O)" + ACTIVATIONS.format("n"), FULL),
    ],
)
def test_what_is_not_per_activation(body: str, extra: dict[str, np.ndarray]) -> None:
    arrays = {**extra, "O": np.ones((6, 6, 4), np.float32)}
    assert findings(per_activation, _behind_conv(LAST + body, "N,6,6,4", **arrays)) == []


def test_a_map_behind_a_batch_norm() -> None:
    body = "n = BatchNormalization(c, g, b, m, v) s = Mul(n, G) y = Add(s, B)"
    constants = {"G": normal(4, 6, 6), "B": normal(4, 6, 6)}
    assert findings(per_activation, _behind_conv(body, **constants, **statistics(4))) == []


def test_a_chain_on_data_of_two_axes() -> None:
    text = """g (float[N,5] x) => (float[N,6] y) {
        c = MatMul(x, W) s = Mul(c, G) y = Add(s, B)
    }"""
    weights = {"W": normal(5, 6), "G": normal(6), "B": normal(6)}
    assert findings(per_activation, model(text, **weights)) == []


def test_parameters_of_several_axes_that_do_not_fit() -> None:
    arrays = {name: np.ones((4, 6, 6), np.float32) for name in "gbmv"}
    assert findings(per_activation, conv_bn(**arrays)) == []


def test_constants_that_vary_along_the_batch() -> None:
    text = """g (float[2,3,8,8] x) => (float[2,4,6,6] y) {
        c = Conv(x, W) s = Mul(c, G) y = Add(s, B)
    }"""
    constants = {"G": normal(2, 4, 6, 6), "B": normal(2, 4, 6, 6)}
    assert findings(per_activation, model(text, W=normal(4, 3, 3, 3), **constants)) == []
