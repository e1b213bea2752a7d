"""Graphs of one batch norm, run and converted by TensorFlow in the process of `tf_models`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from frontends.tf_models import CHANNELS, SIZE, parameters

EPSILON = 0.02


def converted(build: str, path: str, **settings: object) -> list[tuple[np.ndarray, np.ndarray]]:
    """Convert a graph, and run it in TensorFlow and as ONNX.

    Args:
        build: `global`, `fused`, `written_out`, `decoy` or `division`.
        path: Of the ONNX model.
        **settings: Of the graph.

    Returns:
        TensorFlow's output and that of the ONNX model, at batch 1 and 8.
    """
    import tensorflow as tf

    from bnopt.frontends.tensorflow import constants, convert, division, recompose, references
    from bnopt.frontends.tensorflow.handlers import HANDLERS
    from bnopt.runtime import session

    builders = {
        "global": global_normalization,
        "fused": fused,
        "written_out": written_out,
        "decoy": decoy,
        "division": divided,
    }
    graph_def = builders[build](tf, **settings)
    inputs, outputs = {"images": "images:0"}, {"y": "y:0"}
    found, _ = references.compute(graph_def, inputs, outputs, (1, 8))
    graph_def = constants.fold(recompose.recompose(graph_def), ["images:0", "y:0"])
    handlers = {**HANDLERS, **division.HANDLERS}
    convert.to_onnx(graph_def, inputs, outputs, opset=17, handlers=handlers, path=Path(path))
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


def written_out(
    tf, *, shape: tuple[int, ...], axis: int = -1, without: tuple[str, ...] = (), channels: int = 0
):
    """`tf.nn.batch_normalization` of images [N, *shape]."""
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, [None, *shape], name="images")
        values: dict[str, np.ndarray | None] = dict(parameters())
        if channels:
            values = {role: value[:channels] for role, value in parameters().items()}
        if axis != -1:
            full = [-1 if place == axis else 1 for place in range(len(shape) + 1)]
            values = {role: value.reshape(full) for role, value in values.items()}
        values |= dict.fromkeys(without)
        gamma, beta, mean, variance = (
            None if value is None else tf.constant(value) for value in values.values()
        )
        y = tf.nn.batch_normalization(images, tf.identity(mean), variance, beta, gamma, EPSILON)
        tf.identity(y, name="y")
    return graph.as_graph_def()


def decoy(tf, *, what: str):
    """Not quite a batch norm, or not one that a BatchNormalization can be."""
    values = parameters()
    gamma, beta, mean, variance = (values[role] for role in values)
    dtype = {"double": tf.float64, "half": tf.float16}.get(what, tf.float32)
    epsilon = np.full(CHANNELS, EPSILON) if what == "epsilon per channel" else EPSILON
    shape = [None, SIZE, SIZE, {"one channel": 1, "unknown channels": None}.get(what, CHANNELS)]
    if what == "along rows":
        gamma = np.linspace(1, 2, SIZE).reshape(SIZE, 1, 1)
    if what == "along columns":
        gamma, beta, mean, variance = (
            np.linspace(1, 2, SIZE).reshape(SIZE, 1) for _ in parameters()
        )
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, shape, name="images")
        x = tf.cast(images, dtype)
        gamma, beta, mean, variance = (tf.constant(v, dtype) for v in (gamma, beta, mean, variance))
        root = tf.math.rsqrt(variance + tf.constant(epsilon, dtype))
        inverse = root * gamma
        if what == "no epsilon":
            inverse = tf.math.rsqrt(variance) * gamma
        if what == "plain constants":
            inverse = gamma
        other = root if what == "another inverse" else inverse
        shift = mean * other if what == "sign" else beta - mean * other
        if what == "shift of images":
            shift = beta - mean * tf.reduce_mean(x)
        tf.identity(tf.cast(x * inverse + shift, tf.float32), name="y")
    return graph.as_graph_def()


def divided(tf, *, dtype: str):
    """Quotients and remainders of numbers of both signs."""
    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, [None, 50], name="images")
        x = tf.cast(images * 10.0, dtype)
        parts = [x // 4, x % 5, x // -3, x % -7]
        tf.stack([tf.cast(part, tf.float32) for part in parts], axis=1, name="y")
    return graph.as_graph_def()


def reference_of(what: str) -> tuple[list[np.ndarray], list[str]]:
    """Outputs of the references of a function that normal numbers say nothing of, and the notes."""
    import tensorflow as tf

    from bnopt.frontends.tensorflow import references

    functions = {
        "a logarithm": tf.math.log,
        "far": lambda x: tf.nn.relu(x - 8.0),
        "dead": lambda x: tf.nn.relu(x - 1000.0),
        "near": tf.nn.relu,
    }
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 40], name="x")
        tf.identity(functions[what](x), name="y")
    found, notes = references.compute(graph.as_graph_def(), {"x": "x:0"}, {"y": "y:0"}, [1, 8])
    return [one.outputs["y"] for one in found], notes


def operators_of_rank(rank: int | None, rank_of_constants: int) -> list[str]:
    """Operators of `tf.nn.batch_normalization` of a tensor of some rank, recomposed."""
    import tensorflow as tf

    from bnopt.frontends.tensorflow import recompose

    with tf.Graph().as_default() as graph:
        shape = None if rank is None else [None] * (rank - 1) + [CHANNELS]
        x = tf.compat.v1.placeholder(tf.float32, shape)
        full = [1] * (rank_of_constants - 1) + [CHANNELS]
        gamma, beta, mean, variance = (
            tf.constant(value.reshape(full)) for value in parameters().values()
        )
        tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)
    return [node.op for node in recompose.recompose(graph.as_graph_def()).node]


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


def large_mean_reference() -> tuple[np.ndarray, np.ndarray]:
    """TensorFlow's mean of 4 images of 1024 x 1024, as a reference and in double."""
    import tensorflow as tf

    from bnopt.frontends.tensorflow import references

    with tf.Graph().as_default() as graph:
        images = tf.compat.v1.placeholder(tf.float32, [None, 1024, 1024, 2], name="images")
        tf.reduce_mean(images + 10.0, [0, 1, 2], keepdims=True, name="y")
    (found,), _ = references.compute(
        graph.as_graph_def(), {"images": "images:0"}, {"y": "y:0"}, [4]
    )
    exact = (found.feeds["images"] + np.float32(10)).mean((0, 1, 2), np.float64)
    return found.outputs["y"].reshape(-1), exact
