"""Exports of PyTorch modules: every batch norm stays, and the references are the module's own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from torch import nn  # noqa: E402
from torch_modules import (  # noqa: E402
    Block,
    Calling,
    FixedBatchNorm,
    Result,
    Tokens,
    images,
    operators,
    same,
    state,
    trained,
    worst_error,
)

import bnopt  # noqa: E402
from bnopt.frontends.torch import export  # noqa: E402

EXPORTERS = ["dynamo", "torchscript"]


def shared() -> Any:
    norm = nn.BatchNorm2d(3)
    return nn.Sequential(norm, nn.Conv2d(3, 3, 1), norm, nn.Dropout(0.5))


MODULES = {
    "block": (Block, images, 3),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 4, 2, 1, groups=3), nn.BatchNorm2d(6)),
        images,
        1,
    ),
    "grouped": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=2, bias=False), nn.BatchNorm2d(8)),
        lambda: images(channels=4),
        1,
    ),
    "dense": (
        lambda: nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5)),
        lambda: torch.randn(3, 7),
        1,
    ),
    "dense-3d": (
        lambda: nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(4)),
        lambda: torch.randn(3, 4, 7),
        1,
    ),
    "no-affine": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
        images,
        1,
    ),
    "sync": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4)), images, 1),
    "shared-dropout": (shared, images, 2),
    "fixed": (lambda: nn.Sequential(nn.Conv2d(3, 3, 1), FixedBatchNorm(3)), images, 0),
}


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", MODULES)
def test_every_batch_norm_stays(name: str, exporter: Any, tmp_path: Path) -> None:
    make, example, count = MODULES[name]
    module = trained(make())
    converted = export(module, example(), folder=tmp_path, exporter=exporter)
    assert operators(converted).count("BatchNormalization") == count
    assert [reference.batch for reference in converted.references] == [1, 8]
    assert all(
        output.dtype == np.float64
        for reference in converted.references
        for output in reference.outputs.values()
    )
    assert worst_error(converted.path, converted.references) < 3e-6
    assert converted.findings == ()
    assert not [note for note in converted.notes if "are frozen" not in note]
    assert converted.kind == "torch"
    assert converted.framework.startswith(f"torch {torch.__version__}")
    assert ("onnxscript" in converted.framework) == (exporter == "dynamo")


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_every_statistic_is_in_the_model(exporter: Any, tmp_path: Path) -> None:
    module = trained(Block())
    converted = export(module, images(), folder=tmp_path, exporter=exporter)
    graph = onnx.load(converted.path).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "BatchNormalization"]
    for norm, node in zip((module.bn1, module.bn2, module.bn3), nodes, strict=True):
        np.testing.assert_array_equal(values[node.input[3]], norm.running_mean.numpy())
        np.testing.assert_array_equal(values[node.input[4]], norm.running_var.numpy())


def test_torchs_own_defaults_fold_them_away(tmp_path: Path) -> None:
    """Why the front end is there: from a module left in training mode, without a word."""
    module = trained(Block()).train()
    torch.onnx.export(module, (images(),), tmp_path / "m.onnx", dynamo=True, verbose=False)
    default = onnx.load(tmp_path / "m.onnx")
    assert "BatchNormalization" not in [node.op_type for node in default.graph.node]
    assert not bnopt.check(tmp_path / "m.onnx").findings
    converted = export(module, images(), folder=tmp_path)
    assert [finding.code for finding in converted.findings] == ["training-mode"] * 3
    assert operators(converted).count("BatchNormalization") == 3
    assert worst_error(converted.path, converted.references) < 3e-6


def test_what_bnopt_folds_matches_the_module(tmp_path: Path) -> None:
    converted = export(trained(Block()), images(), folder=tmp_path)
    result = bnopt.fold(converted.path)
    assert (result.summary.found, result.summary.folded) == (3, 3)
    result.save(tmp_path / "folded.onnx")
    assert worst_error(tmp_path / "folded.onnx", converted.references) < 3e-6


def test_references_are_those_of_the_module_itself(tmp_path: Path) -> None:
    module, example = trained(Block()), images(8)
    reference = export(module, example, folder=tmp_path, exporter="torchscript").references[1]
    np.testing.assert_array_equal(reference.feeds["image"], example.numpy())
    expected = module.double()(example.double()).detach().numpy()
    np.testing.assert_allclose(reference.outputs["output"], expected, rtol=1e-12)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_module_stays_as_it_is(exporter: Any, tmp_path: Path) -> None:
    module = trained(Block()).train()
    module.conv1.requires_grad_(False)
    module.bn2.eval()
    before, dtype = state(module), torch.get_default_dtype()
    export(module, images(), folder=tmp_path, exporter=exporter)
    assert same(before, state(module))
    assert torch.get_default_dtype() is dtype
    assert logging.root.manager.disable == logging.NOTSET


def test_batch_statistics_are_exported_and_found(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    converted = export(module.eval(), images(), folder=tmp_path)
    assert [finding.code for finding in converted.findings] == ["batch-statistics"]
    assert worst_error(converted.path, converted.references) < 3e-6


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_tracking_instance_norm(exporter: Any, tmp_path: Path) -> None:
    module = trained(nn.InstanceNorm2d(3, affine=True, track_running_stats=True))
    converted = export(module, images(), folder=tmp_path, exporter=exporter)
    assert worst_error(converted.path, converted.references) < 3e-6
    fixed = exporter == "torchscript"
    assert [reference.batch for reference in converted.references] == ([2] if fixed else [1, 8])
    assert any(note.startswith("the batch is fixed at 2 (") for note in converted.notes) == fixed


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions(dtype: str, exporter: Any, tmp_path: Path) -> None:
    kind = getattr(torch, dtype)
    module = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))).to(kind)
    converted = export(module, images().to(kind), folder=tmp_path, exporter=exporter)
    assert operators(converted) == ["Conv", "BatchNormalization"]
    assert not converted.notes
    for reference in converted.references:
        assert reference.feeds["input"].dtype.name == dtype
        assert reference.outputs["output"].dtype == np.float64
    exact = module.double()(images().to(kind).double()).detach().numpy()
    got = converted.references[1].outputs["output"][:2]
    np.testing.assert_allclose(got, exact, rtol=1e-12, atol=1e-12)
    if dtype == "float16":
        assert worst_error(converted.path, converted.references) < 3e-3


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_integers_masks_and_nested_arguments(exporter: Any, tmp_path: Path) -> None:
    example = {
        "ids": torch.randint(40, 50, (2, 9)),
        "mask": torch.arange(18).reshape(2, 9) % 3 > 0,
        "options": {"negate": True, "scale": torch.tensor(2.0)},
    }
    module = trained(Tokens())
    converted = export(module, example, folder=tmp_path, exporter=exporter)
    feeds = converted.references[1].feeds
    assert {name: array.shape for name, array in feeds.items()} == {
        "ids": (8, 9),
        "mask": (8, 9),
        "options_scale": (),
    }
    # Made-up samples stay within the range of the example.
    assert set(feeds["ids"].flat) == set(example["ids"].flatten().tolist())
    assert (feeds["mask"].sum(axis=1) == 6).all()
    assert worst_error(converted.path, converted.references) < 3e-6
    expected = module(**example).detach().numpy()
    np.testing.assert_allclose(
        converted.references[1].outputs["output"][:2], expected, rtol=1e-5, atol=1e-5
    )


OUTPUTS = {
    "tuple": (lambda bn, x: (bn(x), x.mean()), ["output_0", "output_1"]),
    # `x` is an input too, and `batch_norm` what torch calls the value.
    "dict": (lambda bn, x: {"x": bn(x), "batch_norm": x + 1}, ["x_2", "batch_norm"]),
    "nested": (lambda bn, x: {"a": [bn(x), (x + 1, None)]}, ["a_0", "a_1_0"]),
    "dataclass": (lambda bn, x: Result(bn(x), x + 1), ["logits", "hidden"]),
    "twice": (lambda bn, x: [y := bn(x), y, x], ["output_0", "output_1", "output_2"]),
    "buffer": (lambda bn, x: (bn(x), bn.running_mean), ["output_0", "output_1"]),
}


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name: str, exporter: Any, tmp_path: Path) -> None:
    function, names = OUTPUTS[name]
    converted = export(trained(Calling(function)), images(), folder=tmp_path, exporter=exporter)
    assert list(converted.references[0].outputs) == names
    assert [value.name for value in onnx.load(converted.path).graph.output] == names
    onnx.checker.check_model(onnx.load(converted.path), full_check=True)
    assert worst_error(converted.path, converted.references) < 3e-6


def test_what_is_no_tensor_is_left_out_and_said(tmp_path: Path) -> None:
    module = trained(Calling(lambda bn, x: (bn(x), 5, "text", None)))
    converted = export(module, images(), folder=tmp_path, exporter="torchscript")
    assert converted.notes == ("not in the model, as they are no tensors: 2 outputs of forward()",)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_names_are_those_asked_for(exporter: Any, tmp_path: Path) -> None:
    module = trained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    converted = export(
        module,
        [images()],
        folder=tmp_path,
        exporter=exporter,
        # Those of an initializer and of a value in between.
        input_names=["0.weight"],
        output_names=["conv2d"],
        opset=17,
    )
    model = onnx.load(converted.path)
    assert model.opset_import[0].version == 17
    onnx.checker.check_model(model, full_check=True)
    assert worst_error(converted.path, converted.references) < 3e-6
    assert list(converted.references[0].feeds) == ["0.weight"]


def test_weight_norm_and_caches_can_be_copied(tmp_path: Path) -> None:
    def cache(bn: Any, x: Any) -> Any:
        bn.last = bn(x * bn.weight.sum())
        return bn.last

    module = trained(Calling(cache))
    module(images())
    assert not module.bn.last.is_leaf
    converted = export(module, images(), folder=tmp_path)
    assert worst_error(converted.path, converted.references) < 3e-6
