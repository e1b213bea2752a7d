"""`bnopt inspect`."""

from __future__ import annotations

import click

from bnopt.cli.emit import emit
from bnopt.cli.options import json_option, set_input_option


@click.command("inspect")
@click.argument("model", metavar="MODEL")
@set_input_option
@json_option
def command(model: str, set_inputs: dict[str, str], as_json: bool) -> int:
    """Find every batch norm and say what fold would do with it.

    Nothing is written. The exit code is 1 if a finding is of severity error.
    """
    from bnopt import api

    result = api.inspect(model, set_inputs=set_inputs)
    emit(result, as_json=as_json)
    return int(any(finding.severity == "error" for finding in result.findings))
