"""Stored statistics against those of data, and what is said where nothing is stored any more."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from graphs import model
from layers import chain, findings, fused, layers, random_statistics, view

from bnopt.api import check
from bnopt.evidence import Measured
from bnopt.rules import (
    not_enough_data,
    stale_statistics,
    statistics,
    unrecoverable,
    unusual_output,
    wrong_data_range,
)
from bnopt.rules.comparison import compare

DATA_RULES = ("stale-statistics", "wrong-data-range", "not-enough-data", "unusual-output")
STORED = ([0.0] * 4, [1.0] * 4)
ROOTS = np.array([0.5, 0.8, 1.25, 2.0])
VARIED = ([0.0] * 4, (ROOTS**2).tolist())


def _measured(mean, deviation, samples: int = 10_000) -> Measured:
    """Moments of 4 channels; a number stands for all of them."""
    means, deviations = np.broadcast_to(mean, 4), np.broadcast_to(deviation, 4)
    return Measured(samples, samples, tuple(means.tolist()), tuple((deviations**2).tolist()))


def _codes(*measured: Measured, stored=STORED) -> list[str]:
    proto = layers(*[stored] * len(measured))
    by_site = {f"main:y{n}": one for n, one in enumerate(measured)}
    rules = (stale_statistics, wrong_data_range, not_enough_data, unusual_output)
    return [finding.code for rule in rules for finding in findings(rule, proto, by_site)]


def _samples(count: int, channels: int = 4, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mean, deviation = np.arange(1.0, channels + 1), np.linspace(0.5, 2, channels)
    return rng.normal(mean, deviation, (count, channels)).astype(np.float32)


OF_THE_DATA = (np.arange(1.0, 5), np.linspace(0.5, 2, 4) ** 2)


@pytest.mark.parametrize(
    ("stored", "factor", "count", "expected"),
    [
        (OF_THE_DATA, 1, 200, []),
        (OF_THE_DATA, 255, 200, ["wrong-data-range"]),
        (OF_THE_DATA, 1, 7, ["not-enough-data"]),
        # Of these 8 samples themselves: those of all samples may well be far off.
        ((_samples(8).mean(axis=0), _samples(8).var(axis=0)), 1, 8, []),
        (random_statistics(4, 1), 1, 200, ["stale-statistics"]),
    ],
)
def test_real_data(stored, factor: float, count: int, expected: list[str]) -> None:
    data = [{"x0": factor * _samples(count)}]
    result = check(layers(stored), data=data, run=False, select=DATA_RULES)
    assert [finding.code for finding in result.findings] == expected
    assert result.samples == count
    verdict = {
        "stale-statistics": "stale",
        "wrong-data-range": "wrong-range",
        "not-enough-data": "not-enough-data",
    }
    (record,) = result.statistics
    assert record.verdict == (verdict[expected[0]] if expected else "consistent")
    np.testing.assert_allclose(record.measured.mean, data[0]["x0"].mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    ("samples", "mean", "spread", "stale"),
    [
        (10_000, 0.39, 0, False),
        (10_000, 0.41, 0, True),
        (10_000, -0.41, 0, True),
        (10_000, 0, 0.59, False),
        (10_000, 0, 0.61, True),
        (10_000, 0, -0.61, True),
        # At 9 samples the errors are what counts: 2 sqrt(1 / 9) and 3 sqrt(2 / 9).
        (9, 0.66, 0, False),
        (9, 0.67, 0, True),
        (9, 0, 1.40, False),
        (9, 0, 1.43, True),
    ],
)
def test_what_is_far_off(samples: int, mean: float, spread: float, stale: bool) -> None:
    measured = _measured(mean, math.exp(spread / 2), samples)
    assert _codes(measured) == (["stale-statistics"] if stale else [])


def test_effects_are_those_of_the_layer() -> None:
    assert _codes(_measured([0.79, 0, 0, 0], 1)) == []
    assert _codes(_measured([0.81, 0, 0, 0], 1)) == ["stale-statistics"]
    (finding,) = findings(
        stale_statistics, layers(STORED), {"main:y0": _measured([0.84, 0, 0, 0], math.exp(0.5))}
    )
    assert finding.message == (
        "over 10000 samples the mean is off by 0.42 standard deviations and the variance by a "
        "factor of 2.72"
    )
    assert finding.evidence["limits"] == [0.4, 0.6]
    assert finding.evidence["samples"] == 10_000
    assert finding.evidence["log_variance_ratio"] == pytest.approx(1, rel=1e-3)
    assert finding.evidence["standard_errors"] == pytest.approx(100 / math.sqrt(2), rel=1e-3)


def test_the_shift_is_in_stored_deviations() -> None:
    assert _codes(_measured(3.7, 2), stored=([3.0] * 4, [4.0] * 4)) == []
    assert _codes(_measured(3.9, 2), stored=([3.0] * 4, [4.0] * 4)) == ["stale-statistics"]


def test_epsilon_belongs_to_the_variance() -> None:
    """A dead channel, in training as in the data, is not infinitely far off."""
    dead = layers(([0.0] * 4, [1e-12] * 4), epsilon=1e-3)
    assert findings(stale_statistics, dead, {"main:y0": _measured(1e-4, 1e-4)}) == []


@pytest.mark.parametrize(("sound", "severity"), [(0, "error"), (1, "warning"), (2, "warning")])
def test_stale_in_more_than_half_of_them_is_an_error(sound: int, severity: str) -> None:
    proto = layers(*[STORED] * (sound + 1))
    measured = {f"main:y{n}": _measured(0, 1) for n in range(sound)}
    measured[f"main:y{sound}"] = _measured(1, 1)
    (finding,) = findings(stale_statistics, proto, measured)
    assert (finding.severity, finding.site) == (severity, f"main:y{sound}")


@pytest.mark.parametrize(
    ("deviation", "code"),
    [
        (8.1, "wrong-data-range"),
        (7.9, "stale-statistics"),
        (1 / 8.1, "wrong-data-range"),
        (1 / 7.9, "stale-statistics"),
        (20 * np.exp([0.34, -0.34, 0.34, -0.34]), "wrong-data-range"),
        (20 * np.exp([0.36, -0.36, 0.36, -0.36]), "stale-statistics"),
    ],
)
def test_one_factor_in_all_channels(deviation, code: str) -> None:
    assert _codes(_measured(0, deviation * ROOTS), stored=VARIED) == [code]


def test_initial_values_have_no_range() -> None:
    """Stored variances near 1 are all alike, and so are their ratios to small real ones."""
    assert _codes(_measured(0, 20)) == ["stale-statistics"]


def test_a_wrong_range_explains_what_follows() -> None:
    far = _measured(2, 3)
    scaled = _measured(0, 255 * ROOTS)
    assert _codes(scaled, far, stored=VARIED) == ["wrong-data-range"]
    # Only the first batch norm is near enough to the input.
    assert _codes(far, scaled, stored=VARIED) == ["stale-statistics"] * 2
    (finding,) = findings(wrong_data_range, layers(VARIED), {"main:y0": scaled})
    assert (finding.severity, finding.site) == ("error", None)
    assert finding.message.startswith("the first batch norm, 'y0', gets 255 times")
    assert finding.evidence["factor"] == pytest.approx(255, rel=1e-3)
    assert finding.evidence["site"] == "main:y0"


def test_few_samples_prove_nothing() -> None:
    assert _codes(_measured(9, 255, 7), _measured(9, 1, 7)) == ["not-enough-data"]
    (finding,) = findings(not_enough_data, layers(STORED), {"main:y0": _measured(0, 1, 7)})
    assert (finding.severity, finding.site) == ("info", None)
    assert finding.message == "only 7 samples, too few to compare statistics (from 8)"
    assert _codes(_measured(9, 1, 8)) == ["stale-statistics"]


def test_what_cannot_be_compared() -> None:
    measured = {"main:y0": _measured(9, 9)}
    for stored in (([0.0] * 3, [1.0] * 3), ([0.0] * 4, [-1.0, 1, 1, 1])):
        assert findings(stale_statistics, layers(stored), measured) == []
    assert findings(stale_statistics, layers(STORED, STORED), {}) == []
    assert findings(stale_statistics, layers(STORED)) == []
    hidden = chain(shift=[1, 2, 3, 4])
    assert findings(stale_statistics, hidden, {"main:batchnorm": _measured(9, 9)}) == []
    assert statistics(view(layers(STORED)))[0].verdict == ""


def _unusual(mean, deviation, samples: int = 8, proto=None, site: str = "batchnorm"):
    """Of a layer that doubles its input and adds 1: it gives `mean` and `deviation`."""
    measured = {
        f"main:{site}": _measured((np.asarray(mean) - 1) / 2, np.asarray(deviation) / 2, samples)
    }
    return findings(unusual_output, proto or chain([2, 2, -2, 2], [1, 1, 1, 1]), measured)


@pytest.mark.parametrize(
    ("mean", "deviation", "found"),
    [
        ([0.49, -0.49, 2 - 0.49, 0.49], 1, False),
        ([0.51, -0.51, 2 - 0.51, 0.51], 1, True),
        ([0.98, 0, 2, 0], 1, False),
        ([1.02, 0, 2, 0], 1, True),
        ([0, 0, 2, 0], 1.69, False),
        ([0, 0, 2, 0], 1.71, True),
        ([0, 0, 2, 0], 0.61, False),
        ([0, 0, 2, 0], 0.59, True),
        # Dead channels have no say, and where all are dead nobody has.
        ([0, 0, 2, 0], [0, 0, 0, 1], False),
        ([0, 0, 2, 0], [0, 0, 0, 9], True),
        ([9, 9, 9, 9], 0, False),
    ],
)
def test_unusual_output(mean: list[float], deviation, found: bool) -> None:
    """The third channel has a factor of -2: its mean is mirrored at the shift of 1."""
    got = _unusual(mean, deviation)
    assert [(finding.severity, finding.site) for finding in got] == (
        [("warning", "main:batchnorm")] if found else []
    )


def test_unusual_output_says_what_it_saw() -> None:
    (finding,) = _unusual([2, 2, 0, 2], 3)
    assert "over 8 samples its channels have means of 2 (root mean square)" in finding.message
    assert finding.evidence == pytest.approx({"mean": 2, "deviation": 3, "samples": 8})
    assert _unusual([2, 2, 0, 2], 3, samples=7) == []


def test_unusual_output_is_of_hidden_batch_norms() -> None:
    assert _unusual(2, 3, proto=chain([2, 2, 2, 2], [1, 1, 1, 1], "y"), site="y") == []
    assert _unusual(2, 3, proto=layers(STORED), site="y0") == []
    assert _unusual(2, 3, site="other") == []
    assert findings(unusual_output, chain(shift=[1, 1, 1, 1])) == []
    three = Measured(8, 8, (9.0,) * 3, (1.0,) * 3)
    assert findings(unusual_output, chain(shift=[1, 1, 1, 1]), {"main:batchnorm": three}) == []


def test_of_a_trace_the_output_is_measured() -> None:
    for mean, found in ((0.49, 0), (0.51, 1)):
        measured = {"main:y": _measured(mean, 1)}
        assert len(findings(unusual_output, fused([1, 1, 1, 1]), measured)) == found
    assert findings(unusual_output, fused([1, 1, 1, 1]), {"main:y": _measured(9, 1, 7)}) == []


def test_real_data_through_a_hidden_batch_norm() -> None:
    for factor, expected in ((1, []), (3, ["unusual-output"])):
        mean, variance = OF_THE_DATA
        scale = 1 / np.sqrt(variance)
        data = [{"x": factor * _samples(100)}]
        result = check(chain(scale, -mean * scale), data=data, run=False, select=DATA_RULES)
        assert [finding.code for finding in result.findings] == expected


@pytest.mark.parametrize(
    ("proto", "site", "words"),
    [
        (chain(shift=[1, 2, 3, 4]), "main:batchnorm", "gone into a factor and a summand"),
        (fused([1, 2, 3, 4]), "main:y", "gone into 'c_weights_fused_bn' and its bias"),
    ],
    ids=["chain", "convolution"],
)
def test_unrecoverable(proto, site: str, words: str) -> None:
    (finding,) = findings(unrecoverable, proto)
    assert (finding.severity, finding.site) == ("info", site)
    assert finding.message == f"mean and variance have {words}"
    assert findings(unrecoverable, proto, {}) == []


def test_what_says_something_is_not_unrecoverable() -> None:
    factor = np.full(4, 1 / np.sqrt(1.001))
    for proto in (
        layers(random_statistics()),
        chain(shift=[1, 2, 3, 4], name="y"),
        chain(factor, [1, 2, 3, 4]),
        chain(),
        fused([0, 0, 0, 0]),
    ):
        assert findings(unrecoverable, proto) == []


def test_a_mean_that_is_left_can_be_checked() -> None:
    text = "g (float[N,4] x) => (float[N,4] bn) { d = Sub(x, m) k = Mul(d, s) bn = Add(k, m) }"
    numbers = np.array([1, 2, 3, 4], np.float32)
    proto = model(text.replace("bn", "batch_norm"), m=numbers, s=numbers)
    assert findings(unrecoverable, proto) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": None},
        {"variance": None},
        {"epsilon": None},
        {"mean": np.zeros(3)},
        {"variance": np.ones(3)},
        {"variance": np.array([1, 1, -1, 1.0])},
    ],
    ids=["no mean", "no variance", "no epsilon", "other means", "other variances", "negative"],
)
def test_what_cannot_be_compared_is_left_out(changes: dict[str, object]) -> None:
    (norm,) = view(layers(STORED)).norms
    assert compare(norm, _measured(0, 1)) is not None
    assert compare(replace(norm, **changes), _measured(0, 1)) is None
