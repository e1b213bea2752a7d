"""The command line. Importing it costs nothing; each command imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `bnopt`.

    Args:
        argv: Arguments without the program's name; None for those of the process.

    Returns:
        The exit code: 0 done and clean; 1 a finding of severity error, a refusal or a failed
        comparison; 2 usage, bad input, a missing provider or package; 130 interrupted.
    """
    from bnopt.cli.run import run

    return run(argv)
