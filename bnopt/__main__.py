"""`python -m bnopt` is the command `bnopt`."""

from __future__ import annotations

import sys

from bnopt.cli import main

if __name__ == "__main__":
    sys.exit(main())
