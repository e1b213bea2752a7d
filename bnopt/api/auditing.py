"""`inspect` and `check`: what a model holds, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bnopt.delivery import Clock, Progress, silent
from bnopt.results import CheckResult, InspectResult, NodeCounts, summarise
from bnopt.source import Model, Source, count_nodes

if TYPE_CHECKING:
    from bnopt.runtime.data import DataSource


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
    tell = progress or silent
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
