"""What only a run of a module shows: batch norms that ignore evaluation mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812
from torch.nn.functional import batch_norm  # noqa: E402
from torch_modules import Calling, FixedBatchNorm, images, trained  # noqa: E402

import bnopt  # noqa: E402
from bnopt.errors import RefusalError  # noqa: E402
from bnopt.frontends.torch import check_module, export  # noqa: E402
from bnopt.frontends.torch.calls import Call  # noqa: E402
from bnopt.frontends.torch.references import evaluate  # noqa: E402


class Buffers(nn.Module):
    """Statistics of its own, and a function that says what `forward` does with them."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.full((3,), 0.5))
        self.register_buffer("running_var", torch.full((3,), 2.0))
        self.register_buffer("weights", torch.arange(6.0).reshape(2, 3))
        self.part = nn.ReLU()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def put_in_training(bn: Any, x: Any) -> Any:
    bn.train()
    return bn(x)


def instances(own: Any, x: Any) -> Any:
    """As MUNIT writes an instance norm."""
    samples, channels = x.shape[:2]
    mean, variance = own.running_mean.repeat(samples), own.running_var.repeat(samples)
    one = x.reshape(1, samples * channels, *x.shape[2:])
    return F.batch_norm(one, mean, variance, training=True).view_as(x)


def found(module: Any, folder: Path, batch: int = 2, **options: Any) -> list[Any]:
    converted = export(
        module.eval(), images(batch), folder=folder, exporter="torchscript", **options
    )
    return [(one.code, one.severity, one.site) for one in converted.findings]


def test_forward_that_calls_train(tmp_path: Path) -> None:
    module = trained(nn.Sequential(Calling(put_in_training), nn.BatchNorm2d(3)))
    assert check_module(module) == []
    assert found(module, tmp_path) == [("training-mode", "error", "0.bn")]
    # Before an output that differs is all there is to say.
    with pytest.raises(RefusalError, match=r"^training-mode: forward\(\) puts it into training"):
        bnopt.export(module, example_inputs=(images(),))


def test_it_is_said_once_and_is_no_wish(tmp_path: Path) -> None:
    module = trained(Calling(put_in_training)).train()
    converted = export(module, images(), folder=tmp_path, training_mode="eval")
    assert [(one.code, one.severity) for one in converted.findings] == [("training-mode", "error")]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    "function",
    [
        lambda own, x: F.batch_norm(own.part(x), own.running_mean, own.running_var, training=True),
        lambda own, x: batch_norm(x, own.running_mean, own.running_var, None, None, True),
        lambda own, x: torch.batch_norm(
            x, None, None, own.running_mean, own.running_var, True, 0.1, 1e-5, False
        ),
    ],
    ids=["functional", "imported", "raw"],
)
def test_functional_call_with_training(function: Any, batch: int, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), Buffers(function), nn.ReLU())
    assert found(module, tmp_path, batch) == [("training-mode", "error", "1")]
    whole = found(module[1], tmp_path, batch, dynamic_batch=False)
    assert whole == [("training-mode", "error", "Buffers")]


def test_functional_call_is_explained() -> None:
    module = Buffers(
        lambda own, x: F.batch_norm(x, own.running_mean, own.running_var, None, None, True)
    )
    with pytest.raises(RefusalError, match=r"^training-mode: .*training=True.*self\.training"):
        bnopt.export(module.eval(), example_inputs=(images(),))


@pytest.mark.parametrize(
    "function",
    [
        lambda own, x: F.batch_norm(
            x, own.running_mean, own.running_var, training=own.training
        ),
        lambda own, x: F.batch_norm(x, own.running_mean, own.running_var),
        # As timm standardizes weights.
        lambda own, x: x * F.batch_norm(own.weights, None, None, training=True).sum(),
        instances,
    ],
    ids=["mode", "default", "weights", "instances"],
)  # fmt: skip
def test_functional_call_that_is_right(function: Any, tmp_path: Path) -> None:
    assert found(Buffers(function), tmp_path, dynamic_batch=function is not instances) == []


def test_without_statistics_it_is_another_mistake(tmp_path: Path) -> None:
    module = Calling(put_in_training)
    module.bn = nn.BatchNorm2d(3, track_running_stats=False)
    assert found(module, tmp_path) == [("batch-statistics", "error", "bn")]


def test_a_fixed_one_has_no_modes(tmp_path: Path) -> None:
    module = Calling(put_in_training)
    module.bn = trained(FixedBatchNorm(3))
    assert found(module, tmp_path) == []


def test_what_refuses_to_be_looked_at_still_runs() -> None:
    def choose(bn: Any, x: Any) -> Any:
        return torch.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, (put_in_training(bn, x),))

    module = Calling(choose)
    computed = evaluate(module, Call.of(module, images(), None), [1], ["bn"])
    assert (computed.training, computed.batch_normalizing) == ({"bn"}, set())
    assert [run.batch for run in computed.runs] == [1]


def test_scripted_parts_take_no_hook() -> None:
    scripted = nn.Sequential(torch.jit.script(trained(nn.BatchNorm2d(3))))
    computed = evaluate(scripted, Call.of(scripted, images(), None), [4], ["0"])
    assert (computed.called, computed.training) == ({"0"}, set())


def test_buffers_alone_are_not_frozen(tmp_path: Path) -> None:
    own = Buffers(lambda own, x: F.batch_norm(x, own.running_mean, own.running_var))
    module = nn.Sequential(nn.Conv2d(3, 3, 1), own, trained(FixedBatchNorm(3))).eval()
    (note,) = export(module, images(), folder=tmp_path, exporter="torchscript").notes
    assert note.startswith("1 of 2 batch norms are frozen")
    assert note.endswith(": 2")
