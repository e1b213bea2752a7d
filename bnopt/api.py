"""The public functions: `inspect`, `check`, `fold` and `validate`.

Each takes a path, an `onnx.ModelProto` or an `onnx_ir.Model`, and never changes its argument.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from bnopt.delivery import Clock, Progress, Proof, prove_and_write
from bnopt.errors import UsageError
from bnopt.findings import Validation
from bnopt.gates import stop_on, target_of
from bnopt.results import (
    CheckResult,
    FoldResult,
    InspectResult,
    NodeCounts,
    Timings,
    ValidateResult,
    summarise,
)
from bnopt.source import Model, Source, count_nodes

if TYPE_CHECKING:
    from bnopt.passes.outcome import Lower
    from bnopt.runtime.data import DataSource

__all__ = [
    "CheckResult",
    "FoldResult",
    "InspectResult",
    "NodeCounts",
    "Timings",
    "ValidateResult",
    "check",
    "compare",
    "fold",
    "inspect",
    "validate",
]


def inspect(
    model: Model,
    *,
    set_inputs: Mapping[str, object] | None = None,
    keep_overridable: bool = False,
) -> InspectResult:
    """Find every batch norm in a model and say what `fold` would do with it.

    Args:
        model: A path, `onnx.ModelProto` or `onnx_ir.Model`; only read.
        set_inputs: As for `fold`: sites and findings are those of the model with these inputs set.
        keep_overridable: As for `fold`.

    Raises:
        LoadError: The model cannot be read.
        UsageError: A value in `set_inputs` that does not fit the model.
    """
    from bnopt import rules
    from bnopt.passes.prepare import prepare
    from bnopt.rules.diagnosis import causes

    source = Source(model)
    work = source.model.clone()
    prepared = prepare(work, set_inputs=set_inputs, keep_overridable=keep_overridable)
    counts = count_nodes(source.model)
    view = rules.View.of(work, prepared.context)
    findings = rules.check(view)
    return InspectResult(
        info=source.info(),
        sites=prepared.plan.sites,
        summary=summarise(prepared.plan.sites),
        findings=findings,
        node_counts=NodeCounts(counts, counts),
        notes=prepared.notes,
        causes=causes(findings, view),
        statistics=rules.statistics(view),
    )


def check(
    model: Model,
    *,
    data: DataSource | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    allow: Sequence[str] = (),
    set_inputs: Mapping[str, object] | None = None,
    run: bool = True,
    provider: str = "cpu",
    max_samples: int = 1024,
    progress: Progress | None = None,
) -> CheckResult:
    """Say whether the moving statistics of a model were really updated, and what else is wrong.

    Args:
        model: A path, `onnx.ModelProto` or `onnx_ir.Model`; only read.
        data: Samples like those of the training data, as for `fold`: the moments of what every
            batch norm normalises are compared with the stored ones.
        select: Codes of the rules to apply; none stands for all.
        ignore: Codes of rules to leave out.
        allow: Codes of errors that do not count; `all` for every one.
        set_inputs: As for `fold`: what is checked is the model with these inputs set.
        run: Whether to run the model on a batch and on its samples, which shows whether outputs
            depend on the batch.
        provider: Execution provider to run on, `cpu` or `cuda`.
        max_samples: Samples of `data` beyond this are left out, with a note.
        progress: Called with (stage, done, total).

    Raises:
        LoadError: The model cannot be read.
        DataError: The data does not fit the model.
        DependencyError: The model is to be run, and there is no usable onnxruntime.
        ProviderError: The provider is not there.
        UsageError: An unknown code, or a value in `set_inputs` that does not fit the model.
    """
    from bnopt import rules
    from bnopt.checkup import examine
    from bnopt.passes.prepare import prepare
    from bnopt.rules.diagnosis import causes

    rules.check_codes((*select, *ignore), (*allow,))
    tell = progress or _silent
    tell("load", 0, 1)
    clock = Clock()
    source = Source(model)
    work = source.model.clone()
    tell("plan", 0, 1)
    prepared = prepare(work, set_inputs=set_inputs)
    seen = examine(
        work,
        prepared.context,
        data=data,
        run=run,
        provider=provider,
        max_samples=max_samples,
        tell=tell,
    )
    findings = rules.check(seen.view, select=select, ignore=ignore)
    return CheckResult(
        info=source.info(),
        sites=prepared.plan.sites,
        summary=summarise(prepared.plan.sites),
        findings=findings,
        causes=causes(findings, seen.view),
        statistics=rules.statistics(seen.view),
        behaviour=seen.view.behaviour,
        allowed=tuple(allow),
        samples=seen.samples,
        seconds=clock.lap(),
        notes=(*prepared.notes, *seen.notes),
    )


def fold(
    model: Model,
    *,
    output: str | os.PathLike[str] | None = None,
    in_place: bool = False,
    dry_run: bool = False,
    allow: Sequence[str] = (),
    data: DataSource | None = None,
    set_inputs: Mapping[str, object] | None = None,
    keep_overridable: bool = False,
    lower: Lower = "keep",
    providers: Sequence[str] = ("cpu",),
    validate: bool = True,
    progress: Progress | None = None,
) -> FoldResult:
    """Fold every batch norm that can be folded exactly, and prove the result equivalent.

    Args:
        model: A path, `onnx.ModelProto` or `onnx_ir.Model`; never changed.
        output: Where to write the folded model; None writes nothing.
        in_place: Replace the file `model` instead, which must be a path.
        dry_run: Plan only: nothing is validated or written.
        allow: Codes of error findings that do not stop the fold; `all` for every one.
        data: Inputs to validate with instead of generated ones: a path or an iterable of dicts from
            input name to array.
        set_inputs: Graph inputs to bind, name -> value: a number, a boolean, an array, nested
            lists, or text as on the command line. Type and shape are the input's. It is removed,
            and the branches that it decides are; the result is compared with the original run on
            these values.
        keep_overridable: Refuse to fold what depends on initializers that are graph inputs. By
            default they are folded and those inputs removed.
        lower: What becomes of batch norms that no operator takes in: `keep` them, or write each
            as `mul-add` (Mul and Add) or as `depthwise-conv` (a depthwise Conv of kernel size 1).
        providers: Execution providers to prove equivalence on, of `cpu` and `cuda`.
        validate: Whether to compare the result with the original before it is written.
        progress: Called with (stage, done, total).

    Raises:
        RefusalError: An error finding that is not allowed; carries `.findings` and `.result`.
        ValidationError: The result is not equivalent, so it was not written; carries `.validation`.
        LoadError: The model cannot be read.
        SaveError: The result cannot be written.
        ProviderError: A provider that was asked for is not there.
        UsageError: Arguments contradict each other, or a value in `set_inputs` does not fit the
            model.
    """
    from bnopt import rules
    from bnopt.io import gc_paused, tensor_bytes
    from bnopt.passes import apply
    from bnopt.passes.outcome import Lower
    from bnopt.passes.prepare import prepare
    from bnopt.rules.diagnosis import causes

    if lower not in get_args(Lower):
        raise UsageError(f"lower is '{lower}', not one of {', '.join(get_args(Lower))}")
    tell = progress or _silent
    tell("load", 0, 1)
    clock = Clock()
    source = Source(model)
    target = target_of(source, output, in_place)
    load_seconds = clock.lap()

    tell("plan", 0, 1)
    with gc_paused():
        work = source.model.clone()
        before, bytes_before = count_nodes(work), tensor_bytes(work)
        prepared = prepare(
            work, set_inputs=set_inputs, keep_overridable=keep_overridable, lower=lower
        )
        view = rules.View.of(work, prepared.context)
        findings = rules.check(view)
        found = prepared.plan
    plan_seconds = clock.lap()

    result = FoldResult(
        model=source.model,
        info=source.info(),
        sites=found.sites,
        findings=findings,
        summary=summarise(found.sites),
        validation=None,
        node_counts=NodeCounts(before, before),
        bytes_before=bytes_before,
        bytes_after=bytes_before,
        notes=prepared.notes,
        timings=Timings(load=load_seconds, plan=plan_seconds),
        output=None,
        dry_run=dry_run,
        bound=tuple(set_inputs or ()),
        causes=causes(findings, view),
        statistics=rules.statistics(view),
    )
    stop_on(findings, allow, result)

    tell("apply", 0, 1)
    with gc_paused():
        notes = apply(work, found)
    result = replace(
        result,
        model=work,
        node_counts=NodeCounts(before, count_nodes(work)),
        bytes_after=tensor_bytes(work),
        notes=(*prepared.notes, *notes),
        timings=replace(result.timings, apply=clock.lap()),
    )
    if not dry_run:
        # Nothing folded is equal by construction, but a provider asked for must still be there.
        needed = prepared.modified or set(providers) != {"cpu"}
        proof = Proof(validate and needed, data, providers, dict(set_inputs or {}))
        result = prove_and_write(source, result, target, proof, tell)
    return replace(result, model=source.same_kind(work))


def validate(
    original: Model,
    candidate: Model,
    *,
    providers: Sequence[str] = ("cpu",),
    data: DataSource | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Judge whether `candidate` computes the same thing as `original`.

    Args:
        original: A path, `onnx.ModelProto` or `onnx_ir.Model`.
        candidate: Likewise.
        providers: Execution providers to run on, of `cpu` and `cuda`.
        data: Inputs to compare on instead of generated ones.
        rtol: Relative tolerance; given, it replaces the measured one.
        atol: Absolute tolerance, in units of the outputs; likewise.
        progress: Called with (stage, done, total).

    Raises:
        LoadError: A model cannot be read.
        ProviderError: A provider that was asked for is not there.
        DataError: The data does not fit the model's inputs.
    """
    return compare(
        original,
        candidate,
        providers=providers,
        data=data,
        rtol=rtol,
        atol=atol,
        progress=progress,
    ).validation


def compare(
    original: Model,
    candidate: Model,
    *,
    providers: Sequence[str] = ("cpu",),
    data: DataSource | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    progress: Progress | None = None,
) -> ValidateResult:
    """The same as `validate`, with what both models say of themselves."""
    from bnopt.judge import compare_models

    first, second = Source(original), Source(candidate)
    with ExitStack() as stack:
        verdict = compare_models(
            first.on_disk(stack),
            second.on_disk(stack),
            providers=providers,
            data=data,
            rtol=rtol,
            atol=atol,
            progress=progress,
        )
    return ValidateResult(first.info(), second.info(), verdict)


def _silent(stage: str, done: int, total: int) -> None:
    return None
