"""torch itself, and copies of the caller's module, which is never touched."""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.util
from collections.abc import Generator
from importlib import metadata
from typing import Any, cast

from bnopt.errors import DependencyError, UsageError
from bnopt.runtime.messages import one_line


def import_torch() -> Any:
    """The package torch.

    Raises:
        DependencyError: It is not installed, or does not import.
    """
    if importlib.util.find_spec("torch") is None:
        raise DependencyError("torch is not installed; run: pip install 'bnopt[torch]'")
    try:
        return importlib.import_module("torch")
    except (ImportError, OSError) as error:
        raise DependencyError(
            f"torch is installed but does not import ({one_line(error)}); "
            "reinstall it: pip install --force-reinstall 'bnopt[torch]'"
        ) from None


def frameworks(torch: Any, exporter: str) -> str:
    """Name and version of what made the model."""
    if exporter == "torchscript":
        return f"torch {torch.__version__}"
    return f"torch {torch.__version__}, onnxscript {metadata.version('onnxscript')}"


def plain_module(module: Any) -> tuple[Any, list[str]]:
    """The module within DataParallel, DistributedDataParallel and torch.compile.

    Returns:
        The module, and a note for each wrapper that was taken off.

    Raises:
        UsageError: It is no `torch.nn.Module`, or is a ScriptModule.
        DependencyError: torch is not installed.
    """
    torch = import_torch()
    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    notes: list[str] = []
    while True:
        if isinstance(module, parallel):
            inner = module.module
        elif isinstance(getattr(module, "_orig_mod", None), torch.nn.Module):
            inner = module._orig_mod
        else:
            break
        notes.append(f"{type(module).__name__}: the module in it was exported")
        module = inner
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"a torch.nn.Module is needed, not {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise UsageError("a ScriptModule cannot be exported; give the module it was made from")
    return module, notes


def inference_copy(module: Any) -> Any:
    """A deep copy on the CPU, in evaluation mode.

    Raises:
        UsageError: It cannot be copied, or not without sharing parts with its copy.
    """
    torch = import_torch()
    # weight_norm and caches leave results of computations on modules, which torch does not copy.
    results: dict[int, Any] = {}
    for part in module.modules():
        for value in cast("dict[str, Any]", vars(part)).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                results[id(value)] = value.detach().clone()
    try:
        copied = copy.deepcopy(module, results)
        own, others = _pieces(module), _pieces(copied)
        if {id(piece) for piece in own} & {id(piece) for piece in others}:
            raise UsageError("its copy has parts in common with it")
        # One by one: a train() of the module's own may return nothing.
        copied.cpu()
        copied.eval()
    except Exception as error:
        raise UsageError(f"{type(module).__name__} cannot be copied: {one_line(error)}") from error
    return copied


def _pieces(module: Any) -> list[Any]:
    return [*module.modules(), *module.parameters(), *module.buffers()]


@contextlib.contextmanager
def left_alone(module: Any) -> Generator[None]:
    """Make sure that what is done with copies of a module changes neither it nor torch's seed.

    Raises:
        UsageError: Something did change the module. It is as it was, but what the copies computed
            is not to be believed.
    """
    torch = import_torch()
    modes = [(path, part, part.training) for path, part in module.named_modules()]
    buffers = [
        (f"{path}.{name}" if path else name, part, name, tensor, tensor.detach().clone())
        for path, part, _ in modes
        for name, tensor in part.named_buffers(recurse=False)
        if tensor.layout is torch.strided and not tensor.is_quantized
    ]
    changed: list[str] = []
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for path, part, training in modes:
            if part.training != training:
                part.training = training
                changed.append(path or type(part).__name__)
        for path, part, name, tensor, numbers in buffers:
            if part._buffers.get(name) is not tensor or not same(tensor, numbers):
                part._buffers[name] = tensor
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(numbers)
                changed.append(path)
    if changed:
        raise UsageError(
            f"a copy of {type(module).__name__} runs the module itself, and has changed "
            f"'{changed[0]}' of it (it is put back): forward() or a hook holds on to it"
        )


def same(one: Any, other: Any) -> bool:
    """Whether two tensors hold the same numbers; NaN is the same as NaN."""
    if one.shape != other.shape:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())
