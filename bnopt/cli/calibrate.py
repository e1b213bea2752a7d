"""`bnopt calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from bnopt.cli.emit import emit, write_html
from bnopt.cli.options import (
    data_of,
    default_output,
    html_option,
    json_option,
    preprocess_option,
    refuse_to_overwrite,
    same_file,
    set_input_option,
)
from bnopt.cli.progress import progress_bar


@click.command("calibrate")
@click.argument("model", metavar="MODEL")
@click.option(
    "data",
    "--data",
    metavar="D",
    required=True,
    help="Unlabelled samples like those of the training data, prepared in the same way: an .npz or "
    ".npy file, a folder of these, of .pb test data or of images, or package.module:function.",
)
@preprocess_option
@click.option(
    "output",
    "-o",
    "--output",
    metavar="OUT",
    help="Where to write; by default NAME.calibrated.onnx beside NAME.onnx.",
)
@click.option("--in-place", is_flag=True, help="Replace MODEL.")
@click.option(
    "--method",
    type=click.Choice(["precise", "sequential"]),
    default="precise",
    show_default=True,
    help="precise: one pass, in which every batch norm normalises by its batch, as in training. "
    "sequential: one pass for each depth, each with all earlier batch norms final; exact at any "
    "batch size.",
)
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N", help="Use so many samples.  [all]"
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Samples in a batch.  [32, or what the model fixes]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="S",
    help="Shuffle the samples, before --samples takes the first of them.",
)
@click.option(
    "--resume",
    metavar="FILE",
    help="Keep partial moments in FILE, and go on from what it holds; removed in the end.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "dask"]),
    default="local",
    show_default=True,
    help="Run here, or on the processes or machines of a dask cluster.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Of the dask cluster.  [one on this machine]")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Processes of a dask cluster here."
)
@click.option(
    "--provider",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Execution provider to run on.",
)
@set_input_option
@click.option(
    "--assume-never-updated",
    is_flag=True,
    help="Take batch norms that an exporter has merged into Mul and Add for ones with mean 0 and "
    "variance 1; where the numbers show it, they are in any case.",
)
@click.option(
    "--no-validate",
    is_flag=True,
    help="Do not compare batch norms that had to be rewritten with the original.",
)
@html_option
@json_option
@click.option("--verbose", "-v", is_flag=True, help="List every batch norm, not the first few.")
def command(
    model: str,
    data: str,
    preprocess: str | None,
    output: str | None,
    in_place: bool,
    method: Literal["precise", "sequential"],
    samples: int | None,
    batch_size: int | None,
    seed: int | None,
    resume: str | None,
    engine: Literal["local", "dask"],
    scheduler: str | None,
    workers: int | None,
    provider: str,
    set_inputs: dict[str, str],
    assume_never_updated: bool,
    no_validate: bool,
    html: Path | None,
    as_json: bool,
    verbose: bool,
) -> int:
    """Take the moving statistics from data, and write a model in inference mode.

    For statistics that are wrong, stale or were never updated, and for batch norms in training
    mode. No labels, no framework and no training are needed: weights, gamma and beta stay as they
    are. Then fold the result.
    """
    if in_place and output is not None:
        raise click.UsageError("--in-place and -o exclude each other")
    if output is not None and same_file(output, model):
        raise click.UsageError(f"'{output}' is the input; to replace it, say --in-place")
    if engine == "local" and (scheduler is not None or workers is not None):
        raise click.UsageError("--scheduler and --workers are for --engine dask")
    if scheduler is not None and workers is not None:
        raise click.UsageError("--workers is for a cluster on this machine, not for --scheduler")
    target = None if in_place else Path(output or default_output(model, "calibrated"))
    if resume is not None and any(
        same_file(resume, other) for other in (model, target, data) if other is not None
    ):
        raise click.UsageError(f"--resume would replace '{resume}'")
    refuse_to_overwrite(html, model, target)
    from bnopt import api

    samples_of = data_of(data, preprocess)
    assert samples_of is not None
    with progress_bar() as progress:
        result = api.calibrate(
            model,
            samples_of,
            output=target,
            in_place=in_place,
            method=method,
            engine=engine,
            scheduler=scheduler,
            workers=workers,
            samples=samples,
            batch_size=batch_size,
            seed=seed,
            resume=resume,
            set_inputs=set_inputs,
            provider=provider,
            assume_never_updated=assume_never_updated,
            validate=not no_validate,
            progress=progress,
        )
    write_html(result, html)
    emit(result, as_json=as_json, verbose=verbose)
    return 0
