"""Calls of the PyTorch front end that cannot work: one line, and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

from torch_modules import Block, Calling, images, trained  # noqa: E402

from bnopt.errors import ExecutionError, SaveError, UsageError  # noqa: E402
from bnopt.frontends.torch import export  # noqa: E402


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="there is no folder"):
        export(trained(Block()), images(), folder=tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"example_inputs": 5}, "must be a tensor, tuple or dict, not int"),
        ({"example_inputs": (images(), images())}, "do not fit forward"),
        ({"example_inputs": ("text",)}, "hold no tensor"),
        ({"example_inputs": images(channels=4)}, "does not run on example_inputs: "),
        ({"input_names": ["a", "b"]}, "1 different input names are needed, not a, b"),
        ({"output_names": []}, "1 different output names"),
        ({"output_names": ["image"]}, "output 'image' has the name of an input"),
        ({"exporter": "onnx"}, "exporter must be auto, dynamo or torchscript, not onnx"),
        ({"batch_sizes": [0]}, "positive"),
        ({"batch_sizes": []}, "positive"),
    ],
)
def test_wrong_calls(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    call: dict[str, Any] = {"example_inputs": images(), "folder": tmp_path} | change
    with pytest.raises(UsageError, match=message) as caught:
        export(trained(Block()), **call)
    assert "\n" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_no_output(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="returns NoneType without a tensor"):
        export(trained(Calling(lambda _bn, _x: None)), images(), folder=tmp_path)


def test_neither_exporter_can(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = trained(Calling(lambda bn, x: torch.linalg.eigvals(bn(x))))
    with pytest.raises(
        ExecutionError, match=r"Calling cannot be .*: torch.export: .*; TorchScr"
    ) as e:
        export(module, images(), folder=tmp_path)
    assert "\n" not in e.value.message
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
