"""What is found in TensorFlow 1 programs before they are frozen: real graphs, really trained."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow")
pytest.importorskip("tf_keras", reason="needs tf-keras, for the layers that tf_slim calls")
pytest.importorskip("tf_slim", reason="needs tf_slim")

import tf1_programs as programs
import tf1_running as running

from bnopt.frontends.tensorflow import inspection
from bnopt.frontends.tensorflow.freezing import set_inputs
from bnopt.rules import RULES

# What each wrong program must be told, beyond what else is said.
EXPECTED = {
    "slim-not-run": {"updates-not-run", "never-updated"},
    "slim-training": {"training-mode"},
    "slim-training-in-place": {"training-mode", "updates-at-inference"},
    "decay-true": {"decay-is-flag", "training-mode"},
    "decay-false": {"decay-is-flag", "training-mode"},
    "decay-cast": {"decay-is-flag", "training-mode"},
    "layers-not-run": {"updates-not-run", "never-updated"},
    "assigner-not-run": {"updates-not-run", "never-updated"},
    "towers-scopes": {"wrong-scope", "never-updated"},
    "towers-outside": {"updates-at-inference"},
    "low-level-no-control": {"updates-not-run", "never-updated"},
    "low-level-training": {"training-mode", "updates-at-inference"},
    "low-level-after": {"training-mode", "updates-at-inference"},
    "twice-scopes": {"wrong-scope", "never-updated"},
}


def found(loaded: running.Loaded, bound: dict[str, Any] | None = None) -> list[Any]:
    return inspection.inspect(loaded, bound)[0]


def changed(loaded: running.Loaded, **values: Any) -> running.Loaded:
    """The same with other values of variables; None leaves one out."""
    kept = {**loaded.values, **{name.replace("__", "/"): v for name, v in values.items()}}
    return dataclasses.replace(loaded, values={n: v for n, v in kept.items() if v is not None})


@pytest.mark.parametrize("mode", programs.MODES)
@pytest.mark.parametrize("name", programs.RIGHT)
def test_right_program_has_no_error(name: str, mode: str) -> None:
    loaded = programs.example(name, mode)
    codes = {(f.code, f.severity) for f in found(loaded)}
    switched = bool(loaded.infer) or "default" in name or name == "layers"
    severity = "warning" if loaded.infer else "info"
    assert codes == ({("training-switch", severity)} if switched else set())


@pytest.mark.parametrize("mode", programs.MODES)
@pytest.mark.parametrize("name", programs.WRONG)
def test_wrong_program_is_told(name: str, mode: str) -> None:
    findings = found(programs.example(name, mode))
    assert {f.code for f in findings} - {"training-switch"} == EXPECTED[name]
    grave = "warning" if name == "towers-outside" else "error"
    assert {f.severity for f in findings if f.code != "training-switch"} >= {grave}


def test_every_code_is_documented() -> None:
    from bnopt.frontends.tensorflow.mistakes import MISTAKES

    rules = {rule.code for rule in RULES}
    own = {mistake.CODE for mistake in MISTAKES}
    assert not rules & own
    said = {f.code for name in programs.WRONG for f in found(programs.example(name))}
    assert said <= rules | own
    for mistake in MISTAKES:
        doc = mistake.__doc__ or ""
        for part in (
            "What it does:",
            "Why it is bad:",
            "How it happens:",
            "Severity:",
            "How to fix:",
        ):
            assert part in doc, (mistake.CODE, part)


def test_wrong_scope_names_both() -> None:
    for name, read, other in (
        ("towers-scopes", "bn_1/", "bn/"),
        ("twice-scopes", "BatchNorm_1/moving_mean", "BatchNorm/moving_mean"),
    ):
        finding = next(f for f in found(programs.example(name)) if f.code == "wrong-scope")
        assert str(finding.evidence["read"]).startswith(read)
        assert str(finding.evidence["updated"]).startswith(other)


def test_switch_tells_default_and_inference() -> None:
    open_one = next(f for f in found(programs.example("slim")) if f.code == "training-switch")
    assert open_one.evidence["default"] is None
    assert open_one.evidence["inference"] is False
    assert "--set-input is_training=false" in open_one.fix
    default = next(f for f in found(programs.example("layers")) if f.code == "training-switch")
    assert (default.severity, default.evidence["default"]) == ("info", False)
    assert default.evidence["batch_norms"] == ["batch_normalization_1", "batch_normalization"]


def test_bound_switch_is_no_switch() -> None:
    loaded = programs.example("slim-unfused-in-place")
    assert found(loaded, {"is_training": False}) == []
    assert {f.code for f in found(loaded, {"is_training": True})} == {
        "training-mode",
        "updates-at-inference",
    }


@pytest.mark.parametrize("mode", programs.MODES)
def test_the_branch_that_a_bound_flag_rules_out_is_not_looked_at(mode: str) -> None:
    assert found(programs.example("slim", mode), {"is_training": False}) == []


@pytest.mark.parametrize("mode", programs.MODES)
def test_nor_is_the_one_that_a_constant_rules_out(mode: str) -> None:
    loaded = programs.example("slim", mode)
    off = {"is_training": np.array(False)}
    graph_def, _ = set_inputs(loaded.graph_def, loaded.inputs, off)
    assert found(dataclasses.replace(loaded, graph_def=graph_def)) == []


def test_severity_of_never_updated_is_the_models_share() -> None:
    loaded = programs.example("slim")
    one = {
        f"bn1__{name}": np.full(4, float(i))
        for i, name in enumerate(("moving_mean", "moving_variance"))
    }
    assert [(f.code, f.severity, f.site) for f in found(changed(loaded, **one))][1:] == [
        ("never-updated", "warning", "bn1")
    ]
    both = one | {name.replace("bn1", "bn2"): value for name, value in one.items()}
    assert [f.severity for f in found(changed(loaded, **both)) if f.code == "never-updated"] == [
        "error",
        "error",
    ]


def test_initial_values_say_what_never_moved() -> None:
    loaded = programs.example("slim")
    moved = [name for name in loaded.values if "moving" in name]
    loaded = changed(loaded, **dict.fromkeys(moved, np.full(4, 0.3)))
    same = dataclasses.replace(loaded, initial_values=dict(loaded.values))
    assert {f.site for f in found(same) if f.code == "never-updated"} == {"bn1", "bn2"}
    fresh = changed(programs.example("slim-not-run"))
    moved = dataclasses.replace(
        fresh, initial_values={name: value + 1 for name, value in fresh.values.items()}
    )
    assert {f.code for f in found(moved)} == {"training-switch"}


def test_half_updated() -> None:
    findings = found(changed(programs.example("slim"), bn2__moving_mean=np.zeros(4)))
    assert [(f.code, f.severity, f.site) for f in findings][1:] == [
        ("half-updated", "warning", "bn2")
    ]
    assert "'bn2/moving_mean' still holds its initial value" in findings[1].message


def test_few_steps_by_the_counter_of_zero_debiasing() -> None:
    loaded = programs.example("slim-zero-debias")
    counters = [name for name in loaded.values if name.endswith("local_step")]
    assert len(counters) == 2
    assert {float(loaded.values[name]) for name in counters} == {20.0}

    variances = [name for name in loaded.values if name.endswith("moving_variance")]

    def told(steps: float, variance: float = 0.95) -> set[str]:
        values = {**loaded.values, **dict.fromkeys(counters, np.float32(steps))}
        values |= {name: np.full(4, variance, np.float32) for name in variances}
        return {f.code for f in found(dataclasses.replace(loaded, values=values))}

    # A decay of 0.9 leaves 0.2 of the variance's start after 15.3 steps.
    assert told(16) == {"training-switch"}
    assert told(15) == {"training-switch", "barely-updated"}
    assert told(1) == {"training-switch", "one-step"}
    # What was restored without its counter did not start when that did.
    assert told(15, 0.9**15 * 0.999) == {"training-switch", "barely-updated"}
    assert told(15, 0.2) == {"training-switch"}
    assert told(1, 0.89) == {"training-switch"}
    lost = {name: value for name, value in loaded.values.items() if name not in variances}
    lost |= dict.fromkeys(counters, np.float32(1))
    assert found(dataclasses.replace(loaded, values=lost))[0].code == "training-switch"


def test_unknown_values_prove_nothing() -> None:
    loaded = programs.example("slim-not-run")
    unknown = dataclasses.replace(loaded, values={}, initial_values=None)
    findings = [f for f in found(unknown) if f.code != "training-switch"]
    assert {(f.code, f.severity) for f in findings} == {("updates-not-run", "warning")}


def test_variables_are_recorded_with_their_roles() -> None:
    loaded = programs.example("slim-zero-debias")
    records = {v.name: v for v in inspection.inspect(loaded)[1]}
    assert {v.role for v in records.values()} == {
        "moving_mean",
        "moving_variance",
        "gamma",
        "beta",
        "biased",
        "local_step",
    }
    mean = records["bn1/moving_mean"]
    assert (mean.shape, mean.initial) == ((4,), False)
    assert mean.low == loaded.values["bn1/moving_mean"].min()
    assert mean.high == loaded.values["bn1/moving_mean"].max()
    shadows = inspection.inspect(programs.example("assigner-not-run"))[1]
    assert {(v.role, v.initial) for v in shadows if "Average" in v.name} == {("shadow", True)}
    by_use = {v.name: v.role for v in inspection.inspect(programs.example("low-level"))[1]}
    assert by_use == {"pop_mean": "moving_mean", "pop_var": "moving_variance"}


def test_what_adam_counts_is_no_beta() -> None:
    def program(tf: Any, x: Any) -> running.Ends:
        v1 = tf.compat.v1
        y = running.slim().batch_norm(running.conv(tf, x), scale=True, scope="bn")
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            step = v1.train.AdamOptimizer().minimize(tf.reduce_mean(tf.square(y)))
        return running.Ends(tf.identity(y, "y"), [step])

    loaded = running.built(program)
    assert {"beta1_power", "beta2_power", "bn/beta/Adam"} <= loaded.values.keys()
    assert {variable.name for variable in inspection.inspect(loaded)[1]} == {
        f"bn/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
    }


def test_helper_variable_of_zero_debiasing_is_told() -> None:
    loaded = programs.example("slim-zero-debias", "ref-v1")
    graph = type(loaded.graph_def)()
    graph.CopyFrom(loaded.graph_def)
    biased = next(name for name in loaded.values if name.endswith("bn1/moving_mean/biased"))
    for node in graph.node:
        if node.name == "bn1/moving_mean/read":
            node.input[0] = biased
    findings = found(dataclasses.replace(loaded, graph_def=graph))
    assert ("zero-debias", "error") in {(f.code, f.severity) for f in findings}


def frozen(name: str) -> running.Loaded:
    """A program as a frozen graph, in which constants stand for variables."""
    from tensorflow.compat.v1 import graph_util

    from bnopt.frontends.tensorflow import surgery

    loaded = programs.example(name, "ref-v1")
    graph, _ = surgery.to_inference(loaded.graph_def, loaded.inputs, loaded.outputs)

    class Values:
        def run(self, tensors: list[str]) -> list[Any]:
            return [loaded.values[tensor.partition(":")[0]] for tensor in tensors]

    graph = graph_util.convert_variables_to_constants(Values(), graph, ["y"])
    return dataclasses.replace(loaded, graph_def=graph, initial_values=None)


def test_frozen_graph_is_inspected_by_its_constants() -> None:
    assert found(frozen("twice")) == []
    codes = {(f.code, f.site) for f in found(frozen("twice-scopes"))}
    assert ("never-updated", "BatchNorm_1") in codes


def test_grapplers_merge_is_told() -> None:
    import tensorflow as tf
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    loaded = frozen("low-level")
    with tf.Graph().as_default():
        meta = tf.compat.v1.train.export_meta_graph(graph_def=loaded.graph_def)
    fetch = meta_graph_pb2.CollectionDef()
    fetch.node_list.value.append("y")
    meta.collection_def["train_op"].CopyFrom(fetch)
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.optimizers.append("constfold")
    merged = dataclasses.replace(loaded, graph_def=tf_optimizer.OptimizeGraph(config, meta))
    assert any("merged_input" in node.name for node in merged.graph_def.node)
    assert [(f.code, f.severity) for f in found(merged)] == [("unrecoverable", "info")]


def test_graph_without_batch_norm_is_told() -> None:
    loaded = running.built(programs.counter())
    assert [(f.code, f.severity) for f in found(loaded)] == [("no-batch-norm", "info")]
