"""Group 4: `tf.cond` chooses between a batch norm that trains and one for inference."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from zoo import graphs
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved
from zoo.slim import slim

Written = Literal["inside", "no-scope", "outside"]


def norm(
    x: tf.Tensor, is_training: tf.Tensor, scope: str, written: Written, *, fused: bool
) -> tf.Tensor:
    """A batch norm of two towers.

    Args:
        x: What to normalise.
        is_training: Which of them is wanted.
        scope: Where the variables of both are.
        written: `inside`: each tower is made in its branch. `no-scope`: likewise, but without a
            scope to share, so that each has variables of its own. `outside`: both are made before
            `tf.cond` is called, so that both run, and the updates with them, whatever it chooses.
        fused: Whether a batch norm is one kernel.
    """
    options = {"decay": 0.9, "scale": True, "updates_collections": None, "fused": fused}
    shared = {} if written == "no-scope" else {"scope": scope}
    second = {} if written == "no-scope" else {"scope": scope, "reuse": True}
    if written == "outside":
        towers = (
            slim.batch_norm(x, is_training=True, **options, **shared),
            slim.batch_norm(x, is_training=False, **options, **second),
        )
        return tf.cond(is_training, lambda: towers[0], lambda: towers[1])
    return tf.cond(
        is_training,
        lambda: slim.batch_norm(x, is_training=True, **options, **shared),
        lambda: slim.batch_norm(x, is_training=False, **options, **second),
    )


def convolutional(
    folder: Path,
    *,
    written: Written = "inside",
    fused: bool = True,
    control_flow_v2: bool = False,
    default: bool | None = None,
    form: Kind = "checkpoint",
) -> Saved:
    """Two convolutions, each followed by such a batch norm.

    Args:
        folder: Where to save.
        written: As for `norm`.
        fused: Likewise.
        control_flow_v2: Whether `tf.cond` makes one `If`, or `Switch` and `Merge` as of old.
        default: What `is_training` is if it is not fed; None for a placeholder without a default.
        form: How it is saved.
    """
    if control_flow_v2:
        tf1.enable_control_flow_v2()
    images, labels = graphs.placeholders()
    if default is None:
        is_training = tf1.placeholder(tf.bool, [], "is_training")
    else:
        is_training = tf1.placeholder_with_default(default, [], "is_training")
    x = tf1.layers.conv2d(images, 8, 3, padding="same", use_bias=False, name="conv1")
    x = tf.nn.relu(norm(x, is_training, "bn1", written, fused=fused))
    x = tf1.layers.conv2d(x, 16, 3, 2, padding="same", use_bias=False, name="conv2")
    x = tf.nn.relu(norm(x, is_training, "bn2", written, fused=fused))
    logits = tf1.layers.dense(tf1.layers.flatten(x), 10, name="logits")
    train = graphs.minimize(graphs.loss_of(logits, labels))
    output = tf.identity(logits, "output")
    with graphs.session() as running:
        graphs.fit(running, train, images, labels, also={is_training: True})
        return graphs.save(running, folder, form, images, output, switch=is_training)
