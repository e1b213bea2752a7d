"""From what was seen of a model to findings: thresholds, blame, wording."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import conv_bn, model, normal, statistics

from bnopt.algebra.base import Context
from bnopt.evidence import Behaviour, OutputBehaviour
from bnopt.findings import Finding
from bnopt.rules import batch_dependence, constant_output
from bnopt.rules.base import Rule
from bnopt.rules.view import View


def output(**known) -> OutputBehaviour:
    fields = {
        "name": "y", "per_sample": True, "noise": 1e-7, "alone": 1e-6, "neighbours": 0.0,
        "spread": 1.0,
    }  # fmt: skip
    return OutputBehaviour(**{**fields, **known})


def findings(module, proto: onnx.ModelProto, *outputs: OutputBehaviour) -> list[Finding]:
    graph = ir.from_proto(proto)
    view = View.of(graph, Context.of(graph), behaviour=Behaviour(4, outputs))
    return list(Rule.of(module).check(view))


def training() -> onnx.ModelProto:
    proto = conv_bn()
    proto.graph.node[1].attribute.append(onnx.helper.make_attribute("training_mode", 1))
    return proto


def test_without_a_run_there_is_nothing_to_say() -> None:
    graph = ir.from_proto(training())
    view = View.of(graph, Context.of(graph))
    for module in (batch_dependence, constant_output):
        assert list(Rule.of(module).check(view)) == []


@pytest.mark.parametrize(
    ("known", "found"),
    [
        ({}, False),
        ({"neighbours": 0.5}, True),
        ({"alone": 0.5}, True),
        ({"alone": None, "neighbours": None}, False),
        ({"neighbours": 0.9e-3}, False),
        ({"neighbours": 1.1e-3}, True),
        ({"neighbours": 0.5, "noise": 0.006}, False),
        ({"neighbours": 0.5, "noise": 0.004}, True),
        ({"neighbours": 0.5, "per_sample": False}, False),
    ],
)
def test_what_counts_as_dependence(known, found) -> None:
    assert bool(findings(batch_dependence, training(), output(**known))) is found


def test_an_error_names_the_worst_output_and_how_far_it_moves() -> None:
    (finding,) = findings(
        batch_dependence, training(), output(neighbours=0.012), output(name="z", alone=0.35)
    )
    assert (finding.severity, finding.site) == ("error", None)
    assert finding.message == (
        "output 'z' for a sample changes by 35 % between batch 1 and batch 4; so does 1 more output"
    )
    assert finding.evidence["batch_norms_to_blame"] == 1
    assert [one["name"] for one in finding.evidence["outputs"]] == ["y", "z"]
    (finding,) = findings(batch_dependence, training(), output(neighbours=0.012, alone=None))
    assert "changes by 1.2 % when the others in its batch are replaced" in finding.message


def test_infinity_is_no_number_of_json() -> None:
    (finding,) = findings(batch_dependence, training(), output(neighbours=float("inf")))
    json.dumps(finding.evidence, allow_nan=False)
    assert "more than can be said" in finding.message


@pytest.mark.parametrize(
    "proto",
    [
        conv_bn(),
        model("g (float[N,4] x) => (float[N,4] y) { y = Softmax<axis = 0>(x) }"),
    ],
    ids=["fixed statistics", "no batch norm"],
)
def test_where_no_batch_norm_is_to_blame_it_is_a_warning(proto) -> None:
    (finding,) = findings(batch_dependence, proto, output(neighbours=0.5))
    assert finding.severity == "warning"
    assert finding.message.endswith("no batch norm is to blame")


def test_batch_statistics_in_disguise_are_to_blame() -> None:
    weights = {**statistics(4), "axes": np.array([0, 2, 3])}
    proto = model(
        """g (float[N,4,5,5] x) => (float[N,4,5,5] y) { mu = ReduceMean<axes=[0,2,3],keepdims=0>(x)
        k = ReduceMean<axes=[0,2,3]>(x)  d = Sub(x, k)  q = Mul(d, d)
        var = ReduceMean<axes=[0,2,3],keepdims=0>(q)  y = BatchNormalization(x, g, b, mu, var) }""",
        **weights,
    )
    (finding,) = findings(batch_dependence, proto, output(neighbours=0.5))
    assert finding.severity == "error"


@pytest.mark.parametrize(
    ("known", "found"),
    [
        ({"spread": 0.0}, True),
        ({"spread": 1e-8}, True),
        ({"spread": 1e-5}, False),
        ({"spread": 0.0, "per_sample": False}, False),
        # An output that jumps tells nothing by jumping as far as noise does.
        ({"spread": 0.5, "noise": 0.5}, False),
    ],
)
def test_what_counts_as_constant(known, found) -> None:
    got = findings(constant_output, conv_bn(), output(**known))
    assert bool(got) is found
    if got:
        assert got[0].severity == "warning"
        assert got[0].message == "output 'y' is the same for all samples tried"


def test_what_reads_the_shape_only_may_be_constant() -> None:
    text = """g (float[N,4] x, bool flag) => (float[N,4] y, float[N,4] z) {
        s = Shape(x)  a = ConstantOfShape(s)  y = Add(a, W)
        z = If(flag) <then_branch = t () => (float[N,4] p) { p = Neg(x) },
          else_branch = e () => (float[N,4] q) { q = Abs(x) }> }"""
    got = findings(
        constant_output, model(text, W=normal(4)), output(spread=0.0), output(name="z", spread=0.0)
    )
    assert ["'z'" in finding.message for finding in got] == [True]
    overridable = model("g (float[4] W) => (float[4] y) { y = Neg(W) }", W=normal(4))
    assert findings(constant_output, overridable, output(spread=0.0)) == []


@pytest.mark.parametrize("module", [batch_dependence, constant_output])
def test_the_rules_document_themselves(module) -> None:
    rule = Rule.of(module)
    assert rule.title
    for part in ("What it does:", "Why it is bad:", "How it happens:", "Example:", "How to fix:"):
        assert part in rule.doc
    assert rule.cause("tensorflow")
    assert rule.cause("")
