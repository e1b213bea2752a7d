"""Which front end takes a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bnopt.errors import UsageError

if TYPE_CHECKING:
    from bnopt.frontends.records import Converted


def convert(
    source: object,
    kind: str,
    example_inputs: Any,
    *,
    folder: Path,
    opset: int | None,
    training_mode: Literal["refuse", "eval"] = "refuse",
    **options: Any,
) -> Converted:
    """Convert a source by the front end of its framework.

    Args:
        source: As for `bnopt.export`.
        kind: Likewise.
        example_inputs: Of a `torch.nn.Module`.
        folder: Where to write the ONNX file.
        opset: Of the ONNX model; None leaves it to the front end.
        training_mode: Of a `torch.nn.Module`: whether evaluation mode is wanted.
        options: Of the TensorFlow front end; each is None or empty where it was not given.

    Raises:
        UsageError: Arguments that are not for this source.
        BnoptError: As the front ends raise it.
    """
    version: dict[str, Any] = {} if opset is None else {"opset": opset}
    has_examples = example_inputs is not None
    if isinstance(source, type):
        raise UsageError(f"{source.__name__} is a class; give a model, an instance of it")
    if _is_of(source, "torch"):
        if _is_of(source, "keras"):
            raise UsageError(
                "a Keras model on the backend torch; save it as .keras and export the file, which "
                "is read with the backend TensorFlow"
            )
        given = [name for name, value in options.items() if value]
        if given or kind != "auto":
            raise UsageError(f"{', '.join(given) or 'kind'}: not for a torch.nn.Module")
        if not has_examples:
            raise UsageError("a torch.nn.Module is exported with example_inputs")
        from bnopt.frontends import torch

        return torch.export(
            source, example_inputs, folder=folder, training_mode=training_mode, **version
        )
    if has_examples:
        raise UsageError("example_inputs are for a torch.nn.Module")
    from bnopt.frontends.tensorflow import run

    return run.convert(source, kind, folder=folder, **version, **options)


def _is_of(source: object, package: str) -> bool:
    return any(one.__module__.partition(".")[0] == package for one in type(source).__mro__)
