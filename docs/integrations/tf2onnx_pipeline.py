"""Convert a Keras model with tf2onnx, check what it wrote, and fold the batch norms that are left.

    python tf2onnx_pipeline.py MODEL.keras OUT.onnx

TensorFlow and tf2onnx merge batch norms into convolutions on the way. Of statistics that never
moved nothing is left to see there once gamma and beta are trained: `unrecoverable` is all that the
check says of them then. `bnopt export MODEL.keras -o OUT.onnx` looks at the variables first.
"""

import sys

import keras
import tensorflow as tf
import tf2onnx

import bnopt


def convert(model: keras.Model, output: str) -> bnopt.FoldResult:
    """Write `model` to `output`, batch norms in the weights around them; stop if one is wrong."""
    signature = [tf.TensorSpec((None, *x.shape[1:]), x.dtype, name=x.name) for x in model.inputs]
    function = tf.function(lambda *x: model(x[0] if len(x) == 1 else x, training=False))
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature)
    checked = bnopt.check(proto)
    for cause in checked.causes:
        print(cause.severity, cause.code, cause.message)
    if not checked.ok:
        sys.exit(f"{output} is not written")
    result = bnopt.fold(proto, output=output)
    for site in result.sites:
        print(site.name, site.decision)
    return result


if __name__ == "__main__":
    convert(keras.models.load_model(sys.argv[1]), sys.argv[2])
