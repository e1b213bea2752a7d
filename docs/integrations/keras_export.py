"""Export a Keras 3 model by its own exporter; repair its statistics if they need it; fold.

    python keras_export.py MODEL.keras SAMPLES.npz OUT.onnx

SAMPLES.npz holds unlabelled training inputs, one array for each input of the model.

Keras' exporter folds the batch norms behind convolutions itself, with whatever statistics they
have; all that data can show then is `unusual-output`. `bnopt.export(model, output=...)` looks at
the statistics first.
"""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

import bnopt


def export(model: keras.Model, samples: str, output: str) -> bnopt.FoldResult:
    """Write `model` to `output`, with right statistics, every batch norm folded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "exported.onnx"
        # Keras exports a model only after it has been called, which a loaded one has not.
        with np.load(samples) as arrays:
            first = [arrays[tensor.name][:1] for tensor in model.inputs]
        model(first[0] if len(first) == 1 else first)
        model.export(path, format="onnx", verbose=False)
        for cause in bnopt.check(path, data=samples).causes:
            print(cause.severity, cause.code, cause.message)
        return bnopt.fold(path, output=output, data=samples, training_mode="eval")


if __name__ == "__main__":
    export(keras.models.load_model(sys.argv[1]), sys.argv[2], sys.argv[3])
