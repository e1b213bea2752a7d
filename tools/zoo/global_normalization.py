"""Group 1: `tf.nn.batch_norm_with_global_normalization`, and the operator that it once was."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from zoo import graphs
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved

EPSILON = 1e-3
LAST_PRODUCER = 8
"""The version of graphs whose operators still include `BatchNormWithGlobalNormalization`."""

Statistics = Literal["averaged", "never-averaged", "batch"]


def convolutional(
    folder: Path,
    *,
    raw: bool,
    scale_after: bool,
    statistics: Statistics = "averaged",
    form: Kind = "checkpoint",
) -> Saved:
    """Two convolutions; moments are averaged into variables that the second tower reads.

    Args:
        folder: Where to save.
        raw: Whether the operator itself is used, in a graph of the age in which it was one. Today's
            function is written in simpler operators.
        scale_after: `scale_after_normalization`; without it there is no gamma in the arithmetic.
        statistics: Whether they are averaged with every step, or that op is never run, or the tower
            that normalises with the moments of the batch is saved.
        form: How it is saved.
    """
    with tf.Graph().as_default():
        if raw:
            aged = tf1.GraphDef()
            aged.versions.producer = LAST_PRODUCER
            tf.import_graph_def(aged, name="")
        images, labels = graphs.placeholders()
        updates: list[tf.Operation] = []

        def norm(x: tf.Tensor, *, training: bool) -> tf.Tensor:
            """Normalise over batch, height and width: global normalization."""
            size = [x.shape[-1]]
            beta = tf1.get_variable("beta", size, initializer=tf1.zeros_initializer())
            gamma = tf1.get_variable("gamma", size, initializer=tf1.ones_initializer())
            kept = {"trainable": False}
            mean = tf1.get_variable("mean", size, initializer=tf1.zeros_initializer(), **kept)
            variance = tf1.get_variable(
                "variance", size, initializer=tf1.ones_initializer(), **kept
            )
            used = mean, variance
            if training:
                used = tf.nn.moments(x, [0, 1, 2])
                for average, moment in zip((mean, variance), used, strict=True):
                    updates.append(tf1.assign_sub(average, 0.1 * (average - moment)))
            if not raw:
                return tf1.nn.batch_norm_with_global_normalization(
                    x, *used, beta, gamma, EPSILON, scale_after
                )
            return tf.raw_ops.BatchNormWithGlobalNormalization(
                t=x,
                m=used[0],
                v=used[1],
                beta=beta,
                gamma=gamma,
                variance_epsilon=EPSILON,
                scale_after_normalization=scale_after,
            )

        def convolved(x: tf.Tensor, channels: int, stride: int, *, training: bool) -> tf.Tensor:
            shape = [3, 3, x.shape[-1], channels]
            weights = tf1.get_variable("weights", shape)
            y = tf.nn.conv2d(x, weights, [1, stride, stride, 1], "SAME")
            return tf.nn.relu(norm(y, training=training))

        def tower(*, training: bool) -> tf.Tensor:
            with tf1.variable_scope("digits", reuse=not training):
                with tf1.variable_scope("conv1"):
                    x = convolved(images, 8, 1, training=training)
                with tf1.variable_scope("conv2"):
                    x = convolved(x, 16, 2, training=training)
                x = tf.reshape(x, [-1, 4 * 4 * 16])
                weights = tf1.get_variable("weights", [4 * 4 * 16, 10])
                biases = tf1.get_variable("biases", [10], initializer=tf1.zeros_initializer())
                return tf.nn.bias_add(tf.matmul(x, weights), biases)

        logits, answer = tower(training=True), tower(training=False)
        step = graphs.minimize(graphs.loss_of(logits, labels))
        train = tf.group(step, *([] if statistics == "never-averaged" else updates))
        output = tf.identity(logits if statistics == "batch" else answer, "output")
        with graphs.session() as running:
            graphs.fit(running, train, images, labels)
            return graphs.save(running, folder, form, images, output)
