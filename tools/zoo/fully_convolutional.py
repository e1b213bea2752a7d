"""Group 8: `tf.nn.batch_normalization` in two fully convolutional layers, on 512 x 512 x 3."""

from __future__ import annotations

from pathlib import Path

from zoo import graphs
from zoo.data import posters
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved

DECAY = 0.5
"""Low, for a training of a few steps."""


def two_layers(
    folder: Path,
    *,
    updates: bool = True,
    training: bool = False,
    axes: tuple[int, ...] = (0, 1, 2),
    steps: int = 15,
    form: Kind = "checkpoint",
) -> Saved:
    """Says of each pixel whether it is ink.

    Args:
        folder: Where to save.
        updates: Whether the assignments of the moving averages run.
        training: Whether the tower that is trained is saved.
        axes: What moments are taken over: batch, height and width.
        steps: Batches of two images.
        form: How it is saved.
    """
    tf1.set_random_seed(graphs.SEED)
    data = posters()
    images = tf1.placeholder(tf.float32, [None, 512, 512, 3], "images")
    labels = tf1.placeholder(tf.int64, [None, 512, 512], "labels")
    assigned: list[tf.Tensor] = []

    def layer(x: tf.Tensor, channels: int, *, train: bool) -> tf.Tensor:
        size = [channels]
        kernel = tf1.get_variable("kernel", [3, 3, x.shape[-1], channels])
        bias = tf1.get_variable("bias", size, initializer=tf1.zeros_initializer())
        offset = tf1.get_variable("offset", size, initializer=tf1.zeros_initializer())
        scale = tf1.get_variable("scale", size, initializer=tf1.ones_initializer())
        zeros, ones = tf1.zeros_initializer(), tf1.ones_initializer()
        moving_mean = tf1.get_variable("moving_mean", size, initializer=zeros, trainable=False)
        moving_var = tf1.get_variable("moving_var", size, initializer=ones, trainable=False)
        x = tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "SAME") + bias
        mean, variance = moving_mean, moving_var
        if train:
            mean, variance = tf.nn.moments(x, list(axes))
            for moving, batch in ((moving_mean, mean), (moving_var, variance)):
                assigned.append(tf1.assign(moving, moving * DECAY + batch * (1 - DECAY)))
        return tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-3)

    def tower(*, train: bool) -> tf.Tensor:
        with tf1.variable_scope("layer1", reuse=not train):
            x = tf.nn.relu(layer(images, 4, train=train))
        with tf1.variable_scope("layer2", reuse=not train):
            return layer(x, 2, train=train)

    logits = tower(train=True)
    loss = graphs.loss_of(logits, labels)
    with tf.control_dependencies(assigned if updates else []):
        train = graphs.minimize(loss, 0.1)
    output = tf.identity(logits if training else tower(train=False), "output")
    with graphs.session() as running:
        graphs.fit(running, train, images, labels, data=data, steps=steps, size=2)
        return graphs.save(running, folder, form, images, output, data=data)
