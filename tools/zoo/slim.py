"""`slim`, which was tf.contrib.slim, on a TensorFlow that no longer has what it is made of.

tf-slim 1.1 takes layer classes from `tensorflow.python.layers`, which are gone. tf-keras still has
them, as `tf.compat.v1.layers`, without the longer of their names. And it looks for tensors and
`cond` where they no longer are.
"""

from __future__ import annotations

from types import SimpleNamespace

import tf_slim as slim
from tf_slim.layers import layers as _layers
from tf_slim.layers import utils as _utils

from zoo.graphs import tf, tf1

CONVOLUTIONS = ("1D", "2D", "3D", "2DTranspose", "3DTranspose")

_found = SimpleNamespace(
    **{name: getattr(tf1.layers, name) for name in ("BatchNormalization", "Dense", "Dropout")},
    **{f"Convolution{kind}": getattr(tf1.layers, f"Conv{kind}") for kind in CONVOLUTIONS},
    SeparableConvolution2D=tf1.layers.SeparableConv2D,
    flatten=tf1.layers.flatten,
)
for _module in ("normalization_layers", "convolutional_layers", "core_layers"):
    setattr(_layers, _module, _found)
_utils.ops = SimpleNamespace(
    Tensor=tf.Tensor,
    add_to_collections=tf1.add_to_collections,
    get_collection=tf1.get_collection,
    get_default_graph=tf1.get_default_graph,
)
_utils.control_flow_ops = SimpleNamespace(cond=tf1.cond)

__all__ = ["slim"]
