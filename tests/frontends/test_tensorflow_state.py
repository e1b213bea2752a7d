"""Models whose outputs need what a run writes: refused by name; and writes that nothing needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow")

import tf1_programs as programs
import tf1_running as running
from tf1_running import Ends, conv

from bnopt.errors import UnsupportedModelError
from bnopt.frontends.tensorflow import surgery

AFTER = "writes 'state', which the outputs read after it"
BEFORE = "the outputs read 'state', which a run writes at node '{}'"
SCATTERS = ("update", "add", "sub", "mul", "div", "min", "max")
PARTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    **{
        f"scatter_{how}": lambda tf, s, z, how=how: getattr(tf.compat.v1, f"scatter_{how}")(
            s, [1], [z]
        )
        for how in SCATTERS
    },
    **{
        f"scatter_nd_{how}": lambda tf, s, z, how=how: getattr(tf.compat.v1, f"scatter_nd_{how}")(
            s, [[1]], [z]
        )
        for how in ("update", "add", "sub")
    },
    "slice": lambda tf, s, z: s[1].assign(z),
}


def refusal(program: Any, mode: str = "resource-v2", **inputs: str) -> str:
    """What surgery says when it refuses; empty if it does not."""
    resource, flow = programs.MODES[mode]
    loaded = running.built(program, resource=resource, control_flow_v2=flow)
    try:
        surgery.to_inference(loaded.graph_def, {**loaded.inputs, **inputs}, loaded.outputs)
    except UnsupportedModelError as error:
        return error.message
    return ""


def made(tf: Any, shape: tuple[int, ...] = (), name: str = "state") -> Any:
    return tf.compat.v1.get_variable(
        name, shape, initializer=tf.compat.v1.ones_initializer(), trainable=False
    )


def scaled(tf: Any, x: Any, factor: Any) -> Ends:
    return Ends(tf.identity(conv(tf, x) * factor, "y"))


@pytest.mark.parametrize("mode", ["resource-v2", "ref-v1"])
@pytest.mark.parametrize("part", PARTS)
def test_a_read_after_a_write_to_a_part_is_refused(part: str, mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        state = made(tf, (4,))
        with tf.control_dependencies([PARTS[part](tf, state, tf.reduce_mean(x))]):
            return scaled(tf, x, state.read_value())

    assert AFTER in refusal(program, mode)


@pytest.mark.parametrize("mode", programs.MODES)
@pytest.mark.parametrize("part", ["scatter_nd_add", "slice", "whole"])
def test_so_it_is_in_a_branch(part: str, mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        state = made(tf, (4,))

        def written() -> Any:
            write = (
                tf.compat.v1.assign_add(state, tf.ones(4))
                if part == "whole"
                else PARTS[part](tf, state, tf.reduce_mean(x))
            )
            with tf.control_dependencies([write]):
                return tf.identity(state.read_value())

        factor = tf.compat.v1.cond(tf.reduce_mean(x) > 0, written, lambda: tf.zeros(4))
        return scaled(tf, x, factor)

    assert AFTER in refusal(program, mode)


@pytest.mark.parametrize("mode", ["resource-v2", "ref-v1"])
def test_state_read_before_its_write_is_refused(mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        state = made(tf)
        value = tf.identity(state.read_value())
        with tf.control_dependencies([value]):
            write = tf.compat.v1.assign(state, tf.reduce_mean(x), name="keep")
        with tf.control_dependencies([write]):
            return scaled(tf, x, value)

    said = refusal(program, mode)
    assert BEFORE.format("keep" if mode == "ref-v1" else "")[:-1] in said
    assert "make it an input and an output" in said


def test_so_is_the_state_of_a_function() -> None:
    def program(tf: Any, x: Any) -> Ends:
        state = made(tf, (6, 6))

        @tf.function(autograph=False)
        def step(x: Any) -> Any:
            y = x * tf.gather(state, [0, 1, 2])[0][0]
            state.assign(tf.reduce_mean(x, [0, 3]))
            return y

        return Ends(tf.identity(conv(tf, step(x)), "y"))

    assert BEFORE.format("")[:-1] in refusal(program)


def test_what_outputs_do_not_read_may_be_written() -> None:
    def program(tf: Any, x: Any) -> Ends:
        count, shaped = made(tf, name="count"), made(tf, (4,), "shaped")

        @tf.function(autograph=False)
        def step(x: Any) -> Any:
            count.assign_add(1.0)
            shaped.assign(tf.reduce_mean(x) * shaped)
            size = tf.raw_ops.VariableShape(input=shaped.handle)
            return x * tf.cast(size[0], tf.float32)

        return Ends(tf.identity(conv(tf, step(x)), "y"))

    loaded = running.built(program)
    graph, _ = surgery.to_inference(loaded.graph_def, loaded.inputs, loaded.outputs)
    assert not any("Assign" in node.op for node in graph.node)


@pytest.mark.parametrize("mode", programs.MODES)
@pytest.mark.parametrize("trained", [True, False])
def test_a_write_that_a_flag_turns_on_is_for_training(trained: bool, mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        state, wanted = made(tf), running.flag(tf, default=False)
        value = tf.identity(state.read_value())

        def written() -> Any:
            with tf.control_dependencies([tf.compat.v1.assign(state, value * 2.0)]):
                return tf.constant(1.0)

        chosen = wanted if trained else tf.reduce_mean(x) > 0
        factor = tf.compat.v1.cond(chosen, written, lambda: tf.constant(1.0))
        return scaled(tf, x, value * factor)

    said = refusal(program, mode, is_training="is_training:0")
    assert said == "" if trained else BEFORE.format("")[:-1] in said


@pytest.mark.parametrize("mode", ["resource-v2", "ref-v1"])
@pytest.mark.parametrize(("name", "refused"), [("level", True), ("moving_mean", False)])
def test_only_averages_of_batch_norms_may_be_read(name: str, refused: bool, mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        level = made(tf, name=name)
        write = tf.compat.v1.assign_sub(level, (level - tf.reduce_mean(tf.abs(x))) * 0.5)
        with tf.control_dependencies([write]):
            return scaled(tf, x, level.read_value())

    assert bool(refusal(program, mode)) == refused


@pytest.mark.parametrize("kind", ["read", "elsewhere", "counted", "moving_mean", "nested"])
def test_a_write_in_a_case_is_seen(kind: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        state = made(tf, name=kind if kind == "moving_mean" else "state")

        def written() -> Any:
            value = tf.constant(2.0) if kind in ("counted", "elsewhere") else state.read_value()
            with tf.control_dependencies([state.assign_add(1.0).op, value]):
                return tf.identity(value)

        def branch() -> Any:
            if kind != "nested":
                return written()
            return tf.cond(tf.reduce_mean(x) > 0, written, lambda: tf.constant(3.0))

        index = tf.cast(tf.reduce_mean(x), tf.int32)
        factor = tf.switch_case(index, [branch, lambda: tf.constant(5.0)])
        return scaled(tf, x, factor * state.read_value() if kind == "elsewhere" else factor)

    said = refusal(program)
    if kind in ("counted", "moving_mean"):
        assert said == ""
    else:
        assert re.search(r"'state', which a run writes at node '\S+' \(\S+\) of function '", said)


def test_a_write_in_a_loop_is_seen() -> None:
    def program(tf: Any, x: Any) -> Ends:
        state = made(tf)

        def body(index: Any, total: Any) -> Any:
            with tf.control_dependencies([state.assign_add(1.0).op]):
                return index + 1, total + state.read_value()

        start = tf.constant(0), tf.constant(0.0)
        return scaled(tf, x, tf.while_loop(lambda i, _: i < 3, body, start)[1])

    assert AFTER in refusal(program)


@pytest.mark.parametrize("used", [True, False])
def test_a_write_to_whatever_a_condition_chooses_is_refused(used: bool) -> None:
    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        one, two = made(tf, name="one"), made(tf, name="two")
        some = tf.reduce_mean(x) > 0
        handle = v1.cond(some, lambda: one.handle, lambda: two.handle)
        write = tf.raw_ops.AssignVariableOp(resource=handle, value=tf.constant(3.0))
        with tf.control_dependencies([write] if used else []):
            return scaled(tf, x, one.read_value())

    said = refusal(program, "resource-v1")
    assert ("writes a variable that cannot be traced" in said) == used
