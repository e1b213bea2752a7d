"""`bnopt export`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Literal

import click

from bnopt.cli.emit import emit, emit_refusal, write_html
from bnopt.cli.options import (
    allow_option,
    data_of,
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


@click.command("export")
@click.argument("source", metavar="SOURCE")
@click.option("output", "-o", "--output", metavar="OUT", required=True, help="Where to write.")
@click.option(
    "kind",
    "--from",
    type=click.Choice(["auto", "saved-model", "keras", "frozen-graph", "checkpoint"]),
    default="auto",
    show_default=True,
    help="What SOURCE is.",
)
@click.option("inputs", "--input", metavar="NAME", multiple=True, help="An input; repeatable.")
@click.option(
    "outputs", "--output-name", metavar="NAME", multiple=True, help="An output; repeatable."
)
@click.option("--signature", metavar="NAME", help="Of a SavedModel.  [serving_default]")
@click.option("--opset", type=click.IntRange(min=9), metavar="N", help="Of the ONNX model.  [17]")
@set_input_option
@click.option("--no-fold", is_flag=True, help="Leave every batch norm in the model.")
@allow_option
@click.option(
    "data",
    "--data",
    metavar="D",
    help="Samples like those of the training data, for --training-mode eval; as for calibrate.",
)
@preprocess_option
@training_mode_option
@keep_overridable_option
@lower_option
@provider_option
@click.option("--no-validate", is_flag=True, help="Write without comparing with the framework.")
@html_option
@json_option
def command(
    source: str,
    output: str,
    kind: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    signature: str | None,
    opset: int | None,
    set_inputs: dict[str, str],
    no_fold: bool,
    allow: tuple[str, ...],
    data: str | None,
    preprocess: str | None,
    training_mode: Literal["refuse", "eval"],
    keep_overridable: bool,
    lower: Literal["keep", "mul-add", "depthwise-conv"],
    providers: tuple[str, ...],
    no_validate: bool,
    html: Path | None,
    as_json: bool,
) -> int:
    """Export a TensorFlow or Keras model to ONNX with its batch norms right.

    SOURCE is the folder of a SavedModel, a .keras or .h5 file, a frozen graph (.pb), or a
    checkpoint with its meta graph (.meta). Its variables are looked at before they are frozen,
    every batch norm is checked before anything folds it, and the result is compared with what
    TensorFlow computes. PyTorch modules are exported from Python: bnopt.export(module,
    example_inputs=...).
    """
    refuse_to_overwrite(html, source, output)
    if html is not None and _is_part(html, Path(source)):
        raise click.UsageError(f"--html would replace '{html}', which is part of '{source}'")
    from bnopt import api

    try:
        with progress_bar() as progress:
            result = api.export(
                source,
                output=Path(output),
                kind=kind,
                inputs=inputs or None,
                outputs=outputs or None,
                signature=signature,
                opset=opset,
                set_inputs=set_inputs,
                fold=not no_fold,
                allow=allow,
                data=data_of(data, preprocess),
                training_mode=training_mode,
                keep_overridable=keep_overridable,
                lower=lower,
                providers=providers,
                validate=not no_validate,
                progress=progress,
            )
    except RefusalError as error:
        return emit_refusal(error, as_json=as_json, html=html)
    write_html(result, html)
    emit(result, as_json=as_json)
    return 0


def _is_part(file: Path, source: Path) -> bool:
    """Whether `file` is one of those that make up a SavedModel or a checkpoint."""
    if not file.is_file():
        return False
    if any(same_file(folder, source) for folder in file.resolve().parents):
        return file.suffix.lower() not in (".html", ".htm")
    prefix = source.name.removesuffix(".meta")
    return same_file(file.parent, source.parent) and any(
        fnmatchcase(file.name, f"{escape(prefix)}.{part}") for part in ("index", "meta", "data-*")
    )
