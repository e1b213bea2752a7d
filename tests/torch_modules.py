"""PyTorch modules for tests; import it behind `pytest.importorskip("torch")`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn


class Block(nn.Module):
    """A residual block, a pool and a linear layer with a batch norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)
        self.bn3 = nn.BatchNorm1d(5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.bn1(self.conv1(image)))
        second = torch.relu(self.bn2(self.conv2(first)) + first)
        return self.bn3(self.fc(second.mean((2, 3))))


class FixedBatchNorm(nn.Module):
    """Like torchvision's FrozenBatchNorm2d: four buffers, no update, no modes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class Calling(nn.Module):
    """A batch norm of 3 channels, and a function that says what `forward` does with it."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self.bn, x)


class Tokens(nn.Module):
    """Integers, a mask and a nested keyword argument."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 6)
        self.bn = nn.BatchNorm1d(6)

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, *, options: dict[str, Any]
    ) -> torch.Tensor:
        values = self.bn(self.embedding(ids).transpose(1, 2)).transpose(1, 2)
        if options["negate"]:
            values = -values
        return torch.where(mask[..., None], values, 0.0) * options["scale"]


@dataclass
class Result:
    logits: torch.Tensor
    hidden: torch.Tensor


def trained(module: Any) -> Any:
    """The module with statistics and gammas as if it had been trained for long, in eval mode."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if getattr(part, "running_var", None) is not None:
            part.running_mean.copy_(torch.randn(part.running_mean.shape, generator=generator))
            part.running_var.copy_(torch.rand(part.running_var.shape, generator=generator) + 0.05)
            if hasattr(part, "num_batches_tracked"):
                part.num_batches_tracked.fill_(10_000)
    return module.eval()


def images(batch: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.randn(batch, channels, 12, 12, generator=torch.Generator().manual_seed(2))


def state(module: Any) -> dict[str, Any]:
    """Everything that an export must not change."""
    return {
        "values": {name: value.clone() for name, value in module.state_dict().items()},
        "modes": [part.training for part in module.modules()],
        "gradients": [parameter.requires_grad for parameter in module.parameters()],
        "dtypes": [parameter.dtype for parameter in module.parameters()],
        "hooks": [len(part._forward_pre_hooks) for part in module.modules()],
        "attributes": [sorted(vars(part)) for part in module.modules()],
    }


def same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    values = before.pop("values"), after.pop("values")
    return before == after and all(
        torch.equal(values[0][name], values[1][name]) for name in values[0] | values[1]
    )


def operators(converted: Any) -> list[str]:
    return [node.op_type for node in onnx.load(converted.path).graph.node]


def worst_error(path: Any, references: Any) -> float:
    """Largest error of onnxruntime against the references, over their largest number."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for reference in references:
        outputs = session.run(list(reference.outputs), reference.feeds)
        for expected, got in zip(reference.outputs.values(), outputs, strict=True):
            assert got.shape == expected.shape
            scale = max(float(np.abs(expected).max()), 1e-6)
            worst = max(worst, float(np.abs(got - expected).max()) / scale)
    return worst
