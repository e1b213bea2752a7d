"""What lives in a branch or loop of control flow version 1 by a control dependency alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow")

import tf1_running as running
from tf1_running import Ends, conv, run

from bnopt.frontends.tensorflow import surgery
from bnopt.frontends.tensorflow.dataflow.pivots import drop_controls


def slow(tf: Any, x: Any) -> Any:
    """One, late."""
    for _ in range(30):
        x = tf.nn.conv2d(x, tf.ones((5, 5, 3, 3)) / 75, 1, "SAME")
    return tf.reduce_sum(x) * 0 + 1.0


WAITS = {
    "nothing": lambda tf, x: tf.no_op(),
    "assert": lambda tf, x: tf.compat.v1.assert_less(tf.reduce_mean(x), 1e6),
    "data": lambda tf, x: tf.square(x),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("side", [True, False])
def test_a_constant_stays_in_its_branch(side: bool, wait: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        def constant() -> Any:
            with tf.control_dependencies([WAITS[wait](tf, x)]):
                return tf.constant(50.0)

        branches = [lambda: slow(tf, x), constant]
        taken = tf.reduce_mean(x) > (-100.0 if side else 100.0)
        factor = tf.compat.v1.cond(taken, *branches[:: 1 if side else -1])
        return Ends(tf.identity(conv(tf, x) * factor, "y"))

    same(program)


@pytest.mark.parametrize("wait", WAITS)
def test_a_constant_stays_in_its_loop(wait: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        def body(index: Any, y: Any) -> Any:
            with tf.control_dependencies([WAITS[wait](tf, y)]):
                return index + 1, y * tf.constant(0.5)

        y = tf.compat.v1.while_loop(lambda i, _: i < 2, body, [tf.constant(0), conv(tf, x)])[1]
        return Ends(tf.identity(y, "y"))

    same(program)


def test_a_constant_of_a_function_stays_in_its_branch() -> None:
    import tensorflow as tf
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph
    from tensorflow.python.framework.graph_to_function_def import graph_to_function_def

    v1 = tf.compat.v1
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, (1, 6, 6, 3), "x")

            def constant() -> Any:
                with tf.control_dependencies([tf.square(x)]):
                    return tf.constant(50.0)

            y = v1.cond(tf.reduce_mean(x) > -100.0, lambda: slow(tf, x), constant)
            inner = [op for op in graph.get_operations() if op.type != "Placeholder"]
            function = graph_to_function_def(graph, inner, [x], [y])
    finally:
        v1.enable_control_flow_v2()
    function.signature.name = "branch"
    drop_controls(function.node_def)
    again = function_def_to_graph(function)
    with v1.Session(graph=again) as session:
        got = session.run(again.outputs[0], {again.inputs[0].name: np.ones((1, 6, 6, 3))})
    assert got == pytest.approx(1.0)


def same(program: Any) -> None:
    loaded = running.built(program, control_flow_v2=False)
    graph, _ = surgery.to_inference(loaded.graph_def, loaded.inputs, loaded.outputs)
    np.testing.assert_allclose(run(graph, loaded), loaded.expected, rtol=1e-5, atol=1e-5)
