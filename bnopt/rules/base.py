"""What a rule is, and what it may look at."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias

import onnx_ir as ir

from bnopt.algebra.base import Recognized, Refusal
from bnopt.findings import Finding, Severity


@dataclass(frozen=True, slots=True)
class Subject:
    """One batch norm under audit.

    Attributes:
        node: The BatchNormalization node.
        site: Its site id.
        recognized: Its affine, or why it has none.
    """

    node: ir.Node
    site: str
    recognized: Recognized | Refusal

    @property
    def refusal(self) -> Refusal | None:
        """Why it is no affine, if it is none."""
        return self.recognized if isinstance(self.recognized, Refusal) else None


Check: TypeAlias = Callable[[Subject], "Finding | None"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be wrong with a batch norm.

    Attributes:
        code: The stable slug.
        severity: Of its findings.
        title: One line.
        doc: What it does, why it is bad, how it happens, how to fix it.
        check: The finding for one batch norm, or None.
    """

    code: str
    severity: Severity
    title: str
    doc: str
    check: Check

    @staticmethod
    def of(module: ModuleType) -> Rule:
        """The rule that a module of this package defines; its docstring is the documentation."""
        title, _, doc = inspect.cleandoc(module.__doc__ or "").partition("\n")
        return Rule(module.CODE, module.SEVERITY, title.rstrip("."), doc.strip(), module.check)
