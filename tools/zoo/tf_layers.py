"""Group 9: `tf.layers.batch_normalization`, the layer of TensorFlow 1 itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo import graphs
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved


def convolutional(
    folder: Path,
    *,
    bn: dict[str, Any] | None = None,
    updates: bool = True,
    training: bool = False,
    switch: bool = False,
    separate: bool = False,
    form: Kind = "saved-model",
) -> Saved:
    """Two convolutions.

    Args:
        folder: Where to save.
        bn: Parameters of the batch norms.
        updates: Whether update ops run.
        training: Whether the tower that is trained is saved.
        switch: Whether `training` is a placeholder with default False, and there is one tower only.
        separate: Whether the network for inference is a graph of its own, into which the
            checkpoint is restored, so that nothing of training is in what is saved.
        form: How it is saved.
    """
    options = {"momentum": 0.9, **(bn or {})}

    def tower(images: tf.Tensor, *, train: bool | tf.Tensor, reuse: bool = False) -> tf.Tensor:
        x = images
        for name, depth, stride in (("conv1", 8, 1), ("conv2", 16, 2)):
            layer = {"padding": "same", "use_bias": False, "name": name, "reuse": reuse}
            x = tf1.layers.conv2d(x, depth, 3, stride, **layer)
            named = {"training": train, "name": f"{name}_bn", "reuse": reuse}
            x = tf.nn.relu(tf1.layers.batch_normalization(x, **named, **options))
        return tf1.layers.dense(tf1.layers.flatten(x), 10, name="logits", reuse=reuse)

    images, labels = graphs.placeholders()
    chosen = tf1.placeholder_with_default(False, [], "training") if switch else None
    logits = tower(images, train=True if chosen is None else chosen)
    loss = graphs.loss_of(logits, labels)
    train = graphs.minimize_after_updates(loss) if updates else graphs.minimize(loss)
    one = training or switch
    output = tf.identity(logits if one else tower(images, train=False, reuse=True), "output")
    with graphs.session() as running:
        also = {} if chosen is None else {chosen: True}
        graphs.fit(running, train, images, labels, also=also)
        if not separate:
            return graphs.save(running, folder, form, images, output, switch=chosen)
        tf1.train.Saver().save(running, str(folder / "training.ckpt"))
    with tf.Graph().as_default():
        images, _ = graphs.placeholders()
        output = tf.identity(tower(images, train=False), "output")
        with graphs.session() as running:
            tf1.train.Saver().restore(running, str(folder / "training.ckpt"))
            return graphs.save(running, folder, form, images, output)
