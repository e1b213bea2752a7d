"""How much of the initial variance is left."""

from __future__ import annotations

import numpy as np
import pytest
from layers import findings, layers, random_statistics, switched, view
from onnx import numpy_helper

from bnopt.rules import barely_updated
from bnopt.rules.base import Rule
from bnopt.rules.residue import (
    near_initial,
    of_dead_channels,
    of_tight_layer,
    steps_text,
    upper_bound,
)

REST = (1.3, 2.7, 0.9, 4.1, 1.9, 3.3)
# Data of its own in each channel: spread as trained, and far from 0.
MEANS = (0.7, -1.2, 0.4, 2.0, -0.6, 1.1)


def _norms(*statistics, **options):
    return view(layers(*statistics, **options)).norms


def _dead(floor: float = 0.5, *more: float, means=(0.0, 0.0, 0.0)):
    """Three channels that hold `floor`, and six that moved."""
    return (*means, *MEANS), (floor, *(more or (floor, floor)), *REST)


def test_channels_that_agree() -> None:
    found = of_dead_channels(_norms(_dead(), _dead()))
    assert found is not None
    assert (found.value, found.spread, found.channels, found.layers) == (0.5, 0, 6, 2)
    assert found.steps(0.99) == pytest.approx(69, abs=0.05)


@pytest.mark.parametrize(
    ("statistics", "found"),
    [
        (_dead(0.5, 0.500003, 0.500004), True),
        (_dead(0.5, 0.5, 0.50001), False),
        (_dead(0.0101), True),
        (_dead(0.0099), False),
        (((0, 0, 1, 2), (1, 1, 2, 3)), False),
        (((0,), (0.5,)), False),
        (((0, 0, 0), (0.5, 0.5, 0.5)), True),
        (((0, 0), (0.5, 0.5)), False),
    ],
    ids=[
        "close",
        "apart",
        "enough left",
        "too little",
        "not below 1",
        "one channel",
        "three",
        "two",
    ],
)
def test_what_counts_as_agreement(statistics, found: bool) -> None:
    assert (of_dead_channels(_norms(statistics)) is not None) is found


@pytest.mark.parametrize(
    ("means", "found"), [((0.0,) * 3, True), ((0.3, 0.3, 0.1), False), ((0.3, -0.3, 0.1), True)]
)
def test_twins_are_no_dead_channels(means: tuple[float, ...], found: bool) -> None:
    assert (of_dead_channels(_norms(_dead(means=means))) is not None) is found


def test_layers_that_disagree() -> None:
    assert of_dead_channels(_norms(_dead(0.5), _dead(0.50002))) is not None
    assert of_dead_channels(_norms(_dead(0.5), _dead(0.5002))) is None
    # A layer without two that agree has no say.
    found = of_dead_channels(_norms(_dead(0.5), _dead(0.3, 0.4, 0.45)))
    assert found is not None
    assert (found.value, found.layers) == (0.5, 1)


def test_a_mean_of_another_length_is_left_out() -> None:
    proto = layers(_dead())
    for tensor in proto.graph.initializer:
        if tensor.name == "m0":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(2, np.float32), "m0"))
    assert of_dead_channels(view(proto).norms) is None


def _tight(count: int = 8, low: float = 0.3, width: float = 0.06):
    """Variances whose logarithms have the standard deviation `width`."""
    logs = np.tile([0.0, 2 * width], (count + 1) // 2)[:count]
    return np.linspace(1, 2, count), low * np.exp(logs)


@pytest.mark.parametrize(
    ("statistics", "found"),
    [
        (_tight(), True),
        (_tight(7), False),
        (_tight(width=0), False),
        (_tight(width=0.069), True),
        (_tight(width=0.071), False),
        (_tight(low=0.0101), True),
        (_tight(low=0.0099), False),
        (_tight(low=0.88), True),
        (_tight(low=0.9), False),
    ],
)
def test_a_tight_layer(statistics, found: bool) -> None:
    assert (of_tight_layer(_norms(statistics)) is not None) is found


def test_a_tight_layer_holds_the_smallest_variance_of_all() -> None:
    found = of_tight_layer(_norms(random_statistics(seed=1), _tight(low=0.02)))
    assert found is not None
    assert found.value == pytest.approx(0.02)
    assert found.spread == pytest.approx(np.exp(0.12) - 1, rel=1e-4)
    assert (found.channels, found.layers) == (8, 1)
    smaller = (MEANS, (0.1, 2, 3, 4, 5, 6))
    assert of_tight_layer(_norms(smaller, _tight())) is None
    assert of_tight_layer(()) is None


@pytest.mark.parametrize(
    ("mean", "variance", "found"),
    [
        (0.14, 1.0, True),
        (0.16, 1.0, False),
        (0.14, 0.87, False),
        (0.0, np.exp(0.14), True),
        (0.0, np.exp(0.16), False),
        (0.0, np.exp(-0.14), True),
        (0.0, np.exp(-0.16), False),
        (0.0, 1.0, False),
        (0.1, 1.0, True),
        (0.0, 0.0, False),
        (0.0, -1.0, False),
    ],
)
def test_close_to_initial_values(mean: float, variance: float, found: bool) -> None:
    (norm,) = _norms(([mean] * 4, [variance] * 4))
    with np.errstate(all="raise"):
        assert near_initial(norm) is found


def test_closeness_is_of_the_layer() -> None:
    """The root mean square, so that one channel may be farther off."""
    (norm,) = _norms(([0.28, 0, 0, 0], [1, 1, 1, 1]))
    assert near_initial(norm)
    (norm,) = _norms(([0.32, 0, 0, 0], [1, 1, 1, 1]))
    assert not near_initial(norm)


def test_the_smallest_variance_is_a_bound() -> None:
    assert upper_bound(_norms(([0, 0], [0.9, 1.2]), ([0, 0], [0.8, 1.2]))) == pytest.approx(0.8)
    assert upper_bound(_norms(([0, 0], [1.1, 1.2]))) == 1
    assert upper_bound(()) == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.99**105, "10 at 0.9, 105 at 0.99, 1055 at 0.999 (steps at decay)"),
        (0.999, "1 at 0.999, 3 at 0.9997 (steps at decay)"),
        (0.99, "1 at 0.99, 10 at 0.999, 33 at 0.9997 (steps at decay)"),
    ],
)
def test_the_steps_of_a_residue(value: float, words: str) -> None:
    assert steps_text(value) == words


