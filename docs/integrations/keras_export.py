"""Export a Keras 3 model by its own exporter; repair its statistics if they need it; fold.

    python keras_export.py MODEL.keras SAMPLES.npz OUT.onnx

SAMPLES.npz holds unlabelled training inputs, one array for each input of the model.
"""

import sys
import tempfile
from pathlib import Path

import keras

import bnopt


def export(model: keras.Model, samples: str, output: str) -> bnopt.FoldResult:
    """Write `model` to `output`, with right statistics, every batch norm folded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.onnx"
        model.export(path, format="onnx", verbose=False)
        for cause in bnopt.check(path, data=samples).causes:
            print(cause.severity, cause.code, cause.message)
        return bnopt.fold(path, output=output, data=samples, training_mode="eval")


if __name__ == "__main__":
    export(keras.models.load_model(sys.argv[1]), sys.argv[2], sys.argv[3])
