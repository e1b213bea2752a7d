"""Dead channels, gamma and epsilon: numbers that say something about the training."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import conv_bn, model, normal, statistics
from rule_findings import findings

from bnopt.rules import dead_channels, epsilon, zero_gamma


def _array(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def test_a_dead_channel() -> None:
    (finding,) = findings(dead_channels, conv_bn(v=_array(1, 1e-10, 2, 3)))
    assert finding.severity == "info"
    assert finding.message == (
        "1 of 4 channels of BatchNormalization 'y' were constant in training"
    )
    assert finding.evidence == {"count": 1, "of": 4, "zero": 0, "channels": [1]}


def test_small_is_measured_by_the_layer() -> None:
    assert findings(dead_channels, conv_bn(v=_array(1e-10, 2e-10, 3e-10, 1e-14))) == []
    assert findings(dead_channels, conv_bn(v=_array(1, 1, 1, 1e-8))) == []
    assert findings(dead_channels, conv_bn(v=_array(1, 1, 1, -1))) == []
    assert findings(dead_channels, conv_bn(v=_array(1, 2, np.inf, np.inf))) == []
    (finding,) = findings(dead_channels, conv_bn(v=_array(0, 0, 1e-12, 1)))
    assert finding.evidence["channels"] == [0, 1, 2]


def test_most_channels_dead() -> None:
    (finding,) = findings(dead_channels, conv_bn(v=_array(0, 1, 0, 0)))
    assert (finding.severity, finding.evidence["zero"]) == ("warning", 3)
    (finding,) = findings(dead_channels, conv_bn(v=_array(0, 1, 0, 1)))
    assert finding.severity == "info"


def test_a_dead_channel_that_amplifies() -> None:
    numbers = {"g": _array(1, 1, 1, 1), "v": _array(1, 0, 1, 1)}
    (finding,) = findings(dead_channels, conv_bn(epsilon=1e-12, **numbers))
    assert finding.severity == "warning"
    assert finding.message.endswith("and one is multiplied by 1e+06")
    (finding,) = findings(dead_channels, conv_bn(epsilon=1e-5, **numbers))
    assert finding.severity == "info"
    # A large scale of another channel, or one that is not finite, says nothing of the dead one.
    for gamma in (_array(1, 1, 1e5, 1), _array(1, np.inf, 1, 1)):
        (finding,) = findings(dead_channels, conv_bn(g=gamma, v=numbers["v"]))
        assert finding.severity == "info"


def test_all_zero_is_dead_only_if_the_mean_was_updated() -> None:
    (finding,) = findings(dead_channels, conv_bn(v=_array(0, 0, 0, 0)))
    assert finding.severity == "warning"
    assert findings(dead_channels, conv_bn(v=_array(0, 0, 0, 0), m=_array(0, 0, 0, 0))) == []
    assert len(findings(dead_channels, conv_bn(v=_array(0, 1, 1, 1), m=_array(0, 0, 0, 0)))) == 1


def test_at_most_sixteen_channels_are_listed() -> None:
    text = "g (float[N,40] x) => (float[N,40] y) { y = BatchNormalization(x, g, b, m, v) }"
    numbers = statistics(40)
    numbers["v"][:18] = 0
    (finding,) = findings(dead_channels, model(text, **numbers))
    assert (finding.evidence["count"], finding.evidence["channels"]) == (18, list(range(16)))


def test_zero_gamma() -> None:
    (finding,) = findings(zero_gamma, conv_bn(g=_array(1, 0, 1, 0)))
    assert finding.severity == "info"
    assert finding.message == "gamma of BatchNormalization 'y' is 0 in 2 of 4 channels"
    assert finding.evidence == {"count": 2, "of": 4, "channels": [1, 3]}
    assert findings(zero_gamma, conv_bn()) == []


def test_zero_gamma_in_every_channel() -> None:
    (finding,) = findings(zero_gamma, conv_bn(g=_array(0, 0, 0, 0)))
    assert finding.severity == "warning"
    assert finding.message.endswith("is 0 in all 4 channels: a constant")


def test_zero_gamma_in_a_chain() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,4,6,6] y) {
        c = Conv(x, W) s = Mul(c, G) y = Add(s, B)
    }"""
    factor = _array(1, 0, 2, 3).reshape(1, 4, 1, 1)
    proto = model(text, W=normal(4, 3, 3, 3), G=factor, B=normal(1, 4, 1, 1))
    assert findings(zero_gamma, proto)[0].evidence["channels"] == [1]


def _two(first: float, second: float, producer: str = "") -> onnx.ModelProto:
    text = f"""g (float[N,4] x) => (float[N,4] y) {{
        t = BatchNormalization<epsilon = {first}>(x, g, b, m, v)
        r = Relu(t)
        y = BatchNormalization<epsilon = {second}>(r, g, b, m, v)
    }}"""
    proto = model(text, **statistics(4))
    proto.producer_name = producer
    return proto


def test_epsilon_that_differs() -> None:
    (finding,) = findings(epsilon, _two(1e-3, 1e-5, "pytorch"))
    assert (finding.severity, finding.site) == ("info", None)
    assert finding.message == ("epsilon differs between batch norms: it is 0.001 in 1, 1e-05 in 1")
    assert finding.evidence == {"layers": {"0.001": 1, "1e-05": 1}}


@pytest.mark.parametrize(
    ("value", "producer", "words"),
    [
        (1e-5, "tf2onnx", "epsilon is 1e-05 throughout, the default of PyTorch"),
        (1e-3, "pytorch", "epsilon is 0.001 throughout, the default of TensorFlow and Keras"),
        (1e-3, "tf2onnx", ""),
        (1e-5, "pytorch", ""),
        (1e-4, "pytorch", ""),
        (1e-3, "", ""),
    ],
)
def test_the_default_of_the_other_framework(value: float, producer: str, words: str) -> None:
    found = findings(epsilon, _two(value, value, producer))
    assert [(f.severity, f.message) for f in found] == ([("info", words)] if words else [])


@pytest.mark.parametrize(("value", "words"), [(0.0, "0"), (0.2, "0.2"), (-1e-3, "-0.001")])
def test_epsilon_out_of_range(value: float, words: str) -> None:
    (finding,) = findings(epsilon, conv_bn(epsilon=value))
    assert (finding.severity, finding.site) == ("warning", "main:y")
    assert finding.message == f"epsilon of BatchNormalization 'y' is {words}"
    assert findings(epsilon, conv_bn(epsilon=0.1)) == []


def test_epsilon_that_is_no_number() -> None:
    proto = _two(1e-3, 1e-3)
    next(a for a in proto.graph.node[0].attribute if a.name == "epsilon").f = np.nan
    assert findings(epsilon, proto) == []


def test_no_epsilon_at_all() -> None:
    proto = model("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")
    proto.producer_name = "pytorch"
    assert findings(epsilon, proto) == []
