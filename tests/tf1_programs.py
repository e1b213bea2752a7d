"""Batch norm as TensorFlow 1 programs wrote it: small graphs, right and wrong.

Each program builds into the current graph and returns its `Ends`; `example` builds and trains it.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from tf1_running import (
    INFER,
    TRAIN,
    C,
    Ends,
    Loaded,
    built,
    conv,
    flag,
    legacy_layers,
    minimize,
    slim,
)


def slim_program(*, run: bool = True, train: Any = "placeholder", **options: Any) -> Any:
    """slim's batch_norm behind a convolution, twice.

    Args:
        run: Whether the update ops run with the train op.
        train: is_training: `placeholder`, `default` (False) or a bool.
        options: Of batch_norm.
    """

    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        flags = {"placeholder": None, "default": False}
        mode = flag(tf, flags[train]) if train in flags else train
        y = x
        for name in ("bn1", "bn2"):
            y = conv(tf, y, f"{name}_conv")
            y = slim().batch_norm(y, is_training=mode, scale=True, decay=0.9, scope=name, **options)
            y = tf.nn.relu(y)
        y = tf.identity(y, "y")
        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        with tf.control_dependencies(updates if run else []):
            step = minimize(tf, y)
        feed, infer = (TRAIN, INFER) if train == "placeholder" else ({}, {})
        if train == "default":
            feed = TRAIN
        return Ends(y, [step], feed, infer)

    return program


def decay_is_flag(value: Any) -> Any:
    """`batch_norm(x, is_training)`: the second parameter is decay."""

    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        mode = tf.cast(flag(tf), tf.float32) if value == "cast" else value
        y = tf.identity(slim().batch_norm(conv(tf, x), mode, updates_collections="up"), "y")
        step = tf.group(minimize(tf, y), *v1.get_collection("up"))
        feed = TRAIN if value == "cast" else {}
        return Ends(y, [step], feed, INFER if value == "cast" else {})

    return program


def layers_program(*, run: bool = True) -> Any:
    """tf.layers.batch_normalization over an MLP-like head, update ops grouped with the step."""

    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        mode = flag(tf, False)
        normalize = legacy_layers("normalization").batch_normalization
        y = tf.nn.relu(normalize(conv(tf, x), training=mode, momentum=0.9))
        y = legacy_layers("core").dense(tf.reshape(y, [-1, 6 * 6 * C]), 5)
        y = normalize(y, training=mode, momentum=0.9)
        y = tf.identity(tf.nn.relu(y), "y")
        updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
        step = tf.group(minimize(tf, y), *(updates if run else []))
        return Ends(y, [step], TRAIN)

    return program


def assigner(*, run: bool = True) -> Any:
    """The helper class with an ExponentialMovingAverage and an assigner of its own."""

    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        y = conv(tf, x)
        mean = tf.Variable(tf.zeros([C]), trainable=False, name="mean")
        variance = tf.Variable(tf.ones([C]), trainable=False, name="variance")
        beta = v1.get_variable("beta", [C], initializer=v1.zeros_initializer())
        gamma = v1.get_variable("gamma", [C], initializer=v1.ones_initializer())
        average = tf.train.ExponentialMovingAverage(0.9)
        apply = average.apply([mean, variance])
        found, spread = tf.nn.moments(y, [0, 1, 2])
        set_mean, set_variance = v1.assign(mean, found), v1.assign(variance, spread)
        with tf.control_dependencies([set_mean, set_variance]):
            trained = tf.nn.batch_normalization(y, found, spread, beta, gamma, 1e-3)
        step = minimize(tf, trained)
        output = tf.nn.batch_normalization(
            y, average.average(mean), average.average(variance), beta, gamma, 1e-3, name="infer"
        )
        ends = Ends(tf.identity(output, "y"), [step])
        # As the helper does: the averages are assigned by a run of their own after each step.
        if run:
            with tf.control_dependencies([step]):
                ends.train.append(average_later(tf, average, mean, variance))
        assert apply is not None
        return ends

    def average_later(tf: Any, average: Any, mean: Any, variance: Any) -> Any:
        return average.apply([mean, variance])

    return program


def towers(kind: str) -> Any:
    """tf.cond over a tower for training and one for inference.

    Args:
        kind: `shared` (one scope), `scopes` (each its own variables) or `outside` (built before
            tf.cond, which only chooses).
    """

    def program(tf: Any, x: Any) -> Ends:
        y, mode = conv(tf, x), flag(tf)

        def tower(training: bool) -> Any:
            scope = "bn" if kind != "scopes" or training else "bn_1"
            with tf.compat.v1.variable_scope(scope, reuse=tf.compat.v1.AUTO_REUSE) as found:
                return slim().batch_norm(
                    y,
                    is_training=training,
                    updates_collections=None,
                    decay=0.9,
                    fused=False,
                    scope=found,
                )

        if kind == "outside":
            a, b = tower(True), tower(False)
            chosen = tf.cond(mode, lambda: tf.identity(a), lambda: tf.identity(b))
        else:
            with tf.compat.v1.variable_scope("", reuse=tf.compat.v1.AUTO_REUSE):
                chosen = tf.cond(mode, lambda: tower(True), lambda: tower(False))
        output = tf.identity(chosen, "y")
        return Ends(output, [minimize(tf, output)], TRAIN, INFER)

    return program


def low_level(*, control: bool = True, training: bool = False, used: bool = False) -> Any:
    """Moments and moving averages by hand.

    Args:
        control: Whether the step waits for the updates.
        training: Whether the output is that of the training tower.
        used: Whether the output is normalised with what the updates return.
    """

    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        averages = importlib.import_module("tensorflow.python.training.moving_averages")
        y = conv(tf, x)
        mean = v1.get_variable("pop_mean", [C], initializer=v1.zeros_initializer(), trainable=False)
        var = v1.get_variable("pop_var", [C], initializer=v1.ones_initializer(), trainable=False)
        found, spread = tf.nn.moments(y, [0, 1, 2])
        ops = [
            averages.assign_moving_average(mean, found, 0.9, zero_debias=False),
            averages.assign_moving_average(var, spread, 0.9, zero_debias=False),
        ]
        with tf.control_dependencies(ops if control else []):
            trained = tf.nn.batch_normalization(y, found, spread, None, None, 1e-3)
        inferred = tf.nn.batch_normalization(y, mean, var, None, None, 1e-3)
        if used:
            inferred = tf.nn.batch_normalization(y, *ops, None, None, 1e-3)
        return Ends(tf.identity(trained if training else inferred, "y"), [minimize(tf, trained)])

    return program


def twice(*, shared: bool) -> Any:
    """The network built once for training and once for inference, with no tf.cond.

    Args:
        shared: Whether the second one reuses the first one's scope.
    """

    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        y = conv(tf, x)
        names = ("norm", "norm") if shared else (None, None)
        train = slim().batch_norm(y, is_training=True, decay=0.9, scope=names[0])
        infer = slim().batch_norm(y, is_training=False, scope=names[1], reuse=shared or None)
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            step = minimize(tf, train)
        return Ends(tf.identity(infer, "y"), [step])

    return program


def counter(*, ordered: bool = True) -> Any:
    """An output scaled by a variable that each run counts up, with or without an order."""

    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        state = v1.get_variable("state", [], initializer=v1.ones_initializer(), trainable=False)
        write = v1.assign_add(state, 1.0)
        with tf.control_dependencies([write] if ordered else []):
            value = state.read_value() if hasattr(state, "read_value") else tf.identity(state)
        return Ends(tf.identity(conv(tf, x) * value, "y"))

    return program


def chosen(tf: Any, x: Any) -> Ends:
    """tf.where over the statistics instead of tf.cond over the towers."""
    v1 = tf.compat.v1
    y, mode = conv(tf, x), flag(tf)
    mean = v1.get_variable("moving_mean", [C], initializer=v1.zeros_initializer(), trainable=False)
    var = v1.get_variable(
        "moving_variance", [C], initializer=v1.ones_initializer(), trainable=False
    )
    found, spread = tf.nn.moments(y, [0, 1, 2])
    set_mean = v1.assign(mean, mean * 0.9 + found * 0.1)
    set_var = v1.assign(var, var * 0.9 + spread * 0.1)
    used = tf.where(mode, found, mean), tf.where(mode, spread, var)
    output = tf.identity(tf.nn.batch_normalization(y, *used, None, None, 1e-3), "y")
    return Ends(output, [tf.group(minimize(tf, output), set_mean, set_var)], TRAIN, INFER)


def loop(tf: Any, x: Any) -> Ends:
    """A right batch norm, then a while loop with a constant of its own in the body."""
    ends = slim_program(updates_collections=None)(tf, x)
    start = tf.constant(0)
    _, y = tf.while_loop(
        lambda i, _: i < 3, lambda i, y: (i + 1, y * tf.constant(0.5)), [start, ends.output]
    )
    ends.output = tf.identity(y, "looped")
    return ends


RIGHT = {
    "slim": slim_program(),
    "slim-in-place": slim_program(updates_collections=None),
    "slim-unfused": slim_program(fused=False),
    "slim-unfused-in-place": slim_program(fused=False, updates_collections=None),
    "slim-default": slim_program(train="default"),
    "slim-default-in-place": slim_program(train="default", updates_collections=None),
    "slim-zero-debias": slim_program(zero_debias_moving_mean=True),
    "slim-renorm": slim_program(renorm=True),
    "layers": layers_program(),
    "assigner": assigner(),
    "towers": towers("shared"),
    "low-level": low_level(),
    "twice": twice(shared=True),
    "where": chosen,
    "loop": loop,
}
"""Programs without a mistake."""

WRONG = {
    "slim-not-run": slim_program(run=False),
    "slim-training": slim_program(train=True),
    "slim-training-in-place": slim_program(train=True, updates_collections=None, fused=False),
    "decay-true": decay_is_flag(True),
    "decay-false": decay_is_flag(False),
    "decay-cast": decay_is_flag("cast"),
    "layers-not-run": layers_program(run=False),
    "assigner-not-run": assigner(run=False),
    "towers-scopes": towers("scopes"),
    "towers-outside": towers("outside"),
    "low-level-no-control": low_level(control=False),
    "low-level-training": low_level(training=True),
    "low-level-after": low_level(used=True),
    "twice-scopes": twice(shared=False),
}
"""Programs with one."""

MODES = {"resource-v2": (True, True), "resource-v1": (True, False), "ref-v1": (False, False)}
"""Kind of variables and of control flow -> whether they are resources, and of version 2."""


@functools.cache
def example(name: str, mode: str = "resource-v2") -> Loaded:
    """A program of `RIGHT` or `WRONG`, built once; nobody may change it."""
    resource, control_flow_v2 = MODES[mode]
    program = {**RIGHT, **WRONG}[name]
    return built(program, resource=resource, control_flow_v2=control_flow_v2)
