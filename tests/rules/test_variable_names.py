"""What the names of TensorFlow's variables say: second towers, helpers of zero debiasing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from layers import findings, layers, random_statistics

from bnopt.rules import never_updated, wrong_scope, zero_debias

FRESH, TRAINED = (np.zeros(12), np.ones(12)), random_statistics()


def _named(mean: str, *more: str, producer: str = "tf2onnx") -> onnx.ModelProto:
    statistics = [FRESH, *(random_statistics(seed=n) for n in range(len(more)))]
    return layers(*statistics, means=(mean, *more), producer=producer)


@pytest.mark.parametrize(
    ("mean", "layer"),
    [
        ("BatchNorm_2/moving_mean/read:0", "BatchNorm_2"),
        ("tower_1/bn1_1/moving_mean/read__12", "tower_1/bn1_1"),
    ],
)
def test_variables_of_a_second_tower(mean: str, layer: str) -> None:
    (finding,) = findings(wrong_scope, _named(mean))
    assert (finding.severity, finding.site) == ("error", "main:y0")
    assert finding.evidence == {"layer": layer}
    assert f"'{layer}' is a second layer of the name '{layer[:-2]}'" in finding.message
    # As grave as what it explains.
    two = (f"a{n}/moving_mean/read:0" for n in range(2))
    (finding,) = findings(wrong_scope, _named(mean, *two))
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    "names",
    [
        ("BatchNorm/moving_mean/read:0",),
        ("BatchNorm_1/running_mean",),
        ("BatchNorm_1/moving_mean",),
        ("BatchNorm_1a/moving_mean/read:0",),
        # The first of the name is there: the graph numbers its own layers.
        ("BatchNorm_1/moving_mean/read:0", "BatchNorm/moving_mean/read:0"),
    ],
)
def test_names_that_do_not_tell(names: tuple[str, ...]) -> None:
    proto = _named(*names)
    assert findings(never_updated, proto)
    assert findings(wrong_scope, proto) == []


def test_only_tensorflow_numbers_names() -> None:
    name = "BatchNorm_1/moving_mean/read:0"
    assert findings(wrong_scope, _named(name, producer="pytorch")) == []
    trained = layers(TRAINED, means=(name,), producer="tf2onnx")
    assert findings(wrong_scope, trained) == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("bn/moving_mean/biased", True),
        ("bn/moving_mean/biased/read:0", True),
        ("bn/moving_mean/biased:0", True),
        ("bn/moving_mean/local_step:0", True),
        ("bn/moving_mean", False),
        ("bn/moving_mean/unbiased", False),
        ("bn_biased/moving_mean", False),
    ],
)
def test_helpers_of_zero_debiasing(name: str, found: bool) -> None:
    for parameter, options in (("mean", {"means": (name,)}), ("variance", {"variances": (name,)})):
        got = findings(zero_debias, layers(TRAINED, **options))
        assert [(finding.severity, finding.evidence) for finding in got] == (
            [("error", {"name": name})] if found else []
        )
        assert all(finding.message.startswith(f"the {parameter} is '{name}'") for finding in got)
