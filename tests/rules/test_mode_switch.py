"""Inputs that choose between training and inference."""

from __future__ import annotations

import numpy as np
import pytest
from batch_models import IN_NODE, MOMENTS, batch_model
from graphs import normal
from rule_findings import findings

from bnopt.api import check
from bnopt.rules import batch_statistics, training_switch

# The branch for training computes moments; the other has fixed ones.
INSIDE = """
    y = If ({condition}) <
        then_branch = a () => (float[N,4,6,6] t) {{ {then} }},
        else_branch = b () => (float[N,4,6,6] f) {{ {other} }}
    >
"""
MOVING = "{0} = BatchNormalization(c, g, b, m, v)"


def _moments(output: str) -> str:
    return IN_NODE.replace("y =", f"{output} =")


def _switch(condition: str = "p", then: str = "", other: str = "", before: str = "") -> str:
    body = INSIDE.format(
        condition=condition,
        then=then or _moments("t"),
        other=other or MOVING.format("f"),
    )
    return before + body


def test_batch_norms_inside_the_branches() -> None:
    proto = batch_model(_switch(), ", bool p")
    (finding,) = findings(training_switch, proto)
    assert (finding.severity, finding.site) == ("warning", None)
    assert finding.message == (
        "the input 'p' chooses between training and inference; 2 batch norms depend on it"
    )
    assert finding.fix == "bind it: --set-input p=false"
    assert finding.evidence["batch_norms"] == ["main/If#1.then_branch:t", "main/If#1.else_branch:f"]
    assert findings(batch_statistics, proto) == []


@pytest.mark.parametrize(
    ("before", "condition", "swapped", "value"),
    [
        ("", "p", True, "true"),
        ("n = Not(p)", "n", False, "true"),
        ("n = Not(p)", "n", True, "false"),
        ("k = Identity(p) n = Not(k) o = Not(n)", "o", False, "false"),
    ],
)
def test_which_value_leads_to_inference(
    before: str, condition: str, swapped: bool, value: str
) -> None:
    branches = {"then": MOVING.format("t"), "other": _moments("f")} if swapped else {}
    proto = batch_model(_switch(condition, before=before, **branches), ", bool p")
    (finding,) = findings(training_switch, proto)
    assert finding.fix == f"bind it: --set-input p={value}"


@pytest.mark.parametrize(
    ("then", "other"), [(MOVING.format("t"), ""), (_moments("t"), _moments("f"))]
)
def test_branches_alike_leave_the_value_open(then: str, other: str) -> None:
    (finding,) = findings(training_switch, batch_model(_switch(then=then, other=other), ", bool p"))
    assert finding.evidence["inference"] is None
    assert "p=VALUE, with the value that means inference" in finding.fix


@pytest.mark.parametrize("reduction", ["ReduceMean<axes = [2, 3]>(c)", "ReduceSum(c, positions)"])
def test_a_reduction_over_positions_only_is_no_training(reduction: str) -> None:
    other = f"k = {reduction} f = BatchNormalization(k, g, b, m, v)"
    positions = np.array([2, 3], np.int64)
    proto = batch_model(
        _switch(then=MOVING.format("t"), other=other), ", bool p", positions=positions
    )
    (finding,) = findings(training_switch, proto)
    assert finding.evidence["inference"] is None


def test_two_inputs_that_decide_together() -> None:
    proto = batch_model(_switch("o", before="o = Or(p, q)"), ", bool p, bool q")
    found = findings(training_switch, proto)
    assert {finding.evidence["input"] for finding in found} == {"p", "q"}
    assert {finding.evidence["inference"] for finding in found} == {None}


def test_an_integer_is_bound_to_a_number() -> None:
    proto = batch_model(_switch("o", before="o = Cast<to = 9>(p)"), ", int32 p")
    (finding,) = findings(training_switch, proto)
    assert finding.fix == "bind it: --set-input p=0"


def test_a_name_is_quoted_for_the_shell() -> None:
    proto = batch_model(_switch(), ", bool p")
    proto.graph.input[1].name = proto.graph.node[1].input[0] = "p; rm -r /"
    (finding,) = findings(training_switch, proto)
    assert finding.fix == "bind it: --set-input 'p; rm -r /=false'"


@pytest.mark.parametrize(
    ("default", "severity", "words"),
    [(False, "info", "false, inference"), (True, "warning", "true")],
)
def test_a_default(default: bool, severity: str, words: str) -> None:
    proto = batch_model(_switch(), ", bool p", p=np.array(default))
    (finding,) = findings(training_switch, proto)
    assert finding.severity == severity
    assert finding.message.endswith(f"its default is {words}")


def test_a_default_that_may_mean_anything_is_a_warning() -> None:
    proto = batch_model(_switch(then=MOVING.format("t")), ", bool p", p=np.array(False))
    (finding,) = findings(training_switch, proto)
    assert finding.severity == "warning"


def test_a_choice_between_batch_norms_outside() -> None:
    outside = _moments("u") + MOVING.format("w")
    body = outside + _switch(then="t = Identity(u)", other="f = Identity(w)")
    (finding,) = findings(training_switch, batch_model(body, ", bool p"))
    assert finding.evidence["batch_norms"] == ["main:u", "main:w"]
    assert finding.evidence["inference"] is False


