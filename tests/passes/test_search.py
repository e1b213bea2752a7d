"""A search ends soon, however the graph is made."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from graphs import model, normal, statistics

from bnopt import passes
from bnopt.passes.walk import MAX_STEPS, Walk

BN = "BatchNormalization"


def steps(body: str, monkeypatch: pytest.MonkeyPatch, **weights: object) -> int:
    """How many values are looked at for one batch norm."""
    counted: list[int] = []
    too_far = Walk.too_far

    def count(self: Walk, value: ir.Value, depth: int) -> object:
        counted.append(depth)
        return too_far(self, value, depth)

    monkeypatch.setattr(Walk, "too_far", count)
    text = f"g (float[2,4,6,6] x) => (float[A,B,C,D] y) {{ {body} }}"
    passes.plan(ir.from_proto(model(text, **weights, **statistics(4))))
    return len(counted)


@pytest.mark.parametrize("count", [5, 10, 20])
def test_a_row_of_sums_is_searched_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sum may stay or go, but not each combination of them is tried."""
    row = "".join(
        f"a{i} = Add(x{i}, k) x{i + 1} = Transpose<perm = [0, 1, 3, 2]>(a{i}) "
        for i in range(count)
    )
    body = f"x0 = Sigmoid(x) {row} y = {BN}(x{count}, g, b, m, v)"
    assert steps(body, monkeypatch, k=normal(1, 4, 1, 1)) <= 12 * count


def test_branches_that_part_and_meet_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are 2 ** 9 ways through; a search gives up before it has gone them all."""
    diamonds = "".join(
        f"p{i} = Identity(x{i}) q{i} = Dropout(x{i}) x{i + 1} = Concat<axis = 1>(p{i}, q{i}) "
        for i in range(9)
    )
    body = f"x0 = {BN}(x, g, b, m, v) {diamonds} y = Conv(x9, W)"
    # The whole affine first, and then only its scale.
    taken = steps(body, monkeypatch, W=normal(1, 4 << 9, 1, 1))
    assert MAX_STEPS < taken <= 2 * MAX_STEPS + 10
