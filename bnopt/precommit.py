"""A pre-commit hook: `python -m bnopt.precommit FILE...` checks every ONNX file it is given.

One line for each finding; the exit code is 1 if a finding is of severity error, 2 if a file cannot
be read. Nothing is run, so that a commit takes no longer than reading the models.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Check files, and return the exit code.

    Args:
        argv: Arguments; None for those of the process.
    """
    parser = argparse.ArgumentParser(prog="bnopt.precommit", description="Check ONNX files.")
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--allow", action="append", default=[], metavar="CODE")
    options = parser.parse_args(argv)
    codes = [_check(file, options.allow) for file in options.files]
    return max(codes, default=0)


def _check(file: str, allow: Sequence[str]) -> int:
    from bnopt import api
    from bnopt.errors import BnoptError
    from bnopt.report.text import clean

    try:
        result = api.check(file, run=False, allow=allow)
    except BnoptError as error:
        sys.stderr.write(f"{clean(file)}: {clean(error.message)}\n")
        return 2
    for cause in result.causes:
        if cause.severity != "info":
            text = f"{cause.severity} {cause.code}: {cause.message}; {cause.fix}"
            sys.stdout.write(f"{clean(file)}: {clean(text)}\n")
    return int(not result.ok)


if __name__ == "__main__":
    sys.exit(main())
