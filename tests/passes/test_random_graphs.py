"""No random model is folded wrongly. `tools/fuzz.py` runs the same property on as many as asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
import random_graphs
from graphs import conv_bn, folded, normal
from hypothesis import HealthCheck, Phase, given, settings
from onnx import numpy_helper

# Explaining a failure takes many more runs than finding it.
PHASES = set(settings().phases) - {Phase.explain}
# A model of twenty nodes is large and slow only to Hypothesis, which makes numbers and lists.
LARGE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def test_folding_is_exact() -> None:
    seen = random_graphs.Seen()

    @settings(max_examples=300, phases=PHASES, suppress_health_check=LARGE)
    @given(random_graphs.models())
    def run(model: onnx.ModelProto) -> None:
        random_graphs.check(model, seen)

    run()
    words = Counter[str]()
    for word, count in seen.decisions.items():
        words[word.partition(" ")[0]] += count
    # Otherwise it would say little that nothing was wrong.
    assert 3 * (words["folded"] + words["merged"]) > words.total()
    assert len(seen.operators) > 35
    assert seen.compared["double"] > seen.compared["float"]
    assert not seen.compared["not finite"]


@pytest.mark.parametrize(
    ("dtype", "kind", "step"), [("double", np.float64, 1e-6), ("float", np.float32, 1e-4)]
)
@pytest.mark.parametrize("operand", [1, 2])
def test_one_wrong_number_is_seen(dtype: str, kind: Any, step: float, operand: int) -> None:
    model = conv_bn(dtype, kind)
    result, _ = folded(model)
    feeds = {"x": normal(1, 3, 8, 8, dtype=kind)}
    assert random_graphs.compare(model, result, feeds) == dtype
    name = result.graph.node[0].input[operand]
    tensor = next(t for t in result.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[-1] += step
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    with pytest.raises(AssertionError, match="is off by"):
        random_graphs.compare(model, result, feeds)
