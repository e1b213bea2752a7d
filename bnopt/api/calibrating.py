"""`calibrate`: moving statistics from data, without the framework."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnopt.delivery import Clock, Progress, silent
from bnopt.errors import UsageError
from bnopt.gates import target_of
from bnopt.remedy import Wish, calibrated
from bnopt.results import CalibrateResult, Engine, Method
from bnopt.source import Model, Source

if TYPE_CHECKING:
    from bnopt.runtime.data import DataSource


def calibrate(
    model: Model,
    data: DataSource,
    *,
    output: str | os.PathLike[str] | None = None,
    in_place: bool = False,
    method: Method = "precise",
    engine: Engine = "local",
    scheduler: str | None = None,
    workers: int | None = None,
    samples: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    resume: str | os.PathLike[str] | None = None,
    set_inputs: Mapping[str, object] | None = None,
    provider: str = "cpu",
    assume_never_updated: bool = False,
    validate: bool = True,
    progress: Progress | None = None,
) -> CalibrateResult:
    """Take the moving statistics of every batch norm from data, by running it through the model.

    Mean and population variance are those of what each batch norm normalises, over all samples and
    positions, the variance between batches included. A batch norm in training mode, or one that
    computes the statistics of its batch, becomes an ordinary one in inference mode. Weights, gamma
    and beta stay as they are.

    Args:
        model: A path, `onnx.ModelProto` or `onnx_ir.Model`; only read.
        data: Unlabelled samples like those the model was trained on, prepared in the same way: a
            path or name as on the command line, a mapping from input name to an array of samples,
            an iterable of feeds (input name -> array with the batch as leading axis) or a function
            that returns one, or an `ImageFolder`.
        output: Where to write the calibrated model; None writes nothing.
        in_place: Replace the file `model` instead, which must be a path.
        method: `precise`: every batch norm normalises with its batch's own statistics while the
            moments are gathered, as in training; one pass. `sequential`: each is measured once all
            before it have their new statistics; the exact fixed point, one pass for each depth.
        engine: `local`, or `dask` for shards of the data on several processes or machines.
        scheduler: Address of a dask scheduler; None starts a cluster on this machine.
        workers: Processes of that cluster; None is one for each core.
        samples: Samples of `data` beyond this are left out; None takes all.
        batch_size: Samples in a batch; None stands for 32, or for what the model fixes.
        seed: Shuffles the samples before any are left out; None takes them as they come.
        resume: A file for partial moments. What is in it of an earlier run with the same arguments
            is not run again; it is removed when the run is complete.
        set_inputs: As for `fold`: what is calibrated is the model with these inputs set.
        provider: Execution provider to run on, `cpu` or `cuda`.
        assume_never_updated: Whether batch norms that an exporter has merged into Mul and Add may
            be taken for ones with mean 0 and variance 1, so that gamma and beta are known. Where
            the numbers show it, they are in any case.
        validate: Whether to compare batch norms that had to be rewritten with the original, on one
            batch.
        progress: Called with (stage, done, total).

    Raises:
        RefusalError: No batch norm can be calibrated, or what was measured is no statistics (not
            finite, or a single number).
        ValidationError: A rewritten batch norm does not compute what the original did; a
            `RefusalError`.
        LoadError: The model cannot be read.
        SaveError: The result cannot be written.
        DataError: The data cannot be read or does not fit the model.
        ExecutionError: The model does not run.
        DependencyError: No usable onnxruntime, or a package that the engine or the data needs.
        ProviderError: The provider is not there.
        UsageError: Arguments contradict each other, or partial moments are of another run.
    """
    tell = progress or silent
    tell("load", 0, 1)
    clock = Clock()
    source = Source(model)
    target = target_of(source, output, in_place)
    partial = None if resume is None else Path(resume)
    if partial is not None and not partial.absolute().parent.is_dir():
        raise UsageError(f"no folder for partial moments: '{partial.parent}'")
    load_seconds = clock.lap()
    wish = Wish(
        data=data,
        method=method,
        engine=engine,
        scheduler=scheduler,
        workers=workers,
        samples=samples,
        batch_size=batch_size,
        seed=seed,
        resume=partial,
        set_inputs=set_inputs,
        provider=provider,
        assume_never_updated=assume_never_updated,
        validate=validate,
    )
    with calibrated(source, wish, tell) as result:
        clock.lap()
        if target is not None:
            tell("save", 0, 1)
            from bnopt import io

            with io.stage(result.model, target) as staged:
                result = replace(result, output=staged.commit())
    timings = replace(result.timings, load=load_seconds, save=clock.lap())
    return replace(result, timings=timings, model=source.same_kind(result.model))
