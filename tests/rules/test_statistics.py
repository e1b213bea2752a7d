"""Statistics that were never updated, updated by half or by one step, or are another layer's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from graphs import model
from hypothesis import given
from hypothesis import strategies as st
from layers import chain, findings, fused, layers, random_statistics, switched, view

from bnopt.rules import (
    barely_updated,
    half_updated,
    identical_statistics,
    never_updated,
    one_step,
    unrecoverable,
    wrong_scope,
    zero_debias,
)
from bnopt.rules.initial import EPSILONS, initial_values

MEAN, VARIANCE = random_statistics()
ZERO, ONE = np.zeros(12), np.ones(12)
TRAINED, FRESH = (MEAN, VARIANCE), (ZERO, ONE)
ALL = (
    never_updated,
    half_updated,
    one_step,
    barely_updated,
    identical_statistics,
    wrong_scope,
    zero_debias,
    unrecoverable,
)


def _but_one(numbers: np.ndarray, value: float) -> np.ndarray:
    return np.where(np.arange(numbers.size) == 3, value, numbers)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(4, 64))
def test_trained_statistics_give_nothing(seed: int, count: int, channels: int) -> None:
    many = [random_statistics(channels, seed ^ n) for n in range(count)]
    for producer in ("tf2onnx", "pytorch"):
        proto = layers(*many, producer=producer)
        assert [found for rule in ALL for found in findings(rule, proto)] == []


@pytest.mark.parametrize(("trained", "severity"), [(0, "error"), (1, "warning"), (2, "warning")])
def test_never_updated_is_an_error_in_more_than_half_of_them(trained: int, severity: str) -> None:
    others = [random_statistics(seed=n) for n in range(trained)]
    (finding,) = findings(never_updated, layers(*others, FRESH))
    assert (finding.severity, finding.site) == (severity, f"main:y{trained}")
    assert finding.message == "mean is 0 and variance 1 in every channel"
    assert finding.evidence == {"updated": trained, "known": trained + 1}


def test_statistics_that_start_from_zero() -> None:
    (finding,) = findings(never_updated, layers((ZERO, ZERO)))
    assert finding.message == "mean is 0 and variance 0 in every channel"
    assert findings(never_updated, layers((MEAN, ZERO))) == []
    assert findings(half_updated, layers((MEAN, ZERO))) == []


@pytest.mark.parametrize(
    "statistics",
    [(_but_one(ZERO, 1e-6), ONE), (ZERO, _but_one(ONE, 1.001)), (ZERO, _but_one(ZERO, 1e-6))],
)
def test_one_channel_that_moved_is_an_update(statistics: tuple[np.ndarray, np.ndarray]) -> None:
    assert findings(never_updated, layers(statistics)) == []


def test_what_is_stored_is_looked_at_in_training_mode_too() -> None:
    """An export in training mode of a model that was never trained."""
    proto = layers(FRESH)
    proto.graph.node[0].attribute.append(onnx.helper.make_attribute("training_mode", 1))
    assert len(findings(never_updated, proto)) == 1


def test_what_a_switch_may_leave_out_is_not_looked_at() -> None:
    norm = "{} = BatchNormalization(x, g, b, m, v)"
    proto = switched(norm.format("t"), "f = Identity(x)")
    assert findings(never_updated, proto) == []
    behind = norm.format("y").replace("(x", "(z")
    proto = switched(norm.format("t"), "f = Identity(x)", behind)
    assert [finding.site for finding in findings(never_updated, proto)] == ["main:y"]


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_every_factor_is_that_of_a_variance_of_one(epsilon: float) -> None:
    factor = np.full(4, 1 / np.sqrt(1 + epsilon))
    (finding,) = findings(never_updated, chain(factor, [1, 2, 3, 4], "y"))
    assert f"1 / sqrt(1 + {epsilon:g}), so variance is 1" in finding.message
    (known,) = initial_values(view(chain(factor, [1, 2, 3, 4], "y")))
    assert (known.mean, known.variance) == (None, True)
    (known,) = initial_values(view(chain(factor, [0, 0, 0, 0], "y")))
    assert (known.mean, known.variance) == (True, True)
    assert findings(half_updated, chain(factor, [0, 0, 0, 0], "y")) == []
    factor[2] += 3e-6
    assert findings(never_updated, chain(factor, [1, 2, 3, 4], "y")) == []


def test_the_epsilons_that_frameworks_use() -> None:
    # Keras' applications have 1.001e-5, which float32 hardly tells from 1e-5.
    for epsilon in (1e-2, 1e-3, 1e-4, 2e-5, 1.001e-5, 1e-5):
        factor = np.full(4, 1 / np.sqrt(1 + epsilon))
        assert findings(never_updated, chain(factor, [1, 2, 3, 4], "y"))
    for factor in (1.0, 0.97, 1.0005):
        assert findings(never_updated, chain(np.full(4, factor), [1, 2, 3, 4], "y")) == []


def test_factors_in_float16() -> None:
    for epsilon in (1e-2, 1e-3):
        factor = np.full(4, float(np.float16(1 / np.sqrt(1 + epsilon))))
        (finding,) = findings(never_updated, chain(factor, [1, 2, 3, 4], "y"))
        assert f"1 + {epsilon:g}" in finding.message
        factor[1] = 0.998046875
        assert findings(never_updated, chain(factor, [1, 2, 3, 4], "y")) == []


def test_nothing_is_added_by_what_is_called_a_batch_norm() -> None:
    (finding,) = findings(never_updated, chain())
    assert finding.message == "nothing is added in any channel, so mean is 0"
    assert findings(never_updated, chain(name="y")) == []
    assert findings(never_updated, chain(shift=[0, 0, 1e-3, 0])) == []


@pytest.mark.parametrize(("mean", "known"), [([0, 0, 0, 0], True), ([0, 0, 1, 0], False)])
def test_a_mean_that_is_subtracted(mean: list[float], known: bool) -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { d = Sub(x, m) k = Mul(d, s) y = Add(k, t) }"
    arrays = {"m": mean, "s": [0.3, 0.7, 1.4, 2], "t": [1, 2, 3, 4]}
    proto = model(text, **{name: np.array(a, np.float32) for name, a in arrays.items()})
    (initial,) = initial_values(view(proto))
    assert (initial.mean, initial.variance) == (known, None)
    assert [f.message for f in findings(never_updated, proto)] == (
        ["mean is 0 in every channel"] if known else []
    )
    assert findings(half_updated, proto) == []


def test_the_bias_of_a_convolution_that_took_it_in() -> None:
    for proto in (fused(), fused([0, 0, 0, 0])):
        (finding,) = findings(never_updated, proto)
        assert (finding.site, finding.severity) == ("main:y", "error")
        assert "'c_weights_fused_bn' should have got is 0 in every channel" in finding.message
    assert findings(never_updated, fused([0, 0, 1e-3, 0])) == []
    assert initial_values(view(fused([0, 0, 1e-3, 0]))) == ()


@pytest.mark.parametrize(
    ("statistics", "words"),
    [
        ((ZERO, VARIANCE), "mean is 0 in every channel, and the variance has moved"),
        ((MEAN, ONE), "variance is 1 in every channel, and the mean has moved"),
    ],
)
@pytest.mark.parametrize(
    ("trained", "count", "severity"),
    [(0, 1, "warning"), (0, 2, "error"), (1, 2, "error"), (2, 2, "warning")],
)
def test_half_updated(statistics, words: str, trained: int, count: int, severity: str) -> None:
    others = [random_statistics(seed=n) for n in range(trained)]
    found = findings(half_updated, layers(*others, *[statistics] * count))
    assert len(found) == count
    finding = found[0]
    assert (finding.severity, finding.message) == (severity, words)
    still_mean = not statistics[0].any()
    assert finding.evidence == {"mean": still_mean, "variance": not still_mean}
    assert findings(never_updated, layers(*others, statistics)) == []


def test_half_updated_leaves_the_rest_to_others() -> None:
    assert findings(half_updated, layers(FRESH, TRAINED)) == []
    one_moved = (_but_one(ZERO, 1), _but_one(ONE, 2))
    assert findings(half_updated, layers(one_moved)) == []


def _stepped(count: int = 8, low: float = 0.9, high: float = 0.99) -> np.ndarray:
    return np.linspace(low, high, count)


@pytest.mark.parametrize(
    ("variance", "found"),
    [
        (_stepped(), True),
        (_stepped(7), False),
        (_stepped(low=0.8995), True),
        (_stepped(low=0.8985), False),
        (np.append(_stepped(5), [1.5, 2, 3]), True),
        (np.append(_stepped(3), [1.1, 1.2, 1.5, 2, 3]), False),
        (_stepped(low=0.9992, high=0.9999), False),
    ],
)
def test_one_step(variance: np.ndarray, found: bool) -> None:
    proto = layers((np.linspace(1, 2, len(variance)), variance), producer="pytorch")
    assert bool(findings(one_step, proto)) is found


def test_one_step_is_of_all_layers_together() -> None:
    two = [(np.ones(4), _stepped(4)), (np.ones(4), _stepped(4, 0.95, 0.98))]
    (first, second) = findings(one_step, layers(*two))
    assert (first.severity, first.site, second.site) == ("error", "main:y0", "main:y1")
    assert first.message.startswith("all variances lie between 0.9 and 0.99,")
    assert second.evidence == pytest.approx({"lowest": 0.95, "highest": 0.98})
    assert findings(one_step, layers(*two, TRAINED)) == []
    assert findings(one_step, layers(*two, producer="tf2onnx")) == []


def test_identical_statistics() -> None:
    other = random_statistics(seed=5)
    found = findings(identical_statistics, layers(TRAINED, other, TRAINED, TRAINED))
    assert [finding.site for finding in found] == ["main:y2", "main:y3"]
    assert found[0].severity == "warning"
    assert found[0].evidence == {"same_as": "main:y0"}
    assert found[0].message == "mean and variance are those of 'y0'"


@pytest.mark.parametrize(
    "one",
    [
        (_but_one(MEAN, 9), VARIANCE),
        (MEAN, _but_one(VARIANCE, 9)),
    ],
)
def test_one_channel_apart_is_not_identical(one: tuple[np.ndarray, np.ndarray]) -> None:
    assert findings(identical_statistics, layers(one, TRAINED)) == []


@pytest.mark.parametrize("same", [(ZERO, VARIANCE), (MEAN, ONE), ([2], [3])])
def test_made_up_values_are_not_identical_statistics(same) -> None:
    assert findings(identical_statistics, layers(same, same)) == []


def test_a_layer_called_twice_shares_its_tensors() -> None:
    twice = (TRAINED, TRAINED)
    shared = layers(*twice, means=("m", "m"), variances=("v", "v"))
    assert findings(identical_statistics, shared) == []
    by_half = layers(*twice, means=("m", "m"), variances=("v", "w"))
    assert len(findings(identical_statistics, by_half)) == 1


@pytest.mark.parametrize(
    ("rule", "proto"),
    [
        (never_updated, layers(FRESH)),
        (half_updated, layers((ZERO, VARIANCE))),
        (one_step, layers((MEAN, _stepped(12)))),
        (identical_statistics, layers(TRAINED, TRAINED)),
        (zero_debias, layers(TRAINED, means=("bn/biased",))),
        (unrecoverable, chain(shift=[1, 2, 3, 4])),
    ],
)
def test_what_stands_behind_a_switch_is_left_out(rule, proto: onnx.ModelProto) -> None:
    seen = view(proto)
    assert list(rule.check(seen))
    gated = tuple(replace(norm, gated=True) for norm in seen.norms)
    assert list(rule.check(replace(seen, norms=gated))) == []
