"""`export`: from TensorFlow, Keras and PyTorch to a checked, folded, proven ONNX model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bnopt.api.auditing import check, inspect
from bnopt.api.calibrating import calibrate
from bnopt.api.folding import fold as fold_model
from bnopt.delivery import Clock, Progress, silent
from bnopt.errors import RefusalError, UsageError
from bnopt.findings import REPAIRABLE, Finding
from bnopt.frontends.dispatch import convert
from bnopt.frontends.records import none_ever_moved
from bnopt.gates import stop_on, stop_on_difference, unsaid
from bnopt.remedy import BATCH_MODES
from bnopt.results import CalibrateResult, ExportResult, Timings
from bnopt.source import Source

if TYPE_CHECKING:
    from bnopt.evidence import Agreement
    from bnopt.frontends.records import Converted
    from bnopt.passes.outcome import Lower
    from bnopt.remedy import TrainingMode
    from bnopt.results import FoldResult
    from bnopt.runtime.data import DataSource


_BATCHWISE = BATCH_MODES | {"batch-dependence"}
"""One thing, as the graph, the model and its outputs show it: allowing one allows the others."""


def export(
    source: object,
    *,
    output: str | os.PathLike[str] | None = None,
    kind: str = "auto",
    example_inputs: Any = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    signature: str | None = None,
    opset: int | None = None,
    set_inputs: Mapping[str, object] | None = None,
    fold: bool = True,
    allow: Sequence[str] = (),
    data: DataSource | None = None,
    training_mode: TrainingMode = "refuse",
    keep_overridable: bool = False,
    lower: Lower = "keep",
    providers: Sequence[str] = ("cpu",),
    validate: bool = True,
    progress: Progress | None = None,
) -> ExportResult:
    """Export a model to ONNX with its batch norms right: inspect, convert, check, fold, compare.

    The variables are looked at before they are frozen, no tool folds a batch norm before `check`
    has seen it, and the result is compared with what the framework computes, at batch 1 and 8.

    Args:
        source: The path of a SavedModel, a frozen GraphDef, a checkpoint with its meta graph, a
            `.keras` or `.h5` file; or a Keras model, a `tf.function`, a concrete function, or a
            `torch.nn.Module`.
        output: Where to write the ONNX model; None writes nothing.
        kind: `saved-model`, `keras`, `frozen-graph`, `checkpoint`; `auto` finds out.
        example_inputs: Of a `torch.nn.Module`: what its `forward` takes, with a batch as leading
            axis: a tensor, a tuple or list of arguments, or a dict of keyword arguments.
        inputs: Names of inputs, where the source does not say which they are.
        outputs: Names of outputs, likewise.
        signature: Of a SavedModel; None: `serving_default`, or the only one.
        opset: Of the ONNX model; None leaves it to the front end.
        set_inputs: Placeholders that always have one value, such as `{"is_training": False}`.
        fold: Whether to fold batch norms.
        allow: Codes of error findings that do not stop it; `all` for every one.
        data: As for `fold`.
        training_mode: As for `fold`.
        keep_overridable: As for `fold`.
        lower: As for `fold`.
        providers: As for `fold`.
        validate: Whether to compare with the framework, and the folded model with the converted.
        progress: Called with (stage, done, total).

    Raises:
        RefusalError: A finding of severity error that is not allowed; carries `.findings` and
            `.result`.
        ValidationError: The model does not compute what the framework does, so it was not written.
        LoadError: The source cannot be read.
        DependencyError: A package of the framework is not installed.
        ExecutionError: It cannot be converted; the message names operators that are not known.
        SaveError: The result cannot be written.
        UsageError: Arguments that contradict each other or do not fit the source.
    """
    from bnopt.graph.types import half_outputs
    from bnopt.runtime.data import read_again

    tell = progress or silent
    target = None if output is None else Path(output)
    if target is not None and target.suffix != ".onnx":
        raise UsageError(f"'{target}' does not end in .onnx")
    if target is not None and not target.absolute().parent.is_dir():
        raise UsageError(f"no such folder: '{target.parent}'")
    data = read_again(data)
    if _BATCHWISE & {*allow}:
        allow = (*allow, *_BATCHWISE)
    clock = Clock()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bnopt-")))
        tell("convert", 0, 1)
        converted = convert(
            source,
            kind,
            example_inputs,
            folder=folder,
            opset=opset,
            training_mode=training_mode,
            inputs=inputs,
            outputs=outputs,
            signature=signature,
            set_inputs=set_inputs,
        )
        result = _converted(source, converted, clock.lap())
        half = half_outputs(result.model)
        repairing = data is not None and training_mode == "eval" and fold
        # Fold puts batch norms into inference mode, or says why it cannot.
        left_to_fold = BATCH_MODES if training_mode == "eval" and fold else frozenset[str]()
        waived = REPAIRABLE if repairing else left_to_fold
        stop_on(converted.findings, {*allow, *waived}, result)
        path, calibration = converted.path, None
        if repairing and _codes(converted, REPAIRABLE):
            path = folder / "calibrated.onnx"
            calibration = _calibrated(converted, path, data, providers, allow, result, tell)
            result = replace(result, calibration=calibration)
        if fold:
            folded = _fold(
                result,
                path,
                tell,
                # What is known of a batch norm holds for the statistics that it came with.
                judged={} if calibration or data is not None else converted.judged,
                allow=allow,
                data=data,
                # What has just been taken from the data need not be measured again.
                training_mode="refuse" if calibration else training_mode,
                keep_overridable=keep_overridable,
                lower=lower,
                providers=providers,
                validate=validate,
            )
            calibration = calibration or folded.calibration
            result = replace(result, model=folded.model, fold=folded, calibration=calibration)
        else:
            found = _unjudged(inspect(path).findings, converted.judged)
            result = replace(result, findings=(*result.findings, *unsaid(found, result.findings)))
            stop_on(result.findings, allow, result)
        clock.lap()
        tell("save", 0, 1)
        from bnopt import io

        place = folder / "exported.onnx" if target is None else target
        staged = stack.enter_context(io.stage(result.model, place))
        save_seconds = clock.lap()
        if validate:
            tell("validate", 0, 1)
            shown = staged.path if calibration is None else converted.path
            result = replace(result, agreement=_agreement(shown, converted, providers, half))
            stop_on_difference(result)
            # Whatever the graph looks like: an answer must not hang on its neighbours.
            seen = check(staged.path, select=["batch-dependence"], provider=_first(providers))
            result = replace(
                result, findings=(*result.findings, *unsaid(seen.findings, result.findings))
            )
            stop_on(seen.findings, allow, result)
        timings = replace(result.timings, validate=clock.lap(), save=save_seconds)
        written = None if target is None else staged.commit()
        return replace(result, output=written, timings=timings)


def _converted(source: object, converted: Converted, seconds: float) -> ExportResult:
    is_path = isinstance(source, str | os.PathLike)
    name = os.fspath(cast("str", source)) if is_path else type(source).__name__
    loaded = Source(converted.path)
    return ExportResult(
        model=loaded.model,
        source=name,
        kind=converted.kind,
        framework=converted.framework,
        info=replace(loaded.info(), path=None),
        variables=converted.variables,
        findings=converted.findings,
        fold=None,
        agreement=(),
        notes=converted.notes,
        timings=Timings(load=seconds),
        output=None,
    )


def _codes(converted: Converted, of: Collection[str]) -> list[str]:
    """Codes of errors and warnings about the source, those in `of` alone."""
    found = (one.code for one in converted.findings if one.severity != "info")
    return [code for code in found if code in of]


def _calibrated(
    converted: Converted,
    path: Path,
    data: DataSource | None,
    providers: Sequence[str],
    allow: Sequence[str],
    result: ExportResult,
    tell: Progress,
) -> CalibrateResult:
    """Write the converted model with statistics from data to `path`.

    Raises:
        RefusalError: A batch norm cannot be calibrated, and that is not allowed.
    """
    assert data is not None
    codes = _codes(converted, REPAIRABLE)
    found = calibrate(
        converted.path,
        data,
        output=path,
        provider=_first(providers),
        assume_never_updated=none_ever_moved(converted.variables),
        progress=tell,
    )
    if found.kept and not {"all", *codes} & {*allow}:
        first = found.kept[0]
        raise RefusalError(
            f"{codes[0]}, and '{first.name}' cannot be calibrated: {first.reason}: "
            f"{first.message}; or --allow {codes[0]}",
            findings=converted.findings,
            result=replace(result, calibration=found),
        )
    return found


def _fold(
    result: ExportResult,
    path: Path,
    tell: Progress,
    *,
    judged: Mapping[str, frozenset[str]],
    allow: Sequence[str],
    **options: Any,
) -> FoldResult:
    """Fold the converted model; a refusal carries the export so far.

    Findings about what the front end knows better (`Converted.judged`) stop nothing, and are left
    out.
    """
    try:
        folded = fold_model(path, progress=tell, allow=allow, **options)
    except RefusalError as error:
        if error.findings and not _unjudged(error.findings, judged):
            codes = [one.code for one in error.findings]
            return _fold(result, path, tell, judged=judged, allow=[*allow, *codes], **options)
        if error.result is not None:
            known = _unjudged(error.result.findings, judged)
            error.result = replace(result, fold=replace(error.result, findings=known))
        raise
    return replace(folded, findings=_unjudged(folded.findings, judged))


def _unjudged(
    findings: Sequence[Finding], judged: Mapping[str, frozenset[str]]
) -> tuple[Finding, ...]:
    """Findings of which the front end does not know better."""
    return tuple(one for one in findings if one.code not in judged.get(one.site or "", ()))


def _agreement(
    path: Path, converted: Converted, providers: Sequence[str], half: Collection[str]
) -> tuple[Agreement, ...]:
    from bnopt.judge.agreement import agreement

    references = [(one.batch, one.feeds, one.outputs) for one in converted.references]
    return agreement(path, references, half=half, provider=_first(providers))


def _first(providers: Sequence[str]) -> str:
    return providers[0] if providers else "cpu"
