"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bnopt.cli.group import nearest

if TYPE_CHECKING:
    from bnopt.runtime.data import DataSource

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
        help="Inputs to compare on, not generated ones: an .npz or .npy file, a folder of these, "
        "of .pb test data or of images, or package.module:function that yields dicts.",
    )(command)


def preprocess_option(command: Command) -> Command:
    """`--preprocess`."""
    return click.option(
        "preprocess",
        "--preprocess",
        metavar="SPEC",
        help="What to do with images: a preset (imagenet, caffe, tf, none), or settings such as "
        "resize=256,crop=224,scale=1/255,mean=0.5,std=0.5,layout=nchw, or both.",
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


def allow_option(command: Command) -> Command:
    """`--allow`, repeatable."""
    return click.option(
        "--allow",
        metavar="CODE",
        multiple=True,
        callback=_allowed,
        help="Go on in spite of error findings with this code, or all; repeatable.",
    )(command)


def keep_overridable_option(command: Command) -> Command:
    """`--keep-overridable`."""
    return click.option(
        "--keep-overridable",
        is_flag=True,
        help="Keep what depends on initializers that are graph inputs too.",
    )(command)


def lower_option(command: Command) -> Command:
    """`--lower`."""
    return click.option(
        "--lower",
        type=click.Choice(["keep", "mul-add", "depthwise-conv"]),
        default="keep",
        show_default=True,
        help="What to write for batch norms that cannot be folded.",
    )(command)


def training_mode_option(command: Command) -> Command:
    """`--training-mode`."""
    return click.option(
        "training_mode",
        "--training-mode",
        type=click.Choice(["refuse", "eval"]),
        default="refuse",
        show_default=True,
        help="Batch norms in training mode: stop, or put them into inference mode; with --data "
        "like the training data, wrong statistics are repaired first, as by calibrate.",
    )(command)


def codes_option(name: str, text: str) -> Callable[[Command], Command]:
    """An option that takes codes of rules, comma separated and repeatable."""
    return click.option(f"--{name}", metavar="CODES", multiple=True, callback=_codes, help=text)


def html_option(command: Command) -> Command:
    """`--html`."""
    return click.option(
        "html",
        "--html",
        metavar="FILE",
        callback=_page,
        help="Write a report as one self-contained web page, too.",
    )(command)


def _allowed(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    _refuse_unknown(values, ["all"], ctx, param)
    return values


def _codes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    codes = tuple(part.strip() for value in values for part in value.split(","))
    if "" in codes:
        raise click.BadParameter("a code is missing; separate codes by one comma", ctx, param)
    _refuse_unknown(codes, [], ctx, param)
    return tuple(dict.fromkeys(codes))


def _refuse_unknown(
    codes: tuple[str, ...], others: list[str], ctx: click.Context, param: click.Parameter
) -> None:
    if not codes:
        return
    from bnopt.frontends.tensorflow.mistakes import MISTAKES
    from bnopt.rules import RULES

    known = [*others, *(rule.code for rule in RULES), *(module.CODE for module in MISTAKES)]
    for code in codes:
        if code not in known:
            message = f"no rule has the code '{code}'{nearest(code, known)}"
            raise click.BadParameter(message, ctx, param)


def _page(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """Refuse what cannot be written before there is work to lose."""
    if value is None:
        return None
    path = Path(value)
    try:
        if path.is_dir():
            raise click.BadParameter(f"'{value}' is a folder", ctx, param)
        if not path.parent.is_dir():
            raise click.BadParameter(f"no such folder: '{path.parent}'", ctx, param)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"'{value}' is no path: {error}", ctx, param) from error
    return path


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


def data_of(data: str | None, preprocess: str | None) -> DataSource | None:
    """What `--data` and `--preprocess` name together.

    Raises:
        click.UsageError: There is something to prepare, but no data.
        UsageError: The settings are none, or the data are no images.
    """
    if data is None:
        if preprocess is not None:
            raise click.UsageError("--preprocess says what to do with --data, and there is none")
        return None
    from bnopt.runtime.data import data_source

    return data_source(data, preprocess)


def refuse_to_overwrite(page: Path | None, *models: str | Path | None) -> None:
    """Refuse a web page that would replace a model.

    Raises:
        click.UsageError: `page` is one of `models`.
    """
    if page is not None and any(model is not None and same_file(page, model) for model in models):
        raise click.UsageError(f"--html would replace the model '{page}'")


def default_output(model: str, what: str) -> Path:
    """`x.WHAT.onnx` beside `x.onnx`, `x.pb` or `x.onnx.pb`."""
    path = Path(model)
    stem = path.name
    for suffix in (".pb", ".onnx"):
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
    return path.with_name(f"{stem or path.name}.{what}.onnx")


def same_file(first: str | Path, second: str | Path) -> bool:
    """Whether two paths name one file, there or not."""
    one, other = Path(first), Path(second)
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        # One is missing, which is for others to say.
        return one.absolute() == other.absolute()
