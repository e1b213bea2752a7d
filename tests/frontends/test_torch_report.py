"""`bnopt.export` of a module: what the module knows is said once, and is what counts."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch_modules import Block, trained  # noqa: E402

import bnopt  # noqa: E402
from bnopt.errors import RefusalError  # noqa: E402


def images() -> Any:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_each_cause_once() -> None:
    result = bnopt.export(Block().eval(), example_inputs=(images(),), allow=["never-updated"])
    assert [one.code for one in result.findings] == ["never-updated"] * 3
    assert result.fold is not None
    assert result.fold.findings == ()
    assert result.fold.summary.folded == 3


def test_an_estimate_stops_nothing_that_the_module_knows_better() -> None:
    module = trained(nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)))
    module[1].running_var.copy_(torch.linspace(0.3, 0.302, 8))
    module[1].num_batches_tracked.fill_(60)
    assert bnopt.export(module, example_inputs=(images(),)).ok
    # Without a count the estimate is all there is.
    module[1].num_batches_tracked.zero_()
    with pytest.raises(RefusalError, match=r"^barely-updated"):
        bnopt.export(module, example_inputs=(images(),))


def test_what_is_not_the_modules_to_judge_stays() -> None:
    module = trained(nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)))
    module[1].running_mean.zero_()
    module[1].running_var.copy_(torch.linspace(0.5, 2, 8))
    result = bnopt.export(module, example_inputs=(images(),))
    assert result.fold is not None
    assert "half-updated" in [one.code for one in result.fold.findings]


@pytest.mark.parametrize("fold", [True, False])
def test_training_mode(fold: bool) -> None:
    module = trained(Block()).train()
    options = {"example_inputs": (images(),), "fold": fold}
    with pytest.raises(RefusalError, match=r"^training-mode: .*training_mode='eval'"):
        bnopt.export(module, **options)
    result = bnopt.export(module, training_mode="eval", **options)
    assert {(one.code, one.severity) for one in result.findings} == {("training-mode", "info")}
    assert result.ok
    assert module.training
