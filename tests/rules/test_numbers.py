"""Numbers that cannot be right: not finite, negative, exploding, beyond float16."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from graphs import conv_bn, model, normal, statistics
from rule_findings import findings

from bnopt.rules import (
    exploding_scale,
    half_overflow,
    negative_variance,
    non_finite,
)


def _array(*numbers: float, kind: Any = np.float32) -> np.ndarray:
    return np.array(numbers, kind)


def _training(**replace: Any) -> onnx.ModelProto:
    """A batch norm that is refused for another reason than its numbers."""
    proto = conv_bn(**replace)
    attribute = proto.graph.node[1].attribute.add()
    attribute.name, attribute.type, attribute.i = "training_mode", 2, 1
    return proto


def _half(epsilon: float = 1e-5, **replace: Any) -> onnx.ModelProto:
    arrays = {name: np.asarray(a, np.float16) for name, a in replace.items()}
    return conv_bn("float16", np.float16, epsilon=epsilon, **arrays)


@pytest.mark.parametrize(
    ("name", "word"), [("g", "scale"), ("b", "bias"), ("m", "mean"), ("v", "variance")]
)
def test_a_number_that_is_not_finite_in_a_refused_batch_norm(name: str, word: str) -> None:
    (finding,) = findings(non_finite, _training(**{name: _array(1, np.nan, 1, -np.inf)}))
    assert finding.severity == "error"
    assert finding.message.startswith(f"the {word} of BatchNormalization 'y' is nan in channel 1 ")
    assert finding.message.endswith("and 1 more")
    assert finding.evidence == {"parameter": word, "channels": [1, 3]}


def test_a_factor_that_is_not_finite() -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { s = Mul(x, k) y = Add(s, k) }"
    (finding,) = findings(non_finite, model(text, k=_array(1, np.nan, 2, 3)))
    assert (finding.site, finding.evidence) == (None, {"node": "main:s"})
    assert finding.message == "the factor of Mul 's' is nan in channel 1"


def test_what_is_added_behind_a_folded_convolution() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,4,6,6] y) {
        y = Conv(x, conv_weights_fused_bn, conv_bias_fused_bn)
    }"""
    weights = {"conv_weights_fused_bn": normal(4, 3, 3, 3)}
    proto = model(text, **weights, conv_bias_fused_bn=_array(0, np.inf, 1, 2))
    (finding,) = findings(non_finite, proto)
    assert (finding.site, finding.severity) == ("main:y", "error")
    assert findings(non_finite, model(text, **weights, conv_bias_fused_bn=_array(0, 1, 1, 2))) == []


@pytest.mark.parametrize(
    "text",
    [
        "y = Mul(x, s)",  # one number: a mask or a bound
        "y = Add(x, k)",  # a mask of attention
        "z = Mul(k, k) y = Add(x, z)",  # no data
        "y = Mul(x, f)",
    ],
)
def test_infinities_that_are_no_factor(text: str) -> None:
    proto = model(
        f"g (float[N,4] x) => (float[N,4] y) {{ {text} }}",
        s=_array(np.inf),
        k=_array(0, -np.inf, 0, 0),
        f=_array(1, 2, 3, 4),
    )
    assert findings(non_finite, proto) == []


def test_a_negative_variance_in_a_refused_batch_norm() -> None:
    (finding,) = findings(negative_variance, _training(v=_array(1, 1, -1, -1)))
    assert finding.severity == "error"
    assert finding.message == (
        "variance + epsilon of BatchNormalization 'y' is -1 in channel 2 and 1 more"
    )
    assert finding.evidence == {"channels": [2, 3]}


def test_variance_and_epsilon_both_zero() -> None:
    proto = _training(v=_array(1, 0, 1, 1), epsilon=0.0)
    assert findings(negative_variance, proto)[0].evidence == {"channels": [1]}
    assert findings(negative_variance, _training(v=_array(1, 0, 1, 1))) == []
    assert findings(negative_variance, _training(v=_array(1, np.nan, 1, 1))) == []


def test_an_exploding_scale() -> None:
    proto = conv_bn(epsilon=1e-12, g=_array(1, -3, 1, 1), v=_array(1e-8, 1e-9, 1e-3, 2e-3))
    (finding,) = findings(exploding_scale, proto)
    assert finding.severity == "warning"
    assert finding.message.startswith("channel 1 of BatchNormalization 'y' is multiplied by -9.48e")
    assert finding.message.endswith("its variance is 1e-09, epsilon 1e-12 and 1 more")
    assert finding.evidence["channels"] == [0, 1]
    assert finding.evidence["scale"] == pytest.approx(-3 / np.sqrt(1e-9 + 1e-12), rel=1e-5)


