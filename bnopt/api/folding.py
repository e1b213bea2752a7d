"""`fold`: batch norms into the weights around them, and the proof."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from bnopt.delivery import Clock, Progress, Proof, prove_and_write, silent
from bnopt.errors import UsageError
from bnopt.gates import stop_on, target_of
from bnopt.remedy import Repaired, TrainingMode, repair
from bnopt.results import FoldResult, NodeCounts, Timings, summarise
from bnopt.source import Model, Source, count_nodes

if TYPE_CHECKING:
    from bnopt.passes.outcome import Lower
    from bnopt.runtime.data import DataSource


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
    training_mode: TrainingMode = "refuse",
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
        training_mode: What becomes of batch norms in training mode: `refuse` stops at them; `eval`
            puts them into inference mode, with the statistics that they store, or, with `data`,
            with those of the data. With `data` wrong statistics are repaired, too, as by
            `calibrate`. The result is then compared with the repaired model.
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
    from bnopt.runtime.data import read_again

    if lower not in get_args(Lower):
        raise UsageError(f"lower is '{lower}', not one of {', '.join(get_args(Lower))}")
    if training_mode not in get_args(TrainingMode):
        known = ", ".join(get_args(TrainingMode))
        raise UsageError(f"training_mode is '{training_mode}', not one of {known}")
    tell = progress or silent
    tell("load", 0, 1)
    clock = Clock()
    given = Source(model)
    target = target_of(given, output, in_place)
    load_seconds = clock.lap()
    repaired, data = Repaired(given), read_again(data)
    if training_mode == "eval":
        repaired = repair(given, data, set_inputs, providers[0] if providers else "cpu", tell)
    source = repaired.source
    if source is not given:
        set_inputs = None
    repair_seconds = clock.lap()

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
        info=given.info(),
        sites=found.sites,
        findings=findings,
        summary=summarise(found.sites),
        validation=None,
        node_counts=NodeCounts(before, before),
        bytes_before=bytes_before,
        bytes_after=bytes_before,
        notes=(*repaired.notes, *prepared.notes),
        timings=Timings(load=load_seconds, calibrate=repair_seconds, plan=plan_seconds),
        output=None,
        dry_run=dry_run,
        bound=repaired.bound or tuple(set_inputs or ()),
        calibration=repaired.calibration,
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
        notes=(*result.notes, *notes),
        timings=replace(result.timings, apply=clock.lap()),
    )
    if not dry_run:
        # Nothing folded is equal by construction, but a provider asked for must still be there.
        needed = prepared.modified or set(providers) != {"cpu"}
        proof = Proof(validate and needed, data, providers, dict(set_inputs or {}))
        result = prove_and_write(source, result, target, proof, tell)
    return replace(result, model=given.same_kind(work))
