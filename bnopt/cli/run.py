"""From arguments to an exit code: every error is one line on stderr, and JSON if asked for."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Generator, Sequence
from itertools import pairwise
from types import FrameType

import click

from bnopt.cli.emit import complain, write_json
from bnopt.cli.group import COMMANDS, group
from bnopt.errors import BnoptError, InternalError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
_REPORT = "https://github.com/bnopt/bnopt/issues"


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see `bnopt.cli.main`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with _results_on_stdout(), _interrupts():
        _quiet_libraries()
        try:
            code = _call(arguments)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has seen enough, as in `bnopt inspect m.onnx | head -1`.
            _drop_stdout()
            code = 0
        except OSError as error:
            _drop_stdout()
            code = _fail(arguments, "output", f"cannot write to stdout: {error.strerror}", False)
        return code


def _call(arguments: list[str]) -> int:
    try:
        result = group.main(arguments, prog_name="bnopt", standalone_mode=False)
        return int(result or 0)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return EXIT_USAGE
    except click.ClickException as error:
        return _fail(arguments, "usage", _usage_message(error))
    except (click.Abort, KeyboardInterrupt):
        return _fail(arguments, "interrupted", "interrupted", code=EXIT_INTERRUPTED)
    except BnoptError as error:
        _traceback_if_asked()
        return _fail(arguments, error.code, error.message, code=error.exit_code)
    except MemoryError:
        _traceback_if_asked()
        return _fail(arguments, "memory", "out of memory")
    except BrokenPipeError:
        raise
    except (Exception, InternalError) as error:
        _traceback_if_asked()
        first = (str(error).strip().splitlines() or [""])[0]
        what = first if isinstance(error, InternalError) else f"{type(error).__name__}: {first}"
        message = f"internal error: {what}; please report it at {_REPORT} with the model"
        return _fail(arguments, "internal", message)


def _usage_message(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    help_of = context.command_path if isinstance(context, click.Context) else "bnopt"
    message = error.format_message().rstrip(".")
    return f"{message[:1].lower()}{message[1:]}; see '{help_of} --help'"


def _fail(
    arguments: list[str],
    slug: str,
    message: str,
    report: bool = True,
    code: int = EXIT_USAGE,
) -> int:
    complain(message)
    if report and wants_json(arguments):
        from bnopt.report import json

        command = next((word for word in arguments if word in COMMANDS), None)
        write_json(json.with_error(json.empty(command), slug, message))
    return code


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether the options ask for JSON; what follows `--` is no option."""
    words = list(arguments)
    options = words[: words.index("--")] if "--" in words else words
    return (
        "--json" in options
        or "--output-format=json" in options
        or ("--output-format", "json") in pairwise(options)
    )


def _traceback_if_asked() -> None:
    if os.environ.get("BNOPT_TRACEBACK") == "1":
        import traceback

        traceback.print_exc()


def _quiet_libraries() -> None:
    # onnx_ir logs, and onnx warns, about oddities of models that bnopt reports itself or that no
    # one can act on.
    logging.basicConfig(stream=sys.stderr, format="bnopt: %(name)s: %(message)s")
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    if os.environ.get("BNOPT_TRACEBACK") != "1":
        warnings.simplefilter("ignore")


@contextlib.contextmanager
def _interrupts() -> Generator[None, None, None]:
    """Treat a request to terminate like Ctrl-C, so that staged files are removed."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # Not the main thread.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _results_on_stdout() -> Generator[None, None, None]:
    """Keep stdout for the result: what C++ libraries print there goes to stderr.

    The ONNX checker writes warnings to stdout. The real stdout moves to a descriptor of its own,
    and descriptor 1 becomes a copy of descriptor 2, for this process and its children.
    """
    outer = sys.stdout
    try:
        descriptor = outer.fileno()
        stderr = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        # Closed, or replaced by something that is no file, as in tests.
        yield
        return
    outer.flush()
    kept = os.dup(descriptor)
    os.dup2(stderr, descriptor)
    inner = os.fdopen(kept, "w", encoding=outer.encoding, errors="backslashreplace")
    sys.stdout = inner
    try:
        yield
    finally:
        sys.stdout = outer
        with contextlib.suppress(OSError):
            inner.flush()
        os.dup2(kept, descriptor)
        with contextlib.suppress(OSError):
            inner.close()


def _drop_stdout() -> None:
    """Let whatever is still buffered for stdout go nowhere."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
        sys.stdout.flush()
