"""The audit: what is wrong with the batch norms of a model, one rule a file."""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.algebra.recognizers import batch_normalization
from bnopt.findings import Finding
from bnopt.graph.scopes import scopes
from bnopt.rules import negative_variance, non_finite, training_mode
from bnopt.rules.base import Rule, Subject

RULES: tuple[Rule, ...] = (
    Rule.of(training_mode),
    Rule.of(non_finite),
    Rule.of(negative_variance),
)

__all__ = ["RULES", "Rule", "audit"]


def audit(model: ir.Model, *, context: Context | None = None) -> tuple[Finding, ...]:
    """Every finding of every rule, in graph order.

    Args:
        model: Only read.
        context: A context of the model, if the caller has one.
    """
    context = context or Context.of(model)
    findings: list[Finding] = []
    for scope in scopes(model):
        for node in scope.graph:
            if not batch_normalization.matches(node):
                continue
            found = batch_normalization.recognize(node, scope, context)
            subject = Subject(node, scope.site_id(node), found)
            checked = (rule.check(subject) for rule in RULES)
            findings.extend(finding for finding in checked if finding is not None)
    return tuple(findings)
