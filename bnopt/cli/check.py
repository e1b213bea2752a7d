"""`bnopt check`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bnopt.cli.emit import write_html, write_json
from bnopt.cli.options import (
    allow_option,
    codes_option,
    data_of,
    html_option,
    json_option,
    preprocess_option,
    refuse_to_overwrite,
    set_input_option,
)
from bnopt.cli.progress import progress_bar

if TYPE_CHECKING:
    from bnopt.results import CheckResult


@click.command("check")
@click.argument("model", metavar="MODEL")
@click.option(
    "data",
    "--data",
    metavar="D",
    help="Samples like those of the training data, to compare the statistics with: an .npz or .npy "
    "file, a folder of these, of .pb test data or of images, or package.module:function.",
)
@preprocess_option
@click.option(
    "samples",
    "--samples",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many samples of --data to use.  [default: 1024]",
)
@codes_option("select", "Apply only these rules, comma separated; repeatable.")
@codes_option("ignore", "Leave out these rules, comma separated; repeatable.")
@allow_option
@set_input_option
@click.option("--no-run", is_flag=True, help="Judge by the numbers alone; run nothing.")
@click.option(
    "--provider",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Execution provider to run on.",
)
@click.option(
    "form",
    "--output-format",
    type=click.Choice(["text", "json", "sarif", "github"]),
    show_default="text",
    help="What to print: SARIF 2.1.0 for code scanning, annotations for a GitHub workflow.",
)
@json_option
@html_option
@click.option("--verbose", "-v", is_flag=True, help="List every finding, not the first few.")
def command(
    model: str,
    data: str | None,
    preprocess: str | None,
    samples: int | None,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    allow: tuple[str, ...],
    set_inputs: dict[str, str],
    no_run: bool,
    provider: str,
    form: str | None,
    as_json: bool,
    html: Path | None,
    verbose: bool,
) -> int:
    """Say whether the moving statistics were really updated, and what else is wrong.

    Nothing is changed. The exit code is 1 if a finding is of severity error and its code not given
    to --allow.
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --output-format {form} exclude each other")
    if both := [code for code in select if code in ignore]:
        raise click.UsageError(f"'{both[0]}' is both selected and ignored")
    if samples is not None and data is None:
        raise click.UsageError("--samples says how much of --data to use, and there is none")
    refuse_to_overwrite(html, model)
    from bnopt import api

    with progress_bar() as progress:
        result = api.check(
            model,
            data=data_of(data, preprocess),
            select=select,
            ignore=ignore,
            allow=allow,
            set_inputs=set_inputs,
            run=not no_run,
            provider=provider,
            max_samples=samples or 1024,
            progress=progress,
        )
    # Nobody should take a clean result for more than it is.
    chosen = [("only these rules were applied", select), ("these rules were left out", ignore)]
    notes = [f"{text}: {', '.join(codes)}" for text, codes in chosen if codes]
    result = replace(result, notes=(*result.notes, *notes))
    write_html(result, html)
    _show(result, "json" if as_json else form, verbose)
    return int(not result.ok)


def _show(result: CheckResult, form: str | None, verbose: bool) -> None:
    if form == "json":
        from bnopt.report import json

        write_json(json.report(result))
    elif form == "sarif":
        from bnopt.report import sarif

        write_json(sarif.report(result))
    elif form == "github":
        from bnopt.report import annotations

        sys.stdout.write(annotations.text(result))
    else:
        from bnopt.report import terminal

        terminal.show(terminal.text(result, verbose=verbose), sys.stdout)
