"""`bnopt` itself: the commands by name, each imported only when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Iterable

import click

import bnopt

# Name -> one line for `bnopt --help`. The module of the same name holds `command`.
COMMANDS = {
    "inspect": "Find every batch norm and say what fold would do with it.",
    "check": "Say whether the moving statistics were really updated.",
    "calibrate": "Take the moving statistics from data, without the framework.",
    "fold": "Fold batch norms into the weights around them, and prove it.",
    "validate": "Judge whether two models compute the same thing.",
    "export": "From TensorFlow or Keras to a checked, folded, proven ONNX model.",
    "explain": "Document a finding's code or a refusal reason.",
}

_EPILOG = """\b
Exit codes: 0 done; 1 error findings, a refusal, or not equivalent;
            2 usage, bad input, missing provider; 130 interrupted.
Shell completion:
  bash  eval "$(_BNOPT_COMPLETE=bash_source bnopt)"
  zsh   eval "$(_BNOPT_COMPLETE=zsh_source bnopt)"
  fish  _BNOPT_COMPLETE=fish_source bnopt | source
Environment: NO_COLOR=1 switches colour off; BNOPT_TRACEBACK=1 shows tracebacks.
"""


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None if there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bnopt.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest names for an unknown one."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"no such command '{args[0]}'{nearest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """As click does, but Ctrl-C prints nothing by itself."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise click.Abort from interrupt

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and summaries from `COMMANDS`."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x' or 'y'?`, or nothing."""
    import difflib

    matches = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(match) for match in matches)}?" if matches else ""


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(bnopt.__version__, prog_name="bnopt")
def group() -> None:
    """Find, check, repair, fold and prove batch normalization in ONNX models."""
