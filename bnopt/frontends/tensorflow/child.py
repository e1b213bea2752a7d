"""From a source on disk to ONNX, in a process of its own: all that needs TensorFlow."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bnopt.frontends.records import Converted, Reference
from bnopt.frontends.tensorflow import (
    constants,
    division,
    flags,
    freezing,
    graphs,
    handlers,
    inspection,
    library,
    loading,
    recompose,
    references,
    sharing,
    surgery,
)
from bnopt.frontends.tensorflow import convert as conversion
from bnopt.frontends.tensorflow.detect import Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bnopt.frontends.tensorflow.endpoints import Wanted
    from bnopt.frontends.tensorflow.loaded import Known


def convert(
    source: Source,
    wanted: Wanted,
    *,
    opset: int,
    batch_sizes: Sequence[int],
    settings: Mapping[str, object],
    folder: str,
    known: Known | None,
) -> Converted:
    """Load, inspect, prune, freeze, convert and run.

    Args:
        source: What and where.
        wanted: Signature, inputs and outputs that were asked for.
        opset: Of the ONNX model.
        batch_sizes: Of the references.
        settings: Placeholder -> the value it always has.
        folder: An existing folder for `model.onnx`.
        known: What the layers of a Keras model know that the caller has saved.

    Raises:
        BnoptError: As the steps raise it.
    """
    library.quiet()
    path = Path(folder) / "model.onnx"
    loaded = loading.load(source, wanted, Path(folder))
    loaded.learn(known, wanted)
    settings = flags.assign(loaded, settings)
    bound = freezing.values_of(loaded.graph_def, loaded.inputs, settings)
    findings, variables = inspection.inspect(loaded, bound)
    graph_def, inputs = freezing.set_inputs(loaded.graph_def, loaded.inputs, bound)
    graph_def = graphs.subgraph(graph_def, loaded.outputs.values())
    graph_def = flags.settle(graph_def, loaded.values)
    graph_def, done = surgery.to_inference(graph_def, inputs, loaded.outputs)
    notes = [*loaded.notes, *done]
    graph_def = freezing.cut(graph_def, inputs, loaded.outputs)
    frozen = freezing.freeze(graph_def, loaded.outputs, loaded.values)
    there = {node.name for node in frozen.node}
    for name in [name for name, tensor in inputs.items() if tensor.partition(":")[0] not in there]:
        notes.append(f"input '{name}' is left out: no output depends on it")
        del inputs[name]
    drawn = [node.name for node in frozen.node if any(part in node.op for part in constants.RANDOM)]
    if drawn:
        notes.append(f"'{drawn[0]}' draws random numbers, so that no two runs need to agree")
    frozen, outputs = freezing.separate(frozen, inputs, loaded.outputs)
    computed, skipped = references.compute(frozen, inputs, outputs, batch_sizes)
    frozen = recompose.recompose(sharing.share(frozen))
    frozen = constants.fold(frozen, [*inputs.values(), *outputs.values()])
    taken = conversion.to_onnx(
        frozen,
        inputs,
        outputs,
        opset=opset,
        handlers={**handlers.HANDLERS, **division.HANDLERS},
        path=path,
    )
    return Converted(
        path=path,
        kind=source.kind,
        framework=_framework(),
        references=tuple(_fed(reference, taken) for reference in computed),
        findings=tuple(findings),
        variables=tuple(variables),
        notes=(*notes, *skipped),
    )


def _fed(reference: Reference, names: Sequence[str]) -> Reference:
    """The same with feeds of only the inputs that the ONNX model still has."""
    feeds = {name: array for name, array in reference.feeds.items() if name in names}
    return Reference(reference.batch, feeds, reference.outputs)


def _framework() -> str:
    packages = ("tensorflow", "tf2onnx")
    versions = {"tensorflow": library.load("tensorflow").__version__}
    versions["tf2onnx"] = metadata.version("tf2onnx")
    return ", ".join(f"{name} {versions[name]}" for name in packages)
