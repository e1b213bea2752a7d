"""`bnopt fold`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from bnopt.cli.emit import emit, emit_refusal, write_html
from bnopt.cli.options import (
    allow_option,
    data_of,
    data_option,
    default_output,
    html_option,
    json_option,
    keep_overridable_option,
    lower_option,
    preprocess_option,
    provider_option,
    refuse_to_overwrite,
    same_file,
    set_input_option,
    training_mode_option,
)
from bnopt.cli.progress import progress_bar
from bnopt.errors import RefusalError


@click.command("fold")
@click.argument("model", metavar="MODEL")
@click.option(
    "output",
    "-o",
    "--output",
    metavar="OUT",
    help="Where to write; by default NAME.folded.onnx beside NAME.onnx.",
)
@click.option("--in-place", is_flag=True, help="Replace MODEL.")
@click.option("--dry-run", is_flag=True, help="Say what would be folded; write nothing.")
@click.option("--no-validate", is_flag=True, help="Write without comparing the models.")
@allow_option
@data_option
@preprocess_option
@set_input_option
@keep_overridable_option
@lower_option
@training_mode_option
@provider_option
@html_option
@json_option
def command(
    model: str,
    output: str | None,
    in_place: bool,
    dry_run: bool,
    no_validate: bool,
    allow: tuple[str, ...],
    data: str | None,
    preprocess: str | None,
    set_inputs: dict[str, str],
    keep_overridable: bool,
    lower: Literal["keep", "mul-add", "depthwise-conv"],
    training_mode: Literal["refuse", "eval"],
    providers: tuple[str, ...],
    html: Path | None,
    as_json: bool,
) -> int:
    """Fold every batch norm that can be folded exactly, and prove it.

    Findings of severity error stop it before anything is written, and so does a folded model that
    does not compute the same as MODEL.
    """
    if in_place and output is not None:
        raise click.UsageError("--in-place and -o exclude each other")
    if output is not None and same_file(output, model):
        raise click.UsageError(f"'{output}' is the input; to replace it, say --in-place")
    target = None if in_place or dry_run else Path(output or default_output(model, "folded"))
    refuse_to_overwrite(html, model, target)
    from bnopt import api

    try:
        with progress_bar() as progress:
            result = api.fold(
                model,
                output=target,
                in_place=in_place,
                dry_run=dry_run,
                allow=allow,
                data=data_of(data, preprocess),
                set_inputs=set_inputs,
                keep_overridable=keep_overridable,
                lower=lower,
                training_mode=training_mode,
                providers=providers,
                validate=not no_validate,
                progress=progress,
            )
    except RefusalError as error:
        return emit_refusal(error, as_json=as_json, html=html)
    write_html(result, html)
    emit(result, as_json=as_json)
    return 0
