"""What `check_module` says about batch norms before any export."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import nn  # noqa: E402
from torch_modules import Block, FixedBatchNorm, same, state, trained  # noqa: E402

from bnopt.errors import UsageError  # noqa: E402
from bnopt.findings import Finding  # noqa: E402
from bnopt.frontends.tensorflow.mistakes import MISTAKES  # noqa: E402
from bnopt.frontends.torch import check_module  # noqa: E402
from bnopt.rules import RULES  # noqa: E402


def found(module: Any) -> list[tuple[str, str, str | None]]:
    return [(one.code, one.severity, one.site) for one in check_module(module)]


def only(module: Any) -> Finding:
    (finding,) = check_module(module)
    return finding


def ran(module: Any, batches: int, channels: int = 3) -> Any:
    """The module after real batches in training mode, and back in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    module.train()
    with torch.no_grad():
        for _ in range(batches):
            module(torch.randn(16, channels, 4, 4, generator=generator) * 2 + 1)
    return module.eval()


def test_a_trained_module_is_clean() -> None:
    assert found(trained(Block())) == []
    assert found(trained(FixedBatchNorm(3))) == []
    assert found(nn.Linear(2, 2)) == []


def test_codes_are_those_of_the_rules() -> None:
    module = nn.Sequential(Block(), nn.BatchNorm2d(2, track_running_stats=False))
    ran(module[0], 3)
    broken = trained(nn.BatchNorm2d(2))
    broken.running_var[0] = float("nan")
    more = nn.ModuleList([module.train(), nn.BatchNorm2d(2), broken])
    known = {rule.code: rule.severity for rule in RULES}
    codes = {code for code, _, _ in found(more)}
    assert codes == {
        "non-finite",
        "training-mode",
        "batch-statistics",
        "never-updated",
        "barely-updated",
    }
    assert codes <= known.keys()


def test_training_mode_of_each() -> None:
    module = trained(Block())
    module.bn2.train()
    assert found(module) == [("training-mode", "error", "bn2")]
    assert "eval()" in only(module).fix
    module.train()
    assert [site for _, _, site in found(module)] == ["bn1", "bn2", "bn3"]


def test_training_mode_only_where_it_changes_anything() -> None:
    assert found(trained(FixedBatchNorm(3)).train()) == []
    assert found(nn.InstanceNorm2d(3).train()) == []
    tracking = trained(nn.InstanceNorm2d(3, track_running_stats=True)).train()
    assert found(tracking) == [("training-mode", "error", "InstanceNorm2d")]


@pytest.mark.parametrize("training", [False, True])
def test_batch_statistics(training: bool) -> None:
    module = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)).train(training)
    assert found(module) == [("batch-statistics", "error", "0")]
    assert "track_running_stats=False" in only(module).message


def test_never_updated() -> None:
    module = Block().eval()
    assert found(module) == [("never-updated", "error", name) for name in ("bn1", "bn2", "bn3")]
    message = check_module(module)[0].message
    assert message == "mean is 0 and variance 1 in every channel, and num_batches_tracked is 0"


def test_never_updated_is_an_error_in_more_than_half() -> None:
    module = trained(nn.Sequential(*(nn.BatchNorm2d(2) for _ in range(4))))
    module[0].reset_running_stats()
    module[1].reset_running_stats()
    assert found(module) == [("never-updated", "warning", "0"), ("never-updated", "warning", "1")]
    module[2].reset_running_stats()
    assert {severity for _, severity, _ in found(module)} == {"error"}


def test_never_updated_in_spite_of_the_count() -> None:
    """A checkpoint loaded without its buffers, or a momentum of 0."""
    module = nn.BatchNorm2d(2).eval()
    module.num_batches_tracked.fill_(7)
    assert only(module).code == "never-updated"
    assert "although num_batches_tracked is 7" in only(module).message
    assert only(ran(nn.BatchNorm2d(3, momentum=0.0), 4)).code == "never-updated"


def test_never_updated_from_zero_and_without_a_count() -> None:
    module = FixedBatchNorm(3).eval()
    module.running_var.zero_()
    assert only(module).message == "mean is 0 and variance 0 in every channel"
    assert only(nn.InstanceNorm2d(3, track_running_stats=True).eval()).message.endswith("channel")


def test_statistics_that_were_loaded_without_a_count_are_right() -> None:
    module = trained(nn.BatchNorm2d(8))
    module.num_batches_tracked.zero_()
    assert found(module) == []


def test_one_statistic_alone_is_not_never_updated() -> None:
    module = nn.BatchNorm2d(2).eval()
    module.running_mean += 1
    assert found(module) == []


@pytest.mark.parametrize(("batches", "severity"), [(1, "error"), (15, "error"), (16, "warning")])
def test_barely_updated(batches: int, severity: str) -> None:
    """The residue is exact: a channel that is constant stores nothing else in its variance."""
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with torch.no_grad():
        module[0].weight[2] = 0
    ran(module, batches)
    finding = only(module)
    assert (finding.code, finding.severity, finding.site) == ("barely-updated", severity, "1")
    assert finding.evidence["residue"] == pytest.approx(0.9**batches)
    assert finding.evidence["residue"] == pytest.approx(float(module[1].running_var[2]), rel=1e-5)
    assert f"{0.9**batches:.3g} of the initial" in finding.message
    assert f"{batches} batch" in finding.message


def test_barely_updated_with_a_tiny_momentum() -> None:
    """PyTorch's momentum is 1 - the decay of Keras: 0.001 for 0.999."""
    finding = only(ran(nn.BatchNorm2d(3, momentum=0.001), 100))
    assert finding.severity == "error"
    assert finding.evidence["residue"] == pytest.approx(0.999**100)
    assert "momentum of 0.001" in finding.message


