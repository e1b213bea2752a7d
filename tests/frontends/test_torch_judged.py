"""What the module settles of the batch norms in its export, and training mode that is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch_modules import Block, FixedBatchNorm, trained  # noqa: E402

import bnopt  # noqa: E402
from bnopt.frontends.torch import check_module, export  # noqa: E402

NUMBERS = {"non-finite", "never-updated"}
HISTORY = {"one-step", "barely-updated"}


def images(count: int = 2) -> Any:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def ran(module: Any, batches: int) -> Any:
    """The module after batches in training mode, and back in evaluation mode."""
    module.train()
    with torch.no_grad():
        for _ in range(batches):
            module(images(16))
    return module.eval()


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_every_batch_norm_of_the_model_is_one_of_the_module(exporter: Any, tmp_path: Path) -> None:
    module = ran(Block(), 3)
    # What was loaded over them is not what the batches that were counted have left.
    module.bn2.running_var.fill_(0.1)
    judged = export(module, images(), folder=tmp_path, exporter=exporter).judged
    sites = [site.id for site in bnopt.inspect(tmp_path / "model.onnx").sites]
    assert [*judged] == sites
    assert [*judged.values()] == [NUMBERS | HISTORY, NUMBERS, NUMBERS | HISTORY]


@pytest.mark.parametrize(("momentum", "batches"), [(None, 1), (1.0, 1), (0.0, 1), (0.1, 0)])
def test_updates_that_cannot_be_counted(momentum: Any, batches: int, tmp_path: Path) -> None:
    module = trained(nn.Sequential(nn.BatchNorm2d(3, momentum=momentum)))
    module[0].num_batches_tracked.fill_(batches)
    assert [*export(module, images(), folder=tmp_path).judged.values()] == [NUMBERS]


def test_a_batch_norm_by_hand_is_left_to_the_checks(tmp_path: Path) -> None:
    module = nn.Sequential(trained(nn.BatchNorm2d(3)), FixedBatchNorm(3))
    assert len(export(module, images(), folder=tmp_path).judged) == 1


def test_the_module_knows_better_than_an_estimate(tmp_path: Path) -> None:
    """Where every channel has the same variance it looks like a residue of its own."""
    module = ran(nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)), 40)
    with torch.no_grad():
        module[1].running_var.copy_(torch.linspace(0.3, 0.302, 8))
    converted = export(module, images(), folder=tmp_path)
    guessed = bnopt.check(converted.path, run=False).findings
    assert [one.code for one in guessed] == ["barely-updated"]
    assert guessed[0].severity == "error"
    assert [(one.code, one.severity) for one in converted.findings] == [
        ("barely-updated", "warning")
    ]
    assert converted.findings[0].evidence["residue"] == pytest.approx(0.9**40)
    assert guessed[0].code in converted.judged[guessed[0].site or ""]


def test_training_mode_that_is_to_become_evaluation_mode(tmp_path: Path) -> None:
    module = trained(Block()).train()
    [*found] = export(module, images(), folder=tmp_path, training_mode="eval").findings
    assert [(one.code, one.severity, one.fix) for one in found] == [
        ("training-mode", "info", "")
    ] * 3
    refused = export(module, images(), folder=tmp_path).findings
    assert {one.severity for one in refused} == {"error"}
    assert refused == tuple(check_module(module))
    assert all("training_mode='eval'" in one.fix for one in refused)
