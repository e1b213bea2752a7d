"""Is onnxruntime there, once, and does it import?

The wheels `onnxruntime` and `onnxruntime-gpu` install into the same folder, so the second one
overwrites files of the first and pip does not notice.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from typing import TYPE_CHECKING

from bnopt.errors import DependencyError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

_DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")


def installed(names: Iterable[str] = _DISTRIBUTIONS) -> tuple[str, ...]:
    """Those of `names` that are installed distributions."""
    found: list[str] = []
    for name in names:
        try:
            metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return tuple(found)


def require_onnxruntime(present: tuple[str, ...] | None = None) -> None:
    """Check the installed distributions, without importing onnxruntime.

    Args:
        present: The installed ones among `onnxruntime` and `onnxruntime-gpu`; looked up if None.

    Raises:
        DependencyError: None of them is installed (nor any other package that provides the
            module), or both are.
    """
    present = installed() if present is None else present
    if len(present) > 1:
        both = " and ".join(present)
        raise DependencyError(
            f"{both} are both installed and overwrite each other's files; run: pip uninstall -y "
            f'{" ".join(present)}, then one of: pip install "bnopt[cpu]", pip install "bnopt[gpu]"'
        )
    if not present and importlib.util.find_spec("onnxruntime") is None:
        raise DependencyError(
            'onnxruntime is not installed; run: pip install "bnopt[cpu]" '
            '(with an NVIDIA GPU: pip install "bnopt[gpu]")'
        )


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime; for the worker process only.

    Raises:
        DependencyError: It is missing, doubled, or does not import.
    """
    require_onnxruntime()
    try:
        module = importlib.import_module("onnxruntime")
        module.InferenceSession  # noqa: B018 - half an installation imports but is empty
    except (ImportError, AttributeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DependencyError(
            f"onnxruntime is installed but does not import ({reason}); "
            'reinstall it: pip install --force-reinstall "bnopt[cpu]"'
        ) from None
    return module