@pytest.mark.parametrize(
    "numbers",
    [
        {"g": _array(1, 1e5, 1, 1), "v": _array(1, 1, 1, 1)},  # a large gamma
        {"epsilon": 1e-5, "v": _array(1e-8, 1, 1, 1)},  # epsilon holds it at 316
        {"epsilon": 1e-12, "v": _array(0, 1, 1, 1)},  # dead
        {"epsilon": 1e-12, "g": _array(0, 1, 1, 1), "v": _array(1e-8, 1, 1, 1)},
        {"epsilon": 1e-12, "g": _array(np.inf, 1, 1, 1), "v": _array(1e-8, 1, 1, 1)},
        {"epsilon": 1e-12, "v": _array(-1, 1, 1, 1)},
    ],
)
def test_a_scale_that_does_not_explode(numbers: dict[str, Any]) -> None:
    assert findings(exploding_scale, conv_bn(**{"g": _array(1, 1, 1, 1), **numbers})) == []


def test_parameters_of_different_lengths_have_no_scale() -> None:
    assert findings(exploding_scale, conv_bn(g=_array(1, 1, 1))) == []


def test_a_large_epsilon_counts_as_small_variance() -> None:
    """A variance of epsilon's size is what epsilon makes of it, be it above 1e-6 or not."""
    numbers = {"g": _array(1e3, 1, 1, 1), "v": _array(1e-4, 1, 1, 1)}
    assert findings(exploding_scale, conv_bn(epsilon=1e-3, **numbers)) != []
    assert findings(exploding_scale, conv_bn(epsilon=1e-5, **numbers)) == []


def test_float16_scale() -> None:
    (finding,) = findings(half_overflow, _half(g=[1, 300, 1, 1], v=[1, 0, 0, 1]))
    assert finding.severity == "warning"
    assert finding.message == (
        "the scale of BatchNormalization 'y' is 9.49e+04 in channel 1, beyond float16"
    )
    assert finding.evidence == {"count": 1, "channels": [1]}
    assert findings(half_overflow, conv_bn(g=_array(1, 300, 1, 1), v=_array(1, 0, 0, 1))) == []
    assert findings(half_overflow, _half()) == []


def test_float16_shift() -> None:
    (finding,) = findings(half_overflow, _half(m=[6e4, 1, 1, 1], g=[2, 1, 1, 1], v=[1, 1, 1, 1]))
    assert (finding.severity, finding.evidence["channels"]) == ("warning", [0])
    assert finding.message.startswith("the shift of BatchNormalization 'y' is -1.2e+05 in channel")


def test_float16_epsilon() -> None:
    (finding,) = findings(half_overflow, _half(1e-8, v=[1, 0, 1, 0]))
    assert finding.severity == "warning"
    assert "epsilon of BatchNormalization 'y', 1e-08, is 0 in float16" in finding.message
    assert finding.evidence["channels"] == [1, 3]
    assert findings(half_overflow, _half(1e-8, v=[1, 1, 1, 1])) == []
    assert findings(half_overflow, _half(1e-7, v=[1, 0, 1, 0])) == []
    # Where epsilon is 0 before it is rounded, that is another rule's.
    assert findings(half_overflow, _half(0.0, v=[1, 0, 1, 0])) == []


def _mixed(bias: float) -> onnx.ModelProto:
    """Data in float16, mean and variance in float32."""
    text = """g (float16[N,3,8,8] x) => (float16[N,4,6,6] y) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
    }"""
    numbers = statistics(4)
    numbers["b"] = _array(bias, 0, 0, 0)
    numbers["g"], numbers["v"] = _array(1, 1, 1, 1), _array(1, 1, 1, 1)
    return model(text, W=normal(4, 3, 3, 3, dtype=np.float16), **numbers)


def test_float16_data_that_surely_overflows() -> None:
    (finding,) = findings(half_overflow, _mixed(2e5))
    assert (finding.severity, finding.evidence["channels"]) == ("error", [0])
    # A scale of 1 reaches from -1e5 back to 0.
    (finding,) = findings(half_overflow, _mixed(1e5))
    assert finding.severity == "warning"


def test_float16_parameters_of_float32_data() -> None:
    text = """g (float[N,4] x) => (float[N,4] y) { y = BatchNormalization(x, g, b, m, v) }"""
    ones = _array(1, 1, 1, 1, kind=np.float16)
    numbers = {"m": _array(2e5, 0, 0, 0), "v": _array(1, 1, 1, 1)}
    (finding,) = findings(half_overflow, model(text, g=ones, b=ones, **numbers))
    assert finding.severity == "warning"
    assert finding.message.startswith("the shift of BatchNormalization 'y' is -2e+05")


def test_float16_leaves_other_mistakes_to_their_rules() -> None:
    assert findings(half_overflow, _half(g=[np.inf, 1, 1, 1])) == []
    assert findings(half_overflow, _half(v=[-1, 1, 1, 1])) == []
    assert findings(half_overflow, _half(m=[1, 1, 1])) == []
    assert findings(half_overflow, _half(m=[np.inf, 1, 1, 1])) == []
