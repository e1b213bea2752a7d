"""What a rule is."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias

from bnopt.findings import Finding, Severity
from bnopt.rules.view import View

Check: TypeAlias = Callable[[View], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be wrong with the batch norms of a model.

    Attributes:
        code: The stable slug.
        severity: The gravest that its findings can have.
        title: One line.
        doc: What it does, why it is bad, how it happens, an example, how to fix it.
        check: Its findings.
        summary: What is wrong, as the end of "26 of 26 batch norms ..."; empty for a rule whose
            findings concern the whole model and say it themselves.
        causes: Framework (`tensorflow`, `pytorch`, or empty for any other) -> what most likely
            happened in the training or export code, one line.
    """

    code: str
    severity: Severity
    title: str
    doc: str
    check: Check
    summary: str
    causes: Mapping[str, str]

    @staticmethod
    def of(module: ModuleType) -> Rule:
        """The rule that a module of this package defines; its docstring is the documentation.

        The module has `CODE`, `SEVERITY`, `SUMMARY`, `CAUSES` and `check`.
        """
        title, _, doc = inspect.cleandoc(module.__doc__ or "").partition("\n")
        return Rule(
            module.CODE,
            module.SEVERITY,
            title.rstrip("."),
            doc.strip(),
            module.check,
            module.SUMMARY,
            module.CAUSES,
        )

    def cause(self, framework: str) -> str:
        """What most likely happened, in the words of `framework`."""
        return self.causes.get(framework) or self.causes.get("", "")