def test_a_where() -> None:
    body = _moments("u") + MOVING.format("w") + "y = Where(p, u, w)"
    (finding,) = findings(training_switch, batch_model(body, ", bool p"))
    assert finding.evidence["batch_norms"] == ["main:u", "main:w"]
    assert finding.evidence["inference"] is False


def test_a_choice_of_the_statistics_of_a_node() -> None:
    body = """
        mk = ReduceMean<axes = [0, 2, 3], keepdims = 0>(c)
        k = If (p) <
            then_branch = a () => (float[4] t) { t = Identity(mk) },
            else_branch = b () => (float[4] f) { f = Identity(m) }
        >
        y = BatchNormalization(c, g, b, k, v)
    """
    (finding,) = findings(training_switch, batch_model(body, ", bool p"))
    assert finding.evidence["batch_norms"] == ["main:y"]
    assert finding.evidence["inference"] is False


def test_a_choice_of_the_statistics_of_a_chain() -> None:
    body = (
        MOMENTS.format(axes="0, 2, 3")
        + """
        k = If (p) <
            then_branch = a () => (float[1,4,1,1] t) { t = Identity(vk) },
            else_branch = b () => (float[1,4,1,1] f) { f = Identity(V) }
        >
        ve = Add(k, e)
        r = Sqrt(ve)
        q = Div(d, r)
        y = Add(q, B)
    """
    )
    (finding,) = findings(training_switch, batch_model(body, ", bool p", V=normal(1, 4, 1, 1) ** 2))
    assert finding.evidence["batch_norms"] == ["main:r"]
    assert finding.evidence["inference"] is False


def test_a_dropout_in_front_of_a_batch_norm() -> None:
    body = """
        k = If (p) <
            then_branch = a () => (float[N,4,6,6] t) { t = Dropout(c) },
            else_branch = b () => (float[N,4,6,6] f) { f = Identity(c) }
        >
        y = BatchNormalization(k, g, b, m, v)
    """
    (finding,) = findings(training_switch, batch_model(body, ", bool p"))
    assert finding.message.endswith("1 batch norm depends on it")


def test_a_switch_that_no_batch_norm_depends_on() -> None:
    body = MOVING.format("w") + _switch(then="t = Dropout(w)", other="f = Identity(w)")
    assert findings(training_switch, batch_model(body, ", bool p")) == []
    assert findings(training_switch, batch_model(MOVING.format("y"), ", bool is_training")) == []


def test_binding_the_input_as_told_ends_the_switch() -> None:
    proto = batch_model(_switch(), ", bool p")
    assert findings(training_switch, proto)[0].fix.endswith("p=false")
    result = check(proto, set_inputs={"p": False}, run=False)
    assert [site.id for site in result.sites] == ["main:y"]


def test_a_batch_norm_far_behind_a_dropout() -> None:
    """What a fixed batch norm reads goes back to the switch, but through a layer's data."""
    body = """
        k = If (p) <
            then_branch = a () => (float[N,4,6,6] t) { t = Dropout(c) },
            else_branch = b () => (float[N,4,6,6] f) { f = Identity(c) }
        >
        r = Relu(k)
        s = Mul(G, r)
        y = Add(B, s)
    """
    assert findings(training_switch, batch_model(body, ", bool p")) == []


def test_switches_that_contradict_each_other() -> None:
    second = INSIDE.format(
        condition="p", then="t = Identity(w)", other="k = ReduceMean<axes = [0]>(z) f = Add(w, k)"
    )
    second = second.replace("6] t)", "6] t3)").replace("6] f)", "6] f3)")
    second = second.replace("t =", "t3 =").replace("f =", "f3 =")
    body = _switch().replace("y =", "z =") + MOVING.format("w").replace("(c", "(z") + second
    (finding,) = findings(training_switch, batch_model(body, ", bool p"))
    assert finding.evidence["inference"] is None


def test_a_switch_behind_another_says_nothing_of_its_own() -> None:
    """The second lets the first through or not; which of its branches trains is not known."""
    second = INSIDE.format(condition="p", then="t3 = Identity(Z)", other="f3 = Identity(z)")
    second = second.replace("float[N,4,6,6] t", "float[1,4,6,6] t3")
    second = second.replace("float[N,4,6,6] f", "float[N,4,6,6] f3")
    body = _switch().replace("y =", "z =") + second
    (finding,) = findings(training_switch, batch_model(body, ", bool p", Z=normal(1, 4, 6, 6)))
    assert finding.evidence["inference"] is False


def test_a_branch_in_training_mode() -> None:
    then = MOVING.format("t").replace("Normalization", "Normalization<training_mode = 1>")
    proto = batch_model(_switch(then=then), ", bool p")
    assert findings(training_switch, proto)[0].evidence["inference"] is False


def test_a_refused_batch_norm_need_not_train() -> None:
    then = MOVING.format("t").replace("v)", "n)")
    proto = batch_model(_switch(then=then), ", bool p", n=-np.ones(4, np.float32))
    assert findings(training_switch, proto)[0].evidence["inference"] is None


def test_a_reduction_of_all_there_is() -> None:
    then = "k = ReduceMean(c) t = Sub(c, k)"
    proto = batch_model(_switch(then=then, other=MOVING.format("f")), ", bool p")
    assert findings(training_switch, proto)[0].evidence["inference"] is False
