"""Group 6: a small batch norm layer of one's own that does what contrib's does.

That it does is checked at every step: slim's layer normalises the same numbers beside it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo import graphs
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved
from zoo.slim import slim

DECAY = 0.9
EPSILON = 1e-3
UPDATES = "updates_of_the_small_layer"
SAME = 1e-4
"""How far two float32 computations of the same thing may lie apart, at numbers near 1."""


class BatchNorm:
    """Normalises over all axes but the last; its update ops are in a collection.

    Args:
        name: Of its variables.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, x: tf.Tensor, *, train: bool) -> tf.Tensor:
        """Normalised by moments of the batch, or by averages of those."""
        size = x.shape[-1:]
        zeros, ones = tf1.zeros_initializer(), tf1.ones_initializer()
        with tf1.variable_scope(self._name, reuse=tf1.AUTO_REUSE):
            beta = tf1.get_variable("beta", size, initializer=zeros)
            gamma = tf1.get_variable("gamma", size, initializer=ones)
            mean = tf1.get_variable("moving_avg", size, initializer=zeros, trainable=False)
            variance = tf1.get_variable("moving_var", size, initializer=ones, trainable=False)
        if not train:
            return tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)
        moments = tf.nn.moments(x, list(range(x.shape.rank - 1)))
        # As the fused kernel does: what is averaged is the variance with Bessel's correction.
        count = tf.cast(tf.size(x) / tf.shape(x)[-1], tf.float32)
        for average, moment in ((mean, moments[0]), (variance, moments[1] * count / (count - 1))):
            update = tf1.assign(average, average * DECAY + moment * (1 - DECAY))
            tf1.add_to_collection(UPDATES, update)
        return tf.nn.batch_normalization(x, *moments, beta, gamma, EPSILON)


def convolutional(folder: Path, *, updates: bool = True, form: Kind = "saved-model") -> Saved:
    """Two convolutions.

    Args:
        folder: Where to save.
        updates: Whether the update ops run.
        form: How it is saved.

    Raises:
        RuntimeError: The layer is not equal to slim's.
    """
    images, labels = graphs.placeholders()
    layers = [BatchNorm("bn1"), BatchNorm("bn2")]
    apart: list[tf.Tensor] = []

    def tower(*, train: bool) -> tf.Tensor:
        x = images
        for layer, depth, stride in zip(layers, (8, 16), (1, 2), strict=True):
            options = {"padding": "same", "use_bias": False, "reuse": tf1.AUTO_REUSE}
            x = tf1.layers.conv2d(x, depth, 3, stride, name=f"conv{depth}", **options)
            y = layer(x, train=train)
            same = slim.batch_norm(
                tf.stop_gradient(x),
                decay=DECAY,
                is_training=train,
                center=False,
                scope=f"contrib{depth}",
                reuse=not train,
            )
            with tf1.variable_scope(layer._name, reuse=True):
                affine = same * tf1.get_variable("gamma") + tf1.get_variable("beta")
            apart.append(tf.reduce_max(tf.abs(y - affine)))
            x = tf.nn.relu(y)
        return tf1.layers.dense(tf1.layers.flatten(x), 10, name="logits", reuse=tf1.AUTO_REUSE)

    loss = graphs.loss_of(tower(train=True), labels)
    with tf.control_dependencies(tf1.get_collection(UPDATES) if updates else []):
        train = graphs.minimize_after_updates(loss) if updates else graphs.minimize(loss)
    output = tf.identity(tower(train=False), "output")
    with graphs.session() as running:
        graphs.fit(running, train, images, labels)
        worst = np.max(graphs.fit(running, apart, images, labels, steps=10))
        if worst > SAME:
            raise RuntimeError(f"the small layer is {worst:g} away from contrib's")
        return graphs.save(running, folder, form, images, output)
