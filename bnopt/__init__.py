"""bnopt: find, check, fold and prove batch normalization in ONNX models.

Nothing heavy is imported until it is used; `import bnopt` costs a few milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from bnopt import frontends as frontends
    from bnopt import passes as passes
    from bnopt import testing as testing
    from bnopt.api import CalibrateResult as CalibrateResult
    from bnopt.api import CheckResult as CheckResult
    from bnopt.api import ExportResult as ExportResult
    from bnopt.api import FoldResult as FoldResult
    from bnopt.api import InspectResult as InspectResult
    from bnopt.api import calibrate as calibrate
    from bnopt.api import check as check
    from bnopt.api import export as export
    from bnopt.api import fold as fold
    from bnopt.api import inspect as inspect
    from bnopt.api import validate as validate
    from bnopt.errors import BnoptError as BnoptError
    from bnopt.errors import RefusalError as RefusalError
    from bnopt.runtime.images import ImageFolder as ImageFolder
    from bnopt.runtime.preprocess import Preprocess as Preprocess

_LAZY = {
    "CalibrateResult": "bnopt.api",
    "CheckResult": "bnopt.api",
    "ExportResult": "bnopt.api",
    "FoldResult": "bnopt.api",
    "InspectResult": "bnopt.api",
    "calibrate": "bnopt.api",
    "check": "bnopt.api",
    "export": "bnopt.api",
    "fold": "bnopt.api",
    "inspect": "bnopt.api",
    "validate": "bnopt.api",
    "BnoptError": "bnopt.errors",
    "RefusalError": "bnopt.errors",
    "ImageFolder": "bnopt.runtime.images",
    "Preprocess": "bnopt.runtime.preprocess",
}
_LAZY_MODULES = {"frontends", "passes", "testing"}

__all__ = [
    "BnoptError",
    "CalibrateResult",
    "CheckResult",
    "ExportResult",
    "FoldResult",
    "ImageFolder",
    "InspectResult",
    "Preprocess",
    "RefusalError",
    "__version__",
    "calibrate",
    "check",
    "export",
    "fold",
    "frontends",
    "inspect",
    "passes",
    "testing",
    "validate",
]


def __getattr__(name: str) -> object:
    import importlib

    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _LAZY_MODULES:
        return importlib.import_module(f"bnopt.{name}")
    raise AttributeError(f"module 'bnopt' has no attribute {name!r}")
