"""What programs in the manner of TensorFlow 1 have in common: a session, a loop, ways to save."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # what tf.layers is made of; read by the import below
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from zoo.data import Data, digits
from zoo.program import Kind, Saved

tf1 = tf.compat.v1
tf1.disable_v2_behavior()
tf1.logging.set_verbosity(tf1.logging.ERROR)
warnings.filterwarnings("ignore", message=r".*`tf\.layers\.", category=UserWarning)

SEED = 1
STEPS = 200
Feed = Mapping[tf.Tensor, Any]


def placeholders() -> tuple[tf.Tensor, tf.Tensor]:
    """`images` (N, 8, 8, 1) and `labels` (N,) of a graph whose random numbers are fixed."""
    tf1.set_random_seed(SEED)
    images = tf1.placeholder(tf.float32, [None, 8, 8, 1], "images")
    return images, tf1.placeholder(tf.int64, [None], "labels")


def loss_of(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy."""
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def minimize(loss: tf.Tensor, rate: float = 1e-2) -> tf.Operation:
    """The train op: Adam, nothing else."""
    return tf1.train.AdamOptimizer(rate).minimize(loss)


def minimize_after_updates(loss: tf.Tensor, rate: float = 1e-2) -> tf.Operation:
    """The train op as the documentation of batch norm asks for it."""
    with tf.control_dependencies(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)):
        return minimize(loss, rate)


def session(config: tf1.ConfigProto | None = None) -> tf1.Session:
    """With all variables initialised; one thread, so that sums are in a fixed order."""
    config = config or tf1.ConfigProto()
    config.intra_op_parallelism_threads = config.inter_op_parallelism_threads = 1
    opened = tf1.Session(config=config)
    opened.run(tf1.global_variables_initializer())
    return opened


def fit(
    running: tf1.Session,
    fetches: Any,
    images: tf.Tensor,
    labels: tf.Tensor,
    *,
    data: Data | None = None,
    steps: int = STEPS,
    size: int = 32,
    also: Feed | None = None,
) -> list[Any]:
    """Run the train op on batch after batch; what was fetched at each step."""
    return [
        running.run(fetches, {images: x, labels: y, **(also or {})})
        for x, y in (data or digits()).batches(steps, size=size)
    ]


def save(
    running: tf1.Session,
    folder: Path,
    form: Kind,
    images: tf.Tensor,
    output: tf.Tensor,
    *,
    data: Data | None = None,
    switch: tf.Tensor | None = None,
) -> Saved:
    """Save the session's graph, and measure what it is worth in inference.

    Args:
        running: The trained session.
        folder: Where to.
        form: In which of the usual ways.
        images: The input.
        output: Logits, the classes as last axis.
        data: What it was trained on; None for the digits.
        switch: A boolean input that chooses between training and inference.
    """
    data = data or digits()
    fed: dict[tf.Tensor, Any] = {} if switch is None else {switch: False}
    # Measured after it was saved: graphs that update their statistics at inference do so here.
    tensors = {"inputs": (images.name,), "outputs": (output.name,)}
    match form:
        case "checkpoint":
            tf1.train.Saver().save(running, str(folder / "model.ckpt"))
            source = "model.ckpt.meta"
        case "frozen-graph":
            graph = running.graph.as_graph_def()
            frozen = tf1.graph_util.convert_variables_to_constants(running, graph, [output.op.name])
            source = "frozen.pb"
            (folder / source).write_bytes(frozen.SerializeToString())
        case "saved-model":
            source = "saved_model"
            # One with a default is an option, and no part of the signature.
            named = {t.op.name: t for t in (images, *fed) if t.op.type == "Placeholder"}
            tf1.saved_model.simple_save(
                running, str(folder / source), inputs=named, outputs={"logits": output}
            )
            tensors = {"inputs": (), "outputs": ()}
        case _:
            raise ValueError(f"a session is not saved as {form}")
    answers = [running.run(output, {images: image[None], **fed})[0] for image in data.test_x]
    return Saved(
        source=source,
        kind=form,
        **tensors,
        **data.write(folder, images.op.name),
        set_inputs={tensor.op.name: value for tensor, value in fed.items()},
        accuracy=float((np.stack(answers).argmax(axis=-1) == data.test_y).mean()),
    )
