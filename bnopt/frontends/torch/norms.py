"""The batch norms of a module, read without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bnopt.errors import UsageError
from bnopt.frontends.torch.modules import import_torch, inference_copy

Array: TypeAlias = npt.NDArray[np.float64]

_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class TorchNorm:
    """One batch norm of a module.

    Attributes:
        name: Its name in the module; the name of its class for the module itself.
        kind: `batch`, `instance` (an InstanceNorm with moving statistics), or `other`: one that
            holds them without a momentum, such as torchvision's FrozenBatchNorm2d, of which it is
            not known what it does in training mode.
        training: Whether it is in training mode.
        frozen: Whether it has a gamma that is a buffer, or is in evaluation mode with parameters
            that need no gradient, while other parameters of the module do.
        parameters: Name in the module -> numbers in float64, shape [C]; of `weight`, `bias`,
            `running_mean` and `running_var` those that it has.
        momentum: Weight of a new batch in the moving average; None for the plain average of all
            batches, and where it is not known.
        batches: `num_batches_tracked`; None where nothing counts.
        called: Whether the module ran it, in evaluation mode; None if that was not tried.
        put_in_training: Whether it was in training mode in that run, although `eval` had been
            called: `forward` does that.
    """

    name: str
    kind: Literal["batch", "instance", "other"]
    training: bool
    frozen: bool
    parameters: dict[str, Array]
    momentum: float | None
    batches: int | None
    called: bool | None = None
    put_in_training: bool = False

    @property
    def mean(self) -> Array | None:
        """The moving mean, shape [C]."""
        return self.parameters.get("running_mean")

    @property
    def variance(self) -> Array | None:
        """The moving variance, shape [C]."""
        return self.parameters.get("running_var")

    def as_called(self, called: bool, training: bool) -> TorchNorm:
        """The same, with what a run has shown."""
        return replace(self, called=called, put_in_training=training)


def find_norms(module: Any) -> list[TorchNorm]:
    """Every batch norm of `module`, in the order of its parts; one that is shared counts once.

    Raises:
        UsageError: A lazy module has not seen data yet, or one is on the meta device.
    """
    torch = import_torch()
    base = torch.nn.modules.batchnorm._NormBase
    lazy = torch.nn.parameter.UninitializedTensorMixin
    trained = any(parameter.requires_grad for parameter in module.parameters())
    found: list[TorchNorm] = []
    for path, part in module.named_modules():
        name = path or type(part).__name__
        for own in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
            if isinstance(own, lazy):
                raise UsageError(f"'{name}' is lazy and has no shape yet; run the module once")
            if own.is_meta:
                raise UsageError(f"'{name}' is on the meta device, where nothing has numbers")
        # Of what is no batch norm nothing more is asked: a property of it may compute.
        tracked = all(_holds(part, name) for name in _STATISTICS)
        if not tracked and not isinstance(part, base):
            continue
        if isinstance(part, torch.nn.modules.instancenorm._InstanceNorm):
            kind = "instance"
        elif isinstance(part, base) or hasattr(part, "momentum"):
            kind = "batch"
        else:
            kind = "other"
        if not tracked and kind != "batch":
            continue
        momentum = getattr(part, "momentum", None)
        counter: Any = getattr(part, "num_batches_tracked", None)
        # InstanceNorm updates its statistics but has never counted.
        counts = kind == "batch" and isinstance(counter, torch.Tensor) and counter.numel() == 1
        own_parameters = list(part.parameters(recurse=False))
        buffers = dict(part.named_buffers(recurse=False))
        frozen = (kind == "other" and "weight" in buffers) or (
            not part.training
            and bool(own_parameters)
            and not any(parameter.requires_grad for parameter in own_parameters)
        )
        found.append(
            TorchNorm(
                name,
                kind,
                training=bool(part.training),
                frozen=frozen and trained,
                parameters=dict(_parameters(part, torch)),
                momentum=float(momentum) if isinstance(momentum, int | float) else None,
                batches=int(counter) if counts else None,
            )
        )
    return found


def _holds(part: Any, name: str) -> bool:
    """Whether a part has numbers of that name; nothing is computed to find out."""
    computed: Any = getattr(part, "parametrizations", {})
    places: list[Any] = [part._parameters, part._buffers, vars(part), computed]
    return any(name in place and place[name] is not None for place in places)


def _parameters(part: Any, torch: Any) -> Iterator[tuple[str, Array]]:
    if torch.nn.utils.parametrize.is_parametrized(part):
        # To read them is to run what computes them, which may have a state.
        part = inference_copy(part)
    for name in ("weight", "bias", *_STATISTICS):
        tensor: Any = getattr(part, name, None)
        if isinstance(tensor, torch.Tensor):
            yield name, tensor.detach().cpu().double().numpy().reshape(-1)
