"""Batch statistics in the exports of frameworks become nodes that compute the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from calibration.written_out import nodes_of, with_statistics
from graphs import normal, operators, run

from bnopt.algebra.base import Context
from bnopt.algebra.runtime_statistics import runtime_statistics

SHARED = Path(os.environ.get("BNOPT_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FORMS = SHARED / "forms"


def roots(path: Path) -> list[str]:
    """The roots of batch statistics in the main graph of an export."""
    graph = ir.from_proto(onnx.load(path))
    context = Context.of(graph)
    found = {node.name: runtime_statistics(node, context) for node in graph.graph}
    return [name for name, one in found.items() if one is not None and one[0] == "batch_statistics"]


def exports() -> list[Path]:
    found = sorted(FORMS.glob("*/*.onnx")) if FORMS.is_dir() else []
    return [path for path in found if b"Sqrt" in path.read_bytes()]


FILES = exports()


@pytest.mark.forms
@pytest.mark.skipif(not FILES, reason=f"no framework exports at {FORMS}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_exports(path: Path) -> None:
    proto = onnx.load(path)
    expected = roots(path)
    rewritten, found, kept = nodes_of(proto)
    slots = [slot for slot in found if slot.rewritten]
    if "batch_weights" in path.stem:
        assert [(one.name, one.reason) for one in kept] == [
            (n, "batch-statistics") for n in expected
        ]
        return
    assert [slot.name for slot in slots] == expected
    assert {one.reason for one in kept} <= {"dynamic-statistics", "not-measurable"}
    if not found:
        return
    stored = path.with_name(f"{path.stem.partition('__')[0]}.npz")
    first = proto.graph.input[0]
    if stored.exists():
        known = np.load(stored)
        x = next(known[key] for key in known if key.startswith("in_") and known[key].ndim > 1)
    else:
        shape = [dim.dim_value or 2 for dim in first.type.tensor_type.shape.dim]
        x = normal(*shape)
    # What is left of the inputs says that this is training.
    feeds = {value.name: np.array(True) for value in proto.graph.input} | {first.name: x}
    result = with_statistics(rewritten, slots, feeds)
    assert "Sqrt" not in operators(result)
    for expected_array, actual in zip(run(proto, **feeds), run(result, **feeds), strict=True):
        size = float(np.abs(expected_array).max())
        np.testing.assert_allclose(actual, expected_array, rtol=0, atol=1e-4 * size)
