"""torch itself, and copies of the caller's module, which is never touched."""

from __future__ import annotations

import copy
import importlib
import importlib.util
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
        UsageError: It cannot be copied.
    """
    torch = import_torch()
    # weight_norm and caches leave results of computations on modules, which torch does not copy.
    results: dict[int, Any] = {}
    for part in module.modules():
        for value in cast("dict[str, Any]", vars(part)).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                results[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, results).cpu().eval()
    except Exception as error:
        raise UsageError(f"{type(module).__name__} cannot be copied: {one_line(error)}") from error
