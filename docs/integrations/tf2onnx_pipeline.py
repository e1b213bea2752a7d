"""Convert a Keras model with tf2onnx, see that its batch norms are sound, and fold them.

python tf2onnx_pipeline.py MODEL.keras OUT.onnx
"""

import sys

import keras
import tensorflow as tf
import tf2onnx

import bnopt


def convert(model: keras.Model, output: str) -> bnopt.FoldResult:
    """Write `model` to `output`, every batch norm in the weights around it."""
    signature = [tf.TensorSpec((None, *x.shape[1:]), x.dtype, name=x.name) for x in model.inputs]
    function = tf.function(lambda *x: model(x[0] if len(x) == 1 else x, training=False))
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature)
    result = bnopt.fold(proto, output=output)
    for site in result.sites:
        print(site.name, site.decision)
    return result


if __name__ == "__main__":
    convert(keras.models.load_model(sys.argv[1]), sys.argv[2])
