"""What an export of a module must not change, whatever the module does."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, parametrize  # noqa: E402
from torch_modules import Calling, images, same, state, trained, worst_error  # noqa: E402

import bnopt  # noqa: E402
from bnopt.errors import UsageError  # noqa: E402
from bnopt.frontends.torch import check_module, export  # noqa: E402


class Counting(nn.Module):
    """A parametrization that counts how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def forward(self, weight: Any) -> Any:
        self.count += 1
        return weight * 2


def network() -> Any:
    return trained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))


def test_parametrizations_of_the_caller_s_do_not_run() -> None:
    module = nn.Sequential(parametrizations.spectral_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3))
    parametrize.register_parametrization(module[1], "weight", Counting())
    counting = module[1].parametrizations.weight[0]
    counting.count = 0
    before = state(module)
    assert [one.code for one in check_module(module)] == ["training-mode", "never-updated"]
    assert counting.count == 0
    assert same(before, state(module))


def test_a_property_of_what_is_no_batch_norm_is_not_read() -> None:
    class Lazy(nn.Module):
        @property
        def weight(self) -> Any:
            raise RuntimeError("not yet")

        running_mean = running_var = momentum = weight

    assert check_module(nn.Sequential(Lazy(), network())) == []


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_forward_that_holds_on_to_the_module_is_refused(mode: str, tmp_path: Path) -> None:
    module = network().train(mode == "train")
    old = module.forward
    module.forward = lambda x: old(x) * 2
    before = state(module)
    if mode == "train":
        with pytest.raises(UsageError, match=r"runs the module itself, .*'1\.running_mean'"):
            export(module, images(), folder=tmp_path)
    else:
        export(module, images(), folder=tmp_path)
    assert same(before, state(module))
    assert module[1].training == (mode == "train")


def test_a_copy_that_is_none_is_refused(tmp_path: Path) -> None:
    module = network().train()
    module.__class__ = type("Self", (nn.Sequential,), {"__deepcopy__": lambda own, _memo: own})
    with pytest.raises(UsageError, match="its copy has parts in common with it"):
        export(module, images(), folder=tmp_path)
    assert module.training
    assert not module._forward_pre_hooks


def test_torch_s_seed_stays_where_it_was(tmp_path: Path) -> None:
    module = trained(Calling(lambda bn, x: bn(x) + 0 * torch.rand(1)))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    export(module, images(), folder=tmp_path, exporter="torchscript")
    assert torch.equal(before, torch.get_rng_state())


def test_what_draws_numbers_is_said_to(tmp_path: Path) -> None:
    module = trained(Calling(lambda bn, x: bn(x) + torch.rand(1)))
    notes = export(module, images(), folder=tmp_path, exporter="torchscript").notes
    assert any("two runs on the same input differ" in note for note in notes)


def test_a_train_of_the_module_s_own_may_return_nothing(tmp_path: Path) -> None:
    module = network()
    module.train = types.MethodType(
        lambda own, mode=True: nn.Module.train(own, mode) and None, module
    )
    assert export(module, images(), folder=tmp_path).findings == ()


def test_the_meta_device_has_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'0' is on the meta device"):
        check_module(network().to("meta"))
    with pytest.raises(UsageError, match="example_inputs are on the meta device"):
        export(network(), images().to("meta"), folder=tmp_path)


@pytest.mark.parametrize("kind", ["pre", "pre-named", "post", "post-named"])
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_hooks_of_the_module_itself_see_what_they_saw(
    kind: str, exporter: Any, tmp_path: Path
) -> None:
    module = trained(Calling(lambda bn, x: {"y": bn(x)})).eval()
    if kind.startswith("pre"):
        named = kind == "pre-named"
        module.register_forward_pre_hook(
            (lambda _m, args, kwargs: ((args[0] * 2,), kwargs))
            if named
            else (lambda _m, args: args[0] * 2),
            with_kwargs=named,
        )
    else:
        named = kind == "post-named"
        module.register_forward_hook(
            (lambda _m, _a, _k, result: {"y": result["y"] + 1})
            if named
            else (lambda _m, _a, result: {"y": result["y"] + 1}),
            with_kwargs=named,
        )
    with torch.no_grad():
        expected = module(images())["y"].numpy()
    converted = export(module, images(), folder=tmp_path, exporter=exporter)
    assert worst_error(converted.path, converted.references) < 1e-5
    import onnxruntime

    session = onnxruntime.InferenceSession(str(converted.path))
    (given,) = session.run(None, {session.get_inputs()[0].name: images().numpy()})
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("example", ["tensor", "tuple", "list", "dict"])
def test_examples_in_every_form(example: str, tmp_path: Path) -> None:
    one = images(1)
    forms = {"tensor": one, "tuple": (one,), "list": [one], "dict": {"x": one}}
    module = trained(Calling(lambda bn, x: bn(x))).eval()
    bnopt.export(module, example_inputs=forms[example], output=tmp_path / "m.onnx")
    (given,) = onnx.load(tmp_path / "m.onnx").graph.input
    sizes = [axis.dim_value for axis in given.type.tensor_type.shape.dim]
    assert sizes[1:] == list(one.shape[1:])


@pytest.mark.parametrize("how", ["direct", "functional", "by-hand"])
def test_statistics_that_forward_uses_by_itself_are_in_use(how: str, tmp_path: Path) -> None:
    def by_hand(bn: Any, x: Any) -> Any:
        shape = (1, -1, 1, 1)
        return (x - bn.running_mean.view(shape)) / (bn.running_var + bn.eps).sqrt().view(shape)

    ways = {
        "direct": lambda bn, x: bn.forward(x),
        "functional": lambda bn, x: nn.functional.batch_norm(x, bn.running_mean, bn.running_var),
        "by-hand": by_hand,
    }
    converted = export(Calling(ways[how]).eval(), images(), folder=tmp_path)
    assert [(one.code, one.severity) for one in converted.findings] == [("never-updated", "error")]
    assert not any("never run" in note for note in converted.notes)


def test_a_class_is_no_module() -> None:
    with pytest.raises(UsageError, match="Calling is a class"):
        bnopt.export(Calling, example_inputs=images())


@pytest.mark.parametrize("second", ["fails", "more"])
def test_what_runs_once_need_not_run_twice(second: str, tmp_path: Path) -> None:
    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(3)
            self.runs = 0

        def forward(self, x: Any) -> Any:
            self.runs += 1
            if self.runs == 2 and second == "fails":
                raise RuntimeError("only once")
            return (self.bn(x),) * (2 if self.runs == 2 else 1)

    notes = export(trained(Once()), images(), folder=tmp_path).notes
    assert any("two runs on the same input differ" in note for note in notes)
