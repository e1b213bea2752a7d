"""Group 5: `tf.nn.moments` and `assign_moving_average`, as slim's own batch norm is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from tensorflow.python.training.moving_averages import assign_moving_average

from zoo import graphs
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved

Mistake = Literal["no-control-dependencies", "run-once", "own-variables", "biased"]


def convolutional(
    folder: Path,
    *,
    mistake: Mistake | None = None,
    decay: float = 0.9,
    zero_debias: bool = False,
    form: Kind = "checkpoint",
) -> Saved:
    """Two convolutions.

    Args:
        folder: Where to save.
        mistake: `no-control-dependencies`: the averages are assigned by ops that nothing runs.
            `run-once`: they are run, but with the first batch only. `own-variables`: made by
            `tf.Variable`, which ignores `reuse`, so that the tower for inference has its own.
            `biased`: it reads the helper variables of zero debiasing.
        decay: Of the averages.
        zero_debias: Whether averages start from the first batch instead of their initial values.
        form: How it is saved.
    """
    images, labels = graphs.placeholders()
    assigning: list[tf.Operation] = []

    def variable(name: str, size: list[Any], start: float, *, trainable: bool) -> Any:
        if mistake == "own-variables" and not trainable:
            return tf1.Variable(tf.fill(size, start), trainable=False, name=name)
        first = tf1.constant_initializer(start)
        return tf1.get_variable(name, size, initializer=first, trainable=trainable)

    def norm(x: tf.Tensor, *, training: bool) -> tf.Tensor:
        size = x.shape[-1:].as_list()
        beta = variable("beta", size, 0.0, trainable=True)
        gamma = variable("gamma", size, 1.0, trainable=True)
        moving_mean = variable("moving_mean", size, 0.0, trainable=False)
        moving_variance = variable("moving_variance", size, 1.0, trainable=False)
        mean, variance = moving_mean, moving_variance
        if training:
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            assigned = [
                assign_moving_average(moving_mean, mean, decay, zero_debias=zero_debias),
                assign_moving_average(moving_variance, variance, decay, zero_debias=zero_debias),
            ]
            assigning.extend(assigned)
            if mistake not in ("no-control-dependencies", "run-once"):
                with tf.control_dependencies(assigned):
                    mean, variance = tf.identity(mean), tf.identity(variance)
        elif mistake == "biased":
            named = {v.op.name: v for v in tf1.global_variables()}
            mean, variance = (
                next(v for name, v in named.items() if name.endswith(f"{of.op.name}/biased"))
                for of in (mean, variance)
            )
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)

    def tower(*, training: bool) -> tf.Tensor:
        x = images
        for name, depth, stride in (("conv1", 8, 1), ("conv2", 16, 2)):
            with tf1.variable_scope(name, reuse=not training):
                kernel = tf1.get_variable("kernel", [3, 3, x.shape[-1], depth])
                x = tf.nn.conv2d(x, kernel, [1, stride, stride, 1], "SAME")
                x = tf.nn.relu(norm(x, training=training))
        with tf1.variable_scope("logits", reuse=not training):
            x = tf.reshape(x, [-1, 4 * 4 * 16])
            return tf.matmul(x, tf1.get_variable("kernel", [4 * 4 * 16, 10]))

    logits = tower(training=True)
    train = graphs.minimize(graphs.loss_of(logits, labels))
    output = tf.identity(tower(training=False), "output")
    with graphs.session() as running:
        if mistake == "run-once":
            graphs.fit(running, [train, assigning], images, labels, steps=1)
        graphs.fit(running, train, images, labels)
        return graphs.save(running, folder, form, images, output)
