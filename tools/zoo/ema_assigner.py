"""Group 2: a helper class that keeps its averages in an ExponentialMovingAverage.

The user of the class must run the op that its `get_assigner` returns after each step.
"""

from __future__ import annotations

from pathlib import Path

from zoo import graphs
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved


class ConvolutionalBatchNormalizer:
    """Batch norm of one convolution's output.

    Args:
        depth: Channels.
        averages: Keeps the shadows of the moments; one for all layers.
        scale_after: Whether gamma is applied.
    """

    def __init__(
        self, depth: int, averages: tf.train.ExponentialMovingAverage, *, scale_after: bool
    ) -> None:
        self.mean = tf1.Variable(tf.zeros([depth]), trainable=False, name="mean")
        self.variance = tf1.Variable(tf.ones([depth]), trainable=False, name="variance")
        self.beta = tf1.Variable(tf.zeros([depth]), name="beta")
        self.gamma = tf1.Variable(tf.ones([depth]), name="gamma")
        self._averages = averages
        self._scale_after = scale_after
        self._shadows = averages.apply([self.mean, self.variance])

    def get_assigner(self) -> tf.Operation:
        """Moves the shadows towards the moments of the last batch."""
        return self._shadows

    def normalize(self, x: tf.Tensor, *, train: bool) -> tf.Tensor:
        """By the moments of the batch, which are kept, or by the shadows."""
        if train:
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            kept = [tf1.assign(self.mean, mean), tf1.assign(self.variance, variance)]
            with tf.control_dependencies(kept):
                return self._normalized(x, mean, variance)
        shadows = (self._averages.average(self.mean), self._averages.average(self.variance))
        return self._normalized(x, *shadows)

    def _normalized(self, x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        return tf1.nn.batch_norm_with_global_normalization(
            x, mean, variance, self.beta, self.gamma, 1e-3, self._scale_after
        )


def convolutional(
    folder: Path,
    *,
    scale_after: bool = True,
    assigned: bool = True,
    training: bool = False,
    form: Kind = "checkpoint",
) -> Saved:
    """Two convolutions.

    Args:
        folder: Where to save.
        scale_after: Whether there is a gamma.
        assigned: Whether the assigners run with each step.
        training: Whether the tower that is trained is saved.
        form: How it is saved.
    """
    images, labels = graphs.placeholders()
    averages = tf.train.ExponentialMovingAverage(0.9)
    norms = [
        ConvolutionalBatchNormalizer(depth, averages, scale_after=scale_after) for depth in (8, 16)
    ]

    def tower(*, train: bool) -> tf.Tensor:
        with tf1.variable_scope("digits", reuse=tf1.AUTO_REUSE):
            x = images
            for depth, stride, norm in zip((8, 16), (1, 2), norms, strict=True):
                kernel = tf1.get_variable(f"kernel{depth}", [3, 3, x.shape[-1], depth])
                x = tf.nn.conv2d(x, kernel, [1, stride, stride, 1], "SAME")
                x = tf.nn.relu(norm.normalize(x, train=train))
            x = tf.reshape(x, [-1, 4 * 4 * 16])
            return tf.matmul(x, tf1.get_variable("matrix", [4 * 4 * 16, 10]))

    logits = tower(train=True)
    step = graphs.minimize(graphs.loss_of(logits, labels))
    with tf.control_dependencies([step]):
        train = tf.group(*([norm.get_assigner() for norm in norms] if assigned else []))
    output = tf.identity(logits if training else tower(train=False), "output")
    with graphs.session() as running:
        graphs.fit(running, [step, train], images, labels)
        return graphs.save(running, folder, form, images, output)
