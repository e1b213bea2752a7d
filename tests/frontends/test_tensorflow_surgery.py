"""The inference path of TensorFlow 1 programs: it freezes, and computes what TensorFlow did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow")
pytest.importorskip("tf_keras", reason="needs tf-keras, for the layers that tf_slim calls")
pytest.importorskip("tf_slim", reason="needs tf_slim")

import tf1_programs as programs
import tf1_running as running
from tf1_running import bind, run

from bnopt.errors import UnsupportedModelError
from bnopt.frontends.tensorflow import surgery

# Float32 sums of a convolution with 27 terms near 10; two orders of evaluation.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}

# What reads a statistic in the very run that updates it has no one right answer.
RACES = {"towers-outside", "low-level-after"}

# Their flag is a placeholder without a default, in a conditional.
SWITCHED = {
    "slim",
    "slim-in-place",
    "slim-unfused",
    "slim-unfused-in-place",
    "slim-zero-debias",
    "slim-renorm",
    "towers",
    "loop",
}


@pytest.mark.parametrize("mode", programs.MODES)
@pytest.mark.parametrize(
    "name", [n for n in {**programs.RIGHT, **programs.WRONG} if n not in RACES]
)
def test_inference_path_computes_the_same(name: str, mode: str) -> None:
    loaded = programs.example(name, mode)
    inputs = {"x": "x:0"}
    graph, _ = surgery.to_inference(bind(loaded, is_training=False), inputs, loaded.outputs)
    assert len(graph.node) < len(loaded.graph_def.node)
    assert not {n.op for n in graph.node} & {"If", "StatelessIf"}
    np.testing.assert_allclose(run(graph, loaded), loaded.expected, **TOLERANCE)


@pytest.mark.parametrize("mode", programs.MODES)
@pytest.mark.parametrize("name", sorted(SWITCHED))
def test_open_switch_stays_and_both_ways_work(name: str, mode: str) -> None:
    loaded = programs.example(name, mode)
    graph, _ = surgery.to_inference(loaded.graph_def, loaded.inputs, loaded.outputs)
    ops = {n.op for n in graph.node}
    assert ops & {"If", "StatelessIf", "Switch"}
    infer = run(graph, loaded, is_training=False)
    np.testing.assert_allclose(infer, loaded.expected, **TOLERANCE)
    train = run(graph, loaded, is_training=True)
    # Batch statistics: every channel is normalised, which the moving ones did not do.
    assert np.abs(train - infer).max() > 1e-3


@pytest.mark.parametrize("mode", programs.MODES)
def test_default_is_taken_unless_it_is_an_input(mode: str) -> None:
    loaded = programs.example("slim-default-in-place", mode)
    graph, notes = surgery.to_inference(loaded.graph_def, {"x": "x:0"}, loaded.outputs)
    assert any(note == "left to its default: 'is_training'" for note in notes)
    np.testing.assert_allclose(run(graph, loaded), loaded.expected, **TOLERANCE)
    inputs = {"x": "x:0", "flag": "is_training:0"}
    graph, _ = surgery.to_inference(loaded.graph_def, inputs, loaded.outputs)
    assert any(n.op == "PlaceholderWithDefault" for n in graph.node)


@pytest.mark.parametrize("mode", programs.MODES)
def test_read_after_update_becomes_the_read_before_it(mode: str) -> None:
    loaded = programs.example("low-level-after", mode)
    graph, notes = surgery.to_inference(loaded.graph_def, loaded.inputs, loaded.outputs)
    got = run(graph, loaded)
    w = loaded.values["conv/w"]
    import tensorflow as tf

    y = tf.nn.conv2d(loaded.x, w, 1, "SAME").numpy()
    mean, var = loaded.values["pop_mean"], loaded.values["pop_var"]
    np.testing.assert_allclose(got, (y - mean) / np.sqrt(var + 1e-3), **TOLERANCE)
    assert np.abs(got - loaded.expected).max() > 1e-3
    said = "read before its update" if mode == "ref-v1" else "left out, it updates a variable"
    assert any(said in note for note in notes)


@pytest.mark.parametrize("mode", ["resource-v2", "resource-v1", "ref-v1"])
def test_tower_outside_is_cut_to_the_one_that_is_chosen(mode: str) -> None:
    loaded = programs.example("towers-outside", mode)
    graph, _ = surgery.to_inference(bind(loaded, is_training=False), {"x": "x:0"}, loaded.outputs)
    assert not any("Mean" in n.op or "Assign" in n.op for n in graph.node)
    _, notes = surgery.to_inference(loaded.graph_def, loaded.inputs, loaded.outputs)
    assert any("left out, it updates a variable" in note for note in notes)
    import tensorflow as tf

    y = tf.nn.conv2d(loaded.x, loaded.values["conv/w"], 1, "SAME").numpy()
    part = {name.rpartition("/")[2]: value for name, value in loaded.values.items()}
    expected = (y - part["moving_mean"]) / np.sqrt(part["moving_variance"] + 1e-3) + part["beta"]
    np.testing.assert_allclose(run(graph, loaded), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("resource", [True, False])
def test_state_read_after_its_write_is_refused_by_name(resource: bool) -> None:
    loaded = running.built(programs.counter(), resource=resource)
    write = "AssignAddVariableOp" if resource else "AssignAdd"
    with pytest.raises(UnsupportedModelError) as caught:
        surgery.to_inference(loaded.graph_def, loaded.inputs, loaded.outputs)
    assert f"({write}) writes 'state', which the outputs read after it" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("resource", [True, False])
def test_write_beside_a_read_is_left_out(resource: bool) -> None:
    loaded = running.built(programs.counter(ordered=False), resource=resource)
    graph, _ = surgery.to_inference(loaded.graph_def, loaded.inputs, loaded.outputs)
    np.testing.assert_allclose(run(graph, loaded), loaded.expected, **TOLERANCE)


def test_input_pipeline_is_refused_unless_it_is_the_input() -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as built:
        data = tf.data.Dataset.from_tensor_slices(np.ones((8, 6, 6, 3), np.float32)).batch(2)
        x = v1.data.make_one_shot_iterator(data).get_next()
        tf.identity(running.conv(tf, x), "y")
    graph_def, outputs = built.as_graph_def(), {"y": "y:0"}
    with pytest.raises(UnsupportedModelError, match=r"'IteratorGetNext' \(IteratorGetNext\)"):
        surgery.to_inference(graph_def, {}, outputs)
    graph, _ = surgery.to_inference(graph_def, {"x": "IteratorGetNext:0"}, outputs)
    assert {"y", "IteratorGetNext"} <= {n.name for n in graph.node}


def test_function_that_calls_itself_is_refused() -> None:
    import tensorflow as tf

    @tf.function
    def inner(x: Any) -> Any:
        return x + 1.0

    concrete = inner.get_concrete_function(tf.TensorSpec([2]))
    graph_def = (
        tf.function(lambda x: inner(x))
        .get_concrete_function(tf.TensorSpec([2]))
        .graph.as_graph_def()
    )
    body = next(f for f in graph_def.library.function)
    call = next(n for n in graph_def.node if "PartitionedCall" in n.op)
    again = body.node_def.add(name="again", op=call.op)
    again.input.append(body.signature.input_arg[0].name)
    again.attr["f"].func.name = body.signature.name
    assert concrete is not None
    with pytest.raises(UnsupportedModelError, match=r"calls itself|without end"):
        surgery.to_inference(graph_def, {"x": "x:0"}, {"y": f"{call.name}:0"})


def test_the_argument_is_not_changed() -> None:
    loaded = programs.example("slim-default-in-place")
    before = loaded.graph_def.SerializeToString(deterministic=True)
    surgery.to_inference(loaded.graph_def, {"x": "x:0"}, loaded.outputs)
    assert loaded.graph_def.SerializeToString(deterministic=True) == before


def test_every_variable_that_a_conditional_gives_back_freezes() -> None:
    count = 64

    def program(tf: Any, x: Any) -> running.Ends:
        v1 = tf.compat.v1
        offsets = [v1.get_variable(f"offset_{n}", initializer=np.float32(n)) for n in range(count)]
        given = v1.cond(
            running.flag(tf),
            lambda: [tf.zeros(()) for _ in offsets],
            lambda: [offset.value() for offset in offsets],
        )
        return running.Ends(tf.identity(x + tf.add_n(given), "y"), infer=running.INFER)

    loaded = running.built(program)
    graph, _ = surgery.to_inference(loaded.graph_def, loaded.inputs, loaded.outputs)
    np.testing.assert_allclose(run(graph, loaded, is_training=False), loaded.expected, **TOLERANCE)
    np.testing.assert_allclose(run(graph, loaded, is_training=True), loaded.x, **TOLERANCE)
