"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("as_json", "--json", is_flag=True, help="Print one JSON object on stdout.")(
        command
    )


def provider_option(command: Command) -> Command:
    """`--provider`, repeatable."""
    return click.option(
        "providers",
        "--provider",
        type=click.Choice(["cpu", "cuda"]),
        multiple=True,
        default=("cpu",),
        show_default="cpu",
        help="Execution provider to prove equivalence on; repeatable.",
    )(command)


def data_option(command: Command) -> Command:
    """`--data`."""
    return click.option(
        "data",
        "--data",
        metavar="D",
        help="Inputs to compare on, not generated ones: an .npz file, a folder of .npz, .npy or "
        ".pb test data, or package.module:function that yields dicts.",
    )(command)


def set_input_option(command: Command) -> Command:
    """`--set-input`, repeatable."""
    return click.option(
        "set_inputs",
        "--set-input",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_settings,
        help="Bind a graph input to a constant, such as is_training=false, and drop the branches "
        "that it rules out; a number, true, false, or a list of these; repeatable.",
    )(command)


def _settings(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Input name -> the text it is set to."""
    found: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not name or not equals or not value.strip():
            raise click.BadParameter(f"'{text}' is not NAME=VALUE", ctx, param)
        if name in found:
            raise click.BadParameter(f"the input '{name}' is set twice", ctx, param)
        found[name] = value
    return found


def tolerance(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """Refuse a tolerance that is negative, infinite or NaN."""
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise click.BadParameter("it must be a finite number, not negative", ctx, param)
    return value
