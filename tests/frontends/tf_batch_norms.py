"""Graphs of one batch norm, run and converted by TensorFlow in the process of `tf_models`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from frontends.tf_models import CHANNELS, SIZE, parameters

EPSILON = 0.02


def converted(build: str, path: str, **settings: object) -> list[tuple[np.ndarray, np.ndarray]]:
    """Convert a graph, and run it in TensorFlow and as ONNX.

    Args:
        build: `global` or `fused`.
        path: Of the ONNX model.
        **settings: Of the graph.

    Returns:
        TensorFlow's output and that of the ONNX model, at batch 1 and 8.
    """
    import tensorflow as tf

    from bnopt.frontends.tensorflow import convert, references
    from bnopt.frontends.tensorflow.handlers import HANDLERS
    from bnopt.runtime import session

    graph_def = {"global": global_normalization, "fused": fused}[build](tf, **settings)
    inputs, outputs = {"images": "images:0"}, {"y": "y:0"}
    found, _ = references.compute(graph_def, inputs, outputs, (1, 8))
    convert.to_onnx(graph_def, inputs, outputs, opset=17, handlers=HANDLERS, path=Path(path))
    results = session.run(path, [reference.feeds for reference in found]).outputs
    return [
        (reference.outputs["y"], result["y"])
        for reference, result in zip(found, results, strict=True)
    ]


def training(path: str) -> str:
    """A frozen graph whose batch norm takes the statistics of its batch."""
    import tensorflow as tf

    Path(path).write_bytes(fused(tf, is_training=True).SerializeToString())
    return path


def global_normalization(tf, *, scale_after_normalization: bool):
    """Written as a GraphDef of old, since TensorFlow no longer builds the operator."""
    graph_def = tf.compat.v1.GraphDef()
    # The last version of GraphDef that may hold it.
    graph_def.versions.producer = 8
    images = graph_def.node.add(name="images", op="Placeholder")
    images.attr["dtype"].type = tf.float32.as_datatype_enum
    images.attr["shape"].shape.CopyFrom(tf.TensorShape([None, SIZE, SIZE, CHANNELS]).as_proto())
    for name, value in parameters().items():
        constant = graph_def.node.add(name=name, op="Const")
        constant.attr["dtype"].type = tf.float32.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    operands = ["images", "moving_mean", "moving_variance", "beta", "gamma"]
    norm = graph_def.node.add(name="norm", op="BatchNormWithGlobalNormalization", input=operands)
    norm.attr["T"].type = tf.float32.as_datatype_enum
    norm.attr["variance_epsilon"].f = EPSILON
    norm.attr["scale_after_normalization"].b = scale_after_normalization
    identity = graph_def.node.add(name="y", op="Identity", input=["norm"])
    identity.attr["T"].type = tf.float32.as_datatype_enum
    return graph_def


def fused(
    tf,
    *,
    is_training: bool,
    operator: str = "FusedBatchNormV3",
    exponential_avg_factor: float = 1.0,
    shape: tuple[int, ...] = (SIZE, SIZE, CHANNELS),
    half: bool = False,
    reads_statistics: bool = False,
):
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, [None, *shape], name="images")
        layout = {3: ("NHWC", "NCHW"), 4: ("NDHWC", "NCDHW")}[len(shape)]
        values = parameters()
        result = getattr(tf.raw_ops, operator)(
            x=tf.cast(images, tf.float16) if half else images,
            scale=values["gamma"],
            offset=values["beta"],
            mean=values["moving_mean"],
            variance=values["moving_variance"],
            epsilon=EPSILON,
            exponential_avg_factor=exponential_avg_factor,
            data_format=layout[shape[-1] != CHANNELS],
            is_training=is_training,
        )
        y = result.y + result.batch_variance if reads_statistics else result.y
        tf.identity(y, name="y")
    return graph.as_graph_def()


def channels_first_reference() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, kernel [3, CHANNELS] and TensorFlow's output of a 1x1 convolution on NCHW."""
    import tensorflow as tf

    from bnopt.frontends.tensorflow import references

    kernel = np.random.default_rng(0).normal(size=(3, CHANNELS)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, [None, 3, SIZE, SIZE], name="images")
        tf.nn.conv2d(images, kernel[None, None], 1, "SAME", data_format="NCHW", name="y")
    (found,), _ = references.compute(
        graph.as_graph_def(), {"images": "images:0"}, {"y": "y:0"}, [1]
    )
    return found.feeds["images"], kernel, found.outputs["y"]
