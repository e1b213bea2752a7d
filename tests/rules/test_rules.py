"""The rules: one finding for each mistake, none for a healthy model; documented for `explain`."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from graphs import conv_bn

from bnopt.algebra.base import Context
from bnopt.findings import Finding
from bnopt.rules import RULES, View, check


def audit(model: ir.Model) -> tuple[Finding, ...]:
    return check(View.of(model, Context.of(model)))


def test_a_healthy_model_has_no_findings() -> None:
    assert audit(ir.from_proto(conv_bn())) == ()


@pytest.mark.parametrize(
    ("name", "number", "code"),
    [("v", np.nan, "non-finite"), ("g", np.inf, "non-finite"), ("v", -1, "negative-variance")],
)
def test_numbers(name: str, number: float, code: str) -> None:
    proto = conv_bn(**{name: np.array([1, number, 1, 1], np.float32)})
    (finding,) = audit(ir.from_proto(proto))
    assert (finding.code, finding.severity, finding.site) == (code, "error", "main:y")
    assert "channel 1" in finding.message


def test_training_mode() -> None:
    proto = conv_bn()
    attribute = proto.graph.node[1].attribute.add()
    attribute.name, attribute.type, attribute.i = "training_mode", 2, 1
    assert [f.code for f in audit(ir.from_proto(proto))] == ["training-mode"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_every_rule_documents_itself(rule) -> None:
    assert rule.title
    for part in ("What it does:", "Why it is bad:", "How it happens:", "How to fix:"):
        assert part in rule.doc