def test_enough_updates() -> None:
    assert found(ran(nn.BatchNorm2d(3), 44)) == []
    assert only(ran(nn.BatchNorm2d(3), 43)).code == "barely-updated"


def test_the_plain_average_of_all_batches_has_no_residue() -> None:
    assert found(ran(nn.BatchNorm2d(3, momentum=None), 1)) == []
    assert found(ran(nn.BatchNorm2d(3, momentum=1.0), 1)) == []


def test_statistics_that_came_from_elsewhere_have_no_residue() -> None:
    """Fine-tuned for three batches, from a checkpoint of before num_batches_tracked."""
    module = trained(nn.BatchNorm2d(8))
    module.running_var[3] = 0.1
    module.num_batches_tracked.zero_()
    assert module.running_var.min() < 0.9**3
    assert found(ran(module, 1, channels=8)) == []


def test_barely_updated_in_half_of_them_is_a_warning() -> None:
    module = trained(nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)]))
    module[0].reset_running_stats()
    ran(module[0], 1)
    assert found(module) == [("barely-updated", "warning", "0")]


@pytest.mark.parametrize(
    ("momentum", "told"), [(0.49, False), (0.5, True), (0.99, True), (1.0, True)]
)
def test_fast_average(momentum: float, told: bool) -> None:
    """Keras' 0.99 is PyTorch's 0.01."""
    module = ran(nn.Sequential(nn.BatchNorm2d(3, momentum=momentum)), 40)
    assert found(module) == ([("fast-average", "warning", "0")] if told else [])


def test_fast_average_says_what_the_momentum_is() -> None:
    finding = only(ran(nn.BatchNorm2d(3, momentum=0.8), 40))
    assert "a momentum of 0.8 is a decay of 0.2" in finding.message
    assert "the plain average of 1.5 of the 40 batches" in finding.message
    assert finding.evidence == {"momentum": 0.8, "batches": 40}
    assert finding.code in {mistake.CODE for mistake in MISTAKES}


@pytest.mark.parametrize(("batches", "told"), [(1, False), (2, True)])
def test_the_average_of_one_batch_is_not_fast(batches: int, told: bool) -> None:
    module = ran(nn.BatchNorm2d(3, momentum=1.0), batches)
    assert [code for code, _, _ in found(module)] == ["fast-average"] * told


def test_averages_that_are_not_fast() -> None:
    """None that was counted, another's statistics, and none at all."""
    uncounted = trained(nn.BatchNorm2d(3, momentum=0.99))
    uncounted.num_batches_tracked.zero_()
    assert found(uncounted) == []
    head = nn.Linear(1, 1)
    frozen = nn.Sequential(trained(nn.BatchNorm2d(3, momentum=0.99)).requires_grad_(False), head)
    assert found(frozen) == []
    assert found(frozen.requires_grad_(True)) == [("fast-average", "warning", "0")]
    without = nn.BatchNorm2d(3, momentum=0.99, track_running_stats=False).eval()
    assert [code for code, _, _ in found(without)] == ["batch-statistics"]
    fresh = nn.BatchNorm2d(3, momentum=0.99).eval()
    fresh.num_batches_tracked.fill_(7)
    assert [code for code, _, _ in found(fresh)] == ["never-updated"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounded_residues_count(dtype: str) -> None:
    """0.9^5 = 0.59049 is below itself once it is rounded."""
    module = nn.BatchNorm2d(3).to(getattr(torch, dtype)).eval()
    module.running_var.fill_(0.9**5)
    module.running_mean.fill_(0.25)
    module.num_batches_tracked.fill_(5)
    assert only(module).code == "barely-updated"


@pytest.mark.parametrize(
    ("name", "word"),
    [("weight", "scale"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "variance")],
)
def test_non_finite(name: str, word: str) -> None:
    module = trained(nn.Sequential(nn.BatchNorm2d(5)))
    with torch.no_grad():
        getattr(module[0], name)[torch.tensor([1, 4])] = float("inf")
    finding = only(module)
    assert (finding.code, finding.severity, finding.site) == ("non-finite", "error", "0")
    assert finding.message == f"the {word} ({name}) is inf in channel 1 and 1 more"
    assert finding.evidence == {"parameter": word, "channels": [1, 4]}


def test_a_shared_batch_norm_counts_once() -> None:
    shared = nn.BatchNorm2d(2)
    assert [site for _, _, site in found(nn.Sequential(shared, nn.ReLU(), shared).eval())] == ["0"]


@pytest.mark.parametrize("kind", ["SyncBatchNorm", "BatchNorm1d", "BatchNorm3d"])
def test_every_kind_of_batch_norm(kind: str) -> None:
    assert found(getattr(nn, kind)(4).eval()) == [("never-updated", "error", kind)]


def test_lazy_batch_norms() -> None:
    module = nn.Sequential(nn.LazyBatchNorm2d())
    with pytest.raises(UsageError, match="'0' is lazy"):
        check_module(module)
    assert only(ran(module, 2)).code == "barely-updated"


def test_wrappers_are_taken_off() -> None:
    assert found(nn.DataParallel(Block().eval()))[0][2] == "bn1"
    assert found(torch.compile(Block().eval()))[0][2] == "bn1"


def test_what_is_no_module() -> None:
    with pytest.raises(UsageError, match=r"a torch.nn.Module is needed, not dict"):
        check_module({"weight": 1})
    with pytest.raises(UsageError, match="ScriptModule"):
        check_module(torch.jit.script(nn.BatchNorm2d(2)))


def test_the_module_stays_as_it_is() -> None:
    module = Block().train()
    before = state(module)
    check_module(module)
    assert same(before, state(module))
