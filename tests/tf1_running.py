"""TensorFlow 1 programs, built, trained for a few steps, and handed on as a loader would."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

C = 4
SHAPE = (None, 6, 6, 3)


@dataclass
class Ends:
    """What a program has for the outside.

    Attributes:
        output: The tensor of the inference output.
        train: What one training step runs, besides nothing.
        feed: Name of a placeholder -> its value in training, besides the data.
        infer: Likewise in inference.
    """

    output: Any
    train: list[Any] = field(default_factory=list)
    feed: dict[str, Any] = field(default_factory=dict)
    infer: dict[str, Any] = field(default_factory=dict)


@dataclass
class Loaded:
    """What the loader hands on, and what TensorFlow itself computes in inference."""

    graph_def: Any
    values: dict[str, Any]
    initial_values: dict[str, Any] | None
    inputs: dict[str, str]
    outputs: dict[str, str]
    notes: list[str]
    x: Any
    expected: Any
    infer: dict[str, Any]
    rates: dict[str, float] = field(default_factory=dict)


def slim() -> Any:
    """tf_slim on today's TensorFlow: the legacy layers that it asks for moved to tf-keras."""
    for part in ("base", "convolutional", "core", "normalization", "pooling"):
        module = importlib.import_module(f"tf_keras.src.legacy_tf_layers.{part}")
        sys.modules.setdefault(f"tf_keras.legacy_tf_layers.{part}", module)
    ops = importlib.import_module("tensorflow.python.framework.ops")
    if not hasattr(ops, "Tensor"):
        ops.Tensor = importlib.import_module("tensorflow").Tensor
    flow = importlib.import_module("tensorflow.python.ops.control_flow_ops")
    if not hasattr(flow, "cond"):
        flow.cond = importlib.import_module("tensorflow").compat.v1.cond
    return importlib.import_module("tf_slim")


def legacy_layers(part: str) -> Any:
    """A module of tf.layers, which TensorFlow with Keras 3 no longer gives by that name."""
    return importlib.import_module(f"tf_keras.src.legacy_tf_layers.{part}")


def built(
    program: Callable[[Any, Any], Ends],
    *,
    steps: int = 20,
    resource: bool = True,
    control_flow_v2: bool = True,
) -> Loaded:
    """Build a program, train it for some steps on offset data, and run its output in inference."""
    tf = importlib.import_module("tensorflow")
    v1 = tf.compat.v1
    (v1.enable_control_flow_v2 if control_flow_v2 else v1.disable_control_flow_v2)()
    (v1.enable_resource_variables if resource else v1.disable_resource_variables)()
    rng = np.random.default_rng(0)
    config = v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    graph = tf.Graph()
    try:
        with graph.as_default(), v1.Session(config=config) as session:
            v1.set_random_seed(1)
            x = v1.placeholder(tf.float32, SHAPE, name="x")
            ends = program(tf, x)
            session.run(v1.global_variables_initializer())
            variables = v1.global_variables()
            initial = {
                v.op.name: value for v, value in zip(variables, session.run(variables), strict=True)
            }
            for _ in range(steps if ends.train else 0):
                data = rng.normal(2, 3, (8, *SHAPE[1:])).astype(np.float32)
                session.run(ends.train, {"x:0": data, **ends.feed})
            for variable in v1.trainable_variables():
                if "gamma" in variable.name or "beta" in variable.name:
                    variable.load(rng.uniform(0.5, 2, variable.shape), session)
            values = {
                v.op.name: value for v, value in zip(variables, session.run(variables), strict=True)
            }
            sample = rng.normal(2, 3, (5, *SHAPE[1:])).astype(np.float32)
            expected = session.run(ends.output, {"x:0": sample, **ends.infer})
        inputs = {"x": "x:0", **{n.partition(":")[0]: n for n in ends.infer}}
        graph_def = graph.as_graph_def()
        return Loaded(
            graph_def,
            values,
            initial,
            inputs,
            {"y": ends.output.name},
            [],
            sample,
            expected,
            ends.infer,
        )
    finally:
        v1.enable_control_flow_v2()
        v1.enable_resource_variables()


def conv(tf: Any, x: Any, name: str = "conv") -> Any:
    """A convolution without bias to C channels."""
    with tf.compat.v1.variable_scope(name):
        w = tf.compat.v1.get_variable("w", (3, 3, int(x.shape[-1]), C))
        return tf.nn.conv2d(x, w, 1, "SAME")


def minimize(tf: Any, y: Any) -> Any:
    """A train op that moves the weights a little."""
    loss = tf.reduce_mean(tf.square(y - 0.5))
    return tf.compat.v1.train.GradientDescentOptimizer(1e-3).minimize(loss)


def flag(tf: Any, default: bool | None = None) -> Any:
    """The placeholder `is_training`."""
    if default is None:
        return tf.compat.v1.placeholder(tf.bool, [], "is_training")
    return tf.compat.v1.placeholder_with_default(default, [], "is_training")


TRAIN, INFER = {"is_training:0": True}, {"is_training:0": False}


def bind(loaded: Loaded, **values: bool) -> Any:
    """The graph with placeholders replaced by constants."""
    tf = importlib.import_module("tensorflow")

    graph = type(loaded.graph_def)()
    graph.CopyFrom(loaded.graph_def)
    for node in graph.node:
        if node.name in values:
            node.Clear()
            node.name, node.op = next(n for n in values), "Const"
            node.attr["dtype"].type = tf.bool.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values[node.name]))
    return graph


def run(graph: Any, loaded: Loaded, values: dict[str, Any] | None = None, **feed: Any) -> Any:
    """Freeze a graph as an exporter would, and compute its output."""
    from bnopt.frontends.tensorflow.dataflow.graph import WRITES

    tf = importlib.import_module("tensorflow")
    graph_util = tf.compat.v1.graph_util

    numbers = loaded.values if values is None else values

    class Values:
        def run(self, tensors: list[str]) -> list[Any]:
            names = [t.removesuffix("/Read/ReadVariableOp:0").removesuffix(":0") for t in tensors]
            return [numbers[name] for name in names]

    name = loaded.outputs["y"].partition(":")[0]
    frozen = graph_util.convert_variables_to_constants(Values(), graph, [name])
    assert not {n.op for n in frozen.node} & {*WRITES, "VariableV2", "VarHandleOp", "RefSwitch"}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(frozen, name="")
        there = {n.name for n in frozen.node}
        fed = {f"{key}:0": value for key, value in {"x": loaded.x, **feed}.items() if key in there}
        return session.run(loaded.outputs["y"], fed)