@pytest.mark.parametrize(
    ("statistics", "severity"),
    [
        ([_dead(0.21)], "error"),
        ([_dead(0.19)], "warning"),
        ([_dead(0.5), _dead(0.5), (MEANS, (0.1, 2, 3, 4, 5, 6))], "error"),
        ([_dead(0.5), (MEANS, (0.1, 2, 3, 4, 5, 6))], "warning"),
        ([_dead(0.5), *[(MEANS, (0.1, 2, 3, 4, 5, 6))] * 2], "warning"),
    ],
    ids=["large", "small", "in most", "in half", "in few"],
)
def test_how_grave_a_residue_is(statistics, severity: str) -> None:
    finding = findings(barely_updated, layers(*statistics))[0]
    assert (finding.severity, finding.site) == (severity, "main:y0")


def test_a_residue_concerns_all_layers_above_it() -> None:
    above = (MEANS, (0.51, 2, 3, 4, 5, 6))
    found = findings(barely_updated, layers(_dead(0.5), above, _dead(0.50001)))
    assert [finding.site for finding in found] == ["main:y0", "main:y1", "main:y2"]
    assert found[0].message.startswith("about 0.5 of the initial variance is left (within ")
    assert "by 6 channels that agree: as after 7 at 0.9, 69 at 0.99, 693 at 0.999" in (
        found[0].message
    )
    assert found[0].evidence["channels"] == 6
    assert found[0].evidence["residue"] == pytest.approx(0.5, rel=1e-4)
    steps = found[0].evidence["steps"]
    assert steps == pytest.approx({"0.9": 6.58, "0.99": 68.97, "0.999": 692.8}, rel=1e-3)


def test_a_tight_layer_is_looked_for_where_no_channels_agree() -> None:
    (finding,) = findings(barely_updated, layers(_tight(), producer="tf2onnx"))
    assert finding.evidence["residue"] != 0.5
    rest = (MEANS, (0.1, 2, 3, 4, 5, 6))
    assert findings(barely_updated, layers(rest, producer="tf2onnx")) == []


def _near(bound: float = 0.9):
    return [0.05, -0.05, 0.1], [bound, 1.05, 1.1]


def test_all_layers_close_to_initial_values() -> None:
    found = findings(barely_updated, layers(_near(), _near(0.95)))
    assert [(finding.severity, finding.site) for finding in found] == [
        ("error", "main:y0"),
        ("error", "main:y1"),
    ]
    assert found[0].message == (
        "mean and variance are close to 0 and 1 in all 3 channels; "
        "at most 0.9 of the initial value is left"
    )
    assert found[0].evidence["residue_at_most"] == pytest.approx(0.9)
    (one,) = findings(barely_updated, layers(_near(1.01)))
    assert (one.severity, "at most" in one.message) == ("warning", False)
    (one,) = findings(barely_updated, layers(_near(), random_statistics()))
    assert (one.severity, one.site) == ("warning", "main:y0")


def test_the_words_are_those_of_the_framework() -> None:
    """PyTorch's momentum is the weight of the new batch, 1 - decay."""
    for statistics in ((_dead(), _dead()), (_near(), _near(0.95))):
        for producer, word in (("pytorch", "momentum (0.1"), ("tf2onnx", "decay 0.9 or 0.99")):
            found = findings(barely_updated, layers(*statistics, producer=producer))
            assert found
            assert all(word in finding.fix for finding in found)
    assert "0.1 means decay 0.9" in Rule.of(barely_updated).cause("pytorch")


def test_initial_values_are_another_rule() -> None:
    assert findings(barely_updated, layers((np.zeros(4), np.ones(4)))) == []


def test_one_step_is_another_rule() -> None:
    variance = np.linspace(0.9, 0.99, 12)
    proto = layers((np.full(12, 0.01), variance), producer="pytorch")
    assert findings(barely_updated, proto) == []
    proto.producer_name = "tf2onnx"
    assert len(findings(barely_updated, proto)) == 1


def test_what_a_switch_may_leave_out_is_not_looked_at() -> None:
    norm = "t = BatchNormalization(x, g, b, n, v)"
    proto = switched(norm, "f = Identity(x)")
    assert findings(barely_updated, proto) == []
    behind = norm.replace("t =", "y =").replace("(x", "(z")
    assert len(findings(barely_updated, switched(norm, "f = Identity(x)", behind))) == 1
