"""What a module, or an exporter, cannot do: the next best, and a note that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from torch import nn  # noqa: E402
from torch_modules import (  # noqa: E402
    Block,
    Calling,
    FixedBatchNorm,
    images,
    trained,
    worst_error,
)

from bnopt.errors import ExecutionError  # noqa: E402
from bnopt.frontends.torch import export  # noqa: E402


def branching(bn: Any, x: Any) -> Any:
    """A decision on data, which torch.export refuses and TorchScript takes for a constant."""
    y = bn(x)
    return y if y.sum() > -1e9 else -y


def test_the_other_exporter_takes_over(tmp_path: Path) -> None:
    converted = export(trained(Calling(branching)), images(), folder=tmp_path)
    assert converted.framework == f"torch {torch.__version__}"
    taken_over, traced = converted.notes
    assert taken_over.startswith("exported by TorchScript, as torch.export failed: Could not guard")
    assert traced.startswith("what test_torch_fallbacks.py:")
    assert worst_error(converted.path, converted.references) < 3e-6


def test_not_where_one_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match=r"exported: torch.export: Could not"):
        export(trained(Calling(branching)), images(), folder=tmp_path, exporter="dynamo")


def test_an_opset_that_only_torchscript_writes(tmp_path: Path) -> None:
    module = trained(Calling(lambda bn, x: (y := bn(x), y)))
    converted = export(module, images(), folder=tmp_path, opset=13)
    assert converted.notes[0].endswith("torch.export failed: opset 18 could not be converted to 13")
    assert onnx.load(converted.path).opset_import[0].version == 13


def test_a_module_for_one_batch_size(tmp_path: Path) -> None:
    module = trained(Calling(lambda bn, x: bn(x).reshape(4, 3, 72)))
    converted = export(module, images(2), folder=tmp_path)
    assert [reference.batch for reference in converted.references] == [2]
    assert converted.notes[0].startswith("the module does not run with a batch of 1: shape '[4, 3")
    assert worst_error(converted.path, converted.references) < 3e-6


def test_a_batch_that_the_exporter_fixes(tmp_path: Path) -> None:
    module = trained(Calling(lambda bn, x: bn(x) if x.shape[0] == 2 else bn(x) + 1))
    converted = export(module, images(2), folder=tmp_path)
    assert converted.notes == ("the batch is fixed at 2",)
    assert [reference.batch for reference in converted.references] == [2]
    assert worst_error(converted.path, converted.references) < 3e-6


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_fixed_batch_on_request(exporter: Any, tmp_path: Path) -> None:
    converted = export(
        trained(Block()), images(1), folder=tmp_path, exporter=exporter, dynamic_batch=False
    )
    shape = onnx.load(converted.path).graph.input[0].type.tensor_type.shape
    assert shape.dim[0].dim_value == 1
    assert [reference.batch for reference in converted.references] == [1]
    assert converted.notes == ()


def test_an_example_of_one_sample_leaves_the_batch_open(tmp_path: Path) -> None:
    converted = export(trained(Block()), images(1), folder=tmp_path, batch_sizes=(1, 5))
    assert [reference.batch for reference in converted.references] == [1, 5]
    assert worst_error(converted.path, converted.references) < 3e-6


def test_samples_are_made_up_where_the_example_says_nothing(tmp_path: Path) -> None:
    zeros = torch.zeros(1, 3, 12, 12)
    module = trained(Block())
    reference = export(module, zeros, folder=tmp_path, exporter="torchscript").references[1]
    rows = reference.feeds["image"].reshape(8, -1)
    assert not rows[0].any()
    assert (rows[1:].std(axis=1) > 0.2).all()
    assert (rows >= 0).all()


def test_a_module_that_needs_float32(tmp_path: Path) -> None:
    module = trained(Calling(lambda bn, x: bn(x.float() @ x)))
    converted = export(module, images(), folder=tmp_path, exporter="torchscript")
    (note,) = converted.notes
    assert note.startswith("references are in float32: the module does not run in float64 (")
    assert worst_error(converted.path, converted.references) < 3e-6


def test_a_module_that_casts(tmp_path: Path) -> None:
    module = trained(Calling(lambda bn, x: bn(x).float()))
    converted = export(module, images(), folder=tmp_path, exporter="torchscript")
    assert converted.notes == (
        "the module itself casts to a lower precision than the references' float64",
    )


def test_batch_norms_that_inference_does_not_run(tmp_path: Path) -> None:
    """An auxiliary head for training: it harms nothing, and is not counted."""
    module = trained(Calling(lambda bn, x: bn(x)))
    module.auxiliary = nn.BatchNorm2d(3).eval()
    converted = export(module, images(), folder=tmp_path, exporter="torchscript")
    (finding,) = converted.findings
    assert (finding.code, finding.severity, finding.site) == (
        "never-updated",
        "warning",
        "auxiliary",
    )
    assert finding.evidence["updated"] == finding.evidence["known"] == 1
    assert converted.notes == ("1 of 2 batch norms are never run in evaluation mode: auxiliary",)


def test_unused_batch_norms_do_not_outvote_the_others(tmp_path: Path) -> None:
    module = Calling(lambda bn, x: bn(x)).eval()
    module.more = trained(nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)]))
    converted = export(module, images(), folder=tmp_path, exporter="torchscript")
    assert [(one.severity, one.site) for one in converted.findings] == [("error", "bn")]


def test_frozen_batch_norms_are_noted(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), FixedBatchNorm(3))
    trained(module)
    module[1].requires_grad_(False)
    converted = export(module, images(), folder=tmp_path, exporter="torchscript")
    (note,) = converted.notes
    assert note.startswith("2 of 2 batch norms are frozen (no gradient, evaluation mode)")
    assert note.endswith("not: 1, 2")
    # Without gradients anywhere it says nothing.
    module.requires_grad_(False)
    assert export(module, images(), folder=tmp_path, exporter="torchscript").notes == ()


def test_variables(tmp_path: Path) -> None:
    module = trained(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)))
    module[1].reset_running_stats()
    records = {
        record.name: record
        for record in export(module, images(), folder=tmp_path, exporter="torchscript").variables
    }
    roles = {name: (record.role, record.initial) for name, record in records.items()}
    assert roles == {
        "0.weight": ("gamma", True),
        "0.bias": ("beta", True),
        "0.running_mean": ("moving_mean", False),
        "0.running_var": ("moving_variance", False),
        "0.num_batches_tracked": ("steps", False),
        "1.running_mean": ("moving_mean", True),
        "1.running_var": ("moving_variance", True),
        "1.num_batches_tracked": ("steps", True),
    }
    variance = records["0.running_var"]
    assert variance.shape == (3,)
    assert variance.low == float(module[0].running_var.min())
    assert variance.high == float(module[0].running_var.max())
    assert records["0.num_batches_tracked"].low == 10_000


def test_wrappers_are_taken_off_with_a_note(tmp_path: Path) -> None:
    module = nn.DataParallel(trained(Block()))
    converted = export(module, images(), folder=tmp_path, exporter="torchscript")
    assert converted.notes == ("DataParallel: the module in it was exported",)
