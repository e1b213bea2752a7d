"""Every way in which TensorFlow and PyTorch write batch norm: folded, or kept with a known reason.

Each folded export is compared with the original on the inputs that lie beside it.
"""

from __future__ import annotations

import fnmatch
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bnopt.findings import Kept
from bnopt.passes import apply
from bnopt.passes.prepare import prepare

ROOT = Path(__file__).resolve().parents[1]
FORMS = Path(os.environ.get("BNOPT_SHARED", ROOT.parent / "shared")) / "forms"
sys.path.insert(0, str(ROOT / "tools"))
from _limit_cases import CASES  # noqa: E402

pytestmark = [
    pytest.mark.forms,
    pytest.mark.skipif(not FORMS.is_dir(), reason=f"no framework exports at {FORMS}"),
]
FILES = sorted(FORMS.glob("*/*.onnx")) if FORMS.is_dir() else []
# Batch norms in training mode are kept whatever stands around them.
TRAINING = ("training-mode", "extra-outputs", "batch-statistics")
# A Dropout in training mode gives other numbers each time.
RANDOM = ("conv_dropout_bn__dyn_train_noopt",)


def case_of(path: Path) -> str:
    return path.stem.partition("__")[0]


def explained(path: Path, reason: str) -> bool:
    if reason in TRAINING and ("train" in path.stem or "no_track" in path.stem):
        return True
    return any(
        reason in case.reasons and any(fnmatch.fnmatch(case_of(path), n) for n in case.names)
        for case in CASES
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_folds_or_says_why_not(path: Path) -> None:
    graph = ir.from_proto(onnx.load(path))
    prepared = prepare(graph)
    for site in prepared.plan.sites:
        if isinstance(site.decision, Kept):
            assert explained(path, site.decision.reason), (site.name, site.decision)
    apply(graph, prepared.plan)
    left = sum(
        node.op_type == "BatchNormalization"
        for node in ir.traversal.RecursiveGraphIterator(graph.graph)
    )
    kept = sum(isinstance(site.decision, Kept) for site in prepared.plan.sites)
    assert left <= kept
    check_numbers(path, onnx.load(path), ir.to_proto(graph))


def check_numbers(path: Path, original: onnx.ModelProto, result: onnx.ModelProto) -> None:
    """As close to the original on onnxruntime as rounding allows."""
    ort = pytest.importorskip("onnxruntime")
    if path.stem in RANDOM:
        return
    feeds = inputs(path, original)
    try:
        expected_outputs = run(ort, original, feeds)
    except Exception:
        # No kernel for the type, or an export that is no valid model: there is no truth to compare.
        return
    half = "16" in case_of(path)
    for expected, actual in zip(expected_outputs, run(ort, result, feeds), strict=True):
        size = float(np.max(np.abs(expected.astype(np.float64)), initial=1e-9))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=size * (2e-2 if half else 2e-4))


def run(ort: Any, proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = {value.name for value in session.get_inputs()}
    return session.run(None, {k: v for k, v in feeds.items() if k in names})


def inputs(path: Path, model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The inputs that came with the export; random ones where there are none."""
    stored = path.with_name(f"{case_of(path)}.npz")
    known = dict(np.load(stored)) if stored.exists() else {}
    weights = {tensor.name for tensor in model.graph.initializer}
    rng = np.random.default_rng(0)
    feeds = {}
    for value in model.graph.input:
        if value.name in weights:
            continue
        tensor = value.type.tensor_type
        shape = [d.dim_value or 2 for d in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        kind = np.dtype(dtype).kind
        array = rng.normal(size=shape) if kind == "f" else rng.integers(0, 2, shape)
        for key in (f"in_{value.name}", f"in__{value.name}", f"in_{value.name[1:]}"):
            array = known.get(key, array)
        feeds[value.name] = np.asarray(array).astype(dtype)
    return feeds
