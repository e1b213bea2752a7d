"""The parent's side of an export from TensorFlow: everything else happens in child processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bnopt.errors import ExecutionError, UsageError
from bnopt.frontends.tensorflow import library, objects
from bnopt.frontends.tensorflow.detect import Source, detect
from bnopt.frontends.tensorflow.endpoints import Wanted
from bnopt.runtime.process import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bnopt.frontends.records import Converted
    from bnopt.runtime.session import SessionRun

TIMEOUT = 1800.0
"""Seconds for a conversion; a large network takes a few minutes."""


def convert(
    source: str | os.PathLike[str] | object,
    kind: str = "auto",
    *,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    signature: str | None = None,
    opset: int = 17,
    batch_sizes: Sequence[int] = (1, 8),
    set_inputs: Mapping[str, object] | None = None,
    folder: Path,
    timeout: float = TIMEOUT,
) -> Converted:
    """Convert a TensorFlow or Keras model to ONNX, every batch norm kept.

    Args:
        source: The folder of a SavedModel, a frozen GraphDef (`.pb`), a checkpoint with its meta
            graph, a Keras model (`.keras`, `.h5`); or a Keras model, a `tf.function` with an input
            signature or a concrete function.
        kind: `saved-model`, `keras`, `frozen-graph`, `checkpoint`; `auto` finds out.
        inputs: Names of the signature's inputs, or of placeholders or tensors; None: those of the
            signature, or the placeholders that the outputs depend on.
        outputs: The same for outputs; None: those of the signature, or the results that nothing
            goes on with.
        signature: Of a SavedModel; None: `serving_default`, or the only one.
        opset: Of the ONNX model.
        batch_sizes: Of the references; a model with a fixed batch has one of that size.
        set_inputs: Placeholder -> the value it always has, such as `{"is_training": False}`.
        folder: An existing folder; it gets `model.onnx`.
        timeout: Seconds.

    Returns:
        The model, checked to load and run in onnxruntime, with what TensorFlow computes.

    Raises:
        UsageError: Options that do not fit the source, or that it needs and were not given.
        LoadError: The source cannot be read.
        DependencyError: TensorFlow, tf2onnx or onnxruntime is not installed.
        ExecutionError: An operator that tf2onnx does not know, a crash, too little memory or time.
    """
    if any(size < 1 for size in batch_sizes) or not batch_sizes:
        raise UsageError("batch sizes are numbers from 1 on")
    saved = None
    if isinstance(source, str | os.PathLike):
        found = detect(cast("str | os.PathLike[str]", source), kind)
        what = str(found.path)
        library.require("tensorflow", "tf2onnx")
    elif objects.is_tensorflow(source):
        library.require("tf2onnx")
        saved = objects.save(source, folder)
        found = Source("saved-model", saved.path)
        what = f"the {type(source).__name__}"
    else:
        raise UsageError(
            f"cannot export a {type(source).__name__}; give a path, a Keras model, a tf.function "
            "or a concrete function"
        )
    with Worker(timeout=timeout) as worker:
        converted = cast(
            "Converted",
            worker.call(
                "bnopt.frontends.tensorflow.child:convert",
                Source(found.kind, Path(os.path.abspath(found.path))),  # noqa: PTH100 - no links
                Wanted(
                    signature,
                    None if inputs is None else tuple(inputs),
                    None if outputs is None else tuple(outputs),
                ),
                opset=opset,
                batch_sizes=tuple(batch_sizes),
                settings=dict(set_inputs or {}),
                folder=str(folder),
                known=saved.known if saved else None,
                task=f"export of {what}",
            ),
        )
    _try(converted, timeout)
    return converted


def _try(converted: Converted, timeout: float) -> None:
    """Run the model on the references' inputs; tf2onnx calls success what nothing can load.

    Raises:
        ExecutionError: It does not load, does not run, or gives other shapes.
    """
    with Worker(timeout=timeout) as worker:
        run: Any = worker.call(
            "bnopt.runtime.session:run",
            str(converted.path),
            [reference.feeds for reference in converted.references],
            task="the converted model does not run in onnxruntime",
        )
    for reference, results in zip(
        converted.references, cast("SessionRun", run).outputs, strict=True
    ):
        for name, expected in reference.outputs.items():
            if np.shape(results[name]) != expected.shape:
                raise ExecutionError(
                    f"the converted model gives output '{name}' of shape "
                    f"{np.shape(results[name])} where TensorFlow gives {expected.shape}"
                )
