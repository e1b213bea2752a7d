"""The pass among the passes of others, as docs/pipelines.md shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model, normal, operators, run, statistics

from bnopt.passes import FoldBatchNorm

PAGE = Path(__file__).resolve().parents[1] / "docs" / "pipelines.md"
TEXT = """g (float[N,3,8,8] x) => (float[N,2] y) {
    c = Conv(x, W)
    n = BatchNormalization(c, g, b, m, v)
    r = Relu(n)
    p = GlobalAveragePool(r)
    q = BatchNormalization(p, hg, hb, hm, hv)
    f = Flatten(q)
    y = MatMul(f, K)
}"""


def network() -> onnx.ModelProto:
    weights = {**statistics(4), **statistics(4, seed=3, prefix="h")}
    return model(TEXT, W=normal(4, 3, 3, 3), K=normal(4, 2, seed=5), **weights)


def example(heading: str) -> str:
    """The Python code under a heading of the page."""
    _, _, section = PAGE.read_text(encoding="utf-8").partition(f"## {heading}")
    found = re.search(r"```python\n(.*?)```", section, flags=re.S)
    assert found is not None
    return found.group(1)


def test_in_an_onnxscript_pipeline(tmp_path: Path) -> None:
    pytest.importorskip(
        "onnxscript", reason="onnxscript is not installed: pip install 'bnopt[torch]'"
    )
    path = tmp_path / "model.onnx"
    onnx.save(network(), path)
    names: dict[str, Any] = {}
    exec(example("With onnxscript's optimizer").replace("/path/to/model.onnx", str(path)), names)
    result = ir.to_proto(names["model"])
    assert "BatchNormalization" not in operators(result)
    onnx.checker.check_model(result, full_check=True)
    x = normal(2, 3, 8, 8)
    np.testing.assert_allclose(run(result, x=x)[0], run(network(), x=x)[0], rtol=1e-4, atol=1e-5)


def test_sequence_of_onnx_ir_passes() -> None:
    from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveUnusedNodesPass

    pipeline = ir.passes.Sequential(
        LiftConstantsToInitializersPass(), FoldBatchNorm(), RemoveUnusedNodesPass()
    )
    graph = ir.from_proto(network())
    assert pipeline(graph).modified
    assert "BatchNormalization" not in operators(ir.to_proto(graph))
    assert not FoldBatchNorm()(graph).modified


@pytest.mark.filterwarnings("ignore")
def test_on_the_program_of_torch_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip(
        "torch", reason="torch is not installed: pip install 'bnopt[torch]'"
    )
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, bias=False),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.BatchNorm1d(4 * 36),
        torch.nn.Linear(4 * 36, 5),
    )
    for layer in module:
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    sample = torch.randn(2, 3, 8, 8)
    monkeypatch.chdir(tmp_path)
    exec(
        example("On what torch.onnx.export returns"),
        {"module": module, "example": sample},
    )
    result = onnx.load(tmp_path / "model.onnx")
    assert "BatchNormalization" not in operators(result)
    (name,) = [value.name for value in result.graph.input]
    expected = module.eval()(sample).detach().numpy()
    np.testing.assert_allclose(run(result, **{name: sample.numpy()})[0], expected, atol=1e-4)
