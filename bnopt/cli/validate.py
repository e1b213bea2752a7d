"""`bnopt validate`."""

from __future__ import annotations

import click

from bnopt.cli.emit import emit
from bnopt.cli.options import (
    data_of,
    data_option,
    json_option,
    preprocess_option,
    provider_option,
    tolerance,
)
from bnopt.cli.progress import progress_bar
from bnopt.errors import ExecutionError, ValidationError


@click.command("validate")
@click.argument("original", metavar="ORIGINAL")
@click.argument("candidate", metavar="CANDIDATE")
@provider_option
@data_option
@preprocess_option
@click.option(
    "--rtol",
    type=float,
    callback=tolerance,
    metavar="R",
    help="Relative tolerance, instead of the measured one.",
)
@click.option(
    "--atol",
    type=float,
    callback=tolerance,
    metavar="A",
    help="Absolute tolerance, in units of the outputs.",
)
@json_option
def command(
    original: str,
    candidate: str,
    providers: tuple[str, ...],
    data: str | None,
    preprocess: str | None,
    rtol: float | None,
    atol: float | None,
    as_json: bool,
) -> int:
    """Judge whether CANDIDATE computes the same thing as ORIGINAL.

    The exit code is 1 if it does not, and 2 if nothing could run the models.
    """
    from bnopt import api

    with progress_bar() as progress:
        result = api.compare(
            original,
            candidate,
            providers=providers,
            data=data_of(data, preprocess),
            rtol=rtol,
            atol=atol,
            progress=progress,
        )
    verdict = result.validation
    if verdict.equivalent:
        emit(result, as_json=as_json)
        return 0
    if verdict.equivalent is None:
        reason = next(iter(verdict.notes), "nothing could run the models")
        message = f"equivalence is not proven: {reason}"
        emit(result, as_json=as_json, code=ExecutionError.code, message=message)
        return ExecutionError.exit_code
    bad = [output for output in verdict.outputs if not output.equivalent]
    reason = next((o.message for o in bad if o.message), f"{len(bad)} outputs differ")
    message = f"not equivalent: {reason}"
    emit(result, as_json=as_json, code=ValidationError.code, message=message)
    return ValidationError.exit_code
